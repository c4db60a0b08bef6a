//! Adding the counts of one target over its lives: needed where a target went and came back under the
//! same id before its last counts were acknowledged.

use owlk8s_model::{GrpcRow, Row, TargetSnapshot, Totals};

/// Counts of both; names and gauges of `later`.
pub(crate) fn plus(earlier: &TargetSnapshot, later: &TargetSnapshot) -> TargetSnapshot {
    TargetSnapshot {
        rows: plus_rows(&earlier.rows, &later.rows),
        grpc: plus_grpc(&earlier.grpc, &later.grpc),
        ..later.clone()
    }
    .with_totals(plus_totals(&earlier.totals, &later.totals))
}

fn plus_totals(earlier: &Totals, later: &Totals) -> Totals {
    let mut losses = later.losses.clone();
    for (name, count) in &earlier.losses {
        *losses.entry(name.clone()).or_default() += count;
    }
    let seen = earlier.seen + later.seen;
    Totals {
        requests: earlier.requests + later.requests,
        err4: earlier.err4 + later.err4,
        err5: earlier.err5 + later.err5,
        aborted: earlier.aborted + later.aborted,
        in_flight: later.in_flight,
        seen,
        coverage: Totals::coverage_of(seen, losses.values().sum()),
        duration_last_ns: later.duration_last_ns,
        duration_sum_ns: earlier.duration_sum_ns + later.duration_sum_ns,
        duration_count: earlier.duration_count + later.duration_count,
        losses,
    }
}

fn plus_rows(earlier: &[Row], later: &[Row]) -> Vec<Row> {
    let mut rows = earlier.to_vec();
    for row in later {
        match rows.iter_mut().find(|known| known.same_dimensions(row)) {
            Some(known) => {
                known.count += row.count;
                known.duration_sum_ns += row.duration_sum_ns;
                known.latency = known.latency.plus(&row.latency);
            }
            None => rows.push(row.clone()),
        }
    }
    let dimensions = |row: &Row| {
        (
            row.direction,
            row.protocol,
            row.method.clone(),
            row.status,
            row.probe,
        )
    };
    rows.sort_by_key(dimensions);
    rows
}

fn plus_grpc(earlier: &[GrpcRow], later: &[GrpcRow]) -> Vec<GrpcRow> {
    let mut rows = earlier.to_vec();
    for row in later {
        match rows
            .iter_mut()
            .find(|known| (known.direction, known.status) == (row.direction, row.status))
        {
            Some(known) => known.count += row.count,
            None => rows.push(*row),
        }
    }
    rows.sort_by_key(|row| (row.direction, row.status));
    rows
}

#[cfg(test)]
pub(crate) mod fixtures {
    use owlk8s_model::{
        Direction, Histogram, Method, Protocol, Row, Snapshot, Status, TargetSnapshot, Temporality,
        Totals, UnixNanos, Window,
    };

    /// A target that answered `requests` GETs with 200, each in 1 ms.
    pub(crate) fn target(id: &str, requests: u64) -> TargetSnapshot {
        let row = Row {
            direction: Direction::Server,
            protocol: Protocol::Http11,
            method: Method("GET".into()),
            status: 200,
            probe: false,
            count: requests,
            duration_sum_ns: requests * 1_000_000,
            latency: Histogram::trimmed(-80, &[requests]),
        };
        TargetSnapshot {
            id: id.into(),
            pod: id.to_owned(),
            uid: String::new(),
            namespace: "default".to_owned(),
            workload: None,
            services: Vec::new(),
            ips: Vec::new(),
            labels: Default::default(),
            interface: "veth0".to_owned(),
            since: UnixNanos(0),
            status: Status::Active,
            reason: String::new(),
            hook: None,
            hook_reason: String::new(),
            blind: false,
            totals: Totals {
                requests,
                seen: requests,
                coverage: 1.0,
                duration_sum_ns: requests * 1_000_000,
                duration_count: requests,
                ..Totals::default()
            },
            rows: if requests == 0 { Vec::new() } else { vec![row] },
            grpc: Vec::new(),
        }
    }

    /// Cumulative, one second a window.
    pub(crate) fn snapshot(sequence: u64, mut targets: Vec<TargetSnapshot>) -> Snapshot {
        targets.sort_by(|a, b| a.id.cmp(&b.id));
        let second = 1_000_000_000;
        Snapshot {
            node: "node".to_owned(),
            window: Window {
                start: UnixNanos((sequence - 1) * second),
                end: UnixNanos(sequence * second),
                sequence,
                merged: 1,
            },
            temporality: Temporality::Cumulative,
            targets_confirmed_at: UnixNanos(sequence * second),
            targets,
        }
    }
}
