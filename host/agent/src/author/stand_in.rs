//! A server that an exporter sends to while it is tried: it answers each request with one status, and keeps what came.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use super::show;

/// Of one request's body.
const BODY_MAX: usize = 16 << 20;

/// Listens until it is dropped.
pub(super) struct StandIn {
    address: SocketAddr,
    seen: Seen,
    task: AbortHandle,
}

/// Requests as text, in order of arrival.
type Seen = Arc<Mutex<Vec<String>>>;

impl StandIn {
    /// On a free port of the loopback; answers with `status`.
    pub(super) async fn start(status: u16) -> anyhow::Result<Self> {
        let status =
            StatusCode::from_u16(status).with_context(|| format!("{status} is no HTTP status"))?;
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .context("cannot listen on the loopback")?;
        let address = listener.local_addr()?;
        let seen = Seen::default();
        let task = tokio::spawn(accept(listener, status, Arc::clone(&seen)));
        Ok(Self {
            address,
            seen,
            task: task.abort_handle(),
        })
    }

    /// `http://127.0.0.1:PORT`
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What came since the last call.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, status: StatusCode, seen: Seen) {
    while let Ok((stream, _)) = listener.accept().await {
        let seen = Arc::clone(&seen);
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let seen = Arc::clone(&seen);
                async move {
                    let text = described(request).await;
                    seen.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(text);
                    let mut answer = Response::new(Empty::<Bytes>::new());
                    *answer.status_mut() = status;
                    Ok::<_, Infallible>(answer)
                }
            });
            // Its end is the client's.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn described(request: Request<Incoming>) -> String {
    let content_type = request.headers().get("content-type");
    let content_type = content_type.map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned());
    let mut text = String::new();
    let what = format!(
        "{} {} ({})",
        request.method(),
        request.uri().path_and_query().map_or("/", |it| it.as_str()),
        content_type.as_deref().unwrap_or("no content type")
    );
    show::head(&mut text, &what);
    match Limited::new(request.into_body(), BODY_MAX).collect().await {
        Ok(body) => show::body(&mut text, &body.to_bytes()),
        Err(error) => text += &format!("(its body did not come: {error})\n"),
    }
    text
}
