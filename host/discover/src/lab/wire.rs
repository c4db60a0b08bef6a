//! Links and addresses, made by rtnetlink in the namespace of the thread that runs these futures.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::{InfoData, InfoVeth};
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth};
use rustix::io::Errno;

use super::Prefixed;
use crate::error::NetlinkError;
use crate::namespace::Namespace;

pub(super) async fn loopback_up() -> Result<(), NetlinkError> {
    let kernel = open()?;
    let index = index(&kernel, "lo").await?;
    up(&kernel, index).await
}

pub(super) async fn bridge(name: String, addresses: Vec<Prefixed>) -> Result<(), NetlinkError> {
    let kernel = open()?;
    kernel
        .link()
        .add(LinkBridge::new(&name).build())
        .execute()
        .await
        .map_err(|e| ask("a bridge", &e))?;
    let index = index(&kernel, &name).await?;
    give(&kernel, index, &addresses).await
}

pub(super) async fn veth(
    bridge: String,
    port: String,
    other: Arc<Namespace>,
) -> Result<(), NetlinkError> {
    let kernel = open()?;
    let bridge = index(&kernel, &bridge).await?;
    let end = LinkUnspec::new_with_name("eth0")
        .setns_by_fd(other.as_fd().as_raw_fd())
        .build();
    let pair = LinkVeth::new(&port, "eth0").set_info_data(InfoData::Veth(InfoVeth::Peer(end)));
    kernel
        .link()
        .add(pair.build())
        .execute()
        .await
        .map_err(|e| ask("a veth pair", &e))?;
    let port = index(&kernel, &port).await?;
    let joined = LinkUnspec::new_with_index(port).controller(bridge).build();
    kernel
        .link()
        .set(joined)
        .execute()
        .await
        .map_err(|e| ask("a bridge port", &e))?;
    up(&kernel, port).await
}

pub(super) async fn eth0(addresses: Vec<Prefixed>) -> Result<(), NetlinkError> {
    let kernel = open()?;
    let index = index(&kernel, "eth0").await?;
    give(&kernel, index, &addresses).await?;
    up(&kernel, index).await
}

fn open() -> Result<Handle, NetlinkError> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(NetlinkError::Open)?;
    tokio::spawn(connection);
    Ok(handle)
}

async fn index(kernel: &Handle, name: &str) -> Result<u32, NetlinkError> {
    let what = format!("link {name}");
    let links = kernel.link().get().match_name(name).execute();
    let links: Vec<_> = links.try_collect().await.map_err(|e| ask(&what, &e))?;
    let missing = || NetlinkError::Ask {
        what,
        source: io::ErrorKind::NotFound.into(),
    };
    links
        .first()
        .map(|link| link.header.index)
        .ok_or_else(missing)
}

async fn up(kernel: &Handle, index: u32) -> Result<(), NetlinkError> {
    let up = LinkUnspec::new_with_index(index).up().build();
    kernel
        .link()
        .set(up)
        .execute()
        .await
        .map_err(|e| ask("a link to be up", &e))
}

async fn give(kernel: &Handle, index: u32, addresses: &[Prefixed]) -> Result<(), NetlinkError> {
    for (ip, prefix) in addresses {
        let mut request = kernel.address().add(index, *ip, *prefix);
        if ip.is_ipv6() {
            // Nobody else is here: usable at once, without a second of looking for its like.
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        match request.execute().await {
            Err(error) if ip.is_ipv6() && lacks_ipv6(&error) => {}
            done => done.map_err(|e| ask(&format!("address {ip}"), &e))?,
        }
    }
    Ok(())
}

/// A machine without IPv6 is a good one as well: EACCES where `disable_ipv6` is set, EOPNOTSUPP or
/// EAFNOSUPPORT without the protocol.
fn lacks_ipv6(error: &rtnetlink::Error) -> bool {
    let missing = [Errno::ACCESS, Errno::OPNOTSUPP, Errno::AFNOSUPPORT]
        .map(|errno| Some(errno.raw_os_error()));
    missing.contains(&crate::netlink::to_io(error).raw_os_error())
}

fn ask(what: &str, error: &rtnetlink::Error) -> NetlinkError {
    NetlinkError::Ask {
        what: what.to_owned(),
        source: crate::netlink::to_io(error),
    }
}
