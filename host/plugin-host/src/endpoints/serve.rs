//! Listens for HTTP/1.1 on behalf of a responder. Bounded in connections, in the size and time of a
//! request's head, and deaf to bodies. A client that is slow, or holds connections and says nothing,
//! keeps nobody else out: it is closed first when there is no room.

mod encoding;
mod room;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue,
    TRANSFER_ENCODING,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::tls;
use crate::bindings::types;
use crate::config::ServeEndpoint;
use room::{Place, Room};

/// Of a request's head; a larger one is answered with 431.
const HEAD_MAX: usize = 32 << 10;
/// Of a request's head; more are answered with 431.
const HEADERS_MAX: usize = 100;
/// Below the path of an endpoint that says `plugins = true`.
const STANDING: &str = "/plugins";
/// After an error of accept, which is most often a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An answer on its way.
pub(crate) type Answering = Pin<Box<dyn Future<Output = types::Response> + Send>>;

/// Who answers.
pub(crate) trait Ask: Send + Sync {
    fn ask(self: Arc<Self>, request: types::Request) -> Answering;

    /// How it stands with every sink of the node, as JSON; empty before that is known.
    fn standing(&self) -> Bytes;
}

/// A bound address.
pub(crate) struct Listener {
    endpoint: String,
    listener: Arc<TcpListener>,
    address: SocketAddr,
    config: ServeEndpoint,
    tls: Option<tls::Server>,
}

impl Listener {
    /// The error says what a person has to do.
    pub(crate) async fn bind(endpoint: &str, config: &ServeEndpoint) -> Result<Self, String> {
        let listen = config.listen;
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
        Self::on(endpoint, config, Arc::new(listener))
    }

    /// With a socket that is open already. Two may accept from one: each connection goes to either.
    pub(crate) fn on(
        endpoint: &str,
        config: &ServeEndpoint,
        listener: Arc<TcpListener>,
    ) -> Result<Self, String> {
        let tls = match (&config.cert_file, &config.key_file) {
            (Some(cert), Some(key)) => Some(tls::Server::new(cert, key)?),
            _ => None,
        };
        let address = listener
            .local_addr()
            .map_err(|error| format!("cannot listen on {}: {error}", config.listen))?;
        Ok(Self {
            endpoint: endpoint.to_owned(),
            listener,
            address,
            config: config.clone(),
            tls,
        })
    }

    /// The endpoint's name.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// As configured.
    pub(crate) fn listen(&self) -> SocketAddr {
        self.config.listen
    }

    /// To go on with.
    pub(crate) fn socket(&self) -> Arc<TcpListener> {
        Arc::clone(&self.listener)
    }

    /// As bound: with the port that the system chose where 0 was configured.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answer until `stop` turns true. Connections that were accepted by then go on.
    pub(crate) async fn run(mut self, responder: Arc<dyn Ask>, mut stop: watch::Receiver<bool>) {
        let room = Room::new(self.config.connections);
        let config = Arc::new(self.config.clone());
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let place = room.enter().await;
                    let tls = self
                        .tls
                        .as_mut()
                        .map(|tls| TlsAcceptor::from(tls.current()));
                    let (config, responder) = (Arc::clone(&config), Arc::clone(&responder));
                    tokio::spawn(async move {
                        tokio::select! {
                            () = connection(stream, tls, &place, &config, responder) => {}
                            () = place.asked_to_leave() => {}
                            () = place.idle_for(config.idle) => {}
                        }
                    });
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }
}

/// An error of it is the client's: it went away, or spoke no TLS or no HTTP.
async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    place: &Place,
    config: &ServeEndpoint,
    responder: Arc<dyn Ask>,
) {
    match tls {
        None => serve(stream, place, config, responder).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                serve(stream, place, config, responder).await;
            }
        }
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    place: &Place,
    config: &ServeEndpoint,
    responder: Arc<dyn Ask>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let responder = Arc::clone(&responder);
        async move {
            let _answering = place.answering();
            let gzip = encoding::takes_gzip(request.headers());
            let answer = match Asked::of(&request, config) {
                Asked::Plugin => {
                    let answer = responder.ask(lowered(&request)).await;
                    encoding::encode(response(answer), gzip).await
                }
                Asked::Standing => encoding::encode(standing(responder.standing()), gzip).await,
                Asked::Nobody => not_found(&config.path),
            };
            Ok::<_, Infallible>(answer.map(Full::new))
        }
    });
    // The place bounds the time: a head that does not come is an idle connection.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_header_size(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Who answers a request.
enum Asked {
    Plugin,
    /// The host, with how it stands with the sinks.
    Standing,
    Nobody,
}

impl Asked {
    fn of(request: &Request<Incoming>, config: &ServeEndpoint) -> Self {
        let path = request.uri().path();
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if !is_under(path, &config.path) {
            Self::Nobody
        } else if config.plugins && reads && path == format!("{}{STANDING}", root(&config.path)) {
            Self::Standing
        } else {
            Self::Plugin
        }
    }
}

fn root(path: &str) -> &str {
    path.trim_end_matches('/')
}

fn standing(json: Bytes) -> Response<Bytes> {
    let (status, kind, body) = match json.is_empty() {
        true => (
            StatusCode::SERVICE_UNAVAILABLE,
            "text/plain; charset=utf-8",
            Bytes::from_static(b"not known yet: the first window brings it\n"),
        ),
        false => (StatusCode::OK, "application/json", json),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `/metrics` and `/metrics/x` are under `/metrics`; all is under `/`, but what climbs.
fn is_under(path: &str, root: &str) -> bool {
    let below = path
        .strip_prefix(self::root(root))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    below && !path.split(['/', '\\']).any(climbs)
}

/// `..`, also written with percent signs, and with what others read as slashes.
fn climbs(segment: &str) -> bool {
    let segment = segment.to_ascii_lowercase().replace("%2e", ".");
    segment
        .split("%2f")
        .flat_map(|part| part.split("%5c"))
        .any(|part| part == "..")
}

/// HEAD becomes GET: the body that it makes is left out when it is sent, its length is not.
fn lowered(request: &Request<Incoming>) -> types::Request {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let method = match *request.method() {
        Method::HEAD => Method::GET.to_string(),
        ref method => method.to_string(),
    };
    types::Request {
        method,
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

/// What is wrong with a responder's answer; none where it is HTTP.
pub(crate) fn fault(response: &types::Response) -> Option<String> {
    if !(200..=599).contains(&response.status) {
        return Some(format!(
            "answers with status {}, and 200 to 599 are legal",
            response.status
        ));
    }
    let illegal = response.headers.iter().find(|(name, value)| {
        HeaderName::from_bytes(name.as_bytes()).is_err() || HeaderValue::from_str(value).is_err()
    });
    illegal.map(|(name, _)| {
        format!(
            "answers with header {:?}, whose name or value is no HTTP (a line break, perhaps)",
            crate::guest::printable(name, 100)
        )
    })
}

/// Fields that only the host can know are left out.
fn response(from: types::Response) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(from.body));
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

fn not_found(path: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(format!(
        "not found; this listener answers {path}\n"
    )));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

#[cfg(test)]
mod tests;
