//! Bodies that end where the window's budget ends, and answers that must not fall silent.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::authority::Grant;

/// What is left of a window's network.
#[derive(Debug)]
pub(super) struct Budget {
    requests: AtomicU32,
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
}

impl From<&Grant> for Budget {
    fn from(grant: &Grant) -> Self {
        Self {
            requests: AtomicU32::new(grant.requests),
            request_bytes: AtomicU64::new(grant.request_size.0),
            response_bytes: AtomicU64::new(grant.response_size.0),
        }
    }
}

impl Budget {
    /// One request more; false where none is left.
    pub(super) fn take_request(&self) -> bool {
        self.requests
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .is_ok()
    }
}

fn take(left: &AtomicU64, bytes: usize) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
        left.checked_sub(bytes as u64)
    })
    .is_ok()
}

/// Told once, when a body is over the budget.
pub(super) type Over = Box<dyn Fn() + Send + Sync>;

/// A request's body as the guest writes it.
pub(super) struct Asking {
    pub(super) body: WasiBody,
    pub(super) budget: Arc<Budget>,
    pub(super) over: Over,
}

impl Body for Asking {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
            && !take(&self.budget.request_bytes, data.len())
        {
            (self.over)();
            return Poll::Ready(Some(Err(Error::HttpRequestBodySize(None))));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response's body on its way to the guest.
pub(super) struct Answering {
    body: Incoming,
    /// Its connection is busy until this is dropped.
    _place: OwnedSemaphorePermit,
    budget: Arc<Budget>,
    within: Duration,
    silence: Pin<Box<Sleep>>,
    over: Over,
}

impl Answering {
    /// `within`: the longest time between two pieces.
    pub(super) fn new(
        body: Incoming,
        place: OwnedSemaphorePermit,
        budget: Arc<Budget>,
        within: Duration,
        over: Over,
    ) -> Self {
        Self {
            body,
            _place: place,
            budget,
            within,
            silence: Box::pin(tokio::time::sleep(within)),
            over,
        }
    }
}

impl Body for Answering {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(Error::Hyper(error)))),
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Pending => {
                return self
                    .silence
                    .as_mut()
                    .poll(context)
                    .map(|()| Some(Err(Error::ConnectionReadTimeout)));
            }
        };
        let within = self.within;
        self.silence.as_mut().reset(Instant::now() + within);
        if let Some(data) = frame.data_ref()
            && !take(&self.budget.response_bytes, data.len())
        {
            (self.over)();
            return Poll::Ready(Some(Err(Error::HttpResponseBodySize(None))));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
