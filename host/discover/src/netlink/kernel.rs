//! The questions, asked by rtnetlink. A socket belongs to the namespace of the thread that opened it.
//!
//! The kernel answers some of them under one lock for the whole machine, which it also holds for seconds while it
//! takes down the namespaces of pods that went. So they are put by a thread of their own, and only those who wait for
//! an answer wait for that lock.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use futures_util::{Stream, StreamExt, TryStreamExt};
use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::nsid::{NsidAttribute, NsidMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{MulticastGroup, RouteMessageBuilder};
use tokio::net::UdpSocket;
use tokio::runtime;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use super::{
    Address, Forwarding, Link, LinkKind, Mac, NamedNamespace, Neighbour, Netlink, Peer, Route,
};
use crate::NetlinkError;
use crate::namespace::{Namespace, mounted};

/// RFC 863: a closed port answers with ICMP, and an open one discards.
const DISCARD_PORT: u16 = 9;
/// Where iproute2 and most CNI plugins mount namespaces.
pub(crate) const NAMED: &str = "/run/netns";

/// A netlink socket of one namespace.
#[derive(Debug)]
pub(crate) struct Kernel {
    handle: rtnetlink::Handle,
    /// One list at a time: the kernel answers EBUSY to a second one on the same socket.
    listing: Mutex<()>,
    named: PathBuf,
    links: Shared<Link>,
    neighbours: Shared<Neighbour>,
    forwarding: Shared<Forwarding>,
    namespaces: Shared<NamedNamespace>,
}

/// A table that is listed once for all who wait for it: hundreds of targets are looked up at the same time, and each
/// table has a row for each of them.
#[derive(Debug)]
struct Shared<T>(Mutex<Option<(Instant, Arc<[T]>)>>);

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Shared<T> {
    /// The latest table, if its listing began after this was called; else what `list` gives.
    async fn get(
        &self,
        list: impl Future<Output = Result<Vec<T>, NetlinkError>>,
    ) -> Result<Arc<[T]>, NetlinkError> {
        let asked = Instant::now();
        let mut latest = self.0.lock().await;
        if let Some((began, table)) = &*latest
            && *began > asked
        {
            return Ok(Arc::clone(table));
        }
        let began = Instant::now();
        let table: Arc<[T]> = list.await?.into();
        *latest = Some((began, Arc::clone(&table)));
        Ok(table)
    }
}

/// The runtime of the thread that serves all netlink sockets.
fn asker() -> Result<&'static runtime::Handle, NetlinkError> {
    static ASKER: OnceLock<runtime::Handle> = OnceLock::new();
    if let Some(asker) = ASKER.get() {
        return Ok(asker);
    }
    let runtime = runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(NetlinkError::Open)?;
    let asker = runtime.handle().clone();
    thread::Builder::new()
        .name("netlink".to_owned())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))
        .map_err(NetlinkError::Open)?;
    Ok(ASKER.get_or_init(|| asker))
}

