//! Our own HTTP endpoints, on loopback by default. They show; nothing can be changed through them.

mod metrics;

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

use crate::plugins::Plugins;
use crate::reader::Reader;
use crate::reload::Tally;

/// More at once wait for one of these to end.
const CONNECTIONS: usize = 32;
/// A client that is silent for longer before its request is whole is let go.
const PATIENCE: Duration = Duration::from_secs(10);
const PATHS: &str = "/livez
/readyz
/metrics
/snapshot
/plugins
/plugins/NAME
\
                     /plugins/NAME/crashes
";

/// One sink, by its name.
const ONE_PLUGIN: &str = "/plugins/";
/// Behind it: its crash reports.
const CRASHES: &str = "/crashes";

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
    let service = service_fn(|request| {
        let admin = Arc::clone(&admin);
        async move { Ok::<_, Infallible>(admin.answer(&request).await) }
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
            "/livez" => text(StatusCode::OK, "live\n".to_owned()),
            "/readyz" => self.ready(),
            "/metrics" => self.metrics(),
            "/snapshot" => match self.reader.fresh().await {
                Ok(snapshot) => json(&snapshot),
                Err(gone) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{gone}\n")),
            },
            "/plugins" => json(&self.plugins.status()),
            path if path.starts_with(ONE_PLUGIN) && path.ends_with(CRASHES) => {
                let sink = path.strip_prefix(ONE_PLUGIN).unwrap_or_default();
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

    fn ready(&self) -> Answer {
        let read = self.latest.borrow().is_some();
        let up = self.plugins.is_up();
        let waits = match (read, up) {
            (true, true) => return text(StatusCode::OK, "ready\n".to_owned()),
            (false, true) => "waiting for the first reading\n",
            (true, false) => "waiting for the plugin process\n",
            (false, false) => "waiting for the first reading and the plugin process\n",
        };
        text(StatusCode::SERVICE_UNAVAILABLE, waits.to_owned())
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
