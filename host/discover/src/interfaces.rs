//! From a target to the host-side interface of its packets.
//!
//! A name that the source gives is taken, if it is there. Otherwise each address is tried:
//!
//! 1. The route to it. A link that is one pod's own (veth, netkit, tun) is the answer: Calico, ptp,
//!    AWS, Cilium with endpoint routes. A gateway, or a link that many share, is not: its packets
//!    would be counted for the wrong one.
//! 2. A bridge (Docker, flannel, bridge CNI): the neighbour entry gives the hardware address, the
//!    forwarding table the port. Both are learned from traffic only, so a datagram provokes some.
//! 3. What neither answers: of the namespaces mounted below `/run/netns`, the one that owns the
//!    address; our link whose peer is in there *and* has that index is the answer. The index alone
//!    says nothing, it is 2 in every pod.

use std::net::IpAddr;
use std::time::Duration;

use owlk8s_model::Target;

use crate::elsewhere::{self, Elsewhere, Looks};
use crate::error::{ElsewhereError, NetlinkError, ResolveError, Unresolved};
use crate::netlink::{Forwarding, Kernel, Link, LinkKind, Mac, Neighbour, Netlink, Peer, Route};

#[cfg(test)]
mod tests;

/// Waits after each provocation, milliseconds. An answer takes well under a millisecond on a veth; but a new link
/// may drop the first question until its carrier is noticed, and the kernel asks again after 1 s.
const WAITS_MS: [u64; 8] = [5, 10, 20, 40, 80, 160, 320, 640];

/// A host-side interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index, which the kernel never uses again in this namespace.
    pub index: u32,
}

impl From<&Link> for Interface {
    fn from(link: &Link) -> Self {
        Self {
            name: link.name.clone(),
            index: link.index,
        }
    }
}

/// The interfaces of one network namespace.
#[derive(Debug)]
pub struct Interfaces {
    kernel: Kernel,
    looks: Looks,
}

impl Interfaces {
    /// Of the calling thread's namespace. Needs a tokio runtime.
    ///
    /// # Errors
    /// Where no netlink socket can be opened.
    pub fn new() -> Result<Self, NetlinkError> {
        Ok(Self {
            kernel: Kernel::open()?,
            looks: Looks::default(),
        })
    }

    /// The interface that `target`'s packets pass on this side.
    ///
    /// May send a few UDP datagrams to port 9 of the target, and takes up to 1.3 s for each address
    /// that does not answer.
    ///
    /// # Errors
    /// With what was tried for each address, and what to do; see [`ResolveError::is_permanent`].
    pub async fn resolve(&self, target: &Target) -> Result<Interface, ResolveError> {
        resolve(&self.kernel, target).await
    }

    /// Where else `target`'s packets pass, the better first, or why not there: for one whose `link` (of the node) is
    /// bypassed, or is not to be found. Takes some milliseconds; entering namespaces needs CAP_SYS_ADMIN.
    pub async fn elsewhere(
        &self,
        target: &Target,
        link: Option<&Interface>,
    ) -> [Result<Elsewhere, ElsewhereError>; 2] {
        elsewhere::places(&self.kernel, &self.looks, target, link).await
    }
}

async fn resolve(netlink: &impl Netlink, target: &Target) -> Result<Interface, ResolveError> {
    let asked = |source| ResolveError::Netlink {
        target: target.id.to_string(),
        source,
    };
    if let Some(name) = &target.interface {
        return named(&netlink.links().await.map_err(asked)?, target, name);
    }
    if target.ips.is_empty() {
        return Err(ResolveError::NoAddress {
            target: target.id.to_string(),
        });
    }
    let mut reasons = Vec::new();
    for ip in &target.ips {
        match locate(netlink, *ip).await.map_err(asked)? {
            Ok(interface) => return Ok(interface),
            Err(reason) => reasons.push(reason),
        }
    }
    match by_namespace(netlink, &target.ips).await.map_err(asked)? {
        Some(interface) => Ok(interface),
        None => Err(ResolveError::NotFound {
            target: target.id.to_string(),
            reasons,
        }),
    }
}

