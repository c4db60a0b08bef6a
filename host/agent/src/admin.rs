//! Our own HTTP endpoints, on loopback by default. They show; the one thing that can be changed through them is what is
//! logged, and only from this very machine.

mod log;
mod metrics;
mod pulse;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use owlk8s_discover::ApiRequests;
use owlk8s_model::Snapshot;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

pub(crate) use pulse::Pulse;

use crate::plugins::Plugins;
use crate::reader::Reader;
use crate::reload::Tally;

/// More at once wait for one of these to end.
const CONNECTIONS: usize = 32;
/// A client that is silent for longer before its request is whole is let go.
const PATIENCE: Duration = Duration::from_secs(10);
const PATHS: &str =
    "/livez\n/readyz\n/metrics\n/snapshot\n/plugins\n/plugins/SINK\n/plugins/SINK/crashes\n/log\n";
/// Behind a sink's name: its crash reports.
const CRASHES: &str = "/crashes";
/// One sink, by its name.
const ONE_PLUGIN: &str = "/plugins/";

/// What the endpoints show.
pub(crate) struct Admin {
    pub(crate) reader: Reader,
    pub(crate) plugins: Plugins,
    /// None before the first window.
    pub(crate) latest: watch::Receiver<Option<Arc<Snapshot>>>,
    /// Where Kubernetes is a source of targets.
    pub(crate) api_requests: Option<ApiRequests>,
    pub(crate) reloads: Arc<Tally>,
    pub(crate) started: Instant,
    pub(crate) pulse: Arc<Pulse>,
}

/// The port is taken, or not ours to open.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address} for the admin endpoints: set another address with `listen` in [admin]"
)]
pub(crate) struct ListenError {
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

/// Takes the port; nothing is answered before [`serve`].
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ListenError { address, source })
}

/// Answers until it is dropped.
pub(crate) async fn serve(listener: TcpListener, admin: Arc<Admin>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let admin = Arc::clone(&admin);
                tokio::spawn(async move {
                    connection(stream, admin).await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of file descriptors, mostly: waiting is what helps.
                tracing::warn!(%error, "cannot accept an admin connection");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, admin: Arc<Admin>) {
    let near = stream
        .peer_addr()
        .is_ok_and(|peer| peer.ip().to_canonical().is_loopback());
    let service = service_fn(|request: Request<Incoming>| {
        let admin = Arc::clone(&admin);
        async move {
            let answer = match (request.method(), request.uri().path()) {
                (&Method::PUT, "/log") => log::put(request, near).await,
                _ => admin.answer(&request).await,
            };
            Ok::<_, Infallible>(answer)
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "admin connection");
    }
}

type Answer = Response<Full<Bytes>>;

impl Admin {
    async fn answer(&self, request: &Request<Incoming>) -> Answer {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refused = text(
                StatusCode::METHOD_NOT_ALLOWED,
                "only GET and HEAD\n".to_owned(),
            );
            refused
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        match request.uri().path() {
            "/livez" => self.live(),
            "/readyz" => self.ready(),
            "/metrics" => self.metrics(),
            "/snapshot" => match self.reader.fresh().await {
                Ok(snapshot) => json(&snapshot),
                Err(gone) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{gone}\n")),
            },
            "/plugins" => json(&self.plugins.status()),
            "/log" => log::get(),
            path if path.ends_with(CRASHES) => {
                let sink = path.strip_prefix("/plugins/").unwrap_or_default();
                let sink = sink.strip_suffix(CRASHES).unwrap_or_default();
                match self.plugins.crashes(sink) {
                    Some(reports) => json(&reports),
                    None => text(
                        StatusCode::NOT_FOUND,
                        format!("there is no sink {sink:?}; /plugins lists them\n"),
                    ),
                }
            }
            path if path.starts_with(ONE_PLUGIN) => self.plugin(&path[ONE_PLUGIN.len()..]),
            path => text(
                StatusCode::NOT_FOUND,
                format!("nothing at {path}; there are\n{PATHS}"),
            ),
        }
    }

    fn plugin(&self, name: &str) -> Answer {
        let sinks = self.plugins.status();
        match sinks.iter().find(|sink| sink.name == name) {
            Some(sink) => json(sink),
            None => {
                let names: Vec<&str> = sinks.iter().map(|sink| sink.name.as_str()).collect();
                let there = if names.is_empty() {
                    "the configuration has none".to_owned()
                } else {
                    format!("there are {}", names.join(", "))
                };
                text(
                    StatusCode::NOT_FOUND,
                    format!("no sink of this name; {there}\n"),
                )
            }
        }
    }

    /// Whether windows are still closed: where they are not, only a restart helps.
    fn live(&self) -> Answer {
        match self.pulse.stopped_for() {
            None => text(StatusCode::OK, "live\n".to_owned()),
            Some(silent) => text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("no window was closed for {silent:?}: the reader hangs\n"),
            ),
        }
    }

    /// Whether what is shown and delivered is what runs on this node: targets are known, read, and handed on.
    fn ready(&self) -> Answer {
        let (read, known) = match &*self.latest.borrow() {
            Some(latest) => (true, latest.targets_confirmed_at.0 > 0),
            None => (false, true),
        };
        let waits: Vec<&str> = [
            (!read, "the first reading"),
            (!known, "the first answer of the Kubernetes API server"),
            (!self.plugins.is_up(), "the plugin process"),
        ]
        .into_iter()
        .filter_map(|(waits, what)| waits.then_some(what))
        .collect();
        if waits.is_empty() {
            return text(StatusCode::OK, "ready\n".to_owned());
        }
        let waits = format!("waiting for {}\n", waits.join(" and "));
        text(StatusCode::SERVICE_UNAVAILABLE, waits)
    }

    fn metrics(&self) -> Answer {
        let latest = self.latest.borrow().clone();
        let body = metrics::render(
            latest.as_deref(),
            self.reader.cost(),
            &self.plugins,
            self.api_requests.as_ref(),
            &self.reloads,
            self.started.elapsed(),
        );
        with(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            body,
        )
    }
}

fn text(status: StatusCode, body: String) -> Answer {
    with(status, "text/plain; charset=utf-8", body)
}

fn json(value: &impl serde::Serialize) -> Answer {
    match serde_json::to_string(value) {
        Ok(body) => with(StatusCode::OK, "application/json", body + "\n"),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn with(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
