use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixNanos(pub u64);

/// What names a target for as long as it lives: a pod's uid, or `namespace/pod` where there is none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TargetId(pub Arc<str>);

impl From<&str> for TargetId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The object that a pod belongs to, as its users know it: `Deployment/cart`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// `Deployment`, `StatefulSet`, `DaemonSet`, `CronJob`, ... or `Pod` for a bare one.
    pub kind: String,
    /// The object's name.
    pub name: String,
}

/// What we watch: a pod, a container or a network namespace of this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Identity; a pod that is replaced by one of the same name is another target.
    pub id: TargetId,
    /// Kubernetes pod name, or what the source calls it.
    pub pod: String,
    /// Kubernetes pod uid; empty outside Kubernetes.
    pub uid: String,
    /// Kubernetes namespace; empty where there is none.
    pub namespace: String,
    /// The owning workload, when known.
    pub workload: Option<Workload>,
    /// Names of all services that select it, sorted.
    pub services: Vec<String>,
    /// Its addresses, IPv4 first.
    pub ips: Vec<IpAddr>,
    /// Host-side interface, when the source names it; otherwise it is found from the addresses.
    pub interface: Option<String>,
    /// Kubernetes labels.
    pub labels: BTreeMap<String, String>,
}

/// All targets of this node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetSet {
    /// When the source last confirmed it.
    pub confirmed_at: UnixNanos,
    /// Sorted by id, each id once.
    pub targets: Vec<Arc<Target>>,
}
