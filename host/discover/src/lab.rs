//! Network namespaces of one's own making, joined by bridges and veths: what a demonstration or a
//! test runs on. It is in this crate because this is the one that speaks rtnetlink.
//!
//! A [`Room`] has no name in the file system: a thread holds it, so it ends with the process however
//! that ends, and nothing can be left over. No link, address or route of the caller's own namespace
//! is touched, hence none can be in conflict.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::thread::{UnshareFlags, unshare_unsafe};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::error::NetlinkError;
use crate::namespace::{Namespace, NamespaceError};

mod wire;

/// Why a room or what joins it could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// No new namespace.
    #[error(
        "cannot make network namespace {room}: run as root (it takes CAP_SYS_ADMIN and CAP_NET_ADMIN)"
    )]
    Make {
        /// What it was to be called.
        room: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// No way back to it.
    #[error(transparent)]
    Open(#[from] NamespaceError),
    /// The kernel refused a link or an address.
    #[error("cannot {step} in network namespace {room}")]
    Wire {
        /// What was done.
        step: String,
        /// Where.
        room: String,
        /// The kernel's answer.
        #[source]
        source: NetlinkError,
    },
    /// Its thread is gone.
    #[error("the thread of network namespace {room} has ended")]
    Ended {
        /// Which.
        room: String,
    },
}

/// An address with the length of its prefix.
pub type Prefixed = (IpAddr, u8);

/// A network namespace with a thread and a tokio runtime inside it. Dropping it ends all that runs
/// there, and the namespace with its links.
#[derive(Debug)]
pub struct Room {
    name: String,
    namespace: Arc<Namespace>,
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Room {
    /// Makes one with nothing but loopback in it.
    ///
    /// # Errors
    /// Mostly where CAP_SYS_ADMIN or CAP_NET_ADMIN is missing.
    pub async fn open(name: &str) -> Result<Self, LabError> {
        let (ready, opened) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let room = name.to_owned();
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || inside(&room, ready, stopped))
            .map_err(|source| LabError::Make {
                room: name.to_owned(),
                source,
            })?;
        let ended = |_| LabError::Ended {
            room: name.to_owned(),
        };
        let (namespace, runtime) = opened.await.map_err(ended)??;
        let (stop, thread) = (Some(stop), Some(thread));
        let room = Self {
            name: name.to_owned(),
            namespace: Arc::new(namespace),
            runtime,
            stop,
            thread,
        };
        room.wire("set loopback up", wire::loopback_up()).await?;
        Ok(room)
    }

    /// What it was called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// To enter it from another thread.
    pub fn namespace(&self) -> &Arc<Namespace> {
        &self.namespace
    }

    /// Runs `work` inside until it is done or the room ends.
    ///
    /// # Errors
    /// `Ended` where the room, or `work` by a panic, ended first.
    pub async fn run<T, F>(&self, work: F) -> Result<T, LabError>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        self.runtime.spawn(work).await.map_err(|_| LabError::Ended {
            room: self.name.clone(),
        })
    }

    /// Makes a bridge with these addresses.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn bridge(&self, name: &str, addresses: &[Prefixed]) -> Result<(), LabError> {
        self.wire(
            &format!("make bridge {name}"),
            wire::bridge(name.to_owned(), addresses.to_vec()),
        )
        .await
    }

    /// Joins `other` to a bridge of this room: `port` here, `eth0` with these addresses there.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn join(
        &self,
        bridge: &str,
        port: &str,
        other: &Self,
        addresses: &[Prefixed],
    ) -> Result<(), LabError> {
        let veth = wire::veth(
            bridge.to_owned(),
            port.to_owned(),
            Arc::clone(&other.namespace),
        );
        self.wire(&format!("make port {port} of bridge {bridge}"), veth)
            .await?;
        other
            .wire("set eth0 up", wire::eth0(addresses.to_vec()))
            .await
    }

    async fn wire(
        &self,
        step: &str,
        work: impl Future<Output = Result<(), NetlinkError>> + Send + 'static,
    ) -> Result<(), LabError> {
        let failed = |source| LabError::Wire {
            step: step.to_owned(),
            room: self.name.clone(),
            source,
        };
        self.run(work).await?.map_err(failed)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been told on standard error already.
            let _ = thread.join();
        }
    }
}

type Opened = Result<(Namespace, Handle), LabError>;

/// The life of a room's thread.
fn inside(room: &str, ready: oneshot::Sender<Opened>, stopped: oneshot::Receiver<()>) {
    let made = |source| LabError::Make {
        room: room.to_owned(),
        source,
    };
    let open = || {
        // SAFETY: of what a thread can stop sharing, only the network namespace; no file descriptor
        // table or memory is concerned.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.map_err(|errno| made(errno.into()))?;
        let namespace = Namespace::current()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(made)?;
        Ok((namespace, runtime))
    };
    match open() {
        Ok((namespace, runtime)) => {
            let handle = runtime.handle().clone();
            if ready.send(Ok((namespace, handle))).is_ok() {
                // An error is the sender's end: the same.
                let _ = runtime.block_on(stopped);
            }
        }
        Err(error) => {
            // Nobody waits any more: then nobody wants to know.
            let _ = ready.send(Err(error));
        }
    }
}

#[cfg(test)]
mod tests;