impl Kernel {
    /// Of the calling thread's namespace.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        Self::served_by(asker()?)
    }

    fn served_by(asker: &runtime::Handle) -> Result<Self, NetlinkError> {
        let _context = asker.enter();
        let (connection, handle, _) = rtnetlink::new_connection().map_err(NetlinkError::Open)?;
        // Ends when the last handle is dropped.
        asker.spawn(connection);
        Ok(Self {
            handle,
            listing: Mutex::new(()),
            named: NAMED.into(),
            links: Shared::default(),
            neighbours: Shared::default(),
            forwarding: Shared::default(),
            namespaces: Shared::default(),
        })
    }

    /// Of `namespace`.
    pub(crate) fn inside(namespace: &Namespace) -> Result<Self, NetlinkError> {
        // Had before the namespace is entered: its thread is never left in there.
        let asker = asker()?;
        namespace.run(|| Self::served_by(asker))?
    }

    /// All addresses that others can reach.
    pub(crate) async fn addresses(&self) -> Result<Vec<Address>, NetlinkError> {
        let messages = self
            .list("the addresses", || self.handle.address().get().execute())
            .await?;
        Ok(messages
            .iter()
            .filter_map(address)
            .filter(|address| super::is_reachable(address.ip))
            .collect())
    }

    /// Puts a question and waits for all of its answers, before the next one may be put.
    async fn list<T, A>(
        &self,
        what: &str,
        question: impl FnOnce() -> A,
    ) -> Result<Vec<T>, NetlinkError>
    where
        A: Stream<Item = Result<T, rtnetlink::Error>>,
    {
        let _alone = self.listing.lock().await;
        question()
            .try_collect()
            .await
            .map_err(|error| ask(what, &error))
    }

    /// Our id of `namespace`; `None` where it has none yet.
    pub(crate) async fn nsid(&self, namespace: &Namespace) -> Result<Option<i32>, NetlinkError> {
        let what = "the id of a network namespace";
        let mut question = NsidMessage::default();
        question.attributes = vec![NsidAttribute::Fd(
            namespace.as_fd().as_raw_fd().unsigned_abs(),
        )];
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetNsId(question));
        request.header.flags = NLM_F_REQUEST;
        let mut answers = self
            .handle
            .clone()
            .request(request)
            .map_err(|error| ask(what, &error))?;
        match answers.next().await.map(|answer| answer.payload) {
            Some(NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNsId(answer))) => Ok(answer
                .attributes
                .iter()
                .find_map(|attribute| match attribute {
                    NsidAttribute::Id(id) if *id >= 0 => Some(*id),
                    _ => None,
                })),
            Some(NetlinkPayload::Error(error)) => Err(NetlinkError::Ask {
                what: what.to_owned(),
                source: error.to_io(),
            }),
            other => Err(NetlinkError::Ask {
                what: what.to_owned(),
                source: unexpected(&other),
            }),
        }
    }

    async fn list_namespaces(&self) -> Result<Vec<NamedNamespace>, NetlinkError> {
        let mut found = Vec::new();
        for (_, path) in mounted(Path::new(&self.named)) {
            let Ok(namespace) = Namespace::open(path) else {
                continue;
            };
            // A leftover file that is no namespace any more has no id: skip it, others may do.
            let Ok(nsid) = self.nsid(&namespace).await else {
                continue;
            };
            let addresses = super::addresses_inside(&namespace)
                .await
                .unwrap_or_default();
            found.push(NamedNamespace { nsid, addresses });
        }
        Ok(found)
    }

    /// Addresses that are routed straight to a link without being on a subnet: `(link, ip)`.
    pub(crate) async fn host_routes(&self) -> Result<Vec<Address>, NetlinkError> {
        let mut found = Vec::new();
        for question in [
            RouteMessageBuilder::<Ipv4Addr>::new().build(),
            RouteMessageBuilder::<Ipv6Addr>::new().build(),
        ] {
            let routes = self
                .list("the routes", || self.handle.route().get(question).execute())
                .await?;
            found.extend(routes.iter().filter_map(host_route));
        }
        Ok(found)
    }
}

impl Netlink for Kernel {
    async fn links(&self) -> Result<Arc<[Link]>, NetlinkError> {
        let list = async {
            let messages = self
                .list("the links", || self.handle.link().get().execute())
                .await?;
            Ok(messages.iter().map(link).collect())
        };
        self.links.get(list).await
    }

