//! The client of the API server: kube's layers over connections that notice when the other side is gone, and over a
//! token that is renewed while the agent runs.
//!
//! A machine that dies sends no word, and a watch of a quiet cluster hears only a bookmark a minute. So the kernel asks
//! for a sign of life on each connection (TCP keep-alive), which costs the API server nothing: [`GONE_AFTER`].

use std::io;
use std::time::Duration;

use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Builder};
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder};

use super::access::AccessError;
use super::health::chain;
use super::token::TokenFile;
use super::traffic::Count;

/// Where to connect to answers at once, or not at all.
const CONNECT: Duration = Duration::from_secs(10);
/// A quiet connection is asked for a sign of life after this,
const QUIET: Duration = Duration::from_secs(15);
/// and again after each of these,
const AGAIN: Duration = Duration::from_secs(5);
/// so often.
const TIMES: u32 = 3;
/// So the other side of a connection is known to be gone after this.
pub(super) const GONE_AFTER: Duration = Duration::from_secs(30);
/// A connection whose other side is there and says nothing (a load balancer's before a dead server) is given up after
/// this: a watch hears a bookmark each minute, of servers that send them.
pub(super) const SILENT_AFTER: Duration = Duration::from_secs(100);

/// For what `access` says.
pub(super) fn client(mut access: Config, count: Count) -> Result<Client, AccessError> {
    let url = access.cluster_url.to_string();
    let wrong = |error: kube::Error| AccessError::Client {
        url: url.clone(),
        problem: chain(&error),
    };
    if let Some(proxy) = &access.proxy_url {
        return Err(AccessError::Proxy {
            proxy: proxy.to_string(),
        });
    }
    // kube's own reads it each minute, whatever is answered meanwhile.
    let inline = access.auth_info.token.is_some();
    let token = access.auth_info.token_file.take().filter(|_| !inline);
    let token = token.map(TokenFile::open).transpose()?;
    let auth = access.auth_layer().map_err(wrong)?;
    let headers = access.extra_headers_layer().map_err(wrong)?;
    let stack = ServiceBuilder::new()
        .option_layer(token)
        .layer(count)
        .layer(access.base_uri_layer())
        .option_layer(auth)
        .layer(headers)
        .map_err(BoxError::from)
        .service(connections(&access).map_err(wrong)?);
    Ok(ClientBuilder::new(stack, access.default_namespace).build())
}

type Connector = TimeoutConnector<hyper_rustls::HttpsConnector<HttpConnector>>;

fn connections(access: &Config) -> Result<legacy::Client<Connector, Body>, kube::Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_keepalive(Some(QUIET));
    tcp.set_keepalive_interval(Some(AGAIN));
    tcp.set_keepalive_retries(Some(TIMES));
    // The same for what was sent and is not acknowledged, which the kernel repeats for a quarter of an hour otherwise.
    tcp.set_tcp_user_timeout(Some(GONE_AFTER));
    let mut connector = TimeoutConnector::new(access.rustls_https_connector_with_connector(tcp)?);
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_read_timeout(Some(SILENT_AFTER));
    connector.set_write_timeout(Some(GONE_AFTER));
    // One that was kept for the next question has been silent for its own time.
    connector.set_reset_reader_on_write(true);
    Ok(Builder::new(TokioExecutor::new()).build(connector))
}

/// How long nothing had been heard on a connection that ended with `error`; None where it ended otherwise.
pub(super) fn silence(error: &(dyn std::error::Error + 'static)) -> Option<Duration> {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let io = causes.filter_map(|cause| cause.downcast_ref::<io::Error>());
    let mut timeouts = io.filter(|error| error.kind() == io::ErrorKind::TimedOut);
    // The kernel's answer has a number, that of a timer here has none.
    timeouts.next().map(|error| match error.raw_os_error() {
        Some(_) => GONE_AFTER,
        None => SILENT_AFTER,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_known_to_be_gone_when_the_last_question_is_not_answered() {
        assert_eq!(QUIET + AGAIN * TIMES, GONE_AFTER);
    }

    #[test]
    fn silence_is_told_from_other_ends_by_the_cause() {
        let error = |io: io::Error| kube::Error::Service(Box::new(io));
        let etimedout = io::Error::from(rustix::io::Errno::TIMEDOUT);
        assert_eq!(silence(&error(etimedout)), Some(GONE_AFTER));
        let timer = io::Error::new(io::ErrorKind::TimedOut, "");
        assert_eq!(silence(&error(timer)), Some(SILENT_AFTER));
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(silence(&error(reset)), None);
    }
}
