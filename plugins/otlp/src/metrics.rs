//! A target's metrics: the HTTP durations of OpenTelemetry's conventions, and the audited counts as
//! `owlk8s.*`, with the names that the plugin `prometheus` gives them in Prometheus' form.
//! <https://opentelemetry.io/docs/specs/semconv/http/http-metrics/>

use std::time::Duration;

use owlk8s_plugin::records::{Status, Temporality, Total};
use owlk8s_plugin::semconv::{Durations, Exchange, exchanges};
use owlk8s_plugin::{Row, Snapshot, Target};

use crate::Config;
use crate::proto::{
    Buckets, CUMULATIVE, DELTA, Data, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge,
    InstrumentationScope, KeyValue, Metric, Number, NumberDataPoint, ScopeMetrics, Sum,
};

/// Name, description and the value in a target's total.
type TotalMetric = (&'static str, &'static str, fn(&Total) -> u64);

const COUNTERS: [TotalMetric; 3] = [
    (
        "owlk8s.requests.seen",
        "HTTP requests to the pod that began.",
        |t| t.seen,
    ),
    (
        "owlk8s.requests.answered",
        "HTTP requests answered with a final status.",
        |t| t.requests,
    ),
    (
        "owlk8s.requests.aborted",
        "HTTP requests that never got a final status.",
        |t| t.aborted,
    ),
];

/// All of one target.
pub(crate) fn of(config: &Config, snapshot: &Snapshot<'_>, target: &Target<'_>) -> ScopeMetrics {
    let interval = Interval::of(snapshot, target);
    let mut metrics = durations(config, &interval, target);
    metrics.extend(counts(&interval, target));
    ScopeMetrics {
        scope: Some(InstrumentationScope {
            name: "owlk8s".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }),
        metrics,
        schema_url: crate::resource::SCHEMA_URL.to_owned(),
    }
}

/// What a target's counts count from, and when they were read.
struct Interval {
    start: u64,
    end: u64,
    temporality: i32,
}

impl Interval {
    fn of(snapshot: &Snapshot<'_>, target: &Target<'_>) -> Self {
        let window = snapshot.window();
        let (start, temporality) = match snapshot.temporality() {
            Temporality::Delta => (window.start_unix_ns, DELTA),
            Temporality::Cumulative => (target.since_unix_ns(), CUMULATIVE),
        };
        Self {
            start,
            end: window.end_unix_ns,
            temporality,
        }
    }

    fn number(&self, attributes: Vec<KeyValue>, value: Number) -> NumberDataPoint {
        NumberDataPoint {
            start_time_unix_nano: self.start,
            time_unix_nano: self.end,
            attributes,
            value: Some(value),
        }
    }

    fn integer(&self, attributes: Vec<KeyValue>, value: u64) -> NumberDataPoint {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.number(attributes, Number::AsInt(value))
    }

    fn counter(&self, name: &str, description: &str, points: Vec<NumberDataPoint>) -> Metric {
        let unit = if name.ends_with(".calls") {
            "{call}"
        } else {
            "{request}"
        };
        Metric::new(
            name,
            description,
            unit,
            Data::Sum(Sum {
                data_points: points,
                aggregation_temporality: self.temporality,
                is_monotonic: true,
            }),
        )
    }
}

fn durations(config: &Config, interval: &Interval, target: &Target<'_>) -> Vec<Metric> {
    let metric = |name: &str, description: &str, client: bool| {
        let wanted = |row: &Row<'_>| row.client == client && (config.include_probes || !row.probe);
        let points: Vec<_> = exchanges(target.rows().filter(wanted))
            .into_iter()
            .map(|(exchange, durations)| point(interval, client, exchange, durations))
            .collect();
        let histogram = ExponentialHistogram {
            data_points: points,
            aggregation_temporality: interval.temporality,
        };
        (!histogram.data_points.is_empty()).then(|| {
            Metric::new(
                name,
                description,
                "s",
                Data::ExponentialHistogram(histogram),
            )
        })
    };
    let server = metric(
        "http.server.request.duration",
        "Duration of HTTP requests that the pod answered, first byte of the request to first byte of the answer.",
        false,
    );
    let client = config.client.then(|| {
        metric(
            "http.client.request.duration",
            "Duration of HTTP requests that the pod sent, first byte of the request to first byte of the answer.",
            true,
        )
    });
    server.into_iter().chain(client.flatten()).collect()
}

