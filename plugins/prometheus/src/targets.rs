//! owlk8s's own families: the audited counts, and how it stands with each target.

use owlk8s_plugin::Snapshot;
use owlk8s_plugin::records::{Status, Total};

use crate::exposition::{Exposition, Kind, Value};
use crate::labels::Labelled;

/// Name, kind, help and the value in a target's total.
type TotalFamily = (&'static str, Kind, &'static str, fn(&Total) -> Value);

/// `seen = answered + aborted + in flight + lost` holds on each page.
const TOTALS: [TotalFamily; 6] = [
    (
        "owlk8s_requests_seen_total",
        Kind::Counter,
        "HTTP requests to the pod that began.",
        |t| Value::Integer(t.seen),
    ),
    (
        "owlk8s_requests_answered_total",
        Kind::Counter,
        "HTTP requests answered with a final status.",
        |t| Value::Integer(t.requests),
    ),
    (
        "owlk8s_requests_aborted_total",
        Kind::Counter,
        "HTTP requests that never got a final status.",
        |t| Value::Integer(t.aborted),
    ),
    (
        "owlk8s_requests_in_flight",
        Kind::Gauge,
        "HTTP requests that wait for an answer.",
        |t| Value::Integer(t.in_flight),
    ),
    (
        "owlk8s_coverage_ratio",
        Kind::Gauge,
        "Share of the seen requests that was not lost, 0 to 1.",
        |t| Value::Float(t.coverage),
    ),
    (
        "owlk8s_request_duration_last_seconds",
        Kind::Gauge,
        "The latest duration of a request.",
        |t| Value::Nanoseconds(t.duration_last_ns),
    ),
];

/// Who is scraped, as OpenTelemetry's collectors read it: the agent of a node. A pod's names are labels of its
/// series: in this family they would become those of all that is on the page.
/// <https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/#resource-attributes-1>
pub(crate) fn expose_agent(page: &mut Exposition, snapshot: &Snapshot<'_>) {
    let mut labels = page.labels();
    labels
        .push("service_name", "owlk8s")
        .push("service_version", env!("CARGO_PKG_VERSION"))
        .push("k8s_node_name", snapshot.node());
    page.family("target_info", Kind::Info, "What is scraped; always 1.")
        .sample(&labels, Value::Integer(1));
}

pub(crate) fn expose(page: &mut Exposition, snapshot: &Snapshot<'_>, targets: &[Labelled<'_>]) {
    for (name, kind, help, value) in TOTALS {
        let mut family = page.family(name, kind, help);
        for Labelled { target, labels } in targets {
            family.sample(labels, value(target.total()));
        }
    }
    expose_losses(page, targets);
    expose_grpc(page, targets);
    expose_status(page, targets);
    let (end, none) = (snapshot.window().end_unix_ns, page.labels());
    page.family(
        "owlk8s_window_end_timestamp_seconds",
        Kind::Gauge,
        "When these numbers were read, Unix time.",
    )
    .sample(&none, Value::Nanoseconds(end));
}

fn expose_losses(page: &mut Exposition, targets: &[Labelled<'_>]) {
    let help = "HTTP requests that were seen and could not be counted, by reason.";
    let mut family = page.family("owlk8s_requests_lost_total", Kind::Counter, help);
    let mut series = family.labels();
    for Labelled { target, labels } in targets {
        for loss in &target.total().losses {
            series.begin(labels).push("reason", &loss.name);
            family.sample(&series, Value::Integer(loss.count));
        }
    }
}

fn expose_grpc(page: &mut Exposition, targets: &[Labelled<'_>]) {
    let help = "gRPC calls that ended, by status code and by who asked.";
    let mut family = page.family("owlk8s_grpc_calls_total", Kind::Counter, help);
    let mut series = family.labels();
    for Labelled { target, labels } in targets {
        for row in target.grpc_rows() {
            let side = if row.client { "client" } else { "server" };
            series
                .begin(labels)
                .push_code("rpc_grpc_status_code", row.status)
                .push("side", side);
            family.sample(&series, Value::Integer(row.count));
        }
    }
}

/// One series a target and status, 1 where it is the target's: a change moves no series in or out.
fn expose_status(page: &mut Exposition, targets: &[Labelled<'_>]) {
    let mut family = page.family(
        "owlk8s_target_status",
        Kind::Gauge,
        "How it stands with a target; 1 for its status.",
    );
    let mut series = family.labels();
    for Labelled { target, labels } in targets {
        for status in [
            Status::Active,
            Status::Waiting,
            Status::Degraded,
            Status::Failed,
        ] {
            series.begin(labels).push("status", status.name());
            family.sample(
                &series,
                Value::Integer(u64::from(status == target.status())),
            );
        }
    }
    let help = "Further names of a target; always 1.";
    let mut family = page.family("owlk8s_target_info", Kind::Info, help);
    for Labelled { target, labels } in targets {
        series
            .begin(labels)
            .push("id", target.id())
            .push("ips", &target.ips().join(","))
            .push("services", &target.services().join(","))
            .push("k8s_node_name", target.node());
        family.sample(&series, Value::Integer(1));
    }
}
