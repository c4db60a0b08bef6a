//! Filter: drops the rows of kubelet probes, and pods that nothing but probes ever asked.

use owlk8s_plugin::{Filter, Result, Snapshot, Verdict, export_filter, manifest};

struct DropProbes;

/// The filter's `config` table.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// Keep pods without other requests; their totals are those of the agent.
    keep_targets: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { keep_targets: true }
    }
}

impl Filter for DropProbes {
    type Config = Config;

    fn filter(config: &Config, snapshot: &Snapshot<'_>) -> Result<Verdict> {
        let rows = snapshot.rows().filter(|row| !row.probe);
        let mut verdict = Verdict::all();
        verdict.rows = Some(rows.map(|row| row.index()).collect());
        if !config.keep_targets {
            let asked = snapshot.targets().filter(|target| target.total().seen > 0);
            verdict.targets = Some(asked.map(|target| target.index()).collect());
        }
        Ok(verdict)
    }
}

export_filter!(DropProbes);

manifest!({
    "description": "Drops the rows of kubelet probes",
    "config": {
        "type": "object",
        "properties": { "keep_targets": { "type": "boolean" } },
        "additionalProperties": false
    }
});
