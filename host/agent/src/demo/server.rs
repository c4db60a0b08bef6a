//! A pod's HTTP server.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use super::pods::{Manner, Pod};
use super::tally::Tally;

pub(super) const PORT: u16 = 80;
/// Larger bodies go out in several pieces.
const CHUNK: usize = 1_500;

struct Server {
    manner: &'static Manner,
    arrived: AtomicU64,
    tally: Arc<Tally>,
}

/// Listens in the namespace of the calling thread, and serves there until its runtime ends.
pub(super) async fn serve(pod: &'static Pod, tally: Arc<Tally>) -> io::Result<()> {
    let listener = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT)).await {
        Ok(both_families) => both_families,
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?,
    };
    let server = Arc::new(Server {
        manner: &pod.manner,
        arrived: AtomicU64::new(0),
        tally,
    });
    tokio::spawn(async move {
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, Arc::clone(&server)));
            }
        }
    });
    Ok(())
}

async fn connection(stream: TcpStream, server: Arc<Server>) {
    // Answers are one write each: waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request| {
        let server = Arc::clone(&server);
        async move { Ok::<_, Infallible>(server.answer(request).await) }
    });
    // A client that goes away is no failure of the server.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

impl Server {
    async fn answer(&self, request: Request<Incoming>) -> Response<BoxBody<Bytes, Infallible>> {
        // What was sent is read, as a real server would, before it is answered.
        let _ = request.into_body().collect().await;
        let n = self.arrived.fetch_add(1, Ordering::Relaxed) + 1;
        tokio::time::sleep(Duration::from_micros(self.manner.delay_us(n))).await;
        let status = self.manner.status(n);
        self.tally.add(status);
        let body = if status == 200 {
            self.manner.body()
        } else {
            Full::from("no owls here\n").boxed()
        };
        let mut response = Response::new(body);
        *response.status_mut() = status.try_into().unwrap_or_default();
        response
    }
}

impl Manner {
    fn body(&self) -> BoxBody<Bytes, Infallible> {
        let bytes = Bytes::from(vec![b'o'; self.bytes]);
        if self.chunked {
            Chunks(bytes).boxed()
        } else {
            Full::new(bytes).boxed()
        }
    }
}

/// A body whose length is not told, so that it goes out with `Transfer-Encoding: chunked`.
struct Chunks(Bytes);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.0.is_empty() {
            return std::task::Poll::Ready(None);
        }
        let at = CHUNK.min(self.0.len());
        std::task::Poll::Ready(Some(Ok(Frame::data(self.0.split_to(at)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
