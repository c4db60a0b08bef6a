//! The `[plugins]` and `[[sinks]]` of the configuration file: what was typed. [`check`] says what cannot be meant;
//! what only the plugin can tell (its kind, its own `config`) is checked where it is loaded.

mod breaker;
mod check;
mod endpoint;
mod limits;
mod plugins;

use std::collections::BTreeMap;
use std::time::Duration;

use owlk8s_pipeline::{Mode, Select};
use serde::{Deserialize, Serialize};

use crate::authority::Grant;

pub use breaker::BreakerConfig;
pub use check::{ConfigError, check};
pub use endpoint::{
    BasicAuth, Compression, Endpoint, FileEndpoint, HeaderSource, HttpEndpoint, Permissions,
    Secret, SecretSource, ServeEndpoint, SinkPaths, SocketKind, TcpEndpoint, UdpEndpoint,
    UnixEndpoint,
};
pub(crate) use endpoint::{HIDDEN, exposed};
pub use limits::{Limit, Limits, Size};
pub use plugins::PluginsConfig;

/// A `config` table for a plugin; it reaches the guest as JSON.
pub type PluginConfig = serde_json::Map<String, serde_json::Value>;

/// One configured plugin with its filters and endpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinkConfig {
    /// Names it in logs, `/plugins` and metrics.
    pub name: String,
    /// A shipped name (`simple-log`) or a path to a component.
    pub plugin: String,
    /// `sha256:` and 64 hex digits; a component that has another one is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Off: kept in the file, not run.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Run in order before the plugin.
    #[serde(default)]
    pub filters: Vec<FilterConfig>,
    /// Which windows it gets when it falls behind.
    #[serde(default)]
    pub mode: Mode,
    /// Windows that wait at most; for `every-window`.
    #[serde(default = "queue")]
    pub queue: usize,
    /// For so long a window is tried again that its endpoint does not take, or its exporter cannot send; then
    /// it is given up, and in `delta` its counts come with the next.
    #[serde(default = "an_hour", with = "humantime_serde")]
    pub retry_for: Duration,
    /// Which targets it gets.
    #[serde(default)]
    pub select: Select,
    /// Further columns that are granted to its plugins: `label:NAME`.
    #[serde(default)]
    pub columns: Vec<String>,
    /// Where the host delivers what the plugin makes, by the name that the plugin uses.
    #[serde(default)]
    pub endpoints: BTreeMap<String, Endpoint>,
    /// What its plugin may do beside that, as far as it asks for it.
    #[serde(default)]
    pub grant: Grant,
    /// The plugin's own.
    #[serde(default)]
    pub config: PluginConfig,
    /// What a call of the plugin, or of one of its filters, may use.
    #[serde(default)]
    pub limits: Limits,
    /// Keep one instance of each plugin from window to window; a fault throws it away.
    #[serde(default)]
    pub reuse: bool,
    /// When a plugin that faults again and again is left alone.
    #[serde(default)]
    pub breaker: BreakerConfig,
}

fn yes() -> bool {
    true
}

fn an_hour() -> Duration {
    Duration::from_secs(3600)
}

fn queue() -> usize {
    60
}

/// A filter of a sink: a name or path, with a `config` of its own where it needs one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a plugin's name, or a table { plugin = \"...\", config = { ... } }"
)]
pub enum FilterConfig {
    /// A shipped name or a path.
    Plugin(String),
    /// With its own `config`.
    Configured(ConfiguredFilter),
}

/// A filter with its own `config`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfiguredFilter {
    /// A shipped name or a path.
    pub plugin: String,
    /// `sha256:` and 64 hex digits; a component that has another one is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The filter's own.
    #[serde(default)]
    pub config: PluginConfig,
}

impl FilterConfig {
    /// A shipped name or a path.
    pub fn plugin(&self) -> &str {
        match self {
            Self::Plugin(plugin) | Self::Configured(ConfiguredFilter { plugin, .. }) => plugin,
        }
    }

    /// What its component must have.
    pub fn digest(&self) -> Option<&str> {
        match self {
            Self::Plugin(_) => None,
            Self::Configured(filter) => filter.digest.as_deref(),
        }
    }

    pub(crate) fn config(&self) -> PluginConfig {
        match self {
            Self::Plugin(_) => PluginConfig::new(),
            Self::Configured(filter) => filter.config.clone(),
        }
    }
}

impl SinkConfig {
    /// Names of the environment variables that its endpoints and grants take secrets from. The agent reads them:
    /// the plugin process has no environment.
    pub fn wanted_env(&self) -> impl Iterator<Item = &str> {
        let of_grants = self
            .grant
            .http
            .iter()
            .filter_map(|grant| grant.bearer_token_env.as_deref());
        self.endpoints
            .values()
            .flat_map(Endpoint::env)
            .chain(of_grants)
    }

    /// What its endpoints and grants touch in the file system.
    pub fn paths(&self) -> SinkPaths {
        let mut paths = SinkPaths::default();
        for endpoint in self.endpoints.values() {
            endpoint.paths(&mut paths);
        }
        for grant in &self.grant.http {
            let files = [
                &grant.bearer_token_file,
                &grant.ca_file,
                &grant.client_cert_file,
                &grant.client_key_file,
            ];
            paths.read.extend(files.into_iter().flatten().cloned());
        }
        paths
    }
}

/// As it reaches the guest.
pub(crate) fn json(config: &PluginConfig) -> String {
    serde_json::to_string(config).unwrap_or_else(|_| unreachable!("a map of JSON values is JSON"))
}

#[cfg(test)]
mod tests;
