//! Logs: to standard error, filtered by `RUST_LOG`, or all of ours with `debug=true`, or from the level on
//! that the configuration says, or, before all of these, from the one that was asked for while the agent runs.
//! The last lines are kept in memory, for `/log` and the support bundle.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tracing_subscriber::EnvFilter;

use crate::config::{Env, Level};

/// Lines that are kept, and bytes of all of them.
const KEPT_LINES: usize = 1000;
const KEPT_BYTES: usize = 256 << 10;

/// The only thing of the process that lives outside of [`crate::agent`]: so does what it changes.
static LOGS: OnceLock<Logs> = OnceLock::new();
static RECENT: Mutex<Recent> = Mutex::new(Recent {
    lines: VecDeque::new(),
    bytes: 0,
    left_out: 0,
});

struct Logs {
    change: Box<dyn Fn(EnvFilter) + Send + Sync>,
    state: Mutex<State>,
}

/// What asks for a level.
#[derive(Default)]
struct State {
    /// `RUST_LOG`, or what `debug=true` means: goes before the configuration.
    environment: Option<String>,
    configured: Level,
    /// While the agent runs; goes before all.
    asked: Option<Level>,
}

impl State {
    fn directives(&self) -> String {
        match (self.asked, &self.environment) {
            (Some(level), _) => directives(level).to_owned(),
            (None, Some(typed)) => typed.clone(),
            (None, None) => directives(self.configured).to_owned(),
        }
    }

    fn source(&self) -> &'static str {
        match (self.asked, &self.environment) {
            (Some(_), _) => "asked for while the agent runs",
            (None, Some(_)) => "environment",
            (None, None) => "configuration",
        }
    }
}

/// From here on events are written.
pub(crate) fn start(level: Level, env: Env<'_>) {
    let typed = env(EnvFilter::DEFAULT_ENV).filter(|directives| !directives.is_empty());
    let refused = typed
        .as_deref()
        .and_then(|typed| EnvFilter::try_new(typed).err());
    let debug = crate::config::debug(env).then(|| directives(Level::Debug).to_owned());
    let state = State {
        environment: typed.filter(|_| refused.is_none()).or(debug),
        configured: level,
        asked: None,
    };
    let in_effect = state.directives();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(|| Both)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .with_env_filter(EnvFilter::new(&in_effect))
        .with_filter_reloading();
    let handle = subscriber.reload_handle();
    let logs = Logs {
        change: Box::new(move |filter| {
            // It lives as long as the process.
            let _ = handle.reload(filter);
        }),
        state: Mutex::new(state),
    };
    let _ = LOGS.set(logs);
    subscriber.init();
    if let Some(error) = refused {
        tracing::warn!(%error, using = in_effect, "RUST_LOG is not understood");
    }
}

/// What is configured now; the environment and [`ask`] go before it.
pub(crate) fn set(level: Level) {
    with(|state| state.configured = level);
}

/// Log from `level` on until the agent ends or this is called again; none: as before it was called.
pub(crate) fn ask(level: Option<Level>) {
    with(|state| state.asked = level);
}

/// The directives in effect, and where they are from.
pub(crate) fn in_effect() -> (String, &'static str) {
    match LOGS.get() {
        Some(logs) => {
            let state = lock(&logs.state);
            (state.directives(), state.source())
        }
        None => (String::new(), "not started"),
    }
}

/// The last lines, the newest last, and how many were before them.
pub(crate) fn recent() -> (Vec<String>, u64) {
    let recent = lock(&RECENT);
    (recent.lines.iter().cloned().collect(), recent.left_out)
}

fn with(change: impl FnOnce(&mut State)) {
    if let Some(logs) = LOGS.get() {
        let mut state = lock(&logs.state);
        change(&mut state);
        (logs.change)(EnvFilter::new(state.directives()));
    }
}

fn directives(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        // Their warnings come again with each try; ours tell when something changes.
        Level::Warn => "warn,kube_client=error,kube_runtime=error",
        Level::Info => "info,kube_client=error,kube_runtime=error",
        Level::Debug => {
            "info,kube_client=error,kube_runtime=error,owlk8s=debug,owlk8s_probe=debug,owlk8s_discover=debug,owlk8s_plugin_host=debug"
        }
        Level::Trace => {
            "info,kube_client=error,kube_runtime=error,owlk8s=trace,owlk8s_probe=trace,owlk8s_discover=trace,owlk8s_plugin_host=trace"
        }
    }
}

/// Standard error, and the lines that are kept.
struct Both;

impl Write for Both {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        lock(&RECENT).push(&String::from_utf8_lossy(event));
        io::stderr().write_all(event).map(|()| event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

struct Recent {
    lines: VecDeque<String>,
    bytes: usize,
    left_out: u64,
}

impl Recent {
    fn push(&mut self, event: &str) {
        for line in event.lines() {
            let line = without_colours(line);
            self.bytes += line.len();
            self.lines.push_back(line);
        }
        while self.lines.len() > KEPT_LINES || self.bytes > KEPT_BYTES {
            let Some(oldest) = self.lines.pop_front() else {
                return;
            };
            self.bytes -= oldest.len();
            self.left_out += 1;
        }
    }
}

/// Of a terminal: `ESC [ ... m`.
fn without_colours(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |line, part| {
        line + part.split_once('m').map_or("", |(_, rest)| rest)
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_goes_before_the_environment_and_that_before_the_configuration() {
        let mut state = State {
            configured: Level::Warn,
            ..State::default()
        };
        assert_eq!(state.source(), "configuration");
        assert!(state.directives().starts_with("warn"));
        state.environment = Some("error".to_owned());
        assert_eq!(state.directives(), "error");
        state.asked = Some(Level::Debug);
        assert!(state.directives().contains("owlk8s=debug"));
        state.asked = None;
        assert_eq!(state.source(), "environment");
    }

    #[test]
    fn kept_lines_have_a_bound_and_no_colours() {
        let mut recent = Recent {
            lines: VecDeque::new(),
            bytes: 0,
            left_out: 0,
        };
        recent.push("\u{1b}[2mtime\u{1b}[0m \u{1b}[32m INFO\u{1b}[0m started\n");
        assert_eq!(recent.lines, ["time  INFO started"]);
        for n in 0..KEPT_LINES {
            recent.push(&format!("line {n}\n"));
        }
        assert_eq!((recent.lines.len(), recent.left_out), (KEPT_LINES, 1));
        recent.push(&"x".repeat(KEPT_BYTES));
        assert_eq!(recent.lines.len(), 1);
    }
}
