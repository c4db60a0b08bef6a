//! Logs: to standard error, filtered by `RUST_LOG`, or all of ours with `debug=true`, or from the level on
//! that the configuration says.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

use crate::config::{Env, Level};

/// The only thing of the process that lives outside of [`crate::agent`]: so does what it changes.
static SET: OnceLock<Box<dyn Fn(EnvFilter) + Send + Sync>> = OnceLock::new();

/// From here on events are written.
pub(crate) fn start(level: Level, env: Env<'_>) {
    let level = if crate::config::debug(env) {
        Level::Debug
    } else {
        level
    };
    let typed = env(EnvFilter::DEFAULT_ENV).filter(|directives| !directives.is_empty());
    let (filter, refused) = match typed.as_deref().map(EnvFilter::try_new) {
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (EnvFilter::new(directives(level)), Some(error)),
        None => (EnvFilter::new(directives(level)), None),
    };
    let subscriber = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .with_env_filter(filter)
        .with_filter_reloading();
    if typed.is_none() && !crate::config::debug(env) {
        let handle = subscriber.reload_handle();
        let _ = SET.set(Box::new(move |filter| {
            // It lives as long as the process.
            let _ = handle.reload(filter);
        }));
    }
    subscriber.init();
    if let Some(error) = refused {
        tracing::warn!(%error, using = directives(level), "RUST_LOG is not understood");
    }
}

/// Log from `level` on, where the environment does not say otherwise.
pub(crate) fn set(level: Level) {
    if let Some(set) = SET.get() {
        set(EnvFilter::new(directives(level)));
    }
}

fn directives(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        // Its warnings come again with each try; ours tell when something changes.
        Level::Warn => "warn,kube_runtime=error",
        Level::Info => "info,kube_runtime=error",
        Level::Debug => {
            "info,kube_runtime=error,owlk8s=debug,owlk8s_probe=debug,owlk8s_discover=debug,owlk8s_plugin_host=debug"
        }
        Level::Trace => {
            "info,kube_runtime=error,owlk8s=trace,owlk8s_probe=trace,owlk8s_discover=trace,owlk8s_plugin_host=trace"
        }
    }
}
