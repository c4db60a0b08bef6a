//! The plugin host as the agent uses it: a real plugin process, real components, real endpoints.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test panics where it fails, and says what it measured"
)]

mod adversary;
mod bad_plugins;
mod breaker;
mod chains;
mod component;
mod crashes;
mod delivery;
mod exporters;
mod mistakes;
mod process;
mod reload;
mod responder;
mod reuse;
mod support;
