//! Which points a snapshot is.
//!
//! A series is what its tags say, and a series has one point a time: where two targets agree in all tags,
//! as a pod and its successor of the same name do, the later line would replace the earlier. So such
//! targets become one point, with the sum of their counts.

use std::collections::BTreeMap;

use owlk8s_plugin::records::Total;
use owlk8s_plugin::{Histogram, Snapshot, Target};

use crate::line::{self, Tags};
use crate::{Config, Fields, Services};

/// Keys of the tags that the plugin sets.
pub(crate) const TAGS: [&str; 11] = [
    "namespace",
    "podname",
    "owner",
    "owner_kind",
    "service",
    "node",
    "method",
    "status",
    "protocol",
    "side",
    "probe",
];

/// Quantiles as fields.
const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)];

/// The window in line protocol; empty where nothing is watched.
pub(crate) fn body(config: &Config, snapshot: &Snapshot<'_>) -> String {
    let time = config.precision.of(snapshot.window().end_unix_ms());
    let mut body = String::new();
    for (tags, point) in pods(config, snapshot) {
        line::begin(&mut body, &config.measurement, &tags);
        point.write(config, &mut body, time);
    }
    if config.by_status {
        let measurement = format!("{}_by_status", config.measurement);
        for (tags, exchanges) in exchanges(config, snapshot) {
            line::begin(&mut body, &measurement, &tags);
            exchanges.write(&mut body, time);
        }
    }
    body
}

/// The sums of all targets with the same tags.
struct Pod {
    total: Total,
    latency: Histogram,
}

fn pods(config: &Config, snapshot: &Snapshot<'_>) -> BTreeMap<Tags, Pod> {
    let mut pods: BTreeMap<Tags, Pod> = BTreeMap::new();
    for target in snapshot.targets() {
        let tags = Tags::of(tags(config, &target, &service(config, &target)));
        let pod = pods.entry(tags).or_insert_with(|| Pod {
            total: Total::none(),
            latency: Histogram::default(),
        });
        pod.total.add(target.total());
        if config.fields == Fields::All {
            pod.latency.add(&target.latency());
        }
    }
    pods
}

impl Pod {
    fn write(self, config: &Config, body: &mut String, time: u64) {
        let total = &self.total;
        let mut fields = line::Fields::of(body);
        fields
            .integer("duration", total.duration_last_ns / 1_000)
            .integer("requests", total.requests)
            .integer("err4", total.err4)
            .integer("err5", total.err5);
        if config.fields == Fields::All {
            fields
                .integer("aborted", total.aborted)
                .integer("in_flight", total.in_flight)
                .integer("lost", total.lost())
                .integer("seen", total.seen)
                .float("coverage", total.coverage)
                .integer("duration_sum", total.duration_sum_ns / 1_000);
            quantiles(&mut fields, &self.latency);
        }
        fields.end(time);
    }
}

/// Exchanges that agree in all tags.
#[derive(Default)]
struct Exchanges {
    requests: u64,
    duration_sum_ns: u64,
    latency: Histogram,
}

fn exchanges(config: &Config, snapshot: &Snapshot<'_>) -> BTreeMap<Tags, Exchanges> {
    let mut all: BTreeMap<Tags, Exchanges> = BTreeMap::new();
    for target in snapshot.targets() {
        let service = service(config, &target);
        for row in target.rows() {
            let status = row.status.to_string();
            let more = [
                ("method", row.method()),
                ("status", status.as_str()),
                ("protocol", row.protocol()),
                ("side", if row.client { "client" } else { "server" }),
                ("probe", if row.probe { "true" } else { "" }),
            ];
            let tags = Tags::of(tags(config, &target, &service).chain(more));
            let sum = all.entry(tags).or_default();
            sum.requests += row.count;
            sum.duration_sum_ns += row.duration_sum_ns;
            sum.latency.add(&row.latency());
        }
    }
    all
}

impl Exchanges {
    fn write(self, body: &mut String, time: u64) {
        let mut fields = line::Fields::of(body);
        fields
            .integer("requests", self.requests)
            .integer("duration_sum", self.duration_sum_ns / 1_000);
        quantiles(&mut fields, &self.latency);
        fields.end(time);
    }
}

/// In microseconds, as all durations here; left out where nothing was timed.
fn quantiles(fields: &mut line::Fields<'_>, latency: &Histogram) {
    for (name, q) in QUANTILES {
        if let Some(duration) = latency.quantile(q) {
            fields.integer(name, duration.as_micros() as u64);
        }
    }
}

fn tags<'t>(
    config: &'t Config,
    target: &Target<'t>,
    service: &'t str,
) -> impl Iterator<Item = (&'t str, &'t str)> {
    let seed = [
        ("namespace", target.namespace()),
        ("podname", target.pod()),
        ("owner", target.workload_name()),
        ("service", service),
    ];
    let more = [
        ("node", target.node()),
        ("owner_kind", target.workload_kind()),
    ];
    let more = more.into_iter().filter(|_| config.fields == Fields::All);
    let own = config
        .tags
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()));
    seed.into_iter().chain(more).chain(own)
}

fn service(config: &Config, target: &Target<'_>) -> String {
    match config.services {
        Services::First => target.services().first().unwrap_or_default().to_owned(),
        Services::All => target.services().join(","),
    }
}
