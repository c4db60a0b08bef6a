//! The file as typed. Places are kept where a value is checked later.

use std::path::PathBuf;

use owlk8s_discover::DiscoveryConfig;
use owlk8s_plugin_host::{PluginsConfig, SinkConfig};
use serde::Deserialize;
use toml::Spanned;

use super::Level;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Config {
    pub(super) node: Option<String>,
    pub(super) interval: Option<Spanned<String>>,
    pub(super) log: Level,
    pub(super) plugin_dirs: Vec<PathBuf>,
    pub(super) admin: Admin,
    pub(super) probe: Probe,
    pub(super) discovery: DiscoveryConfig,
    pub(super) plugins: PluginsConfig,
    pub(super) sinks: Vec<Spanned<SinkConfig>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Admin {
    pub(super) listen: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Probe {
    pub(super) targets: Option<Spanned<i64>>,
    pub(super) rows: Option<Spanned<i64>>,
    pub(super) connections: Option<Spanned<i64>>,
    pub(super) include_probes: bool,
    pub(super) client: bool,
}
