//! Lines in the agent's log, under the sink's name. Those over the sink's limit (50 lines of 2 KiB a
//! window by default) are dropped and counted. In native tests they go to stderr.

pub use crate::bindings::host::Level;

/// What helps only who debugs this plugin.
pub fn debug(message: impl AsRef<str>) {
    write(Level::Debug, message.as_ref());
}

/// What happens in normal life.
pub fn info(message: impl AsRef<str>) {
    write(Level::Info, message.as_ref());
}

/// Degraded, but going on.
pub fn warn(message: impl AsRef<str>) {
    write(Level::Warn, message.as_ref());
}

/// A person is needed.
pub fn error(message: impl AsRef<str>) {
    write(Level::Error, message.as_ref());
}

#[cfg(target_family = "wasm")]
fn write(level: Level, message: &str) {
    crate::bindings::host::log(level, message);
}

#[cfg(not(target_family = "wasm"))]
fn write(level: Level, message: &str) {
    eprintln!("{level:?}: {message}");
}
