use std::fmt;
use std::io;
use std::net::IpAddr;

use crate::kubernetes::AccessError;
use crate::namespace::NamespaceError;

/// Why discovery cannot start.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// No source is on.
    #[error(
        "nothing to watch: add a [discovery.kubernetes] table, targets in [discovery.static], or a [discovery.host] table to \
         the configuration"
    )]
    NothingToWatch,
    /// The static targets are wrong.
    #[error(transparent)]
    StaticTargets(#[from] StaticProblems),
    /// No way to the API server.
    #[error("cannot watch Kubernetes")]
    WatchKubernetes(#[from] AccessError),
    /// The kernel would not answer.
    #[error("cannot look for this machine's network namespaces")]
    ScanHost(#[from] NetlinkError),
}

/// All that is wrong with the static targets: one line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct StaticProblems(pub Vec<StaticProblem>);

impl fmt::Display for StaticProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}{}: {}", problem.place, problem.what)?;
        }
        Ok(())
    }
}

/// One thing that is wrong with a static target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticProblem {
    /// Path of the entry in the configuration, with the target's id.
    pub place: String,
    /// What is wrong, and what would be right.
    pub what: String,
}

/// A question that the kernel did not answer.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No netlink socket.
    #[error("cannot open a netlink socket")]
    Open(#[source] io::Error),
    /// A request was refused.
    #[error("cannot ask the kernel for {what}")]
    Ask {
        /// What was asked for: "the links", "a route to 10.0.0.1".
        what: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A namespace could not be entered.
    #[error(transparent)]
    Enter(#[from] NamespaceError),
}

/// Why a target has no interface.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The name that the source gave is not there.
    #[error(
        "interface {name} of target {target} does not exist: this network namespace has {existing} \
         (correct `interface`, or leave it out and give `ips`)"
    )]
    NoSuchInterface {
        /// The target's id.
        target: String,
        /// What was asked for.
        name: String,
        /// The links that are there, joined by commas.
        existing: String,
    },
    /// Neither interface nor address.
    #[error("target {target} has neither an interface nor an address: give one of them")]
    NoAddress {
        /// The target's id.
        target: String,
    },
    /// None of the addresses leads to an interface.
    #[error("no interface found for target {target}: {}", join(.reasons))]
    NotFound {
        /// The target's id.
        target: String,
        /// One for each address.
        reasons: Vec<Unresolved>,
    },
    /// The kernel could not be asked.
    #[error("no interface found for target {target}")]
    Netlink {
        /// The target's id.
        target: String,
        /// What went wrong.
        #[source]
        source: NetlinkError,
    },
}

impl ResolveError {
    /// Whether waiting alone is not expected to help: a person has to act. Trying again, say after
    /// each change of the links, costs little all the same and is right: the interface may come.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::NoSuchInterface { .. } | Self::NoAddress { .. } => true,
            Self::NotFound { reasons, .. } => reasons.iter().all(Unresolved::is_permanent),
            Self::Netlink { .. } => false,
        }
    }
}

/// Why a target cannot be read beside its link on the node.
#[derive(Debug, thiserror::Error)]
pub enum ElsewhereError {
    /// Its namespace is not to be seen.
    #[error("the network namespace of {target} is not found: {why}")]
    NoNamespace {
        /// The target's id.
        target: String,
        /// What was looked at, and what would help.
        why: String,
    },
    /// Its cgroup is not to be seen.
    #[error("the cgroup of {target} is not found: {why}")]
    NoCgroup {
        /// The target's id.
        target: String,
        /// What was looked at, and what would help.
        why: String,
    },
    /// The kernel could not be asked.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// Why an address leads to no interface.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// No route.
    #[error("there is no route to {ip}")]
    NoRoute {
        /// The address.
        ip: IpAddr,
    },
    /// The machine's own address: many share that interface.
    #[error(
        "{ip} is an address of this machine itself, not of a pod: give the target's `interface`"
    )]
    Own {
        /// The address.
        ip: IpAddr,
    },
    /// The route leaves the machine, or leads to a link that is not the pod's alone.
    #[error(
        "the route to {ip} goes through {link} ({kind}), which is not one pod's own: \
         the pod does not run here, or not yet (if it is right, give `interface = \"{link}\"`)"
    )]
    Elsewhere {
        /// The address.
        ip: IpAddr,
        /// Name of the link.
        link: String,
        /// Its kind: "gateway 10.0.0.1", "vxlan", "physical".
        kind: String,
    },
    /// On the bridge's network, and silent.
    #[error("{ip} does not answer on bridge {bridge}: the pod is not up, or drops what it is sent")]
    NoNeighbour {
        /// The address.
        ip: IpAddr,
        /// Name of the bridge.
        bridge: String,
    },
    /// The bridge does not know where its packets go.
    #[error("bridge {bridge} has not learned the port of {ip} ({mac}): the pod sends nothing")]
    NoPort {
        /// The address.
        ip: IpAddr,
        /// Name of the bridge.
        bridge: String,
        /// Its hardware address.
        mac: String,
    },
}

impl Unresolved {
    fn is_permanent(&self) -> bool {
        matches!(self, Self::Own { .. })
    }
}

fn join(reasons: &[Unresolved]) -> String {
    reasons
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}
