use std::collections::BTreeMap;
use std::sync::Arc;

use owlk8s_model::{
    Direction, Protocol, Row, SCALE, Snapshot, Status, TargetSnapshot, Temporality, Totals,
};
use owlk8s_pipeline::Attempt;

use super::Tables;
use crate::bindings::snapshots as wit;

/// What `row.protocol` points into.
pub(super) const PROTOCOLS: [&str; 3] = ["http/1.0", "http/1.1", "http/2"];

/// OpenTelemetry exponential scale of all buckets.
pub(super) const LATENCY_SCALE: i32 = SCALE;

/// Prefix of the columns that hold a Kubernetes label.
pub(crate) const LABEL: &str = "label:";

impl Tables {
    /// From an attempt's snapshot, with the columns that the sink was granted.
    pub(crate) fn build(attempt: &Attempt, columns: &[String]) -> Self {
        let snapshot = attempt.snapshot.as_ref();
        let mut rows = Rows::default();
        for (index, target) in (0_u32..).zip(&snapshot.targets) {
            target.rows.iter().for_each(|row| rows.push(index, row));
        }
        Self {
            window: wit::Window {
                start_unix_ns: attempt.window.start.0,
                end_unix_ns: attempt.window.end.0,
                sequence: attempt.window.sequence,
                merged: attempt.window.merged,
                gap_ns: attempt
                    .gap
                    .map_or(0, |gap| u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX)),
            },
            temporality: match snapshot.temporality {
                Temporality::Cumulative => wit::Temporality::Cumulative,
                Temporality::Delta => wit::Temporality::Delta,
            },
            node: snapshot.node.clone(),
            targets: snapshot
                .targets
                .iter()
                .map(|target| describe(target, &snapshot.node))
                .collect(),
            totals: snapshot
                .targets
                .iter()
                .map(|target| total(&target.totals))
                .collect(),
            rows: rows.rows.into(),
            grpc_rows: Arc::new(grpc_rows(snapshot)),
            buckets: Arc::new(rows.buckets),
            methods: Arc::new(rows.methods),
            columns: columns
                .iter()
                .map(|name| (name.clone(), column(snapshot, name)))
                .collect(),
        }
    }
}

/// Rows of all targets, with their buckets one after the other and each method's name once.
#[derive(Default)]
struct Rows {
    rows: Vec<wit::Row>,
    buckets: Vec<u64>,
    methods: Vec<String>,
    method_index: BTreeMap<String, u32>,
}

impl Rows {
    fn push(&mut self, target: u32, row: &Row) {
        let bucket_start = index(self.buckets.len());
        self.buckets.extend_from_slice(&row.latency.counts);
        let method = self.method(&row.method.0);
        self.rows.push(wit::Row {
            target,
            client: row.direction == Direction::Client,
            probe: row.probe,
            protocol: match row.protocol {
                Protocol::Http10 => 0,
                Protocol::Http11 => 1,
                Protocol::Http2 => 2,
            },
            method,
            status: row.status,
            count: row.count,
            duration_sum_ns: row.duration_sum_ns,
            bucket_offset: row.latency.offset,
            bucket_start,
            bucket_count: index(row.latency.counts.len()),
        });
    }

    fn method(&mut self, name: &str) -> u32 {
        if let Some(known) = self.method_index.get(name) {
            return *known;
        }
        let new = index(self.methods.len());
        self.methods.push(name.to_owned());
        self.method_index.insert(name.to_owned(), new);
        new
    }
}

/// A frame is bounded far below 2^32 elements.
pub(super) fn index(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn describe(target: &TargetSnapshot, node: &str) -> wit::Target {
    let (workload_kind, workload_name) = target
        .workload
        .as_ref()
        .map(|workload| (workload.kind.clone(), workload.name.clone()))
        .unwrap_or_default();
    wit::Target {
        id: target.id.to_string(),
        pod: target.pod.clone(),
        uid: target.uid.clone(),
        namespace: target.namespace.clone(),
        node: node.to_owned(),
        workload_kind,
        workload_name,
        services: target.services.clone(),
        ips: target.ips.iter().map(ToString::to_string).collect(),
        since_unix_ns: target.since.0,
        status: match target.status {
            Status::Active => wit::Status::Active,
            Status::Waiting => wit::Status::Waiting,
            Status::Degraded => wit::Status::Degraded,
            Status::Failed => wit::Status::Failed,
        },
        reason: target.reason.clone(),
    }
}

fn total(totals: &Totals) -> wit::Total {
    wit::Total {
        requests: totals.requests,
        err4: totals.err4,
        err5: totals.err5,
        aborted: totals.aborted,
        in_flight: totals.in_flight,
        seen: totals.seen,
        coverage: totals.coverage,
        duration_last_ns: totals.duration_last_ns,
        duration_sum_ns: totals.duration_sum_ns,
        duration_count: totals.duration_count,
        losses: totals
            .losses
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(name, count)| wit::Loss {
                name: name.clone().into_owned(),
                count: *count,
            })
            .collect(),
    }
}

fn grpc_rows(snapshot: &Snapshot) -> Vec<wit::GrpcRow> {
    let of = |(target, at): (u32, &TargetSnapshot)| {
        let row = move |row: &owlk8s_model::GrpcRow| wit::GrpcRow {
            target,
            client: row.direction == Direction::Client,
            status: row.status,
            count: row.count,
        };
        at.grpc.iter().map(row).collect::<Vec<_>>()
    };
    (0_u32..).zip(&snapshot.targets).flat_map(of).collect()
}

fn column(snapshot: &Snapshot, name: &str) -> Arc<Vec<String>> {
    let label = name.strip_prefix(LABEL).unwrap_or_default();
    let targets = snapshot.targets.iter();
    let value = |target: &TargetSnapshot| target.labels.get(label).cloned().unwrap_or_default();
    Arc::new(targets.map(value).collect())
}

#[cfg(test)]
mod tests {
    use crate::tables::fixtures::tables;

    #[test]
    fn each_method_is_named_once_and_rows_point_to_their_buckets() {
        let tables = tables(&["a", "b"]);
        assert_eq!(*tables.methods, ["GET"]);
        assert_eq!(*tables.buckets, [1, 2]);
        let places: Vec<(u32, u32)> = tables
            .rows
            .iter()
            .map(|row| (row.bucket_start, row.bucket_count))
            .collect();
        assert_eq!(places, [(0, 1), (1, 1)]);
    }

    #[test]
    fn labels_enter_only_as_granted_columns() {
        let tables = tables(&["a"]);
        assert_eq!(tables.columns.keys().collect::<Vec<_>>(), ["label:team"]);
        assert!(!format!("{tables:?}").contains("secret"), "{tables:?}");
    }
}
