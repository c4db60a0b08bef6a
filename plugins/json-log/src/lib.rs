//! Formatter: a JSON object on a line for each pod, with the keys of the Go library's JSON log.
//!
//! `timestamp` is the window's end in Unix milliseconds and `duration` the latest one in microseconds.
//! `podip` and `service` are the first of the pod's addresses and services.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test panics where it fails")
)]

use owlk8s_plugin::{Formatter, Payload, Result, Snapshot, Target, export_formatter, manifest};
use serde::{Deserialize, Serialize};

struct JsonLog;

/// The sink's `config` table: there is nothing to choose.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {}

#[derive(Serialize)]
struct Line<'s> {
    timestamp: u64,
    podip: &'s str,
    owner: &'s str,
    podname: &'s str,
    namespace: &'s str,
    service: &'s str,
    metrics: Metrics,
}

#[derive(Serialize)]
struct Metrics {
    requests: u64,
    err4: u64,
    err5: u64,
    duration: u64,
}

impl Formatter for JsonLog {
    type Config = Config;

    fn format(_: &Config, snapshot: &Snapshot<'_>) -> Result<Vec<Payload>> {
        let timestamp = snapshot.window().end_unix_ms();
        let mut body = Vec::new();
        for target in snapshot.targets() {
            serde_json::to_writer(&mut body, &Line::new(timestamp, &target))?;
            body.push(b'\n');
        }
        Ok(vec![Payload::json_lines("out", body)])
    }
}

export_formatter!(JsonLog);

manifest!({
    "description": "A JSON object for each pod, one a line",
    "config": { "type": "object", "additionalProperties": false }
});

impl<'s> Line<'s> {
    fn new(timestamp: u64, target: &'s Target<'_>) -> Self {
        let total = target.total();
        Self {
            timestamp,
            podip: target.ips().first().unwrap_or_default(),
            owner: target.workload_name(),
            podname: target.pod(),
            namespace: target.namespace(),
            service: target.services().first().unwrap_or_default(),
            metrics: Metrics {
                requests: total.requests,
                err4: total.err4,
                err5: total.err5,
                duration: total.duration_last_ns / 1_000,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use owlk8s_plugin::testing::SnapshotData;
    use owlk8s_plugin::{Formatter, Snapshot};
    use owlk8s_plugin_golden::{assert_golden, snapshot, ten_thousand_rows};

    use super::{Config, JsonLog};

    fn format(data: &SnapshotData) -> String {
        let mut payloads = JsonLog::format(&Config {}, &Snapshot::new(data)).unwrap();
        let payload = payloads.pop().unwrap();
        assert_eq!(
            (payload.endpoint.as_str(), payload.content_type.as_str()),
            ("out", "application/x-ndjson")
        );
        String::from_utf8(payload.body).unwrap()
    }

    #[test]
    fn output_is_golden() {
        for name in ["empty", "shop", "odd-names"] {
            assert_golden(format!("golden/{name}.jsonl"), &format(&snapshot(name)));
        }
    }

    #[test]
    fn each_pod_is_one_line_of_json_whatever_its_name() {
        let text = format(&snapshot("odd-names"));
        assert_eq!(text.lines().count(), snapshot("odd-names").targets.len());
        for line in text.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
        assert_eq!(format(&ten_thousand_rows()).lines().count(), 100);
    }
}
