use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::SecretSource;

/// Pushed by one HTTP request for each payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpEndpoint {
    /// `http://` or `https://`.
    pub url: String,
    /// HTTP method.
    #[serde(default = "post")]
    pub method: String,
    /// Sent along; `content-type` replaces the plugin's. A secret one is `{ file = "..." }` or
    /// `{ env = "..." }`.
    #[serde(default)]
    pub headers: BTreeMap<String, HeaderSource>,
    /// A file whose content is sent as `Authorization: Bearer ...`, read again for every request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer_token_file: Option<PathBuf>,
    /// An environment variable of the agent for the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer_token_env: Option<String>,
    /// Sent as `Authorization: Basic ...`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicAuth>,
    /// Of the request's body.
    #[serde(default)]
    pub compression: Compression,
    /// PEM file of the authorities to trust instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// PEM file of the certificates to show to the server, our own first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert_file: Option<PathBuf>,
    /// PEM file of the key to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key_file: Option<PathBuf>,
    /// For one request, from connecting to the answer's end.
    #[serde(default = "ten_seconds", with = "humantime_serde")]
    pub timeout: Duration,
}

/// A header's value, or where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected text, or where a secret is: { file = \"...\" } or { env = \"...\" }"
)]
pub enum HeaderSource {
    /// As it is.
    Text(String),
    /// Read for the request.
    Secret(SecretSource),
}

/// RFC 7617.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    /// Without a colon.
    pub user: String,
    /// `{ file = "..." }` or `{ env = "..." }`.
    pub password: SecretSource,
}

/// `Content-Encoding` of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As it is.
    #[default]
    None,
    /// RFC 1952; every server knows it.
    Gzip,
    /// RFC 8878; smaller and cheaper, where the server knows it.
    Zstd,
}

impl HttpEndpoint {
    /// All secrets but the bearer token.
    fn secrets(&self) -> impl Iterator<Item = &SecretSource> {
        let headers = self.headers.values().filter_map(HeaderSource::secret);
        headers.chain(self.basic.iter().map(|basic| &basic.password))
    }

    pub(super) fn env(&self) -> Vec<&str> {
        let others = self.secrets().filter_map(SecretSource::env);
        let bearer = self.bearer_token_env.as_deref();
        bearer.into_iter().chain(others).collect()
    }

    pub(super) fn files(&self) -> Vec<&Path> {
        let named = [
            &self.bearer_token_file,
            &self.ca_file,
            &self.client_cert_file,
            &self.client_key_file,
        ];
        let named = named.into_iter().filter_map(|path| path.as_deref());
        named
            .chain(self.secrets().filter_map(SecretSource::file))
            .collect()
    }
}

impl HeaderSource {
    fn secret(&self) -> Option<&SecretSource> {
        match self {
            Self::Secret(secret) => Some(secret),
            Self::Text(_) => None,
        }
    }
}

fn post() -> String {
    "POST".to_owned()
}

pub(super) fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}
