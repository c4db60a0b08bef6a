use std::collections::BTreeMap;
use std::sync::Arc;

use owlk8s_model::{
    Direction, Histogram, Method, Protocol, Row, Snapshot, Status, TargetSnapshot, Temporality,
    Totals, UnixNanos, Window,
};
use owlk8s_pipeline::{Mode, Windows};

use super::Tables;

/// The n-th pod answered n GETs; each has a label `team`, and the column is granted.
pub(crate) fn tables(pods: &[&str]) -> Tables {
    let mut windows = Windows::new(Mode::Latest, 1);
    let targets = (1..).zip(pods).map(|(count, pod)| target(pod, count));
    windows.offer(Arc::new(snapshot(1, targets.collect())));
    Tables::build(&windows.take().unwrap(), &["label:team".to_owned()])
}

/// Cumulative; `targets` are sorted by id.
pub(crate) fn snapshot(sequence: u64, targets: Vec<TargetSnapshot>) -> Snapshot {
    Snapshot {
        node: "node".to_owned(),
        window: Window {
            start: UnixNanos(sequence - 1),
            end: UnixNanos(sequence),
            sequence,
            merged: 1,
        },
        temporality: Temporality::Cumulative,
        targets_confirmed_at: UnixNanos(sequence),
        targets,
    }
}

pub(crate) fn target(pod: &str, count: u64) -> TargetSnapshot {
    TargetSnapshot {
        id: pod.into(),
        pod: pod.to_owned(),
        uid: String::new(),
        namespace: String::new(),
        workload: None,
        services: Vec::new(),
        ips: Vec::new(),
        labels: BTreeMap::from([
            ("team".to_owned(), format!("team-{pod}")),
            ("secret".to_owned(), "x".to_owned()),
        ]),
        interface: String::new(),
        since: UnixNanos(0),
        status: Status::Active,
        reason: String::new(),
        hook: None,
        hook_reason: String::new(),
        blind: false,
        totals: Totals {
            requests: count,
            seen: count,
            coverage: 1.0,
            ..Totals::default()
        },
        rows: vec![Row {
            direction: Direction::Server,
            protocol: Protocol::Http11,
            method: Method("GET".into()),
            status: 200,
            probe: false,
            count,
            duration_sum_ns: count,
            latency: Histogram::trimmed(0, &[count]),
        }],
        grpc: Vec::new(),
    }
}
