//! Responder: the node's numbers for Prometheus and who reads its formats, on `GET /metrics`: text 0.0.4,
//! OpenMetrics 1.0, or protobuf with native histograms, by what the scraper accepts.
//!
//! Names and units are OpenTelemetry's in Prometheus form: `http_server_request_duration_seconds` by
//! method, status and protocol version. What is owlk8s's own is called `owlk8s_...`: the audited
//! counts, the losses by reason, the state of each target. Label values are the cluster's names as
//! they are, so they join with those of other exporters.
//!
//! A scraper computes differences by itself, so the sink's mode must be `latest` (counts since
//! discovery); a window of differences is refused. Series of a target exist from its discovery, at 0
//! where nothing was counted, until it is gone.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test panics where it fails")
)]

mod durations;
mod exposition;
mod labels;
mod negotiate;
mod targets;

use owlk8s_plugin::records::Temporality;
use owlk8s_plugin::{Request, Responder, Response, Result, Snapshot, export_responder, manifest};
use serde::Deserialize;

use exposition::Exposition;
use negotiate::{Format, accepts_gzip};

/// The plugin.
pub struct Prometheus;

/// Bounds above share the snapshot's last bucket with all that is longer.
const LONGEST_BOUND_SECONDS: f64 = 60.0;

/// The sink's `config` table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the metrics are.
    path: String,
    /// Upper bounds of the duration histogram, seconds, rising.
    buckets: Vec<f64>,
    /// Requests that a pod sent, as `http_client_request_duration_seconds`.
    client: bool,
    /// Count kubelet probes too; set it where the agent's totals include them.
    include_probes: bool,
    /// In protobuf, beside the buckets above.
    native_histograms: bool,
    services: Services,
}

/// What `k8s_service_name` says of a pod that several services select.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Services {
    /// The first in alphabetical order, so that the label joins with those of other exporters.
    #[default]
    First,
    /// All, joined by commas.
    All,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: "/metrics".to_owned(),
            // OpenTelemetry's advice for http.server.request.duration.
            buckets: vec![
                0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
            ],
            client: true,
            include_probes: false,
            native_histograms: true,
            services: Services::First,
        }
    }
}

impl Responder for Prometheus {
    type Config = Config;

    fn validate(config: &Config) -> Result<()> {
        if !config.path.starts_with('/') {
            return Err(format!(
                "config key `path` must begin with a slash, and is {:?}",
                config.path
            )
            .into());
        }
        if !config.buckets.is_sorted_by(|a, b| a < b) {
            return Err("config key `buckets` must rise from bound to bound".into());
        }
        match config
            .buckets
            .iter()
            .find(|&&bound| bound <= 0.0 || bound > LONGEST_BOUND_SECONDS)
        {
            Some(bound) => Err(format!(
                "config key `buckets`: {bound} is not above 0 and up to 60 seconds"
            )
            .into()),
            None => Ok(()),
        }
    }

    fn respond(config: &Config, request: &Request, snapshot: &Snapshot<'_>) -> Result<Response> {
        if request.path() != config.path {
            return Ok(Response::new(
                404,
                "text/plain",
                format!("metrics are at {}\n", config.path),
            ));
        }
        if !matches!(request.method.as_str(), "GET" | "HEAD") {
            return Ok(
                Response::new(405, "text/plain", "only GET\n").with_header("allow", "GET, HEAD")
            );
        }
        let (format, gzip) = (Format::accepted(request), accepts_gzip(request));
        let page = expose(Exposition::new(format, gzip), config, snapshot)?;
        let response = Response::new(200, format.content_type(), page)
            .with_header("vary", "accept, accept-encoding");
        Ok(match gzip {
            true => response.with_header("content-encoding", "gzip"),
            false => response,
        })
    }
}

export_responder!(Prometheus);

manifest!({
    "description": "Answers Prometheus, with OpenTelemetry's names",
    "config": {
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "path": { "type": "string", "pattern": "^/", "default": "/metrics" },
            "buckets": {
                "type": "array",
                "items": { "type": "number" },
                "description": "upper bounds of the histogram in seconds, rising"
            },
            "client": { "type": "boolean", "default": true, "description": "requests that the pods sent, too" },
            "include_probes": { "type": "boolean", "default": false, "description": "count kubelet probes, too" },
            "native_histograms": { "type": "boolean", "default": true, "description": "in protobuf, beside the buckets" },
            "services": { "enum": ["first", "all"], "default": "first" }
        }
    }
});

fn expose(mut page: Exposition, config: &Config, snapshot: &Snapshot<'_>) -> Result<Vec<u8>> {
    if snapshot.temporality() == Temporality::Delta {
        return Err(
            "Prometheus needs counts since discovery: set the sink's `mode` to \"latest\"".into(),
        );
    }
    let targets = labels::targets(&page, config.services, snapshot);
    targets::expose_agent(&mut page, snapshot);
    durations::expose(&mut page, config, &targets);
    targets::expose(&mut page, snapshot, &targets);
    Ok(page.finish()?)
}

#[cfg(test)]
mod tests;
