//! From an origin to a connection: resolve, judge every address, connect to those that were judged, TLS.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use rustls::ClientConfig;
use thiserror::Error;
use tokio::sync::Semaphore;
use tower_service::Service;

use super::address::Reach;

/// Lookups of one sink at once: each takes a thread for as long as the system's resolver likes.
const LOOKUPS: usize = 2;

/// Why there is no connection, beside what the system says.
#[derive(Clone, Debug, Error)]
pub(super) enum ConnectError {
    /// Only addresses that the sink may not reach; the first, and why.
    #[error("{host} is not reached: {why}")]
    Prohibited { host: String, why: String },
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    #[error("{host} does not resolve: {why}")]
    Resolve { host: String, why: String },
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Names to addresses.
pub(super) trait Resolve: Send + Sync {
    fn resolve(&self, host: String) -> Boxed<io::Result<Vec<IpAddr>>>;
}

/// As the system resolves: `/etc/hosts`, then DNS.
pub(super) struct System {
    lookups: Arc<Semaphore>,
}

impl Default for System {
    fn default() -> Self {
        Self {
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
        }
    }
}

impl Resolve for System {
    fn resolve(&self, host: String) -> Boxed<io::Result<Vec<IpAddr>>> {
        let lookups = Arc::clone(&self.lookups);
        Box::pin(async move {
            let Ok(place) = lookups.acquire_owned().await else {
                return Err(io::ErrorKind::Interrupted.into());
            };
            // The thread holds the place, also when nobody waits for it any more.
            let look_up = move || -> io::Result<Vec<IpAddr>> {
                let _place = place;
                let found = std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), 0))?;
                Ok(found.map(|address| address.ip()).collect())
            };
            tokio::task::spawn_blocking(look_up)
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
        })
    }
}

/// A resolver that answers with what may be reached, or says why that is nothing.
#[derive(Clone)]
pub(super) struct Judged {
    resolver: Arc<dyn Resolve>,
    reach: Reach,
}

impl Service<Name> for Judged {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = ConnectError;
    type Future = Boxed<Result<Self::Response, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { resolver, reach } = self.clone();
        Box::pin(async move {
            let host = name.to_string();
            let found = resolver.resolve(host.clone()).await;
            let found = found.map_err(|error| ConnectError::Resolve {
                host: host.clone(),
                why: error.to_string(),
            })?;
            judge(&host, &found, reach)
        })
    }
}

fn judge(
    host: &str,
    found: &[IpAddr],
    reach: Reach,
) -> Result<std::vec::IntoIter<SocketAddr>, ConnectError> {
    let mut refused = None;
    let mut left = Vec::new();
    for address in found {
        match reach.allows(*address) {
            // The connector puts in the port.
            Ok(()) => left.push(SocketAddr::new(*address, 0)),
            Err(why) => {
                refused.get_or_insert(why);
            }
        }
    }
    let host = host.to_owned();
    match refused {
        _ if !left.is_empty() => Ok(left.into_iter()),
        Some(why) => Err(ConnectError::Prohibited { host, why }),
        None => Err(ConnectError::Resolve {
            host,
            why: "it has no address".to_owned(),
        }),
    }
}

/// Connects within a time, by TLS where the scheme says so; HTTP/2 where the server chooses it there.
#[derive(Clone)]
pub(super) struct Connector {
    inner: HttpsConnector<HttpConnector<Judged>>,
    within: Duration,
}

impl Connector {
    pub(super) fn new(
        resolver: Arc<dyn Resolve>,
        reach: Reach,
        tls: ClientConfig,
        within: Duration,
    ) -> Self {
        let mut http = HttpConnector::new_with_resolver(Judged { resolver, reach });
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(within));
        Self {
            inner: HttpsConnectorBuilder::new()
                .with_tls_config(tls)
                .https_or_http()
                .enable_all_versions()
                .wrap_connector(http),
            within,
        }
    }
}

impl Service<Uri> for Connector {
    type Response = <HttpsConnector<HttpConnector<Judged>> as Service<Uri>>::Response;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Boxed<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, within) = (self.inner.call(uri), self.within);
        Box::pin(async move {
            match tokio::time::timeout(within, connecting).await {
                Ok(connected) => connected,
                Err(_) => Err(ConnectError::Timeout(within).into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_allowed_are_left_and_the_first_refusal_is_told() {
        let parse = |list: &[&str]| -> Vec<IpAddr> {
            list.iter().map(|text| text.parse().unwrap()).collect()
        };
        let mixed = parse(&["127.0.0.1", "93.184.216.34", "10.0.0.1"]);
        let left: Vec<_> = judge("x", &mixed, Reach::default()).unwrap().collect();
        assert_eq!(left, ["93.184.216.34:0".parse().unwrap()]);
        let error = judge("x", &parse(&["169.254.169.254", "::1"]), Reach::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "x is not reached: 169.254.169.254 is a cloud's metadata service, which nothing allows"
        );
    }
}
