//! Formatter: StatsD lines for a `udp` endpoint (or `unix`, `tcp`), with DogStatsD's tags where wanted.
//! <https://github.com/statsd/statsd/blob/master/docs/metric_types.md>
//!
//! StatsD adds up what it is sent, so the sink's mode must be `delta`. A counter of 0 says nothing and is left
//! out. A line is never longer than [`LINE_MAX`] bytes, so that an endpoint can fill datagrams with whole
//! lines: names are cut to what that takes.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test panics where it fails")
)]

mod lines;
mod name;

use owlk8s_plugin::records::Temporality;
use owlk8s_plugin::{Formatter, Payload, Result, Snapshot, export_formatter, manifest};
use serde::Deserialize;

struct StatsD;

/// What fits an Ethernet frame behind the longest of the usual tunnels' headers; StatsD's own advice.
/// <https://github.com/statsd/statsd/blob/master/docs/metric_types.md#multi-metric-packets>
const LINE_MAX: usize = 1432;
/// Of a name's part or a tag's value, bytes; DogStatsD cuts tags there too.
const PART_MAX: usize = 200;
/// Of the prefix, bytes.
const PREFIX_MAX: usize = 100;
/// Of a metric's own name, a value with its rate, and the keys of all tags, bytes.
const REST_MAX: usize = 200;
const _: () = assert!(PREFIX_MAX + 5 * PART_MAX + REST_MAX < LINE_MAX);

/// The sink's `config` table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// Before each name.
    prefix: String,
    tags: Tags,
    durations: Durations,
}

/// Where a target's names stand.
#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Tags {
    /// In the metric's name: `owlk8s.shop.cart.cart-0.requests`.
    #[default]
    None,
    /// Behind the value: `owlk8s.requests:1|c|#namespace:shop,...`.
    DogStatsD,
}

/// How durations are told.
#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Durations {
    /// The window's quantiles, computed here.
    #[default]
    Gauges,
    /// A sampled timer for each bucket. Only for servers that weigh a timer by its sample rate, as
    /// DogStatsD and Telegraf do: StatsD's own percentiles do not.
    Timers,
    None,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            prefix: "owlk8s".to_owned(),
            tags: Tags::None,
            durations: Durations::Gauges,
        }
    }
}

impl Formatter for StatsD {
    type Config = Config;

    fn validate(config: &Config) -> Result<()> {
        let prefix = &config.prefix;
        if prefix.len() > PREFIX_MAX {
            return Err(format!(
                "config key `prefix` has {} bytes, and {PREFIX_MAX} are the limit",
                prefix.len()
            )
            .into());
        }
        if let Some(c) = prefix.chars().find(|&c| c != '.' && !name::is_plain(c)) {
            return Err(format!(
                "config key `prefix` holds {c:?}: letters, digits, `_`, `-` and `.` make a name"
            )
            .into());
        }
        Ok(())
    }

    fn format(config: &Config, snapshot: &Snapshot<'_>) -> Result<Vec<Payload>> {
        if snapshot.temporality() == Temporality::Cumulative {
            return Err(
                "StatsD adds up what it is sent: set the sink's `mode` to \"delta\"".into(),
            );
        }
        let lines = lines::of(config, snapshot);
        if lines.is_empty() {
            return Ok(Vec::new());
        }
        Ok(vec![Payload::text("out", lines)])
    }
}

export_formatter!(StatsD);

manifest!({
    "description": "StatsD lines, with the tags of DogStatsD where wanted"
});

#[cfg(test)]
mod tests;
