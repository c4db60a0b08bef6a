//! The example of the guide: a formatter with its configuration, whole.

use owlk8s_plugin::{Formatter, Payload, Result, Snapshot, export_formatter};

/// Writes the names of the busiest pods, one a line.
struct Busiest;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// How many lines.
    limit: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { limit: 3 }
    }
}

impl Formatter for Busiest {
    type Config = Config;

    fn format(config: &Config, snapshot: &Snapshot<'_>) -> Result<Vec<Payload>> {
        let mut pods: Vec<_> = snapshot
            .targets()
            .map(|t| (t.total().requests, t.full_name()))
            .collect();
        pods.sort_by(|a, b| b.cmp(a));
        let lines = pods
            .iter()
            .take(config.limit)
            .map(|(requests, pod)| format!("{pod} {requests}\n"));
        Ok(vec![Payload::text("out", lines.collect())])
    }
}

export_formatter!(Busiest);
