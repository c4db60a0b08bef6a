//! A plugin from its reference to a component that is ready to be instantiated: found and compiled by the
//! agent's side, fetched from there, and known by its exports. Everything here is slow or blocks, and runs
//! off the delivery path.

mod fetch;
mod find;
mod kind;

use thiserror::Error;

pub(crate) use fetch::{Fetcher, Machine};
pub(crate) use find::{candidates, find, search_path, short_name};
pub(crate) use kind::{KINDS, Pre};

use crate::authority::{Authority, Manifest, ManifestError};
use crate::engine::Runtime;
use crate::status::{PluginKind, PluginStatus};

/// Why a plugin cannot start.
#[derive(Debug, Error)]
pub(crate) enum LoadError {
    #[error("plugin {name} is not among the plugins in {dirs}{known}")]
    Find {
        name: String,
        dirs: String,
        known: String,
    },
    #[error(
        "cannot read plugin {path}: {problem} (give a path to a component, or a shipped plugin's name)"
    )]
    Read { path: String, problem: String },
    #[error(
        "plugin {path} has digest {found}, and {wanted} is configured: it was replaced (put the old file back, or \
         change `digest`)"
    )]
    Digest {
        path: String,
        found: String,
        wanted: String,
    },
    #[error("plugin {path} is no WebAssembly component: {what}")]
    NoComponent { path: String, what: String },
    #[error("plugin {path}: {problem}")]
    Manifest { path: String, problem: String },
    #[error("plugin {path} does not compile: {problem}")]
    Compile { path: String, problem: String },
    #[error("plugin {path} is a component of another world: {problem}")]
    World { path: String, problem: String },
}

/// Ready to be instantiated.
#[derive(Clone)]
pub(crate) struct Plugin {
    /// As configured: begins every message about it.
    pub(crate) name: String,
    pub(crate) status: PluginStatus,
    /// What it asks for; none asks for nothing.
    pub(crate) manifest: Option<Manifest>,
    pub(crate) pre: Pre,
}

impl Plugin {
    /// Have `reference` found and compiled, which must have the digest `wanted`. Blocks for as long as the compiler
    /// takes. The error says what a person has to do.
    pub(crate) fn load(
        runtime: &Runtime,
        reference: &str,
        wanted: Option<&str>,
    ) -> Result<Self, String> {
        let (artifact, component, bytes) = runtime.component(reference, wanted)?;
        let manifest = read_manifest(&artifact.path, &bytes).map_err(|error| error.to_string())?;
        let pre = Pre::of(runtime, &component).map_err(|problem| {
            let path = artifact.path.clone();
            LoadError::World { path, problem }.to_string()
        })?;
        let about = manifest.clone().unwrap_or_default();
        Ok(Self {
            name: find::short_name(reference),
            status: PluginStatus {
                plugin: reference.to_owned(),
                path: artifact.path,
                kind: pre.kind(),
                digest: artifact.digest,
                size_bytes: artifact.size_bytes,
                manifest_name: about.name,
                version: about.version,
                description: about.description,
                authority: Authority::default(),
            },
            manifest,
            pre,
        })
    }

    pub(crate) fn kind(&self) -> PluginKind {
        self.status.kind
    }
}

/// A component that cannot be read as one is the compiler's to explain.
fn read_manifest(path: &str, bytes: &[u8]) -> Result<Option<Manifest>, LoadError> {
    match Manifest::of_component(bytes) {
        Ok(manifest) => Ok(manifest),
        Err(ManifestError::Parse(_)) => Ok(None),
        Err(error) => Err(LoadError::Manifest {
            path: path.to_owned(),
            problem: error.to_string(),
        }),
    }
}

/// The preamble tells what a file is before the compiler does, in words for people.
/// <https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md>
pub(crate) fn check_header(path: &str, bytes: &[u8]) -> Result<(), LoadError> {
    let what = match bytes {
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => return Ok(()),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => {
            "it is a core module (build it for wasm32-wasip2, or wrap it by `wasm-tools component new`)"
        }
        [0, b'a', b's', b'm', ..] => "its version is not known",
        [] => "the file is empty",
        [b'(', ..] => "it is WebAssembly text (convert it by `wasm-tools parse`)",
        _ => "it does not begin with the WebAssembly magic number",
    };
    Err(LoadError::NoComponent {
        path: path.to_owned(),
        what: what.to_owned(),
    })
}