    async fn route(&self, ip: IpAddr) -> Result<Option<Route>, NetlinkError> {
        let what = format!("a route to {ip}");
        let question = match ip {
            IpAddr::V4(ip) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(ip, 32)
                .build(),
            IpAddr::V6(ip) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(ip, 128)
                .build(),
        };
        match self
            .list(&what, || self.handle.route().get(question).execute())
            .await
        {
            Ok(answers) => Ok(answers.first().and_then(route)),
            Err(NetlinkError::Ask { source, .. }) if means_no_route(&source) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn neighbours(&self) -> Result<Arc<[Neighbour]>, NetlinkError> {
        let list = async {
            let messages = self
                .list("the neighbours", || {
                    self.handle.neighbours().get().execute()
                })
                .await?;
            Ok(messages.iter().filter_map(neighbour).collect())
        };
        self.neighbours.get(list).await
    }

    async fn forwarding(&self) -> Result<Arc<[Forwarding]>, NetlinkError> {
        let list = async {
            let question = self
                .handle
                .neighbours()
                .get()
                .set_address_family(AddressFamily::Bridge);
            let messages = self
                .list("the forwarding tables", || question.execute())
                .await?;
            Ok(messages.iter().filter_map(forwarding).collect())
        };
        self.forwarding.get(list).await
    }

    async fn provoke(&self, ip: IpAddr) {
        let any: IpAddr = if ip.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        if let Ok(socket) = UdpSocket::bind((any, 0)).await {
            // Only that the kernel has something to send is wanted.
            let _ = socket.send_to(b"owlk8s", (ip, DISCARD_PORT)).await;
        }
    }

    async fn named_namespaces(&self) -> Result<Arc<[NamedNamespace]>, NetlinkError> {
        self.namespaces.get(self.list_namespaces()).await
    }
}

/// Quiet after an event before it is told: a container's start makes a handful of them.
const CALM: Duration = Duration::from_millis(150);
/// Events that never calm down are not waited for longer.
const CALM_AT_MOST: Duration = Duration::from_secs(1);

/// Tells that something about the links of a network namespace changed.
pub struct LinkEvents {
    messages: Box<dyn Stream<Item = ()> + Send + Unpin>,
    /// Serves the socket.
    task: AbortHandle,
}

impl LinkEvents {
    /// Of the calling thread's namespace.
    ///
    /// # Errors
    /// Where no netlink socket can be opened.
    pub fn open() -> Result<Self, NetlinkError> {
        let asker = asker()?;
        let _context = asker.enter();
        let (connection, _handle, messages) =
            rtnetlink::new_multicast_connection(&[MulticastGroup::Link])
                .map_err(NetlinkError::Open)?;
        let task = asker.spawn(connection).abort_handle();
        Ok(Self {
            messages: Box::new(messages.map(|_| ())),
            task,
        })
    }

    /// Returns once events have come and then stopped coming, and each second while they come without end.
    pub async fn settled(&mut self) {
        self.changed().await;
        let latest = Instant::now() + CALM_AT_MOST;
        while Instant::now() < latest && timeout(CALM, self.changed()).await.is_ok() {}
    }

    /// Returns at the next event; never where the kernel has stopped telling.
    async fn changed(&mut self) {
        if self.messages.next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// Nobody reads on: else its task would, and log each event, as long as the process lives.
impl Drop for LinkEvents {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn ask(what: &str, error: &rtnetlink::Error) -> NetlinkError {
    let source = to_io(error);
    NetlinkError::Ask {
        what: what.to_owned(),
        source,
    }
}

/// The kernel's answer as the error that it stands for.
pub(crate) fn to_io(error: &rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

fn unexpected(answer: &impl std::fmt::Debug) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("unexpected answer {answer:?}"),
    )
}

fn means_no_route(error: &io::Error) -> bool {
    // ENETUNREACH, EHOSTUNREACH; EINVAL and EACCES are blackhole and prohibit routes.
    use io::ErrorKind::{HostUnreachable, InvalidInput, NetworkUnreachable, PermissionDenied};
    matches!(
        error.kind(),
        NetworkUnreachable | HostUnreachable | InvalidInput | PermissionDenied
    )
}

fn address(message: &AddressMessage) -> Option<Address> {
    let (mut local, mut other) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => other = Some(*ip),
            _ => {}
        }
    }
    // Of a point-to-point address `Address` is the peer's.
    Some(Address {
        link: message.header.index,
        ip: local.or(other)?,
    })
}

fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        kind: LinkKind::Shared("physical".to_owned()),
        peer: None,
        controller: None,
    };
    let (mut peer_index, mut nsid) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Link(index) => peer_index = Some(*index),
            LinkAttribute::LinkNetNsId(id) => nsid = Some(*id),
            LinkAttribute::Controller(index) => link.controller = Some(*index).filter(|i| *i != 0),
            LinkAttribute::LinkInfo(infos) => {
                if let Some(kind) = infos.iter().find_map(kind) {
                    link.kind = kind;
                }
            }
            _ => {}
        }
    }
    link.peer = peer_index.map(|index| Peer { index, nsid });
    link
}

