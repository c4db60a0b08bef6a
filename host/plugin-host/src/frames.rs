//! What agent and plugin process say to each other: frames of a 4-byte little-endian length and a
//! postcard value, over a socketpair. Both are the same binary; the hello says so before anything else.
//!
//! The agent does not trust the plugin process: what it sends is bounded far lower than what it gets,
//! and a frame that does not decode ends the connection.

mod codec;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use owlk8s_model::{Snapshot, TargetSnapshot, UnixNanos, Window};
use owlk8s_pipeline::Acknowledged;
use serde::{Deserialize, Serialize};

pub(crate) use codec::{FrameError, read, write};

use crate::config::Secret;
use crate::endpoints::Mark;
use crate::status::{SinkCounters, SinkStatus};

/// Rises with every change of these types.
pub(crate) const PROTOCOL: u32 = 2;
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
    /// What to run; once, before any window.
    Configure(Box<Configure>),
    /// What a `delta` sink goes on from; before any window.
    Base(Box<Base>),
    /// What these sinks may see of a window.
    Snapshot {
        sinks: Vec<String>,
        snapshot: Arc<Snapshot>,
    },
    /// Deliver what waits, answer `Drained`, and end.
    Drain {
        within: Duration,
    },
}

/// What to run.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Configure {
    /// `Vec<SinkConfig>` as JSON: a plugin's `config` has no fixed shape.
    pub(crate) sinks: String,
    /// Where plugins are looked for by name, in this order.
    pub(crate) plugin_dirs: Vec<std::path::PathBuf>,
    /// `Ceiling` as JSON, too.
    pub(crate) ceiling: String,
    /// Values of the environment variables that endpoints and grants name.
    #[serde(with = "crate::config::exposed")]
    pub(crate) secrets: BTreeMap<String, Secret>,
    /// The first window of the agent's life; none before it.
    pub(crate) first: Option<Window>,
    /// How far each sink has come under an earlier plugin process.
    pub(crate) resume: BTreeMap<String, Resume>,
}

/// What a `delta` sink goes on from.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Base {
    pub(crate) sink: String,
    /// The window that it acknowledged last; none before the first.
    pub(crate) acknowledged: Option<Arc<Snapshot>>,
    /// Targets that departed since, before the window `until`, each with the last window that held it.
    pub(crate) departed: Vec<(u64, TargetSnapshot)>,
    pub(crate) until: u64,
    /// How many more departed than the agent keeps.
    pub(crate) forgotten: u64,
}

/// How far a sink has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resume {
    pub(crate) acknowledged: Option<Acknowledged>,
    /// The window that it had on its way.
    pub(crate) attempting: Option<Attempting>,
    /// Where the windows ended that it got from an earlier agent, until it has one of this.
    pub(crate) earlier_end: Option<UnixNanos>,
    /// Of its filters in order, then of its plugin.
    pub(crate) states: Vec<Vec<u8>>,
    pub(crate) counters: SinkCounters,
    pub(crate) last_error: String,
}

/// A window on its way, told before it is delivered: with it the same bytes can be made once more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attempting {
    pub(crate) sequence: u64,
    /// Before its plugins were called.
    pub(crate) states: Vec<Vec<u8>>,
    /// Where the files ended, by endpoint.
    pub(crate) marks: BTreeMap<String, Mark>,
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
    /// Nothing waits any more.
    Drained,
}

/// A sink's news, whole: a later one replaces it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SinkReport {
    pub(crate) status: SinkStatus,
    /// The window on its way: it may be acknowledged later.
    pub(crate) attempting: Option<Attempting>,
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
