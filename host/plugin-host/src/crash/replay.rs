use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

use super::{Crash, CrashReport, config_digest};
use crate::bindings::types::Request;
use crate::call::{Ask, Call};
use crate::engine::Runtime;
use crate::guest::World;
use crate::plugin::{Fetcher, Plugin};
use crate::status::PluginKind;
use crate::tables::Tables;

/// What became of a crash when it was played again.
#[derive(Debug)]
pub struct Replayed {
    /// A report of the new crash; none where the plugin survived.
    pub report: Option<CrashReport>,
    /// The component is the one that crashed.
    pub same_component: bool,
    /// The `config` is the one that it had.
    pub same_config: bool,
}

/// Why a crash cannot be played again.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The component cannot be run.
    #[error("{0}")]
    Plugin(String),
    /// It is of another world than the one that crashed.
    #[error("plugin {path} is a {found}, and the report is of a {wanted}")]
    Kind {
        /// The component.
        path: String,
        /// What it is.
        found: &'static str,
        /// What the report says.
        wanted: &'static str,
    },
    /// The sandbox of the runtime cannot be set up.
    #[error("cannot set up wasmtime: {0}")]
    Runtime(String),
}

/// Call `component` as the plugin of `report` was called: with the report's snapshot and limits, an empty
/// state, and this `config`. Runs the guest in this process.
pub async fn replay(
    report: &CrashReport,
    component: &Path,
    config: &str,
) -> Result<Replayed, ReplayError> {
    let runtime =
        Runtime::new(Fetcher::Here).map_err(|error| ReplayError::Runtime(format!("{error:#}")))?;
    let path = component.display().to_string();
    let reference = if path.contains('/') {
        path.clone()
    } else {
        format!("./{path}")
    };
    let plugin = Plugin::load(&runtime, &reference, None).map_err(ReplayError::Plugin)?;
    if plugin.kind() != report.kind {
        return Err(ReplayError::Kind {
            path,
            found: plugin.kind().name(),
            wanted: report.kind.name(),
        });
    }
    let tables = report.snapshot.clone().and_then(Tables::of_snapshot);
    let ask = match tables {
        Some(tables) => {
            let request = (report.kind == PluginKind::Responder).then(|| request(&report.request));
            Ask::Run(Arc::new(tables), request)
        }
        None => Ask::Validate,
    };
    let call = Call {
        runtime: &runtime,
        plugin: &plugin,
        config,
        limits: &report.limits,
        state: Vec::new(),
        world: World::fixed(&ask),
        ask: ask.clone(),
        instance: None,
    };
    let called = call.make().await;
    let again = called.result.as_ref().err().map(|fault| Crash {
        sink: &report.sink,
        plugin: &plugin,
        config,
        limits: &report.limits,
        given: &ask,
        state_bytes: 0,
        called: &called,
        fault,
    });
    Ok(Replayed {
        report: again.map(|crash| crash.report()),
        same_component: plugin.status.digest == report.digest,
        same_config: config_digest(config) == report.config_digest,
    })
}

fn request(line: &str) -> Request {
    let (method, target) = line.split_once(' ').unwrap_or(("GET", "/"));
    Request {
        method: method.to_owned(),
        target: target.to_owned(),
        headers: Vec::new(),
    }
}
