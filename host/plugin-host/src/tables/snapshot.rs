use std::collections::BTreeMap;
use std::sync::Arc;

use owlk8s_model::{
    Direction, GrpcRow, Histogram, Method, Protocol, Row, Snapshot, Status, TargetId,
    TargetSnapshot, Temporality, Totals, UnixNanos, Window, Workload,
};
use owlk8s_pipeline::{Mode, Windows};

use super::Tables;
use super::build::LABEL;
use crate::bindings::snapshots as wit;

impl Tables {
    /// What a guest was lent, as a snapshot again: the filters' work is in it, and of labels only the
    /// columns that the sink was granted.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let end = UnixNanos(self.window.end_unix_ns);
        Snapshot {
            node: self.node.clone(),
            window: Window {
                start: UnixNanos(self.window.start_unix_ns),
                end,
                sequence: self.window.sequence,
                merged: self.window.merged,
            },
            temporality: match self.temporality {
                wit::Temporality::Cumulative => Temporality::Cumulative,
                wit::Temporality::Delta => Temporality::Delta,
            },
            targets_confirmed_at: end,
            targets: (0..self.targets.len())
                .map(|index| self.target(index))
                .collect(),
        }
    }

    /// Of a snapshot that stands for itself, with each of its labels as a column: for a replay.
    pub(crate) fn of_snapshot(snapshot: Snapshot) -> Option<Self> {
        let targets = snapshot.targets.iter();
        let labels = targets.flat_map(|target| target.labels.keys());
        let mut columns: Vec<String> = labels.map(|label| format!("{LABEL}{label}")).collect();
        columns.sort();
        columns.dedup();
        let mut windows = Windows::new(Mode::Latest, 1);
        windows.offer(Arc::new(snapshot));
        Some(Self::build(&windows.take()?, &columns))
    }

    fn target(&self, index: usize) -> TargetSnapshot {
        let (target, total) = (&self.targets[index], &self.totals[index]);
        let label = |(name, values): (&String, &Arc<Vec<String>>)| {
            let label = name.strip_prefix(LABEL)?;
            Some((label.to_owned(), values.get(index)?.clone()))
        };
        TargetSnapshot {
            id: TargetId(target.id.as_str().into()),
            pod: target.pod.clone(),
            uid: target.uid.clone(),
            namespace: target.namespace.clone(),
            workload: (!target.workload_name.is_empty()).then(|| Workload {
                kind: target.workload_kind.clone(),
                name: target.workload_name.clone(),
            }),
            services: target.services.clone(),
            ips: target.ips.iter().filter_map(|ip| ip.parse().ok()).collect(),
            labels: self.columns.iter().filter_map(label).collect(),
            interface: String::new(),
            since: UnixNanos(target.since_unix_ns),
            status: match target.status {
                wit::Status::Active => Status::Active,
                wit::Status::Waiting => Status::Waiting,
                wit::Status::Degraded => Status::Degraded,
                wit::Status::Failed => Status::Failed,
            },
            reason: target.reason.clone(),
            hook: None,
            hook_reason: String::new(),
            blind: false,
            totals: totals(total),
            rows: of_target(&self.rows, index, |row| row.target)
                .iter()
                .map(|row| self.row(row))
                .collect(),
            grpc: of_target(&self.grpc_rows, index, |row| row.target)
                .iter()
                .map(|row| GrpcRow {
                    direction: direction(row.client),
                    status: row.status,
                    count: row.count,
                })
                .collect(),
        }
    }

    fn row(&self, row: &wit::Row) -> Row {
        let start = row.bucket_start as usize;
        Row {
            direction: direction(row.client),
            protocol: match row.protocol {
                0 => Protocol::Http10,
                1 => Protocol::Http11,
                _ => Protocol::Http2,
            },
            method: Method(self.methods[row.method as usize].clone().into()),
            status: row.status,
            probe: row.probe,
            count: row.count,
            duration_sum_ns: row.duration_sum_ns,
            latency: Histogram {
                offset: row.bucket_offset,
                counts: self.buckets[start..start + row.bucket_count as usize].to_vec(),
            },
        }
    }
}

/// Its part of rows that are sorted by target.
fn of_target<T>(rows: &[T], index: usize, target: impl Fn(&T) -> u32) -> &[T] {
    let start = rows.partition_point(|row| (target(row) as usize) < index);
    let end = rows.partition_point(|row| target(row) as usize <= index);
    &rows[start..end]
}

fn direction(client: bool) -> Direction {
    if client {
        Direction::Client
    } else {
        Direction::Server
    }
}

fn totals(total: &wit::Total) -> Totals {
    let losses: BTreeMap<_, _> = total
        .losses
        .iter()
        .map(|loss| (loss.name.clone().into(), loss.count))
        .collect();
    Totals {
        requests: total.requests,
        err4: total.err4,
        err5: total.err5,
        aborted: total.aborted,
        in_flight: total.in_flight,
        seen: total.seen,
        coverage: total.coverage,
        duration_last_ns: total.duration_last_ns,
        duration_sum_ns: total.duration_sum_ns,
        duration_count: total.duration_count,
        losses,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::fixtures::tables;

    #[test]
    fn tables_and_snapshots_say_the_same() {
        let there = tables(&["a", "b", "c"]);
        let snapshot = there.snapshot();
        assert_eq!(snapshot.targets[1].labels["team"], "team-b");
        assert_eq!(snapshot.targets[2].rows[0].latency.counts, [3]);
        let back = Tables::of_snapshot(snapshot).unwrap();
        assert_eq!(format!("{back:?}"), format!("{there:?}"));
    }
}
