//! Runs plugins: WebAssembly components of the four worlds of `owlk8s:plugin`, in a process of their own
//! that holds no capability.
//!
//! ```text
//!  agent: PluginHost --offer--> newest windows --frames over a socketpair--> plugin process: plugin_process
//!            ^ status, states, acknowledgements <------------------------------- per sink, one task:
//!                                                   mailbox -> filters -> plugin -> endpoint
//! ```
//!
//! The agent's side ([`PluginHost`]) spawns the process from its own binary, restarts it, and keeps all that
//! must not die with it: components, too, which a further child ([`compile_process`]) compiles. The plugin
//! process ([`plugin_process`]) is sealed and knows wasmtime; guests get a fresh instance for each call,
//! limits in memory, processor time, wall time and output, and no ambient authority at all: endpoints
//! belong to the host. What an exporter may reach is decided
//! by [`Authority`].

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test panics where it fails")
)]

mod agent;
mod authority;
#[cfg(feature = "bench")]
pub mod bench;
mod bindings;
mod call;
mod chain;
mod child;
mod compiler;
mod config;
mod crash;
mod desk;
mod endpoints;
mod engine;
mod frames;
mod guest;
mod heap;
mod kit;
mod metered;
mod outbound;
mod plugin;
mod sandbox;
mod sink;
mod status;
mod tables;

pub use agent::{HostOptions, LoadCounters, PluginHost, Program, StartError};
pub use authority::{
    Asks, Authority, Ceiling, Grant, HttpAsk, HttpGrant, Manifest, ManifestError, Origin,
    OriginPattern, SECTION,
};
pub use call::CrashFrame;
pub use child::plugin_process;
pub use compiler::{PrecompileError, compile_process, precompile};
pub use config::{
    BasicAuth, BreakerConfig, Compression, ConfigError, ConfiguredFilter, Endpoint, FileEndpoint,
    FilterConfig, HeaderSource, HttpEndpoint, Limit, Limits, Permissions, PluginConfig,
    PluginsConfig, Secret, SecretSource, ServeEndpoint, SinkConfig, SinkPaths, Size, SocketKind,
    TcpEndpoint, UdpEndpoint, UnixEndpoint, check,
};
pub use crash::{CrashReport, Redaction, ReplayError, Replayed, Texts, replay};
pub use heap::{keep_heap_small, let_go_when_settled};
pub use kit::{
    Asked, BUILT_IN, Cost, Given, Inspection, KitError, Sent, SnapshotError, Tried, Workbench,
    Workshop, built_in, node, read_snapshots, redacted,
};
pub use owlk8s_pipeline::{BreakerState, LabelSelector, Mode, Select};
pub use sandbox::{landlock_abi, seal_as_compiler, seal_as_plugins};
pub use status::{
    BreakerStatus, PluginKind, PluginStatus, SandboxStatus, SinkCounters, SinkState, SinkStatus,
};
pub(crate) use tables::LABEL;
