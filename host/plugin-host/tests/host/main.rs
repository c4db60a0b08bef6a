//! The plugin host as the agent uses it: a real plugin process, real components, real endpoints.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test panics where it fails, and says what it measured"
)]

mod bad_plugins;
mod chains;
mod delivery;
mod exporters;
mod mistakes;
mod process;
mod reload;
mod responder;
mod support;
