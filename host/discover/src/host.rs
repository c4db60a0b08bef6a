//! The `host` source: every veth of this namespace whose peer lives in another one.
//!
//! Names come from what is there, best first: the container's name, the name that `ip netns` or a
//! CNI plugin gave the namespace, the container's short id, the first process in it. Without
//! CAP_SYS_ADMIN the addresses come from this side's tables, and may be missing until there was
//! traffic. A target is the link with its index, which the kernel never gives twice: names may come
//! later without making it another one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use owlk8s_model::{Target, TargetId, Workload};

use crate::NetlinkError;
use crate::host::inhabitants::{Inhabitant, inhabitants};
use crate::namespace::Namespace;
use crate::netlink::{
    Address, Forwarding, Kernel, Link, LinkKind, Neighbour, Netlink, addresses_inside, is_reachable,
};

pub(crate) mod inhabitants;
#[cfg(test)]
mod tests;

/// A foreign namespace that one of our links leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Place {
    /// Our id of it.
    nsid: i32,
    who: Inhabitant,
    /// Its addresses by its own link indexes; `None` where it may not be entered.
    inside: Option<Vec<Address>>,
}

/// What this side knows of addresses.
#[derive(Clone, Debug, Default)]
struct Outside {
    host_routes: Vec<Address>,
    neighbours: Arc<[Neighbour]>,
    forwarding: Arc<[Forwarding]>,
}

/// Looks at one namespace's links.
#[derive(Debug)]
pub(crate) struct Host {
    kernel: Kernel,
    /// `/`, where `proc`, `run` and `var` are looked for.
    root: PathBuf,
}

impl Host {
    /// Of the calling thread's namespace.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        Ok(Self {
            kernel: Kernel::open()?,
            root: "/".into(),
        })
    }

    /// All there is now, sorted by id.
    pub(crate) async fn scan(&self) -> Result<Vec<Arc<Target>>, NetlinkError> {
        let links = self.kernel.links().await?;
        if !links.iter().any(|link| foreign(link).is_some()) {
            return Ok(Vec::new());
        }
        let outside = Outside {
            host_routes: self.kernel.host_routes().await?,
            neighbours: self.kernel.neighbours().await?,
            forwarding: self.kernel.forwarding().await?,
        };
        Ok(targets(&links, &self.places(&links).await?, &outside))
    }

    async fn places(&self, links: &[Link]) -> Result<Vec<Place>, NetlinkError> {
        let root = self.root.clone();
        // A namespace that ends while it is looked at is not there any more: no error.
        let found = tokio::task::spawn_blocking(move || inhabitants(&root))
            .await
            .unwrap_or_default();
        let mut places: Vec<Place> = Vec::new();
        for (who, path) in found {
            let Ok(namespace) = Namespace::open(path) else {
                continue;
            };
            let Ok(Some(nsid)) = self.kernel.nsid(&namespace).await else {
                continue;
            };
            if links.iter().any(|link| foreign(link) == Some(nsid))
                && !places.iter().any(|p| p.nsid == nsid)
            {
                places.push(Place {
                    nsid,
                    who,
                    inside: addresses_inside(&namespace).await.ok(),
                });
            }
        }
        Ok(places)
    }
}

/// Our id of the namespace at the other end, where that is another one.
fn foreign(link: &Link) -> Option<i32> {
    match (&link.kind, link.peer) {
        (LinkKind::Single(_), Some(peer)) => peer.nsid,
        _ => None,
    }
}

fn targets(links: &[Link], places: &[Place], outside: &Outside) -> Vec<Arc<Target>> {
    let mut targets: Vec<_> = links
        .iter()
        .filter_map(|link| {
            let nsid = foreign(link)?;
            Some(Arc::new(target(
                link,
                places.iter().find(|place| place.nsid == nsid),
                outside,
            )))
        })
        .collect();
    targets.sort_by(|a, b| a.id.cmp(&b.id));
    targets
}

fn target(link: &Link, place: Option<&Place>, outside: &Outside) -> Target {
    let who = place.map(|place| &place.who);
    let container = who.and_then(|who| who.container.as_ref());
    let mut labels = BTreeMap::new();
    if let Some(id) = container {
        labels.insert("container.id".to_owned(), id.clone());
    }
    let name = who
        .and_then(Inhabitant::name)
        .unwrap_or_else(|| link.name.clone());
    Target {
        id: TargetId::from(format!("host/{}", link.index).as_str()),
        uid: String::new(),
        namespace: String::new(),
        workload: container.map(|_| Workload {
            kind: "Container".to_owned(),
            name: name.clone(),
        }),
        pod: name,
        services: Vec::new(),
        ips: ips(link, place, outside),
        interface: Some(link.name.clone()),
        labels,
    }
}

/// The other end's addresses, IPv4 first.
fn ips(link: &Link, place: Option<&Place>, outside: &Outside) -> Vec<IpAddr> {
    let inside = place.and_then(|place| place.inside.as_ref());
    let mut ips: Vec<IpAddr> = match (inside, link.peer) {
        (Some(addresses), Some(peer)) => addresses
            .iter()
            .filter(|a| a.link == peer.index)
            .map(|a| a.ip)
            .collect(),
        _ => outside.ips(link),
    };
    ips.sort_unstable();
    ips.dedup();
    ips
}

impl Outside {
    fn ips(&self, link: &Link) -> Vec<IpAddr> {
        let routed = self
            .host_routes
            .iter()
            .filter(|route| route.link == link.index)
            .map(|route| route.ip);
        let behind = |n: &&Neighbour| {
            n.link == link.index
                || self
                    .forwarding
                    .iter()
                    .any(|f| f.port == link.index && f.bridge == n.link && f.mac == n.mac)
        };
        let seen = self.neighbours.iter().filter(behind).map(|n| n.ip);
        routed.chain(seen).filter(|ip| is_reachable(*ip)).collect()
    }
}
