use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where payloads go, or requests come from. The host owns it: the plugin only knows its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Endpoint {
    /// The agent's standard output.
    Stdout {},
    /// The agent's standard error.
    Stderr {},
    /// Appended to a file, which is made when it is not there.
    File {
        /// In a directory that exists.
        path: PathBuf,
    },
    /// Pushed by one HTTP request for each payload.
    Http(HttpEndpoint),
    /// A listener; requests are answered by a responder.
    Serve {
        /// `127.0.0.1:9466`, or `[::]:9466` for all interfaces.
        listen: SocketAddr,
        /// Answered with all that is below it; the rest is 404.
        #[serde(default = "root")]
        path: String,
    },
}

/// Pushed by one HTTP request for each payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpEndpoint {
    /// `http://` or `https://`.
    pub url: String,
    /// HTTP method.
    #[serde(default = "post")]
    pub method: String,
    /// Sent along; `content-type` replaces the plugin's.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A file whose content is sent as `Authorization: Bearer ...`, read again for every request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer_token_file: Option<PathBuf>,
    /// An environment variable of the agent for the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer_token_env: Option<String>,
    /// PEM file of the authorities to trust instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// For one request, from connecting to the answer's status.
    #[serde(default = "ten_seconds", with = "humantime_serde")]
    pub timeout: Duration,
}

impl Endpoint {
    /// What a listener answers.
    pub(crate) fn serve_path(&self) -> Option<&str> {
        match self {
            Self::Serve { path, .. } => Some(path),
            _ => None,
        }
    }

    /// As `kind` in the file.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Stdout {} => "stdout",
            Self::Stderr {} => "stderr",
            Self::File { .. } => "file",
            Self::Http(_) => "http",
            Self::Serve { .. } => "serve",
        }
    }
}

fn root() -> String {
    "/".to_owned()
}

fn post() -> String {
    "POST".to_owned()
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}
