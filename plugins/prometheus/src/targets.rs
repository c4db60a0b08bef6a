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
    let labels = page
        .labels()
        .with("service_name", "owlk8s")
        .with("service_version", env!("CARGO_PKG_VERSION"))
        .with("k8s_node_name", snapshot.node());
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
    for Labelled { target, labels } in targets {
        for loss in &target.total().losses {
            family.sample(
                &labels.clone().with("reason", &loss.name),
                Value::Integer(loss.count),
            );
        }
    }
}

fn expose_grpc(page: &mut Exposition, targets: &[Labelled<'_>]) {
    let help = "gRPC calls that ended, by status code and by who asked.";
    let mut family = page.family("owlk8s_grpc_calls_total", Kind::Counter, help);
    for Labelled { target, labels } in targets {
        for row in target.grpc_rows() {
            let side = if row.client { "client" } else { "server" };
            let labels = labels
                .clone()
                .with_code("rpc_grpc_status_code", row.status)
                .with("side", side);
            family.sample(&labels, Value::Integer(row.count));
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
    for Labelled { target, labels } in targets {
        for status in [
            Status::Active,
            Status::Waiting,
            Status::Degraded,
            Status::Failed,
        ] {
            let labels = labels.clone().with("status", status.name());
            family.sample(&labels, Value::Integer(u64::from(status == target.status)));
        }
    }
    let help = "Further names of a target; always 1.";
    let mut family = page.family("owlk8s_target_info", Kind::Info, help);
    for Labelled { target, labels } in targets {
        let labels = labels
            .clone()
            .with("id", &target.id)
            .with("ips", &target.ips.join(","))
            .with("services", &target.services.join(","))
            .with("k8s_node_name", &target.node);
        family.sample(&labels, Value::Integer(1));
    }
}
