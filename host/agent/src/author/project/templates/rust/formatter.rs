//! Writes the requests of each pod, one a line, to endpoint `out`.

use owlk8s_plugin::{Formatter, Payload, Result, Snapshot, export_formatter, manifest};

struct Plugin;

/// The sink's `config` table. Give every key a default.
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

impl Formatter for Plugin {
    type Config = Config;

    fn format(config: &Config, snapshot: &Snapshot<'_>) -> Result<Vec<Payload>> {
        let mut text = String::new();
        for target in snapshot.targets() {
            let requests = target.total().requests;
            if requests >= config.at_least {
                text += &format!("{} {requests}\n", target.full_name());
            }
        }
        Ok(vec![Payload::text("out", text)])
    }
}

export_formatter!(Plugin);

manifest!({ "description": "The requests of each pod, one a line" });
