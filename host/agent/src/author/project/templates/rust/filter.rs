//! Keeps the pods that had requests.

use owlk8s_plugin::{Filter, Result, Snapshot, Verdict, export_filter, manifest};

struct Plugin;

/// The filter's `config` table. Give every key a default.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// Pods with fewer requests are left out.
    at_least: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { at_least: 1 }
    }
}

impl Filter for Plugin {
    type Config = Config;

    fn filter(config: &Config, snapshot: &Snapshot<'_>) -> Result<Verdict> {
        let busy = snapshot
            .targets()
            .filter(|target| target.total().requests >= config.at_least);
        Ok(Verdict::keep_targets(busy.map(|target| target.index())))
    }
}

export_filter!(Plugin);

manifest!({ "description": "Keeps the pods that had requests" });
