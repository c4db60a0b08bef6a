//! The socket: accepts connections on a thread of its own, goes down and comes back on the same port.
//!
//! A second socket is bound to the port without listening on it, for as long as the server lives: while it is down,
//! connections are refused and nobody else gets the port.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread::JoinHandle;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::http::{self, Shared};
use crate::tls::Tls;

/// As many connections as may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A server that runs until it is dropped.
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    commands: mpsc::UnboundedSender<Command>,
    thread: Option<JoinHandle<()>>,
}

enum Command {
    /// Resets all connections and refuses new ones.
    Down(std_mpsc::Sender<()>),
    Up(std_mpsc::Sender<()>),
    /// Resets all connections.
    Reset(std_mpsc::Sender<()>),
}

impl Listening {
    pub(crate) fn start(
        address: SocketAddr,
        tls: Option<Tls>,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (reserved, listener) = {
            let _entered = runtime.enter();
            let reserved = bind(address)?;
            let listener = bind(reserved.local_addr()?)?.listen(BACKLOG)?;
            (reserved, listener)
        };
        let address = listener.local_addr()?;
        let (commands, receiver) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new()
            .name("apiserver".to_owned())
            .spawn(move || {
                runtime.block_on(serve(address, listener, tls, shared, receiver));
                drop(reserved);
            })?;
        Ok(Self {
            address,
            commands,
            thread: Some(thread),
        })
    }

    pub(crate) fn go_down(&self) {
        self.tell(Command::Down);
    }

    pub(crate) fn come_back(&self) {
        self.tell(Command::Up);
    }

    pub(crate) fn reset_connections(&self) {
        self.tell(Command::Reset);
    }

    /// Returns when it has been done.
    fn tell(&self, command: impl FnOnce(std_mpsc::Sender<()>) -> Command) {
        let (done, wait) = std_mpsc::channel();
        let heard = self.commands.send(command(done));
        assert!(
            heard.is_ok() && wait.recv().is_ok(),
            "the API server's thread has ended"
        );
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let (closed, _) = mpsc::unbounded_channel();
        self.commands = closed;
        if let Some(thread) = self.thread.take() {
            drop(thread.join()); // a panic there was printed there
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?; // else the port would stay closed for a minute
    socket.bind(address)?;
    Ok(socket)
}

async fn serve(
    address: SocketAddr,
    listener: TcpListener,
    tls: Option<Tls>,
    shared: Arc<Shared>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    let resets = watch::Sender::new(());
    loop {
        let command = tokio::select! {
            stream = accept(listener.as_ref()) => {
                if let Ok(stream) = stream {
                    connections.spawn(connection(stream, tls.clone(), Arc::clone(&shared), resets.subscribe()));
                }
                continue;
            }
            Some(_) = connections.join_next() => continue,
            command = commands.recv() => command,
        };
        let done = match command {
            None => return,
            Some(Command::Up(done)) => {
                if listener.is_none() {
                    listener = bind(address).and_then(|socket| socket.listen(BACKLOG)).ok();
                }
                if listener.is_none() {
                    return; // who waits for `done` is told that the thread has ended
                }
                done
            }
            Some(Command::Down(done)) => {
                listener = None;
                reset(&resets, &mut connections).await;
                done
            }
            Some(Command::Reset(done)) => {
                reset(&resets, &mut connections).await;
                done
            }
        };
        let _ = done.send(()); // who asked may have gone
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => Ok(listener.accept().await?.0),
        None => std::future::pending().await,
    }
}

async fn reset(resets: &watch::Sender<()>, connections: &mut JoinSet<()>) {
    resets.send_replace(());
    while connections.join_next().await.is_some() {}
}

async fn connection(
    stream: TcpStream,
    tls: Option<Tls>,
    shared: Arc<Shared>,
    mut resets: watch::Receiver<()>,
) {
    drop(stream.set_nodelay(true)); // only delays events
    let Some(tls) = tls else {
        return exchange(stream, shared, resets, |stream| stream).await;
    };
    tokio::select! {
        accepted = tls.acceptor.accept(stream) => {
            if let Ok(stream) = accepted {
                exchange(stream, shared, resets, |stream| stream.get_ref().0).await;
            }
        }
        _ = resets.changed() => {}
    }
}

/// Requests and answers on one connection, until it ends or is reset.
async fn exchange<S>(
    stream: S,
    shared: Arc<Shared>,
    mut resets: watch::Receiver<()>,
    below: impl Fn(&S) -> &TcpStream,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| http::answer(Arc::clone(&shared), request));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = &mut connection => return, // how a client ends a connection is its own affair
        _ = resets.changed() => {}
    }
    let stream = connection.into_parts().io.into_inner();
    drop(below(&stream).set_zero_linger()); // without it the end would be an orderly one
}