fn named(links: &[Link], target: &Target, name: &str) -> Result<Interface, ResolveError> {
    links
        .iter()
        .find(|link| link.name == name)
        .map(Interface::from)
        .ok_or_else(|| ResolveError::NoSuchInterface {
            target: target.id.to_string(),
            name: name.to_owned(),
            existing: links
                .iter()
                .map(|link| link.name.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        })
}

/// Steps 1 and 2 for one address.
async fn locate(
    netlink: &impl Netlink,
    ip: IpAddr,
) -> Result<Result<Interface, Unresolved>, NetlinkError> {
    let route = netlink.route(ip).await?;
    let links = netlink.links().await?;
    let bridge = match by_route(&links, ip, route.as_ref()) {
        ByRoute::Found(interface) => return Ok(Ok(interface)),
        ByRoute::No(reason) => return Ok(Err(reason)),
        ByRoute::Bridge(bridge) => bridge,
    };
    for wait in WAITS_MS {
        if let Ok(port) = port_now(netlink, &links, bridge, ip).await? {
            return Ok(own(&links, port, ip));
        }
        netlink.provoke(ip).await;
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
    Ok(port_now(netlink, &links, bridge, ip)
        .await?
        .and_then(|port| own(&links, port, ip)))
}

async fn port_now(
    netlink: &impl Netlink,
    links: &[Link],
    bridge: &Link,
    ip: IpAddr,
) -> Result<Result<u32, Unresolved>, NetlinkError> {
    let neighbours = netlink.neighbours().await?;
    let Some(mac) = mac_of(&neighbours, bridge, ip) else {
        return Ok(Err(Unresolved::NoNeighbour {
            ip,
            bridge: bridge.name.clone(),
        }));
    };
    Ok(
        match port_of(&netlink.forwarding().await?, links, bridge, mac) {
            Some(port) => Ok(port),
            None => Err(Unresolved::NoPort {
                ip,
                bridge: bridge.name.clone(),
                mac: mac.to_string(),
            }),
        },
    )
}

enum ByRoute<'a> {
    Found(Interface),
    Bridge(&'a Link),
    No(Unresolved),
}

fn by_route<'a>(links: &'a [Link], ip: IpAddr, route: Option<&Route>) -> ByRoute<'a> {
    let Some(route) = route else {
        return ByRoute::No(Unresolved::NoRoute { ip });
    };
    if route.local {
        return ByRoute::No(Unresolved::Own { ip });
    }
    let Some(link) = links.iter().find(|link| link.index == route.link) else {
        return ByRoute::No(Unresolved::NoRoute { ip });
    };
    if let Some(gateway) = route.gateway {
        return ByRoute::No(elsewhere(ip, link, format!("gateway {gateway}")));
    }
    match &link.kind {
        LinkKind::Bridge => ByRoute::Bridge(link),
        LinkKind::Single(_) => ByRoute::Found(link.into()),
        LinkKind::Shared(kind) => ByRoute::No(elsewhere(ip, link, kind.clone())),
    }
}

/// A port of a bridge is the answer unless others are behind it too.
fn own(links: &[Link], port: u32, ip: IpAddr) -> Result<Interface, Unresolved> {
    let link = links
        .iter()
        .find(|link| link.index == port)
        .ok_or(Unresolved::NoRoute { ip })?;
    match &link.kind {
        LinkKind::Single(_) => Ok(link.into()),
        LinkKind::Bridge => Err(elsewhere(ip, link, "bridge".to_owned())),
        LinkKind::Shared(kind) => Err(elsewhere(ip, link, kind.clone())),
    }
}

fn elsewhere(ip: IpAddr, link: &Link, kind: String) -> Unresolved {
    Unresolved::Elsewhere {
        ip,
        link: link.name.clone(),
        kind,
    }
}

fn mac_of<'a>(neighbours: &'a [Neighbour], bridge: &Link, ip: IpAddr) -> Option<&'a Mac> {
    neighbours
        .iter()
        .find(|n| n.ip == ip && n.link == bridge.index)
        .map(|n| &n.mac)
}

fn port_of(forwarding: &[Forwarding], links: &[Link], bridge: &Link, mac: &Mac) -> Option<u32> {
    let is_port = |index: u32| {
        links
            .iter()
            .any(|l| l.index == index && l.controller == Some(bridge.index))
    };
    forwarding
        .iter()
        .find(|f| f.bridge == bridge.index && f.mac == *mac && is_port(f.port))
        .map(|f| f.port)
}

/// Step 3 for all addresses.
async fn by_namespace(
    netlink: &impl Netlink,
    ips: &[IpAddr],
) -> Result<Option<Interface>, NetlinkError> {
    // A namespace gets its id, at the latest, when a link with its peer in there is listed.
    let links = netlink.links().await?;
    let namespaces = netlink.named_namespaces().await?;
    let peer = namespaces.iter().find_map(|namespace| {
        let address = namespace
            .addresses
            .iter()
            .find(|address| ips.contains(&address.ip))?;
        Some(Peer {
            index: address.link,
            nsid: Some(namespace.nsid?),
        })
    });
    Ok(peer.and_then(|peer| {
        links
            .iter()
            .find(|link| link.peer == Some(peer))
            .map(Interface::from)
    }))
}
