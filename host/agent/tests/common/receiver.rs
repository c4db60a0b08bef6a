//! An HTTP server on the node that keeps what it is told, and answers as a test says.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::sync::oneshot;

use super::lab::Lab;

pub struct Receiver {
    answer: Arc<AtomicU16>,
    told: Arc<Mutex<Vec<Told>>>,
    /// The server ends with it.
    _end: oneshot::Sender<()>,
}

/// One request and its answer.
#[derive(Clone, Debug)]
pub struct Told {
    /// `POST /hook application/json`
    pub request: String,
    pub body: Value,
    pub answer: u16,
}

impl Receiver {
    /// Listens there on the node, and answers with this status.
    pub fn start(lab: &Lab, at: &str, answer: u16) -> Self {
        let at: SocketAddr = at.parse().unwrap();
        let listener = lab.listen("node", at);
        listener.set_nonblocking(true).unwrap();
        let answer = Arc::new(AtomicU16::new(answer));
        let told = Arc::default();
        let (end, ended) = oneshot::channel();
        let serving = serve(listener, Arc::clone(&answer), Arc::clone(&told));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = serving => {}
                    _ = ended => {}
                }
            });
        });
        Self {
            answer,
            told,
            _end: end,
        }
    }

    /// Answers with this status from now on.
    pub fn answer(&self, status: u16) {
        self.answer.store(status, Ordering::SeqCst);
    }

    /// All that came and was answered with this status, in order.
    pub fn told(&self, status: u16) -> Vec<Told> {
        let mut told = self.told.lock().unwrap().clone();
        told.retain(|told| told.answer == status);
        told
    }
}

async fn serve(
    listener: std::net::TcpListener,
    answer: Arc<AtomicU16>,
    told: Arc<Mutex<Vec<Told>>>,
) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (answer, told) = (Arc::clone(&answer), Arc::clone(&told));
        let service = service_fn(move |request: Request<Incoming>| {
            let (answer, told) = (Arc::clone(&answer), Arc::clone(&told));
            async move {
                let kind = request.headers().get("content-type");
                let kind = kind.map(|kind| kind.to_str().unwrap()).unwrap_or_default();
                let line = format!("{} {} {kind}", request.method(), request.uri().path());
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let answer = answer.load(Ordering::SeqCst);
                told.lock().unwrap().push(Told {
                    request: line,
                    body: serde_json::from_slice(&body).unwrap(),
                    answer,
                });
                let answer = Response::builder().status(answer);
                Ok::<_, Infallible>(answer.body(Empty::<Bytes>::new()).unwrap())
            }
        });
        // A connection that the agent ends is none of a test's business.
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service),
        );
    }
}
