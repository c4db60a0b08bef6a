use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Histogram, TargetId, UnixNanos};

/// Where in the pod's data path its packets are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// AF_PACKET socket on the host side of the pod's veth.
    HostVeth,
    /// AF_PACKET socket inside the pod's network namespace.
    PodNamespace,
    /// `cgroup_skb` programs on the pod's cgroup.
    CgroupSkb,
}

/// HTTP version of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protocol {
    /// HTTP/1.0
    #[serde(rename = "http/1.0")]
    Http10,
    /// HTTP/1.1
    #[serde(rename = "http/1.1")]
    Http11,
    /// HTTP/2
    #[serde(rename = "http/2")]
    Http2,
}

impl Protocol {
    /// OpenTelemetry `network.protocol.version`: `1.0`, `1.1` or `2`.
    pub fn version(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2",
        }
    }
}

/// HTTP request method: one of the IANA registry, or `_OTHER`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Method(pub Cow<'static, str>);

/// Whether the pod answered the exchange or asked it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The pod answered.
    Server,
    /// The pod asked.
    Client,
}

/// Answered requests that agree in all their dimensions; cumulative.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Who answered.
    pub direction: Direction,
    /// HTTP version.
    pub protocol: Protocol,
    /// Request method.
    pub method: Method,
    /// Final status code, 101..=999.
    pub status: u16,
    /// A kubelet probe (`User-Agent: kube-probe/...`); not in the totals unless so configured.
    #[serde(default)]
    pub probe: bool,
    /// How many were answered.
    pub count: u64,
    /// Sum of their durations, nanoseconds.
    #[serde(default)]
    pub duration_sum_ns: u64,
    /// Their durations, seconds, in OpenTelemetry's exponential form.
    #[serde(default)]
    pub latency: Histogram,
}

/// gRPC calls that ended with one status; cumulative, beside the HTTP rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrpcRow {
    /// Who answered.
    pub direction: Direction,
    /// `grpc-status` of the trailers, 0..=16.
    pub status: u16,
    /// How many ended so.
    pub count: u64,
}

/// Requests or messages that were seen and could not be counted, by reason; cumulative.
/// The kernel program's `Loss` constants give each one's exact meaning.
pub type Losses = BTreeMap<Cow<'static, str>, u64>;

/// Counters of one target that are not split by row; cumulative.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Requests whose first line was seen whole, kubelet probes included.
    pub started: u64,
    /// Of `started`, the kubelet probes.
    pub probe_started: u64,
    /// Started and never answered: reset, closed or replaced.
    pub aborted: u64,
    /// Of `aborted`, the kubelet probes.
    pub probe_aborted: u64,
    /// The latest duration, nanoseconds.
    pub duration_last_ns: u64,
    /// Of `losses`, those that were `started`.
    pub lost: u64,
    /// By reason.
    pub losses: Losses,
    /// Segments with payload to the pod.
    pub segments_to_pod: u64,
    /// Segments with payload from the pod.
    pub segments_from_pod: u64,
    /// Connections that speak TLS to the pod.
    pub tls: u64,
}

/// What the kernel said of one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetReading {
    /// Attached and read.
    Active {
        /// Host-side interface name.
        interface: Arc<str>,
        /// Where it is attached.
        hook: Hook,
        /// Why at no better place; empty at the first choice.
        hook_reason: String,
        /// Set where packets bypass this place and no other is permitted: why, and what would help. What is counted is
        /// then not what there is.
        blind: Option<String>,
        /// Unsplit counters.
        counters: Counters,
        /// Sorted by dimensions, each combination once.
        rows: Vec<Row>,
        /// Sorted by status.
        grpc: Vec<GrpcRow>,
    },
    /// Not attached yet, and will be tried again; why.
    Waiting(String),
    /// Cannot be attached until a person acts; why and the remedy.
    Failed(String),
}

/// All counters of the node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// When it was taken.
    pub at: UnixNanos,
    /// Sorted by target, each once.
    pub targets: Vec<(TargetId, TargetReading)>,
}

impl Reading {
    /// What was read of this target.
    pub fn of(&self, target: &TargetId) -> Option<&TargetReading> {
        let at = self.targets.binary_search_by(|(id, _)| id.cmp(target));
        Some(&self.targets[at.ok()?].1)
    }
}
