//! A port on this side's loopback that leads to one inside the node's namespace.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use owlk8s_discover::lab::Room;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub(super) struct Door {
    listener: TcpListener,
    /// Inside.
    port: u16,
}

impl Door {
    /// To `port` inside, from the same port here or, where an agent has that already, any free one.
    pub(super) async fn open(port: u16) -> anyhow::Result<Self> {
        let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
            }
            done => done,
        };
        let listener =
            listener.with_context(|| format!("cannot listen on loopback, 127.0.0.1:{port}"))?;
        Ok(Self { listener, port })
    }

    /// Where it is on this side.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the returned set is dropped.
    pub(super) fn lead_to(self, node: &Arc<Room>) -> JoinSet<()> {
        let mut task = JoinSet::new();
        task.spawn(self.serve(Arc::clone(node)));
        task
    }

    async fn serve(self, node: Arc<Room>) {
        let mut visits = JoinSet::new();
        loop {
            tokio::select! {
                Ok((visitor, _)) = self.listener.accept() => {
                    visits.spawn(visit(visitor, Arc::clone(&node), self.port));
                }
                Some(_) = visits.join_next() => {}
            }
        }
    }
}

async fn visit(mut visitor: TcpStream, node: Arc<Room>, port: u16) {
    if let Ok(Ok(inside)) = node.run(connect(port)).await
        && let Ok(mut inside) = TcpStream::from_std(inside)
    {
        // A connection that breaks off is the visitor's to notice.
        let _ = copy_bidirectional(&mut visitor, &mut inside).await;
    }
}

/// As a plain socket: it belongs to the namespace, and can be used from any runtime.
async fn connect(port: u16) -> io::Result<std::net::TcpStream> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await?
        .into_std()
}
