//! The plugin host as the agent uses it: a real plugin process, real components, real endpoints.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test panics where it fails, and says what it saw"
)]

mod adversary;
mod authority;
mod bad_plugins;
mod breaker;
mod chains;
mod compile;
mod component;
mod crashes;
mod delivery;
mod endpoints;
mod exporters;
mod mistakes;
mod network;
mod process;
mod reload;
mod responder;
mod restarts;
mod reuse;
mod sandbox;
mod support;
mod tenants;