fn kind(info: &LinkInfo) -> Option<LinkKind> {
    match info {
        LinkInfo::Kind(InfoKind::Bridge) => Some(LinkKind::Bridge),
        LinkInfo::Kind(kind @ (InfoKind::Veth | InfoKind::Netkit | InfoKind::Tun)) => {
            Some(LinkKind::Single(kind.to_string()))
        }
        LinkInfo::Kind(kind) => Some(LinkKind::Shared(kind.to_string())),
        _ => None,
    }
}

fn route(message: &RouteMessage) -> Option<Route> {
    let link = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        })?;
    let gateway = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Gateway(address) => address_ip(address),
            _ => None,
        });
    Some(Route {
        local: message.header.kind == RouteType::Local,
        link,
        gateway,
    })
}

fn host_route(message: &RouteMessage) -> Option<Address> {
    let Route {
        link,
        gateway: None,
        local: false,
    } = route(message)?
    else {
        return None;
    };
    let whole = if message.header.address_family == AddressFamily::Inet {
        32
    } else {
        128
    };
    if message.header.destination_prefix_length != whole
        || message.header.kind != RouteType::Unicast
    {
        return None;
    }
    let ip = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Destination(address) => address_ip(address),
            _ => None,
        })?;
    super::is_reachable(ip).then_some(Address { link, ip })
}

fn address_ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

fn neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    if message.header.state == NeighbourState::Failed {
        return None;
    }
    let ip = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(IpAddr::from(*ip)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some(IpAddr::from(*ip)),
            _ => None,
        })?;
    Some(Neighbour {
        ip,
        link: message.header.ifindex,
        mac: mac(message)?,
    })
}

fn forwarding(message: &NeighbourMessage) -> Option<Forwarding> {
    let bridge = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::Controller(index) => Some(*index),
            _ => None,
        })?;
    Some(Forwarding {
        mac: mac(message)?,
        port: message.header.ifindex,
        bridge,
    })
}

fn mac(message: &NeighbourMessage) -> Option<Mac> {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) if !bytes.is_empty() => {
                Some(Mac(bytes.clone()))
            }
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_table_is_listed_once_for_those_who_wait_and_anew_for_who_comes_later() {
        let (table, listed) = (Shared::default(), AtomicU32::new(0));
        let list = || async {
            let number = listed.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Ok(vec![number])
        };
        let ask = || table.get(list());
        let first = futures_util::future::join_all((0..100).map(|_| ask())).await;
        // Who asked after the first listing had begun may have missed something: one more serves them all.
        assert!(listed.load(Ordering::Relaxed) <= 2);
        assert!(first.iter().all(Result::is_ok));
        let before = listed.load(Ordering::Relaxed);
        assert_eq!(ask().await.unwrap()[..], [before]);
    }

    /// The kernel's lock cannot be held on demand; the thread that would wait for it can.
    #[tokio::test]
    async fn who_waits_for_no_answer_goes_on_while_the_kernel_holds_one_back() {
        let kernel = Kernel::open().unwrap();
        let (release, released) = std::sync::mpsc::channel::<()>();
        asker().unwrap().spawn(async move { released.recv() });
        let question = kernel.addresses();
        tokio::pin!(question);
        let early = timeout(Duration::from_millis(100), &mut question).await;
        assert!(early.is_err(), "{early:?}");
        release.send(()).unwrap();
        question.await.unwrap();
    }

    #[tokio::test]
    async fn no_events_are_read_that_nobody_waits_for() {
        let events = LinkEvents::open().unwrap();
        let task = events.task.clone();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!task.is_finished());
        drop(events);
        let ended = async {
            while !task.is_finished() {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(5), ended).await.unwrap();
    }
}
