use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A listener; requests are answered by a responder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServeEndpoint {
    /// `127.0.0.1:9466`, or `[::]:9466` for all interfaces.
    pub listen: SocketAddr,
    /// Answered with all that is below it; the rest is 404.
    #[serde(default = "root")]
    pub path: String,
    /// Whether `plugins` below the path tells how it stands with every sink of the node, other teams' too: for the live page
    /// to show. The host answers it and not the plugin, but a page of the plugin can read it in the browser.
    #[serde(default)]
    pub plugins: bool,
    /// PEM file of the certificates to show, our own first; with it the listener speaks TLS only. Read
    /// again when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// PEM file of the key to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// At once; for the next one, that which has been idle for the longest is closed.
    #[serde(default = "connections")]
    pub connections: usize,
    /// A connection is closed when no request of it was answered for so long: for its head to come, for
    /// its answer to be taken, and for the next request.
    #[serde(default = "idle", with = "humantime_serde")]
    pub idle: Duration,
}

fn root() -> String {
    "/".to_owned()
}

fn connections() -> usize {
    128
}

/// Longer than a scrape interval of one minute, so that its connection is used again.
fn idle() -> Duration {
    Duration::from_secs(75)
}
