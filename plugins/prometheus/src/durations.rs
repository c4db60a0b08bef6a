//! `http_server_request_duration_seconds` and its client twin.

use std::collections::BTreeMap;

use owlk8s_plugin::{Histogram, Row};

use crate::Config;
use crate::exposition::{Exposition, Family, Kind, Labels, seconds};
use crate::labels::Labelled;

/// Those that OpenTelemetry's HTTP conventions know; any other is `_OTHER`.
/// <https://opentelemetry.io/docs/specs/semconv/registry/attributes/http/>
const METHODS: [&str; 10] = [
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE",
];

/// Method, status, protocol version.
type Dimensions<'s> = (&'s str, u16, &'s str);

#[derive(Default)]
struct Sum {
    count: u64,
    duration_ns: u64,
    latency: Histogram,
}

pub(crate) fn expose(page: &mut Exposition, config: &Config, targets: &[Labelled<'_>]) {
    let help = "Duration of HTTP requests that the pod answered, first byte of the request to first byte of the answer.";
    let mut family = page.family(
        "http_server_request_duration_seconds",
        Kind::Histogram,
        help,
    );
    write(&mut family, config, targets, |row| !row.client);
    if config.client {
        let help = "Duration of HTTP requests that the pod sent, first byte of the request to first byte of the answer.";
        let mut family = page.family(
            "http_client_request_duration_seconds",
            Kind::Histogram,
            help,
        );
        write(&mut family, config, targets, |row| row.client);
    }
}

fn write(
    family: &mut Family<'_>,
    config: &Config,
    targets: &[Labelled<'_>],
    wanted: impl Fn(&Row<'_>) -> bool,
) {
    let bounds: Vec<_> = config.buckets.iter().map(f64::to_string).collect();
    for Labelled { target, labels } in targets {
        let rows = target
            .rows()
            .filter(|row| wanted(row) && (config.include_probes || !row.probe));
        for ((method, status, version), sum) in sums(rows) {
            let labels = labels
                .clone()
                .with("http_request_method", method)
                .with("http_response_status_code", status)
                .with("network_protocol_version", version);
            let below = sum.latency.cumulative(&config.buckets);
            write_histogram(family, bounds.iter().zip(below), &labels, &sum);
        }
    }
}

/// Rows that differ only in what has no label here become one series.
fn sums<'s>(rows: impl Iterator<Item = Row<'s>>) -> BTreeMap<Dimensions<'s>, Sum> {
    let mut sums: BTreeMap<_, Sum> = BTreeMap::new();
    for row in rows {
        let method = if METHODS.contains(&row.method()) {
            row.method()
        } else {
            "_OTHER"
        };
        let sum = sums
            .entry((method, row.status, version(row.protocol())))
            .or_default();
        sum.count += row.count;
        sum.duration_ns += row.duration_sum_ns;
        sum.latency.add(&row.latency());
    }
    sums
}

/// `1.1` of `http/1.1`.
fn version(protocol: &str) -> &str {
    protocol
        .split_once('/')
        .map_or(protocol, |(_, version)| version)
}

/// The kernel counts a request and its bucket in two steps, so a reading between them can hold one
/// bucket too many: no bucket may exceed the count.
fn write_histogram<'b>(
    family: &mut Family<'_>,
    buckets: impl Iterator<Item = (&'b String, u64)>,
    labels: &Labels,
    sum: &Sum,
) {
    for (bound, count) in buckets {
        family.bucket(labels, bound, count.min(sum.count));
    }
    family.bucket(labels, "+Inf", sum.count);
    family.suffixed("_sum", labels, seconds(sum.duration_ns));
    family.suffixed("_count", labels, sum.count);
}
