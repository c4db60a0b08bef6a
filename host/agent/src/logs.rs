//! Logs: to standard error, filtered by `RUST_LOG`, or all of ours with `debug=true`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::Env;

/// From here on events are written.
pub(crate) fn start(env: Env<'_>) {
    let default = if crate::config::debug(env) {
        "info,kube_client=error,kube_runtime=error,owlk8s=debug,owlk8s_probe=debug,owlk8s_discover=debug,owlk8s_plugin_host=debug"
    } else {
        // Their warnings come again with each try; ours tell when something changes.
        "info,kube_client=error,kube_runtime=error"
    };
    let typed = env(EnvFilter::DEFAULT_ENV).filter(|directives| !directives.is_empty());
    let (filter, refused) = match typed.as_deref().map(EnvFilter::try_new) {
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (EnvFilter::new(default), Some(error)),
        None => (EnvFilter::new(default), None),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    if let Some(error) = refused {
        tracing::warn!(%error, using = default, "RUST_LOG is not understood");
    }
}
