//! A plugin from its reference to a component that is ready to be instantiated: found, read, compiled,
//! and known by its exports. Everything here is slow or blocks, and runs off the delivery path.

mod find;
mod kind;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use thiserror::Error;

pub(crate) use find::{candidates, search_path};
pub(crate) use kind::Pre;

use crate::engine::Runtime;
use crate::status::{PluginKind, PluginStatus};

/// The largest component; a Python guest has some 40 MB.
const COMPONENT_MAX: u64 = 128 << 20;

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
    #[error("plugin {path} does not compile: {problem}")]
    Compile { path: String, problem: String },
    #[error("plugin {path} is a component of another world: {problem}")]
    World { path: String, problem: String },
}

/// Ready to be instantiated.
pub(crate) struct Plugin {
    /// As configured: begins every message about it.
    pub(crate) name: String,
    pub(crate) status: PluginStatus,
    pub(crate) pre: Pre,
}

impl Plugin {
    /// Find, read and compile `reference`, which must have the digest `wanted`. Blocks for as long as the compiler takes.
    pub(crate) fn load(
        runtime: &Runtime,
        reference: &str,
        wanted: Option<&str>,
        dirs: &[PathBuf],
    ) -> Result<Self, LoadError> {
        let path = find::find(reference, dirs)?;
        let shown = path.display().to_string();
        let bytes = read(&path)?;
        let digest = format!("sha256:{:x}", Sha256::digest(&bytes));
        if let Some(wanted) = wanted.filter(|wanted| *wanted != digest) {
            return Err(LoadError::Digest {
                path: shown,
                found: digest,
                wanted: wanted.to_owned(),
            });
        }
        check_header(&shown, &bytes)?;
        let component = runtime
            .compile(&digest, &bytes)
            .map_err(|error| LoadError::Compile {
                path: shown.clone(),
                problem: format!("{error:#}"),
            })?;
        let pre = Pre::of(runtime, &component).map_err(|problem| LoadError::World {
            path: shown.clone(),
            problem,
        })?;
        Ok(Self {
            name: find::short_name(reference),
            status: PluginStatus {
                plugin: reference.to_owned(),
                path: shown,
                kind: pre.kind(),
                digest,
                size_bytes: bytes.len() as u64,
            },
            pre,
        })
    }

    pub(crate) fn kind(&self) -> PluginKind {
        self.status.kind
    }
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    let fail = |problem: String| LoadError::Read {
        path: path.display().to_string(),
        problem,
    };
    let metadata = std::fs::metadata(path).map_err(|error| fail(error.to_string()))?;
    if !metadata.is_file() {
        return Err(fail("it is no regular file".to_owned()));
    }
    if metadata.len() > COMPONENT_MAX {
        return Err(fail(format!(
            "its {} bytes are over the limit of {COMPONENT_MAX}",
            metadata.len()
        )));
    }
    std::fs::read(path).map_err(|error| fail(error.to_string()))
}

/// The preamble tells what a file is before the compiler does, in words for people.
/// <https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md>
fn check_header(path: &str, bytes: &[u8]) -> Result<(), LoadError> {
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
