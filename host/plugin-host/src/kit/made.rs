use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use owlk8s_model::{
    Direction, Histogram, Method, Protocol, Row, Snapshot, Status, TargetSnapshot, Temporality,
    Totals, UnixNanos, Window, Workload,
};

const SECOND: u64 = 1_000_000_000;
/// Each duration: 20 ms, over 24 buckets around it.
const BUCKETS: u64 = 24;

/// A node with so many pods of so many rows each, at the window of this sequence: counts rise from window to window.
/// Pods are of 50 workloads in 10 namespaces and five teams (`label:team`), and differ in their counts.
pub fn node(targets: u64, rows: u64, sequence: u64) -> Snapshot {
    let at = |sequence: u64| UnixNanos((1_800_000_000 + 10 * sequence) * SECOND);
    Snapshot {
        node: "worker-1".to_owned(),
        window: Window {
            start: at(sequence.saturating_sub(1)),
            end: at(sequence),
            sequence,
            merged: 1,
        },
        temporality: Temporality::Cumulative,
        targets_confirmed_at: at(sequence),
        targets: (0..targets)
            .map(|pod| target(pod, rows, sequence))
            .collect(),
    }
}

fn target(pod: u64, rows: u64, sequence: u64) -> TargetSnapshot {
    let workload = format!("app-{:02}", pod % 50);
    let rows: Vec<Row> = (0..rows).map(|index| row(pod, index, sequence)).collect();
    let sum = |of: &dyn Fn(&Row) -> u64| rows.iter().map(of).sum::<u64>();
    let class = |low: u16| {
        sum(&|row| {
            if row.status / 100 == low {
                row.count
            } else {
                0
            }
        })
    };
    let requests = sum(&|row| row.count);
    let uid = format!("9a3cbf1e-4d0a-47b6-8f7e-{pod:012}");
    TargetSnapshot {
        id: uid.as_str().into(),
        pod: format!("{workload}-7d9f8c6b5-{pod:05}"),
        uid,
        namespace: format!("team-{}", pod % 10),
        workload: Some(Workload {
            kind: "Deployment".to_owned(),
            name: workload.clone(),
        }),
        services: vec![workload],
        ips: vec![Ipv4Addr::from_bits(0x0af4_0000 + u32::try_from(pod).unwrap_or_default()).into()],
        labels: BTreeMap::from([("team".to_owned(), format!("team-{}", pod % 5))]),
        interface: String::new(),
        since: UnixNanos(1_800_000_000 * SECOND),
        status: Status::Active,
        reason: String::new(),
        hook: None,
        hook_reason: String::new(),
        blind: false,
        totals: Totals {
            requests,
            err4: class(4),
            err5: class(5),
            in_flight: pod % 5,
            seen: requests + pod % 5,
            coverage: 1.0,
            duration_last_ns: 20_000_000 + pod,
            duration_sum_ns: requests * 20_000_000,
            duration_count: requests,
            ..Totals::default()
        },
        rows,
        grpc: Vec::new(),
    }
}

fn row(pod: u64, index: u64, sequence: u64) -> Row {
    const METHODS: [&str; 10] = [
        "GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "QUERY", "TRACE", "CONNECT",
    ];
    const STATUSES: [u16; 10] = [200, 404, 503, 201, 204, 301, 304, 400, 500, 502];
    let place = |index: u64, of: usize| usize::try_from(index).unwrap_or_default() % of;
    let each = (pod + index + 1) * sequence;
    Row {
        direction: Direction::Server,
        protocol: Protocol::Http11,
        method: Method(METHODS[place(index / 10, 10)].into()),
        status: STATUSES[place(index, 10)],
        probe: false,
        count: BUCKETS * each,
        duration_sum_ns: BUCKETS * each * 20_000_000,
        latency: Histogram::trimmed(-60, &[each; BUCKETS as usize]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_rise_and_sums_hold() {
        let (first, second) = (node(100, 10, 1), node(100, 10, 2));
        for (a, b) in first.targets.iter().zip(&second.targets) {
            assert!(b.totals.requests > a.totals.requests);
            assert_eq!(b.totals.seen, b.totals.requests + b.totals.in_flight);
            let rows: u64 = b.rows.iter().map(|row| row.latency.count()).sum();
            assert_eq!(rows, b.totals.requests, "each has a duration");
        }
        let dimensions = |snapshot: &Snapshot| {
            let rows = snapshot.targets[0].rows.iter();
            rows.map(|row| (row.method.clone(), row.status))
                .collect::<std::collections::BTreeSet<_>>()
                .len()
        };
        assert_eq!(dimensions(&node(1, 100, 1)), 100, "rows differ");
    }
}
