use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::http::ten_seconds;

/// Sent as datagrams. Nobody says whether they arrive; only a port that nobody listens on is told, and
/// on this host alone without fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UdpEndpoint {
    /// `HOST:PORT`; a name is resolved anew once a minute.
    pub address: String,
    /// Bytes of a datagram at most. A payload of text is split between lines, each datagram as full of
    /// whole lines as it goes and without the last newline; a line that is longer is left out and counted.
    /// Another payload must fit in one.
    #[serde(default = "datagram")]
    pub datagram: usize,
}

/// Written to a connection that is kept; each payload of text ends with a newline. Arrived is what the
/// kernel took: TCP does not say what the other side read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpEndpoint {
    /// `HOST:PORT`; a name is resolved for each connection.
    pub address: String,
    /// Speak TLS; the certificate must be for HOST.
    #[serde(default)]
    pub tls: bool,
    /// PEM file of the authorities to trust instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// PEM file of the certificates to show to the server, our own first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert_file: Option<PathBuf>,
    /// PEM file of the key to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key_file: Option<PathBuf>,
    /// For connecting, and for writing a payload.
    #[serde(default = "ten_seconds", with = "humantime_serde")]
    pub timeout: Duration,
}

/// As `tcp` or `udp`, to a socket of this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnixEndpoint {
    /// Of the socket.
    pub path: PathBuf,
    /// How its listener was made.
    #[serde(default)]
    pub socket: SocketKind,
    /// As of `udp`; for a datagram socket.
    #[serde(default = "unix_datagram")]
    pub datagram: usize,
    /// For connecting, and for writing a payload.
    #[serde(default = "ten_seconds", with = "humantime_serde")]
    pub timeout: Duration,
}

/// `SOCK_STREAM` or `SOCK_DGRAM`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SocketKind {
    /// A connection.
    #[default]
    Stream,
    /// Datagrams, which the kernel neither drops nor reorders here: a full listener is waited for.
    Datagram,
}

/// What an Ethernet frame of 1,500 bytes carries over IPv6 or a tunnel, as StatsD's clients use.
fn datagram() -> usize {
    1432
}

/// What DogStatsD's clients use for sockets of the host.
fn unix_datagram() -> usize {
    8192
}
