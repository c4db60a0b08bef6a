//! Runs plugins: WebAssembly components of the four worlds of `owlk8s:plugin`, in a process of their own
//! that holds no capability.
//!
//! ```text
//!  agent: PluginHost --offer--> newest windows --frames over a socketpair--> plugin process: plugin_process
//!            ^ status, states, acknowledgements <------------------------------- per sink, one task:
//!                                                   mailbox -> filters -> plugin -> endpoint
//! ```
//!
//! The agent's side ([`PluginHost`]) spawns the process from its own binary, restarts it, and keeps all
//! that must not die with it. The child's side ([`plugin_process`]) knows wasmtime; guests get a fresh
//! instance for each call, limits in memory, processor time, wall time and output, and no ambient
//! authority at all: endpoints belong to the host. An exporter is linked without network so far.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test panics where it fails")
)]

mod agent;
#[cfg(feature = "bench")]
pub mod bench;
mod bindings;
mod call;
mod chain;
mod child;
mod config;
mod crash;
mod desk;
mod endpoints;
mod engine;
mod frames;
mod guest;
mod metered;
mod plugin;
mod sandbox;
mod sink;
mod status;
mod tables;

pub use agent::{HostOptions, PluginHost, Program, StartError};
pub use call::CrashFrame;
pub use child::plugin_process;
pub use config::{
    BreakerConfig, ConfigError, ConfiguredFilter, Endpoint, FilterConfig, HttpEndpoint, Limit,
    Limits, PluginConfig, PluginsConfig, SinkConfig, Size, check,
};
pub use crash::{CrashReport, ReplayError, Replayed, replay};
pub use owlk8s_pipeline::{BreakerState, Mode, Select};
pub use status::{BreakerStatus, PluginKind, PluginStatus, SinkCounters, SinkState, SinkStatus};
pub(crate) use tables::LABEL;
