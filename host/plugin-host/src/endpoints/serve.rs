//! Listens for HTTP/1.1 on behalf of a responder. Bounded in connections, in time for a request's head,
//! and deaf to bodies.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::bindings::types;

/// Connections of one listener at once; the next waits in the backlog.
const CONNECTIONS: usize = 128;
/// For a request's head; a connection that is idle for longer is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// After an error of accept, which is most often a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An answer on its way.
pub(crate) type Answering = Pin<Box<dyn Future<Output = types::Response> + Send>>;

/// Who answers.
pub(crate) trait Ask: Send + Sync {
    fn ask(self: Arc<Self>, request: types::Request) -> Answering;
}

/// A bound address.
pub(crate) struct Listener {
    endpoint: String,
    listen: SocketAddr,
    listener: Arc<TcpListener>,
    address: SocketAddr,
    path: Arc<str>,
}

impl Listener {
    /// The error says what a person has to do.
    pub(crate) async fn bind(
        endpoint: &str,
        listen: SocketAddr,
        path: &str,
    ) -> Result<Self, String> {
        let fail = |error: std::io::Error| {
            let remedy = match error.kind() {
                std::io::ErrorKind::AddrInUse => {
                    "another process listens there: choose a free port"
                }
                std::io::ErrorKind::PermissionDenied => {
                    "plugins have no capabilities: choose a port from 1024 on"
                }
                std::io::ErrorKind::AddrNotAvailable => {
                    "no interface has this address: 0.0.0.0 or [::] takes all"
                }
                _ => "choose another address",
            };
            format!("cannot listen on {listen}: {error} ({remedy})")
        };
        let listener = TcpListener::bind(listen).await.map_err(fail)?;
        Self::on(endpoint, listen, Arc::new(listener), path)
    }

    /// With a socket that is open already. Two may accept from one: each connection goes to either.
    pub(crate) fn on(
        endpoint: &str,
        listen: SocketAddr,
        listener: Arc<TcpListener>,
        path: &str,
    ) -> Result<Self, String> {
        let address = listener
            .local_addr()
            .map_err(|error| format!("cannot listen on {listen}: {error}"))?;
        Ok(Self {
            endpoint: endpoint.to_owned(),
            listen,
            listener,
            address,
            path: path.into(),
        })
    }

    /// The endpoint's name.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// As configured.
    pub(crate) fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// To go on with.
    pub(crate) fn socket(&self) -> Arc<TcpListener> {
        Arc::clone(&self.listener)
    }

    /// As bound: with the port that the system chose where 0 was configured.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answer until dropped.
    pub(crate) async fn run(self, responder: Arc<dyn Ask>) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&connections).acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let serve = serve(stream, Arc::clone(&self.path), Arc::clone(&responder));
                    tokio::spawn(async move {
                        serve.await;
                        drop(place);
                    });
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }
}

async fn serve(stream: TcpStream, path: Arc<str>, responder: Arc<dyn Ask>) {
    let service = service_fn(|request: Request<Incoming>| {
        let (path, responder) = (Arc::clone(&path), Arc::clone(&responder));
        async move {
            let answer = match is_under(request.uri().path(), &path) {
                true => response(responder.ask(lowered(&request)).await),
                false => not_found(&path),
            };
            Ok::<_, Infallible>(answer)
        }
    });
    // An error here is the client's: it went away, or spoke no HTTP.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// `/metrics` and `/metrics/x` are under `/metrics`; all is under `/`.
fn is_under(path: &str, root: &str) -> bool {
    let root = root.trim_end_matches('/');
    path.strip_prefix(root)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn lowered(request: &Request<Incoming>) -> types::Request {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    types::Request {
        method: request.method().to_string(),
        target: request
            .uri()
            .path_and_query()
            .map_or("/".to_owned(), ToString::to_string),
        headers: request
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect(),
    }
}

/// Fields that are no HTTP, or that only the host can know, are left out.
fn response(from: types::Response) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(from.body)));
    *response.status_mut() =
        StatusCode::from_u16(from.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in from.headers {
        let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(&value),
        ) else {
            continue;
        };
        if ![CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(&name) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

fn not_found(path: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!(
        "not found; this listener answers {path}\n"
    ))));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_takes_itself_and_what_is_below_it() {
        for (path, root, taken) in [
            ("/metrics", "/metrics", true),
            ("/metrics/", "/metrics", true),
            ("/metrics/x", "/metrics", true),
            ("/metricsx", "/metrics", false),
            ("/", "/metrics", false),
            ("/anything", "/", true),
            ("/a", "/a/", true),
        ] {
            assert_eq!(is_under(path, root), taken, "{path} under {root}");
        }
    }

    #[tokio::test]
    async fn taken_port_is_named_with_its_remedy() {
        let first = Listener::bind("a", "127.0.0.1:0".parse().unwrap(), "/")
            .await
            .unwrap();
        let error = Listener::bind("b", first.address(), "/")
            .await
            .err()
            .unwrap();
        assert!(
            error.starts_with(&format!(
                "cannot listen on {}: Address already in use",
                first.address()
            )),
            "{error}"
        );
        assert!(
            error.ends_with("(another process listens there: choose a free port)"),
            "{error}"
        );
    }
}
