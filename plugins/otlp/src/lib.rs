//! Formatter: OpenTelemetry metrics for an `http` endpoint, as OTLP/HTTP in protobuf or JSON.
//! <https://opentelemetry.io/docs/specs/otlp/#otlphttp>
//!
//! One `ResourceMetrics` a target, so that a pod's names are said once; durations as exponential histograms
//! in the snapshot's own buckets, without conversion. Counts have the temporality of the window: in the
//! mode `delta` from the end of the last window that arrived, else from the target's discovery.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test panics where it fails")
)]

mod metrics;
mod proto;
mod resource;

use owlk8s_plugin::{Formatter, Payload, Result, Snapshot, export_formatter, manifest};
use prost::Message;
use serde::Deserialize;

struct Otlp;

/// The sink's `config` table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    encoding: Encoding,
    /// Requests that a pod sent, as `http.client.request.duration`.
    client: bool,
    /// Count kubelet probes too; set it where the agent's totals include them.
    include_probes: bool,
    /// Pod labels that become `k8s.pod.label.NAME`; each as `label:NAME` among the sink's `columns`.
    labels: Vec<String>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    #[default]
    Protobuf,
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            encoding: Encoding::Protobuf,
            client: true,
            include_probes: false,
            labels: Vec::new(),
        }
    }
}

impl Formatter for Otlp {
    type Config = Config;

    fn format(config: &Config, snapshot: &Snapshot<'_>) -> Result<Vec<Payload>> {
        let labels = resource::labels(config, snapshot)?;
        let request = proto::ExportMetricsServiceRequest {
            resource_metrics: snapshot
                .targets()
                .map(|target| proto::ResourceMetrics {
                    resource: Some(resource::of(&labels, &target)),
                    scope_metrics: vec![metrics::of(config, snapshot, &target)],
                    schema_url: resource::SCHEMA_URL.to_owned(),
                })
                .collect(),
        };
        if request.resource_metrics.is_empty() {
            return Ok(Vec::new());
        }
        Ok(vec![match config.encoding {
            Encoding::Protobuf => {
                Payload::new("out", "application/x-protobuf", request.encode_to_vec())
            }
            Encoding::Json => {
                Payload::new("out", "application/json", serde_json::to_vec(&request)?)
            }
        }])
    }
}

export_formatter!(Otlp);

manifest!({
    "description": "OpenTelemetry metrics by OTLP/HTTP, in protobuf or JSON",
    "asks": { "columns": ["label:*"] }
});

#[cfg(test)]
mod tests;