/// Its count is that of its buckets, as the data model asks for.
fn point(
    interval: &Interval,
    client: bool,
    exchange: Exchange<'_>,
    durations: Durations,
) -> ExponentialHistogramDataPoint {
    let mut attributes = vec![
        KeyValue::string("http.request.method", exchange.method),
        KeyValue::int("http.response.status_code", i64::from(exchange.status)),
        KeyValue::string("network.protocol.name", "http"),
        KeyValue::string("network.protocol.version", exchange.version),
        KeyValue::string("url.scheme", "http"),
    ];
    // A client error is the server's answer, and the client's failure.
    if exchange.status >= if client { 400 } else { 500 } {
        attributes.push(KeyValue::string("error.type", exchange.status.to_string()));
    }
    ExponentialHistogramDataPoint {
        attributes,
        start_time_unix_nano: interval.start,
        time_unix_nano: interval.end,
        count: durations.latency.count(),
        sum: Some(seconds(durations.sum())),
        scale: durations.latency.scale,
        zero_count: 0,
        positive: Some(Buckets {
            offset: durations.latency.offset,
            bucket_counts: durations.latency.counts,
        }),
    }
}

fn counts(interval: &Interval, target: &Target<'_>) -> Vec<Metric> {
    let total = target.total();
    let mut metrics: Vec<Metric> = COUNTERS
        .iter()
        .map(|(name, description, value)| {
            interval.counter(
                name,
                description,
                vec![interval.integer(Vec::new(), value(total))],
            )
        })
        .collect();
    let lost: Vec<_> = total
        .losses
        .iter()
        .map(|loss| interval.integer(vec![KeyValue::string("reason", &loss.name)], loss.count))
        .collect();
    if !lost.is_empty() {
        let description = "HTTP requests that were seen and could not be counted, by reason.";
        metrics.push(interval.counter("owlk8s.requests.lost", description, lost));
    }
    let calls: Vec<_> = target
        .grpc_rows()
        .iter()
        .map(|row| {
            let side = if row.client { "client" } else { "server" };
            let attributes = vec![
                KeyValue::int("rpc.grpc.status_code", i64::from(row.status)),
                KeyValue::string("side", side),
            ];
            interval.integer(attributes, row.count)
        })
        .collect();
    if !calls.is_empty() {
        let description = "gRPC calls that ended, by status code and by who asked.";
        metrics.push(interval.counter("owlk8s.grpc.calls", description, calls));
    }
    metrics.extend(gauges(interval, target));
    metrics
}

fn gauges(interval: &Interval, target: &Target<'_>) -> [Metric; 4] {
    let total = target.total();
    let gauge = |name, description, unit, points: Vec<NumberDataPoint>| {
        // A gauge has no start.
        let data_points = points
            .into_iter()
            .map(|point| NumberDataPoint {
                start_time_unix_nano: 0,
                ..point
            })
            .collect();
        Metric::new(name, description, unit, Data::Gauge(Gauge { data_points }))
    };
    let float = |value| vec![interval.number(Vec::new(), Number::AsDouble(value))];
    let statuses = [
        Status::Active,
        Status::Waiting,
        Status::Degraded,
        Status::Failed,
    ];
    [
        gauge(
            "owlk8s.requests.in_flight",
            "HTTP requests that wait for an answer.",
            "{request}",
            vec![interval.integer(Vec::new(), total.in_flight)],
        ),
        gauge(
            "owlk8s.coverage",
            "Share of the seen requests that was not lost, 0 to 1.",
            "1",
            float(total.coverage),
        ),
        gauge(
            "owlk8s.request.duration.last",
            "The latest duration of a request.",
            "s",
            float(seconds(total.duration_last())),
        ),
        gauge(
            "owlk8s.target.status",
            "How it stands with a target; 1 for its status.",
            "",
            statuses
                .map(|status| {
                    let attributes = vec![KeyValue::string("status", status.name())];
                    interval.integer(attributes, u64::from(status == target.status()))
                })
                .into(),
        ),
    ]
}

/// The number nearest to it: `as_secs_f64` adds two, and 3.78 s would be 3.7800000000000002.
fn seconds(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e9
}
