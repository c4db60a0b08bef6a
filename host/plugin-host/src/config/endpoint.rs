//! The `endpoints` of a sink: where payloads go, or requests come from. The host owns them: the plugin
//! only knows their names. A secret is never in the configuration itself, only where it is.

mod file;
mod http;
mod secret;
mod serve;
mod socket;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use file::{FileEndpoint, Permissions};
pub use http::{BasicAuth, Compression, HeaderSource, HttpEndpoint};
pub(crate) use secret::{HIDDEN, exposed};
pub use secret::{Secret, SecretSource};
pub use serve::ServeEndpoint;
pub use socket::{SocketKind, TcpEndpoint, UdpEndpoint, UnixEndpoint};

/// Where payloads go, or requests come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Endpoint {
    /// The agent's standard output.
    Stdout {},
    /// The agent's standard error.
    Stderr {},
    /// Appended to a file, which is made when it is not there.
    File(FileEndpoint),
    /// Pushed by one HTTP request for each payload.
    Http(Box<HttpEndpoint>),
    /// A listener; requests are answered by a responder.
    Serve(ServeEndpoint),
    /// Sent as datagrams.
    Udp(UdpEndpoint),
    /// Written to a connection that is kept.
    Tcp(TcpEndpoint),
    /// As `tcp` or `udp`, to a socket of this host.
    Unix(UnixEndpoint),
}

/// What the endpoints of a sink touch in the file system. The plugin process may reach these and no
/// others; each may be replaced while it runs, so their directories count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkPaths {
    /// Files that are read, some again and again: secrets, certificates, keys.
    pub read: BTreeSet<PathBuf>,
    /// Files that are appended to, made, renamed within their directory and removed; sockets that are
    /// connected to.
    pub write: BTreeSet<PathBuf>,
}

impl Endpoint {
    /// What a listener answers.
    pub(crate) fn serve_path(&self) -> Option<&str> {
        match self {
            Self::Serve(serve) => Some(&serve.path),
            _ => None,
        }
    }

    /// As `kind` in the file.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Stdout {} => "stdout",
            Self::Stderr {} => "stderr",
            Self::File(_) => "file",
            Self::Http(_) => "http",
            Self::Serve(_) => "serve",
            Self::Udp(_) => "udp",
            Self::Tcp(_) => "tcp",
            Self::Unix(_) => "unix",
        }
    }

    /// Environment variables of the agent that it takes secrets from.
    pub(crate) fn env(&self) -> Vec<&str> {
        match self {
            Self::Http(http) => http.env(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn paths(&self, paths: &mut SinkPaths) {
        let mut read = |path: Option<&Path>| paths.read.extend(path.map(Path::to_owned));
        match self {
            Self::Stdout {} | Self::Stderr {} | Self::Udp(_) => {}
            Self::File(file) => {
                paths.write.insert(file.path.clone());
            }
            Self::Http(http) => http.files().into_iter().for_each(|path| read(Some(path))),
            Self::Serve(serve) => {
                read(serve.cert_file.as_deref());
                read(serve.key_file.as_deref());
            }
            Self::Tcp(tcp) => {
                read(tcp.ca_file.as_deref());
                read(tcp.client_cert_file.as_deref());
                read(tcp.client_key_file.as_deref());
            }
            Self::Unix(unix) => {
                paths.write.insert(unix.path.clone());
            }
        }
    }
}
