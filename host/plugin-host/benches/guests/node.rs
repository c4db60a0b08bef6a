//! A node as the benchmark has it.

use std::collections::BTreeMap;
use std::sync::Arc;

use owlk8s_model::{
    Direction, Histogram, Method, Protocol, Row, Snapshot, Status, TargetSnapshot, Temporality,
    Totals, UnixNanos, Window, Workload,
};

/// So many pods with some rows of 24 buckets each.
pub(crate) fn snapshot(sequence: u64, targets: u64, rows: u64) -> Arc<Snapshot> {
    let at = |sequence: u64| UnixNanos((1_800_000_000 + 10 * sequence) * 1_000_000_000);
    Arc::new(Snapshot {
        node: "worker-1".to_owned(),
        window: Window {
            start: at(sequence - 1),
            end: at(sequence),
            sequence,
            merged: 1,
        },
        temporality: Temporality::Cumulative,
        targets_confirmed_at: at(sequence),
        targets: (0..targets)
            .map(|pod| target(pod, rows, sequence))
            .collect(),
    })
}

fn target(pod: u64, rows: u64, sequence: u64) -> TargetSnapshot {
    let count = 24 * (pod + 1) * sequence;
    let row = |index: u64| Row {
        direction: Direction::Server,
        protocol: Protocol::Http11,
        method: Method("GET".into()),
        status: [200, 404, 500, 302, 201][index as usize % 5],
        probe: false,
        count,
        duration_sum_ns: count * 20_000_000,
        latency: Histogram::trimmed(-60, &[(pod + 1) * sequence; 24]),
    };
    let uid = format!("9a3cbf1e-4d0a-47b6-8f7e-{pod:012}");
    TargetSnapshot {
        id: uid.as_str().into(),
        pod: format!("checkout-7d9f8c6b5-{pod:05}"),
        uid,
        namespace: format!("team-{:02}", pod % 20),
        workload: Some(Workload {
            kind: "Deployment".to_owned(),
            name: "checkout".to_owned(),
        }),
        services: vec!["checkout".to_owned()],
        ips: vec![std::net::Ipv4Addr::from_bits(0x0af4_0000 + pod as u32).into()],
        labels: BTreeMap::from([("team".to_owned(), "red".to_owned())]),
        interface: format!("veth{pod}"),
        since: UnixNanos(0),
        status: Status::Active,
        reason: String::new(),
        hook: None,
        hook_reason: String::new(),
        blind: false,
        totals: Totals {
            requests: count * rows,
            seen: count * rows,
            coverage: 1.0,
            duration_sum_ns: count * rows * 20_000_000,
            duration_count: count * rows,
            ..Totals::default()
        },
        rows: (0..rows).map(row).collect(),
        grpc: Vec::new(),
    }
}
