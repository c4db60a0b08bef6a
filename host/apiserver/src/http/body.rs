//! Bodies: read whole, written whole, piece by piece as a list is written, or as a watch has news. What is sent is
//! counted in the request's entry of the log, which closes with the body.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::requests::Entry;

/// As the real server's, for a request.
const MOST_READ: usize = 3 << 20;

/// What an answer consists of.
pub(crate) enum Source {
    Whole(Option<Bytes>),
    Pieces(Box<dyn Iterator<Item = Bytes> + Send>),
    Live(mpsc::Receiver<Bytes>),
}

impl Source {
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Some(bytes.into()))
    }
}

/// The body of an answer.
pub(crate) struct AnswerBody {
    source: Source,
    entry: Arc<Entry>,
}

impl AnswerBody {
    pub(super) fn new(source: Source, entry: Arc<Entry>) -> Self {
        Self { source, entry }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let bytes = match &mut this.source {
            Source::Whole(bytes) => bytes.take(),
            Source::Pieces(pieces) => pieces.next(),
            Source::Live(news) => std::task::ready!(news.poll_recv(context)),
        };
        if let Some(bytes) = &bytes {
            this.entry.sent(bytes.len());
        }
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.source, Source::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
            _ => SizeHint::default(),
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.entry.close();
    }
}

pub(super) async fn read(body: Incoming) -> Result<Bytes, Failure> {
    let too_large = |_| {
        let message = format!("limit is {MOST_READ}");
        Failure::new(413, "RequestEntityTooLarge", message)
    };
    let body = Limited::new(body, MOST_READ)
        .collect()
        .await
        .map_err(too_large)?;
    Ok(body.to_bytes())
}
