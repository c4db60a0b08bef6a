//! Clients: each asks one pod at its own pace, over a lasting connection or one for each request.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONNECTION, HOST};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::pods::{Load, Pod};
use super::server;
use super::tally::Tally;

/// A lasting connection is given up after so many requests, as connection pools do.
const REQUESTS_PER_CONNECTION: u32 = 200;
/// An order, as JSON.
const ORDER: &str = r#"{"items":[{"sku":"owl-1","count":2}],"pay":"card"}"#;

pub(super) struct Client {
    pod: &'static Pod,
    lasting: bool,
    tally: Arc<Tally>,
}

/// All clients of a pod.
pub(super) fn clients(pod: &'static Pod, tally: &Arc<Tally>) -> Vec<Client> {
    let client = |lasting| Client {
        pod,
        lasting,
        tally: Arc::clone(tally),
    };
    let Load { lasting, brief, .. } = pod.load;
    (0..lasting)
        .map(|_| client(true))
        .chain((0..brief).map(|_| client(false)))
        .collect()
}

impl Client {
    /// Asks until `stop` turns true; a request that has begun is finished first.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut pace = interval(Duration::from_secs(1) / self.pod.load.per_second);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut kept = None;
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                _ = pace.tick() => {}
            }
            kept = match self.ask(kept.take()).await {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::warn!(
                        pod = self.pod.name,
                        error = &*error,
                        "a client of the demo got no answer"
                    );
                    None
                }
            };
        }
    }

    async fn ask(
        &self,
        kept: Option<Connection>,
    ) -> Result<Option<Connection>, Box<dyn std::error::Error + Send + Sync>> {
        let mut connection = match kept {
            Some(connection) => connection,
            None => Connection::open(&self.addresses()).await?,
        };
        connection.sender.ready().await?;
        let response = connection.sender.send_request(self.request()?).await?;
        let status = response.status().as_u16();
        response.into_body().collect().await?;
        self.tally.add(status);
        connection.left -= 1;
        Ok(Some(connection).filter(|connection| self.lasting && connection.left > 0))
    }

    /// In the order in which they are tried.
    fn addresses(&self) -> [SocketAddr; 2] {
        [self.pod.ipv6(), self.pod.ipv4()].map(|ip| (ip, server::PORT).into())
    }

    fn request(&self) -> hyper::http::Result<Request<Full<Bytes>>> {
        let Load { method, path, .. } = self.pod.load;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.pod.name);
        if !self.lasting {
            request = request.header(CONNECTION, "close");
        }
        request.body(if method == "POST" {
            Full::from(ORDER)
        } else {
            Full::default()
        })
    }
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    left: u32,
}

impl Connection {
    async fn open(to: &[SocketAddr]) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Ends with the sender; what goes wrong before is the sender's error too.
        tokio::spawn(connection);
        Ok(Self {
            sender,
            left: REQUESTS_PER_CONNECTION,
        })
    }
}

/// One GET, with its own connection.
pub(super) async fn get(from: SocketAddr, path: &'static str) -> io::Result<Response<Bytes>> {
    let mut connection = Connection::open(&[from]).await.map_err(io::Error::other)?;
    let request = Request::get(path)
        .header(HOST, from.to_string())
        .body(Full::default())
        .map_err(io::Error::other)?;
    let response = connection
        .sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    Ok(Response::from_parts(parts, body))
}
