//! Where payloads go. The host owns the endpoint: address, credentials, retries and limits are its own,
//! and a plugin only knows the name. An [`Outlet`] belongs to one sink.

mod datagram;
mod file;
mod http;
pub(crate) mod serve;
mod stream;
mod tcp;
pub(crate) mod tls;
mod udp;
mod unix;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::bindings::types::Payload;
use crate::config::{Endpoint, Secret};

pub(crate) use file::Mark;

/// Values of the environment variables that the configuration names, by name.
pub(crate) type Secrets = BTreeMap<String, Secret>;

/// What became of a payload.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// All of it.
    Arrived,
    /// As far as it ever will; of how many lines it was not, and why.
    ArrivedBut(u64, String),
    /// Not all of it; why, and how long the endpoint asks to be left alone.
    Retry(String, Option<Duration>),
    /// The endpoint will never take it; why.
    Refused(String),
}

/// How far a payload came that is delivered in parts; kept from one try to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Bytes of it that need not be sent again.
    pub(crate) done: usize,
    /// Lines of it that were left out.
    pub(crate) left_out: u64,
}

/// An open endpoint.
pub(crate) enum Outlet {
    Stream(stream::Stream),
    File(file::File),
    Http(Box<http::Http>),
    Udp(udp::Udp),
    Tcp(Box<tcp::Tcp>),
    Unix(unix::Unix),
}

impl Outlet {
    /// The error says what a person has to do.
    pub(crate) fn open(endpoint: &Endpoint, secrets: &Secrets) -> Result<Self, String> {
        Ok(match endpoint {
            Endpoint::Stdout {} => Self::Stream(stream::Stream::Stdout),
            Endpoint::Stderr {} => Self::Stream(stream::Stream::Stderr),
            Endpoint::File(file) => Self::File(file::File::open(file)?),
            Endpoint::Http(http) => Self::Http(Box::new(http::Http::new(http, secrets)?)),
            Endpoint::Udp(udp) => Self::Udp(udp::Udp::new(udp)),
            Endpoint::Tcp(tcp) => Self::Tcp(Box::new(tcp::Tcp::new(tcp)?)),
            Endpoint::Unix(unix) => Self::Unix(unix::Unix::new(unix)),
            Endpoint::Serve(_) => {
                unreachable!("listeners take no payloads; checked where the sink starts")
            }
        })
    }

    /// May take as long as the endpoint: the sink's own mailbox bounds what waits behind it.
    pub(crate) async fn deliver(&mut self, payload: &Payload, progress: &mut Progress) -> Delivery {
        match self {
            Self::Stream(stream) => stream.deliver(payload.body.clone()).await,
            Self::File(file) => file.deliver(payload.body.clone()).await,
            Self::Http(http) => http.deliver(payload).await,
            Self::Udp(udp) => udp.deliver(payload, progress).await,
            Self::Tcp(tcp) => tcp.deliver(payload).await,
            Self::Unix(unix) => unix.deliver(payload, progress).await,
        }
    }
}

/// Whether a payload is lines: then it may be cut between them.
fn is_text(payload: &Payload) -> bool {
    payload.content_type.starts_with("text/") || payload.content_type == "application/x-ndjson"
}

/// The innermost cause, which says most in least.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
