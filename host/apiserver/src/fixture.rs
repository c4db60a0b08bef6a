//! Objects as real clusters of 1.30 to 1.36 send them, said in a sentence: `deployment("shop", "cart").pods(2).on("n1")`.
//!
//! Each is a value until [`crate::Cluster::add`] puts it into the cluster, with the namespaces and nodes that it names.
//! What the API server invents (uid, time, the ends of names) is invented then.

mod managed;
#[macro_use]
mod metadata;
mod namespace;
mod node;
mod pod;
mod service;
mod slice;
mod workload;

pub use namespace::{Namespace, namespace};
pub use node::{Node, node};
pub use pod::{Pod, pod, static_pod};
pub use service::{Service, service};
pub use slice::{EndpointSlice, endpoint_slice};
pub use workload::{Workload, cron_job, daemon_set, deployment, job, replica_set, stateful_set};

pub(crate) use slice::slice_of;

use crate::cluster::Cluster;

/// What can be put into a cluster.
pub trait Add {
    /// What a test wants to know of it then.
    type Added;

    /// Puts it there.
    fn add_to(self, cluster: &Cluster) -> Self::Added;
}
