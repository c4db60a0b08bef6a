//! A Kubernetes API server for tests: real HTTP and real watch semantics over objects as real clusters send them.
//!
//! The flow: a test starts an [`ApiServer`] and says what its [`Cluster`] holds, in values that read as a sentence
//! ([`deployment`], [`service`], [`pod`], ...). Clients list and watch it as they would a real one; the test changes
//! the cluster meanwhile, lets requests fail, and reads what was asked ([`Request`]).
//!
//! ```
//! # use owlk8s_apiserver::{ApiServer, deployment, service};
//! let server = ApiServer::start();
//! let cluster = server.cluster();
//! cluster.add(service("shop", "cart").selecting([("app", "cart")]));
//! let pods = cluster.add(deployment("shop", "cart").pods(2).on("n1"));
//! cluster.pod("shop", &pods[0]).annotate("owlk8s/ignore", "true");
//! ```
//!
//! It does not simulate controllers, the scheduler or the kubelet: nothing happens in the cluster that the test does
//! not say. What else it does not simulate stands at the head of each module.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test panics where it fails")
)]

mod access;
mod cluster;
mod credentials;
mod failure;
mod faults;
mod fixture;
mod http;
mod identity;
mod listen;
mod object;
mod requests;
mod resource;
mod selector;
mod server;
mod store;
mod tls;

pub use access::{Rule, SERVICE_ACCOUNT};
pub use cluster::{Cluster, Existing};
pub use faults::Fault;
pub use fixture::{
    Add, EndpointSlice, Namespace, Node, Pod, Service, Workload, cron_job, daemon_set, deployment,
    endpoint_slice, job, namespace, node, pod, replica_set, service, stateful_set, static_pod,
};
pub use requests::Request;
pub use resource::Kind;
pub use server::{ApiServer, Settings, StartError};
pub use tls::TlsError;
