//! What there is to watch on this machine: sources give [`Target`](owlk8s_model::Target)s, their
//! union is a [`TargetSet`](owlk8s_model::TargetSet) that changes while it is watched
//! ([`discover`]), and [`Interfaces`] finds the host-side link of each one's packets.
//!
//! All is read from the kernel by rtnetlink, without shelling out. It knows nothing of sockets that
//! count and of what becomes of the counts. A source that fails keeps its last targets: reading
//! goes on, and `confirmed_at` shows the age.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test panics where it fails")
)]

mod config;
mod elsewhere;
mod error;
mod host;
mod interfaces;
mod kubernetes;
#[cfg(feature = "lab")]
pub mod lab;
mod namespace;
mod netlink;
mod watch;

pub use config::{
    DiscoveryConfig, HostConfig, Include, KubernetesConfig, StaticConfig, StaticTarget,
};
pub use elsewhere::Elsewhere;
pub use error::{
    DiscoverError, ElsewhereError, NetlinkError, ResolveError, StaticProblem, StaticProblems,
    Unresolved,
};
pub use interfaces::{Interface, Interfaces};
pub use kubernetes::{AccessError, ApiCheck, ApiRequests, Asked, examine};
pub use namespace::{Namespace, NamespaceError};
pub use netlink::LinkEvents;
pub use watch::{Discovery, Surroundings, discover};
