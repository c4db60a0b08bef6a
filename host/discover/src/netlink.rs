//! What this crate asks the kernel, as a small trait over plain values: the decisions of
//! `interfaces` and `host` are tested with values, and only `kernel` speaks rtnetlink.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use crate::NetlinkError;
use crate::namespace::Namespace;

mod kernel;

pub(crate) use kernel::Kernel;
pub use kernel::LinkEvents;
#[cfg(feature = "lab")]
pub(crate) use kernel::to_io;

/// A link of the current namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) kind: LinkKind,
    /// Of a veth and the like: the other end.
    pub(crate) peer: Option<Peer>,
    /// Index of the bridge (or bond, ...) that it is a port of.
    pub(crate) controller: Option<u32>,
}

/// What matters here about the kind of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkKind {
    /// Has ports.
    Bridge,
    /// One end here, the other in one pod or virtual machine: veth, netkit, tun and tap.
    Single(String),
    /// Leads to many: physical and loopback (no kind), vxlan, vlan, wireguard, ...
    Shared(String),
}

/// The other end of a link pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its index over there: pods all have 2, so it identifies nothing without `nsid`.
    pub(crate) index: u32,
    /// Our id of the namespace it lives in; `None` when that is this one.
    pub(crate) nsid: Option<i32>,
}

/// The kernel's answer to "where would a packet to this address go".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// The address is one of this machine's own.
    pub(crate) local: bool,
    /// The link it leaves through.
    pub(crate) link: u32,
    /// The router it is sent to; `None` where the address itself is on the link.
    pub(crate) gateway: Option<IpAddr>,
}

/// A hardware address.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Mac(pub(crate) Vec<u8>);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if i == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An entry of the neighbour table (ARP, NDP) that knows the hardware address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Neighbour {
    pub(crate) ip: IpAddr,
    pub(crate) link: u32,
    pub(crate) mac: Mac,
}

/// An entry of a bridge's forwarding table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forwarding {
    pub(crate) mac: Mac,
    pub(crate) port: u32,
    pub(crate) bridge: u32,
}

/// An address, of the link with this index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) link: u32,
    pub(crate) ip: IpAddr,
}

/// A namespace mounted by name, seen from the current one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedNamespace {
    /// Our id of it, if it has one: where a link of ours has its peer in there, it has.
    pub(crate) nsid: Option<i32>,
    /// Its addresses; none where it could not be entered.
    pub(crate) addresses: Vec<Address>,
}

/// What can be asked. A table is as it was when it was asked for, or later, and is listed once for all who ask for it
/// meanwhile.
pub(crate) trait Netlink: Sync {
    /// All links.
    fn links(&self) -> impl Future<Output = Result<Arc<[Link]>, NetlinkError>> + Send;
    /// Where a packet to `ip` would go; `None` without a route.
    fn route(&self, ip: IpAddr)
    -> impl Future<Output = Result<Option<Route>, NetlinkError>> + Send;
    /// All neighbours whose hardware address is known.
    fn neighbours(&self) -> impl Future<Output = Result<Arc<[Neighbour]>, NetlinkError>> + Send;
    /// The forwarding tables of all bridges.
    fn forwarding(&self) -> impl Future<Output = Result<Arc<[Forwarding]>, NetlinkError>> + Send;
    /// Sends something to `ip`, so that the kernel asks for its hardware address and the bridge
    /// sees the answer. Whether it arrives is of no interest.
    fn provoke(&self, ip: IpAddr) -> impl Future<Output = ()> + Send;
    /// The namespaces that have a name here.
    fn named_namespaces(
        &self,
    ) -> impl Future<Output = Result<Arc<[NamedNamespace]>, NetlinkError>> + Send;
}

/// Addresses that name a pod to others: no loopback, no link-local.
pub(crate) fn is_reachable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !(ip.is_loopback() || ip.is_link_local() || ip.is_unspecified()),
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified()),
    }
}

/// The addresses inside `namespace`, asked there by a thread of its own (needs CAP_SYS_ADMIN).
pub(crate) async fn addresses_inside(namespace: &Namespace) -> Result<Vec<Address>, NetlinkError> {
    Kernel::inside(namespace)?.addresses().await
}
