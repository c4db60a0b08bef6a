//! Where payloads go. The host owns the endpoint: address, credentials, retries and limits are its own,
//! and a plugin only knows the name. An [`Outlet`] belongs to one sink.

mod file;
mod http;
pub(crate) mod serve;
mod stream;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::bindings::types::Payload;
use crate::config::Endpoint;

/// Values of the environment variables that the configuration names, by name.
pub(crate) type Secrets = BTreeMap<String, String>;

/// What became of a payload.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// All of it.
    Arrived,
    /// None of it; why, and how long the endpoint asks to be left alone.
    Retry(String, Option<Duration>),
    /// The endpoint will never take it; why.
    Refused(String),
}

/// An open endpoint.
pub(crate) enum Outlet {
    Stream(stream::Stream),
    File(file::File),
    Http(Box<http::Http>),
}

impl Outlet {
    /// The error says what a person has to do.
    pub(crate) fn open(endpoint: &Endpoint, secrets: &Secrets) -> Result<Self, String> {
        Ok(match endpoint {
            Endpoint::Stdout {} => Self::Stream(stream::Stream::Stdout),
            Endpoint::Stderr {} => Self::Stream(stream::Stream::Stderr),
            Endpoint::File { path } => Self::File(file::File::open(path)?),
            Endpoint::Http(http) => Self::Http(Box::new(http::Http::new(http, secrets)?)),
            Endpoint::Serve { .. } => {
                unreachable!("listeners take no payloads; checked where the sink starts")
            }
        })
    }

    /// May take as long as the endpoint: the sink's own mailbox bounds what waits behind it.
    pub(crate) async fn deliver(&mut self, payload: &Payload) -> Delivery {
        match self {
            Self::Stream(stream) => stream.deliver(payload.body.clone()).await,
            Self::File(file) => file.deliver(payload.body.clone()).await,
            Self::Http(http) => http.deliver(payload).await,
        }
    }
}
