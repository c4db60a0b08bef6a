//! What agent and plugin process say to each other: frames of a 4-byte little-endian length and a
//! postcard value, over a socketpair. Both are the same binary; the hello says so before anything else.
//!
//! The agent does not trust the plugin process: what it sends is bounded far lower than what it gets,
//! and a frame that does not decode ends the connection.

mod codec;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use owlk8s_model::Snapshot;
use owlk8s_pipeline::Acknowledged;
use serde::{Deserialize, Serialize};

pub(crate) use codec::{FrameError, read, write};

use crate::config::SinkConfig;
use crate::config::Limit;
use crate::status::{SinkCounters, SinkStatus};

/// Rises with every change of these types.
pub(crate) const PROTOCOL: u32 = 3;
/// The largest frame to the plugin process: a snapshot of some thousand pods.
pub(crate) const TO_CHILD_MAX: usize = 64 << 20;
/// The largest frame from it: a status with a sink's states.
pub(crate) const TO_AGENT_MAX: usize = 4 << 20;

/// First in both directions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) protocol: u32,
    pub(crate) version: String,
}

impl Hello {
    pub(crate) fn ours() -> Self {
        Self {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// From the agent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToChild {
    Hello(Hello),
    /// What to run: before any window, and again when that changes.
    Configure(Box<Configure>),
    /// The window that a `delta` sink acknowledged last; one that was offered windows already ignores it.
    Base {
        sink: String,
        snapshot: Arc<Snapshot>,
    },
    /// A window.
    Snapshot(Arc<Snapshot>),
    /// Deliver what waits, answer `Drained`, and end.
    Drain {
        within: Duration,
    },
}

/// What to run.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Configure {
    /// `Vec<Wanted>` as JSON: a plugin's `config` has no fixed shape.
    pub(crate) sinks: String,
    /// Where plugins are looked for by name, in this order.
    pub(crate) plugin_dirs: Vec<std::path::PathBuf>,
    /// Values of the environment variables that endpoints name.
    pub(crate) secrets: BTreeMap<String, String>,
    /// How far each sink has come under an earlier plugin process; for those that do not run yet.
    pub(crate) resume: BTreeMap<String, Resume>,
}

/// One sink as it shall run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wanted {
    /// Rises when its configuration, or a file that it is made of, may have changed.
    pub(crate) revision: u64,
    pub(crate) config: SinkConfig,
    /// What ran last, where that is not `config`: it runs until `config` is found good.
    pub(crate) running: Option<(u64, SinkConfig)>,
}

/// How far a sink has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resume {
    pub(crate) acknowledged: Option<Acknowledged>,
    /// Of its filters in order, then of its plugin.
    pub(crate) states: Vec<Vec<u8>>,
    pub(crate) counters: SinkCounters,
    pub(crate) last_error: String,
    pub(crate) last_success_unix_ns: Option<u64>,
    pub(crate) last_error_unix_ns: Option<u64>,
    pub(crate) generation: u64,
    pub(crate) limits_exceeded: BTreeMap<Limit, u64>,
    /// Openings of the breaker in a row.
    pub(crate) openings: u32,
}

/// From the plugin process.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum ToAgent {
    Hello(Hello),
    /// At least once a second; carries what changed.
    Report(Vec<SinkReport>),
    Log {
        sink: String,
        level: Level,
        message: String,
    },
    /// A sink that was taken out of the configuration has delivered what it could.
    Gone(String),
    /// A plugin crashed in a new way: a `CrashReport` as JSON, which may change without the protocol.
    Crash {
        report: String,
    },
    /// A plugin crashed as it did before.
    CrashAgain {
        sink: String,
        plugin: String,
    },
    /// Nothing waits any more.
    Drained,
}

/// A sink's news, whole: a later one replaces it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SinkReport {
    pub(crate) status: SinkStatus,
    /// Of what runs; 0 before anything does.
    pub(crate) revision: u64,
    /// The window on its way: it may be acknowledged later.
    pub(crate) attempting: Option<u64>,
    pub(crate) acknowledged: Option<Acknowledged>,
    pub(crate) states: Vec<Vec<u8>>,
}

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Level {
    Debug,
    Info,
    Warn,
    Error,
}
