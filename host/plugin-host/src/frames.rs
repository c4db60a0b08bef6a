//! What agent and plugin process say to each other: frames of a 4-byte little-endian length and a
//! postcard value, over a socketpair. Both are the same binary; the hello says so before anything else.
//!
//! The agent does not trust the plugin process: what it sends is bounded far lower than what it gets, in bytes
//! and in what these become in memory, and a frame that does not decode ends the connection.

mod bounded;
mod codec;
pub(crate) mod rights;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use owlk8s_model::{Snapshot, TargetSnapshot, UnixNanos, Window};
use owlk8s_pipeline::Acknowledged;
use serde::{Deserialize, Serialize};

pub(crate) use bounded::at_most;
pub(crate) use codec::{FrameError, read, read_blocking, write, write_blocking};

use crate::config::{Limit, Secret, SinkConfig};
use crate::endpoints::Mark;
use crate::status::{SandboxStatus, SinkCounters, SinkStatus};

/// Rises with every change of these types.
pub(crate) const PROTOCOL: u32 = 7;
/// The largest frame to the plugin process: a snapshot of some thousand pods.
pub(crate) const TO_CHILD_MAX: usize = 64 << 20;
/// The largest frame from it: a status with a sink's states.
pub(crate) const TO_AGENT_MAX: usize = 4 << 20;

/// Reports in one frame.
pub(crate) const REPORTS_MAX: usize = 64;
/// Plugins, states and listeners of one sink.
pub(crate) const PARTS_MAX: usize = 64;
/// Paths that the plugin process was granted, of a kind.
pub(crate) const PATHS_MAX: usize = 4096;
/// The largest request for a component.
pub(crate) const FETCH_MAX: usize = 64 << 10;
/// The largest answer to it; machine code goes as an open file.
pub(crate) const FETCHED_MAX: usize = 64 << 10;
/// The largest order to a compile child; the component follows it.
pub(crate) const ORDER_MAX: usize = 1 << 10;

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
    /// What a `delta` sink goes on from; one that was offered windows already ignores it.
    Base(Box<Base>),
    /// What a sink may see of the last window, to try its next generation on; before the configuration.
    Sample {
        sink: String,
        snapshot: Arc<Snapshot>,
    },
    /// What these sinks may see of a window.
    Snapshot {
        sinks: Vec<String>,
        snapshot: Arc<Snapshot>,
    },
    /// How it stands with every sink: `Vec<Standing>` as JSON, for the listeners that show it.
    Standing(String),
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
    /// `Ceiling` as JSON, too.
    pub(crate) ceiling: String,
    /// The user that it becomes, where it may.
    pub(crate) user: u32,
    /// Values of the environment variables that endpoints and grants name.
    #[serde(with = "crate::config::exposed")]
    pub(crate) secrets: BTreeMap<String, Secret>,
    /// The first window of the agent's life; none before it.
    pub(crate) first: Option<Window>,
    /// How far each sink has come under an earlier plugin process; for those that do not run yet.
    pub(crate) resume: BTreeMap<String, Resume>,
}

/// One sink as it shall run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wanted {
    /// Rises when its configuration, or a file that it is made of, may have changed.
    pub(crate) revision: u64,
    pub(crate) config: SinkConfig,
    /// Whether it ran under an earlier plugin process: then it was found good.
    pub(crate) ran: bool,
    /// What comes after it at once, where that is another: the process is sealed for both.
    pub(crate) next: Option<SinkConfig>,
}

impl Wanted {
    /// All that may run of it without another order.
    pub(crate) fn configs(self) -> impl Iterator<Item = SinkConfig> {
        [Some(self.config), self.next].into_iter().flatten()
    }
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
    pub(crate) limits_exceeded: BTreeMap<Limit, u64>,
    /// Openings of the breaker in a row.
    pub(crate) openings: u32,
    pub(crate) last_success_unix_ns: Option<u64>,
    pub(crate) last_error_unix_ns: Option<u64>,
    pub(crate) generation: u64,
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
    /// What it gave up before it runs any guest; once, after its configuration.
    Sealed(SandboxStatus),
    /// It does not dare to run guests, and ends; why.
    Unfit(String),
    /// At least once a second; carries what changed.
    Report(#[serde(deserialize_with = "at_most::<_, _, REPORTS_MAX>")] Vec<SinkReport>),
    Log {
        sink: String,
        level: Level,
        message: String,
    },
    /// A plugin crashed in a new way: a `CrashReport` as JSON, which may change without the protocol.
    Crash {
        report: String,
    },
    /// A plugin crashed as it did before.
    CrashAgain {
        sink: String,
        plugin: String,
    },
    /// A sink that was taken out of the configuration has delivered what it could.
    Gone(String),
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
    pub(crate) attempting: Option<Attempting>,
    pub(crate) acknowledged: Option<Acknowledged>,
    #[serde(deserialize_with = "at_most::<_, _, PARTS_MAX>")]
    pub(crate) states: Vec<Vec<u8>>,
}

/// The plugin process asks for a component. On a connection of its own, one end of which it sends over the
/// control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fetch {
    /// As a sink of the configuration names it.
    pub(crate) reference: String,
    /// What the component must have: `sha256:` and 64 hex digits.
    pub(crate) digest: Option<String>,
    /// Code that was not what it should be, and is to be made again.
    pub(crate) bad_code: Option<String>,
}

/// The answer, after two bytes that carry the open files with the machine code and with the component, where
/// there are any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fetched {
    Ready(Artifact),
    /// Why not; a sentence for people.
    Refused(String),
}

/// A component and the machine code that was made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Artifact {
    /// Where the component was found.
    pub(crate) path: String,
    /// Of the component: `sha256:` and 64 hex digits.
    pub(crate) digest: String,
    pub(crate) size_bytes: u64,
    /// SHA-256 of the machine code, in hex.
    pub(crate) code_digest: String,
}

/// What a compile child reads first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CompileOrder {
    /// The user that it becomes, where it may.
    pub(crate) user: u32,
    /// Of the processor.
    pub(crate) time: Duration,
    /// Bytes of address space.
    pub(crate) memory: u64,
}

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Level {
    Debug,
    Info,
    Warn,
    Error,
}
