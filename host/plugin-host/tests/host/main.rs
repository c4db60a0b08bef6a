//! The plugin host as the agent uses it: a real plugin process, real components, real endpoints.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

mod bad_plugins;
mod chains;
mod delivery;
mod exporters;
mod mistakes;
mod process;
mod reload;
mod responder;
mod support;
