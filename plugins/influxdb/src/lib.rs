//! Formatter: InfluxDB line protocol for an `http` endpoint, a point for each pod and window.
//!
//! Measurement, tags and fields are those of the Go library by default, so its dashboards go on. A point's
//! time is the window's end: a window that is sent twice, because its acknowledgement was lost, overwrites
//! itself and counts once.
//!
//! A formatter does not see the server's answer, so it cannot wait for a missing database to be complained
//! of. With `create_database` a window begins with a request to the endpoint `create`, whose URL holds
//! `CREATE DATABASE`, where that may help: in the sink's first window, and in each that follows one that
//! did not arrive (a window says so by how many intervals it covers). The statement does nothing where the
//! database exists.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test panics where it fails")
)]

mod line;
mod points;

use owlk8s_plugin::{Formatter, Payload, Result, Snapshot, export_formatter, manifest, state};
use serde::Deserialize;

struct InfluxDb;

/// The sink's `config` table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    measurement: String,
    fields: Fields,
    /// A second measurement, with a point for each method, status and protocol of a pod.
    by_status: bool,
    services: Services,
    precision: Precision,
    create_database: bool,
    /// On every point.
    tags: std::collections::BTreeMap<String, String>,
}

/// How much a point holds.
#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Fields {
    /// The Go library's four.
    #[default]
    Seed,
    /// Also what was aborted, lost and in flight, coverage, and quantiles.
    All,
}

/// What the tag `service` says of a pod that several services select.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Services {
    #[default]
    First,
    /// Joined by commas.
    All,
}

/// Unit of the timestamps; the URL must name the same by `precision=`.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Precision {
    /// What servers expect of a URL without `precision=`.
    #[default]
    Ns,
    Us,
    Ms,
    S,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            measurement: "INT_svcmetrics".to_owned(),
            fields: Fields::Seed,
            by_status: false,
            services: Services::First,
            precision: Precision::Ns,
            create_database: false,
            tags: std::collections::BTreeMap::new(),
        }
    }
}

impl Precision {
    /// Cut to whole milliseconds, as the Go library's points are, also where the unit is finer.
    fn of(self, unix_ms: u64) -> u64 {
        match self {
            Self::Ns => unix_ms * 1_000_000,
            Self::Us => unix_ms * 1_000,
            Self::Ms => unix_ms,
            Self::S => unix_ms / 1_000,
        }
    }
}

impl Formatter for InfluxDb {
    type Config = Config;

    fn validate(config: &Config) -> Result<()> {
        if config.measurement.is_empty() {
            return Err("config key `measurement` must not be empty".into());
        }
        let taken = |name: &&String| {
            points::TAGS.contains(&name.as_str()) || matches!(name.as_str(), "" | "time")
        };
        match config.tags.keys().find(taken) {
            Some(name) => Err(format!(
                "config key `tags`: {name:?} is no name for a tag of your own (the plugin's are {})",
                points::TAGS.join(", ")
            )
            .into()),
            None => Ok(()),
        }
    }

    fn format(config: &Config, snapshot: &Snapshot<'_>) -> Result<Vec<Payload>> {
        let mut payloads = Vec::new();
        if config.create_database && may_be_missing(snapshot)? {
            let form = "application/x-www-form-urlencoded";
            payloads.push(Payload::new("create", form, Vec::new()));
        }
        let body = points::body(config, snapshot);
        if !body.is_empty() {
            payloads.push(Payload::text("write", body));
        }
        Ok(payloads)
    }
}

export_formatter!(InfluxDb);

manifest!({
    "description": "InfluxDB line protocol, a point for each pod and window"
});

/// Whether this window is the sink's first, or the one before did not arrive.
fn may_be_missing(snapshot: &Snapshot<'_>) -> Result<bool> {
    let first = state::get().is_empty();
    if first {
        state::set(b"asked")?;
    }
    Ok(first || snapshot.window().merged > 1)
}

#[cfg(test)]
mod tests;
