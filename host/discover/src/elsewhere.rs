//! Where a pod can be read beside its link's end on the node: inside its network namespace, and on its cgroup.
//!
//! The namespace is the one that the link leads to, or else that which owns one of the pod's addresses; it is looked
//! for among all that can be seen (`/run/netns/*`, `/proc/PID/ns/net`). The cgroup is the one that carries the pod's uid
//! or the container's id in its name, as the kubelet and every container engine make it.
//!
//! Asked only for targets whose link is bypassed or not to be found: a look takes some milliseconds, and those who ask
//! within a second share it.

use std::future::Future;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use owlk8s_model::Target;
use rustix::fs::stat;
use tokio::sync::Mutex;

use crate::error::{ElsewhereError, NetlinkError};
use crate::host::inhabitants::inhabitants;
use crate::interfaces::Interface;
use crate::namespace::Namespace;
use crate::netlink::{Address, Kernel, Link, Netlink, Peer};

use cgroup::Cgroups;

mod cgroup;

/// How long a look serves.
const FRESH: Duration = Duration::from_secs(1);

/// A place that is no link of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// Inside the pod.
    Inside {
        /// Its own end of its link.
        interface: Interface,
        /// A file that stands for its network namespace.
        path: PathBuf,
        /// Of that file.
        inode: u64,
    },
    /// On its cgroup.
    Cgroup {
        /// Its directory.
        path: PathBuf,
    },
}

/// A namespace that is not ours.
#[derive(Clone, Debug)]
struct Seen {
    path: PathBuf,
    inode: u64,
    nsid: Option<i32>,
    /// None where it may not be entered.
    addresses: Option<Vec<Address>>,
}

/// A look at all namespaces, and at our links, some of which lead there.
#[derive(Debug)]
struct Look {
    links: Arc<[Link]>,
    seen: Vec<Seen>,
}

/// The latest looks.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    namespaces: Latest<Look>,
    cgroups: Latest<Cgroups>,
}

#[derive(Debug)]
struct Latest<T>(Mutex<Option<(Instant, Arc<T>)>>);

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Latest<T> {
    /// The latest, or where that is not fresh what `look` sees.
    async fn get<E>(&self, look: impl Future<Output = Result<T, E>>) -> Result<Arc<T>, E> {
        let mut latest = self.0.lock().await;
        if let Some((at, seen)) = &*latest
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(seen));
        }
        let seen = Arc::new(look.await?);
        *latest = Some((Instant::now(), Arc::clone(&seen)));
        Ok(seen)
    }
}

/// The better first: each, or why not there.
pub(crate) async fn places(
    kernel: &Kernel,
    looks: &Looks,
    target: &Target,
    link: Option<&Interface>,
) -> [Result<Elsewhere, ElsewhereError>; 2] {
    let inside = inside(kernel, &looks.namespaces, target, link).await;
    let look = || Cgroups::look(Path::new("/proc/self/mounts"));
    let cgroups = looks.cgroups.get(tokio::task::spawn_blocking(look)).await;
    let found = match cgroups {
        Ok(cgroups) => cgroups.of(target),
        // A look at the file system ends, however it ends.
        Err(ended) => Err(ended.to_string()),
    };
    let cgroup =
        found
            .map(|path| Elsewhere::Cgroup { path })
            .map_err(|why| ElsewhereError::NoCgroup {
                target: target.id.to_string(),
                why,
            });
    [inside, cgroup]
}

async fn inside(
    kernel: &Kernel,
    namespaces: &Latest<Look>,
    target: &Target,
    link: Option<&Interface>,
) -> Result<Elsewhere, ElsewhereError> {
    let look = namespaces.get(look(kernel)).await?;
    let peer = link.and_then(|link| peer_of(&look.links, link));
    let (found, index) =
        choose(&look.seen, peer, &target.ips).ok_or_else(|| no_namespace(target, &look.seen))?;
    Ok(Elsewhere::Inside {
        interface: Interface {
            name: name_inside(found, index).await,
            index,
        },
        path: found.path.clone(),
        inode: found.inode,
    })
}

fn peer_of(links: &[Link], link: &Interface) -> Option<Peer> {
    links.iter().find(|l| l.index == link.index)?.peer
}

/// The pod's namespace, and the index of its link in there.
fn choose<'a>(seen: &'a [Seen], peer: Option<Peer>, ips: &[IpAddr]) -> Option<(&'a Seen, u32)> {
    let across = peer.and_then(|peer| {
        let there = seen
            .iter()
            .find(|s| s.nsid.is_some() && s.nsid == peer.nsid)?;
        Some((there, peer.index))
    });
    across.or_else(|| {
        seen.iter().find_map(|s| {
            let addresses = s.addresses.as_ref()?;
            let address = addresses.iter().find(|address| ips.contains(&address.ip))?;
            Some((s, address.link))
        })
    })
}

