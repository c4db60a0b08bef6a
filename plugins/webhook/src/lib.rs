//! Exporter: rules on the rate, the error ratio or a latency quantile of workloads; when one begins or ends to hold,
//! one JSON POST says so, for all groups of a window together.
//!
//! What was told is kept in the sink's state once the receiver has taken it, so nothing is told twice, and what could
//! not be told is told later. Rules look at what came in a window: the sink's mode must be `delta`.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test panics where it fails")
)]

mod alerts;
mod post;
mod rules;

use owlk8s_plugin::records::Temporality;
use owlk8s_plugin::{Exporter, Outcome, Result, Snapshot, export_exporter, log, manifest, state};
use serde::Deserialize;

use alerts::Memory;
use post::Answer;
use rules::Rule;

struct Webhook;

/// The sink's `config` table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Who is told; the sink's `grant` must name its host.
    url: String,
    rules: Vec<Rule>,
}

impl Exporter for Webhook {
    type Config = Config;

    fn validate(config: &Config) -> Result<()> {
        post::check(&config.url)?;
        if config.rules.is_empty() {
            return Err("config key `rules` must hold a rule".into());
        }
        for (index, rule) in config.rules.iter().enumerate() {
            rule.check()
                .map_err(|why| format!("config key `rules[{index}]`: {why}"))?;
            let twice = config.rules[..index]
                .iter()
                .any(|other| other.name == rule.name);
            if twice {
                return Err(format!(
                    "config key `rules[{index}]`: there is another rule {:?}",
                    rule.name
                )
                .into());
            }
        }
        Ok(())
    }

    fn export(config: &Config, snapshot: &Snapshot<'_>) -> Outcome {
        tell(config, snapshot, |body| post::post(&config.url, body))
    }
}

export_exporter!(Webhook);

manifest!({
    "description": "Tells a webhook when a rule on rate, errors or latency begins or ends to hold",
    "asks": { "http": ["config:url"] },
    "config": {
        "type": "object",
        "properties": {
            "url": { "type": "string" },
            "rules": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "name": { "type": "string" },
                        "metric": { "enum": ["rate", "error_ratio", "p50", "p90", "p99", "coverage"] },
                        "above": { "type": "number" },
                        "below": { "type": "number" },
                        "for": { "type": "integer", "minimum": 1 },
                        "min_requests": { "type": "integer", "minimum": 0 },
                        "by": { "enum": ["workload", "service", "pod", "namespace"] },
                        "namespace": { "type": "string" }
                    },
                    "required": ["name", "metric"],
                    "additionalProperties": false
                }
            }
        },
        "required": ["url", "rules"],
        "additionalProperties": false
    }
});

/// One window: judged, told by `post` where there is something to tell, and remembered.
fn tell(config: &Config, snapshot: &Snapshot<'_>, post: impl FnOnce(&[u8]) -> Answer) -> Outcome {
    if snapshot.temporality() == Temporality::Cumulative {
        return Outcome::Rejected(
            "rules look at what came in a window: set the sink's `mode` to \"delta\"".to_owned(),
        );
    }
    let before: Memory = state::load().unwrap_or_default();
    let (after, notice) = before.judge(&config.rules, snapshot);
    if let Some(notice) = notice {
        match post(&notice.body()) {
            Answer::Taken => log::info(notice.summary()),
            Answer::Later(why) => {
                log::warn(format!("not told yet: {why}"));
                return Outcome::Retry(0);
            }
            Answer::Never(why) => return Outcome::Rejected(why),
        }
    }
    match state::save(&after) {
        Ok(()) => Outcome::Delivered,
        Err(problem) => Outcome::Rejected(format!(
            "{problem} (raise the sink's `limits.state`, or have fewer groups by `namespace`)"
        )),
    }
}

#[cfg(test)]
mod tests;
