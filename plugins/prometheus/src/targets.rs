//! owlk8s's own families: the audited counts, and how it stands with each target.

use owlk8s_plugin::Snapshot;
use owlk8s_plugin::records::{Status, Total};

use crate::exposition::{Exposition, Kind, Labels, seconds};
use crate::labels::Labelled;

/// Name, kind, help and the value in a target's total.
type TotalFamily = (&'static str, Kind, &'static str, fn(&Total) -> String);

/// `seen = answered + aborted + in flight + lost` holds on each page.
const TOTALS: [TotalFamily; 6] = [
    (
        "owlk8s_requests_seen_total",
        Kind::Counter,
        "HTTP requests to the pod that began.",
        |t| t.seen.to_string(),
    ),
    (
        "owlk8s_requests_answered_total",
        Kind::Counter,
        "HTTP requests answered with a final status.",
        |t| t.requests.to_string(),
    ),
    (
        "owlk8s_requests_aborted_total",
        Kind::Counter,
        "HTTP requests that never got a final status.",
        |t| t.aborted.to_string(),
    ),
    (
        "owlk8s_requests_in_flight",
        Kind::Gauge,
        "HTTP requests that wait for an answer.",
        |t| t.in_flight.to_string(),
    ),
    (
        "owlk8s_coverage_ratio",
        Kind::Gauge,
        "Share of the seen requests that was not lost, 0 to 1.",
        |t| t.coverage.to_string(),
    ),
    (
        "owlk8s_request_duration_last_seconds",
        Kind::Gauge,
        "The latest duration of a request.",
        |t| seconds(t.duration_last_ns),
    ),
];

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
    let end = snapshot.window().end_unix_ns;
    page.family(
        "owlk8s_window_end_timestamp_seconds",
        Kind::Gauge,
        "When these numbers were read, Unix time.",
    )
    .sample(&Labels::default(), seconds(end));
}

fn expose_losses(page: &mut Exposition, targets: &[Labelled<'_>]) {
    let help = "HTTP requests that were seen and could not be counted, by reason.";
    let mut family = page.family("owlk8s_requests_lost_total", Kind::Counter, help);
    for Labelled { target, labels } in targets {
        for loss in &target.total().losses {
            family.sample(&labels.clone().with("reason", &loss.name), loss.count);
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
                .with("rpc_grpc_status_code", row.status)
                .with("side", side);
            family.sample(&labels, row.count);
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
            family.sample(&labels, u8::from(status == target.status));
        }
    }
    let help = "Further names of a target; always 1.";
    let mut family = page.family("owlk8s_target_info", Kind::Gauge, help);
    for Labelled { target, labels } in targets {
        let labels = labels
            .clone()
            .with("id", &target.id)
            .with("ips", target.ips.join(","))
            .with("services", target.services.join(","))
            .with("k8s_node_name", &target.node);
        family.sample(&labels, 1);
    }
}