fn no_namespace(target: &Target, seen: &[Seen]) -> ElsewhereError {
    let why = if seen.is_empty() {
        "none but our own can be seen (mount /run/netns of the node with mountPropagation HostToContainer, or set \
         hostPID and add CAP_SYS_PTRACE)"
            .to_owned()
    } else if seen.iter().all(|s| s.addresses.is_none()) {
        format!(
            "none of the {} that can be seen is at the other end of its link, and none may be entered to look for its \
             addresses (add CAP_SYS_ADMIN)",
            seen.len()
        )
    } else {
        format!(
            "none of the {} that can be seen has its addresses",
            seen.len()
        )
    };
    ElsewhereError::NoNamespace {
        target: target.id.to_string(),
        why,
    }
}

/// For people; where the namespace may not be entered, the index is all there is.
async fn name_inside(seen: &Seen, index: u32) -> String {
    let links = match Namespace::open(&seen.path).map(|namespace| Kernel::inside(&namespace)) {
        Ok(Ok(inside)) => inside.links().await.unwrap_or_default(),
        _ => Arc::default(),
    };
    links
        .iter()
        .find(|link| link.index == index)
        .map_or_else(|| format!("link {index}"), |link| link.name.clone())
}

async fn look(kernel: &Kernel) -> Result<Look, NetlinkError> {
    // Listing the links gives each namespace that one of them leads to an id, which is asked for below.
    let links = kernel.links().await?;
    let own = inode("/proc/thread-self/ns/net".as_ref());
    // A namespace that ends while it is looked at is not there any more: no error.
    let found = tokio::task::spawn_blocking(|| inhabitants(Path::new("/")))
        .await
        .unwrap_or_default();
    let mut seen = Vec::new();
    for (_, path) in found {
        let (Some(inode), Ok(namespace)) = (inode(&path), Namespace::open(&path)) else {
            continue;
        };
        if Some(inode) == own {
            continue;
        }
        // A leftover file that is no namespace any more has no id.
        let Ok(nsid) = kernel.nsid(&namespace).await else {
            continue;
        };
        seen.push(Seen {
            path,
            inode,
            nsid,
            addresses: crate::netlink::addresses_inside(&namespace).await.ok(),
        });
    }
    Ok(Look { links, seen })
}

fn inode(path: &Path) -> Option<u64> {
    Some(stat(path).ok()?.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(path: &str, nsid: Option<i32>, addresses: &[(u32, &str)]) -> Seen {
        let addresses = addresses.iter().map(|(link, ip)| Address {
            link: *link,
            ip: ip.parse().unwrap(),
        });
        Seen {
            path: path.into(),
            inode: 1,
            nsid,
            addresses: Some(addresses.collect()),
        }
    }

    fn chosen(all: &[Seen], peer: Option<Peer>, ip: &str) -> Option<(String, u32)> {
        let (found, index) = choose(all, peer, &[ip.parse().unwrap()])?;
        Some((found.path.display().to_string(), index))
    }

    #[test]
    fn namespace_at_the_other_end_of_the_link_comes_before_that_of_the_address() {
        let all = [
            seen("other", Some(3), &[(2, "10.0.0.7")]),
            seen("pod", Some(4), &[(2, "10.0.0.9")]),
        ];
        let peer = |nsid| Some(Peer { index: 5, nsid });
        assert_eq!(
            chosen(&all, peer(Some(4)), "10.0.0.7"),
            Some(("pod".to_owned(), 5))
        );
        assert_eq!(chosen(&all, None, "10.0.0.9"), Some(("pod".to_owned(), 2)));
        // The other end is in our own namespace: no namespace without an id is meant.
        let unnamed = [seen("unnamed", None, &[])];
        assert_eq!(chosen(&unnamed, peer(None), "10.0.0.7"), None);
    }

    #[test]
    fn why_there_is_none_names_what_to_add() {
        let target = Target {
            id: "shop/cart".into(),
            pod: "cart".to_owned(),
            uid: String::new(),
            namespace: "shop".to_owned(),
            workload: None,
            services: Vec::new(),
            ips: Vec::new(),
            interface: None,
            labels: std::collections::BTreeMap::new(),
        };
        let closed = Seen {
            addresses: None,
            ..seen("pod", Some(4), &[])
        };
        for (all, says) in [
            (vec![], "mount /run/netns"),
            (vec![closed], "add CAP_SYS_ADMIN"),
            (
                vec![seen("pod", Some(4), &[])],
                "none of the 1 that can be seen",
            ),
        ] {
            let text = no_namespace(&target, &all).to_string();
            assert!(text.contains(says) && text.contains("shop/cart"), "{text}");
        }
    }
}
