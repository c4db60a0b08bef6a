//! What the configuration gives: the `grant` of a sink, and the `[plugins.ceiling]` over all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::origin::OriginPattern;
use crate::config::{SinkConfig, Size};

/// What a sink's plugin may do beside reading its snapshots. Nothing, where it says nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grant {
    /// Where an exporter may send by HTTP.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpGrant>,
    /// Also to private addresses: RFC 1918, RFC 6598 (carriers), RFC 4193 (unique local).
    pub private: bool,
    /// Also to this node's loopback.
    pub loopback: bool,
    /// Also to link-local addresses; never to the metadata services of clouds, which are among them.
    pub link_local: bool,
    /// Also to addresses of IPv6 that stand for one of IPv4 (mapped, NAT64, 6to4), as far as that one may be reached.
    pub translated: bool,
    /// Requests in one window.
    pub requests: u32,
    /// Bytes of all request bodies of a window.
    pub request_size: Size,
    /// Bytes of all response bodies of a window.
    pub response_size: Size,
    /// For name, connection and TLS together.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// For the response's head, and between two pieces of its body. The whole call has `limits.wall`.
    #[serde(with = "humantime_serde")]
    pub read_timeout: Duration,
}

impl Default for Grant {
    fn default() -> Self {
        Self {
            http: Vec::new(),
            private: false,
            loopback: false,
            link_local: false,
            translated: false,
            requests: 100,
            request_size: Size(8 << 20),
            response_size: Size(1 << 20),
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(10),
        }
    }
}

/// Origins that an exporter may send to, and what the host adds to its requests there. Of this the plugin
/// sees nothing. In the file a string, or a table with more.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HttpGrant {
    /// Which.
    pub to: OriginPattern,
    /// Sent along, instead of the plugin's of the same name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// A file whose content is sent as `Authorization: Bearer ...`, read again for every request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token_file: Option<PathBuf>,
    /// An environment variable of the agent for the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token_env: Option<String>,
    /// PEM file of the authorities to trust instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// PEM file of the certificate to show, with its chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert_file: Option<PathBuf>,
    /// PEM file of its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key_file: Option<PathBuf>,
}

impl From<OriginPattern> for HttpGrant {
    fn from(to: OriginPattern) -> Self {
        Self {
            to,
            headers: BTreeMap::new(),
            bearer_token_file: None,
            bearer_token_env: None,
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
        }
    }
}

/// By hand, where an untagged enum would answer every mistake in the table by one sentence.
impl<'de> Deserialize<'de> for HttpGrant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            to: OriginPattern,
            #[serde(default)]
            headers: BTreeMap<String, String>,
            bearer_token_file: Option<PathBuf>,
            bearer_token_env: Option<String>,
            ca_file: Option<PathBuf>,
            client_cert_file: Option<PathBuf>,
            client_key_file: Option<PathBuf>,
        }

        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = HttpGrant;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "an origin such as \"api.example.com\", or a table { to = \"...\", ... }",
                )
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<HttpGrant, E> {
                text.parse::<OriginPattern>()
                    .map(HttpGrant::from)
                    .map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HttpGrant, A::Error> {
                let table = Table::deserialize(MapAccessDeserializer::new(map))
                    .map_err(A::Error::custom)?;
                Ok(HttpGrant {
                    to: table.to,
                    headers: table.headers,
                    bearer_token_file: table.bearer_token_file,
                    bearer_token_env: table.bearer_token_env,
                    ca_file: table.ca_file,
                    client_cert_file: table.client_cert_file,
                    client_key_file: table.client_key_file,
                })
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// `[plugins.ceiling]`: what no sink goes beyond, whatever it grants. What it does not mention it does not
/// bound.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ceiling {
    /// Where exporters may send by HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Vec<OriginPattern>>,
    /// Whether a sink may grant private addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private: Option<bool>,
    /// The same for loopback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loopback: Option<bool>,
    /// The same for link-local addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_local: Option<bool>,
    /// The same for addresses of IPv6 that stand for one of IPv4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub translated: Option<bool>,
    /// Columns, such as `label:team` or `label:app.kubernetes.io/*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// Kubernetes namespaces, with `*` for any part of a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
    /// The most that `limits.memory` of a sink may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// Further bounds on sinks in which a plugin of this name takes part: of its file, without `.wasm`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub plugin: BTreeMap<String, Ceiling>,
}

impl Ceiling {
    /// The ceilings over a chain of these plugins, each with the name of its table.
    pub(crate) fn over<'a>(
        &'a self,
        plugins: impl IntoIterator<Item = &'a str>,
    ) -> Vec<(String, &'a Ceiling)> {
        let names: BTreeSet<String> = plugins.into_iter().map(crate::plugin::short_name).collect();
        let narrower = names.into_iter().filter_map(|name| {
            let ceiling = self.plugin.get(&name)?;
            Some((format!("[plugins.ceiling.plugin.{name}]"), ceiling))
        });
        [("[plugins.ceiling]".to_owned(), self)]
            .into_iter()
            .chain(narrower)
            .collect()
    }
}

impl SinkConfig {
    /// What is bounded by a ceiling: the sink's filters and its plugin, as configured.
    pub(crate) fn plugins(&self) -> impl Iterator<Item = &str> {
        self.filters
            .iter()
            .map(|filter| filter.plugin())
            .chain([self.plugin.as_str()])
    }
}
