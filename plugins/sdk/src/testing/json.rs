//! The JSON form of a snapshot (nested, names in place) and its way into the plugin's form (flat
//! lists, names by index), which is what the host does for a real guest.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::SnapshotData;
use crate::records;

#[derive(Deserialize)]
pub(super) struct Snapshot {
    node: String,
    window: Window,
    temporality: Temporality,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Window {
    start: u64,
    end: u64,
    sequence: u64,
    merged: u32,
    #[serde(default)]
    gap_ns: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Temporality {
    Cumulative,
    Delta,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Active,
    Waiting,
    Degraded,
    Failed,
}

#[derive(Deserialize)]
struct Target {
    id: String,
    pod: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    namespace: String,
    workload: Option<Workload>,
    #[serde(default)]
    services: Vec<String>,
    #[serde(default)]
    ips: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    since: u64,
    status: Status,
    #[serde(default)]
    reason: String,
    totals: Totals,
    #[serde(default)]
    rows: Vec<Row>,
    #[serde(default)]
    grpc: Vec<GrpcRow>,
}

#[derive(Deserialize)]
struct Workload {
    kind: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Totals {
    requests: u64,
    err4: u64,
    err5: u64,
    aborted: u64,
    in_flight: u64,
    seen: u64,
    coverage: f64,
    duration_last_ns: u64,
    duration_sum_ns: u64,
    duration_count: u64,
    losses: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Direction {
    Server,
    Client,
}

#[derive(Deserialize)]
struct Row {
    direction: Direction,
    protocol: String,
    method: String,
    status: u16,
    #[serde(default)]
    probe: bool,
    count: u64,
    #[serde(default)]
    duration_sum_ns: u64,
    #[serde(default)]
    latency: Latency,
}

#[derive(Default, Deserialize)]
struct Latency {
    offset: i32,
    counts: Vec<u64>,
}

#[derive(Deserialize)]
struct GrpcRow {
    direction: Direction,
    status: u16,
    count: u64,
}

/// The host's; see the interface's `latency`.
const SCALE: i32 = 3;

/// The host's.
const PROTOCOLS: [&str; 3] = ["http/1.0", "http/1.1", "http/2"];

impl From<Snapshot> for SnapshotData {
    fn from(snapshot: Snapshot) -> Self {
        let Snapshot {
            node,
            window,
            temporality,
            targets,
        } = snapshot;
        let mut data = Self {
            window: window.into(),
            temporality: match temporality {
                Temporality::Cumulative => records::Temporality::Cumulative,
                Temporality::Delta => records::Temporality::Delta,
            },
            node,
            targets: Vec::new(),
            totals: Vec::new(),
            rows: Vec::new(),
            grpc_rows: Vec::new(),
            latency: records::Latency {
                scale: SCALE,
                counts: Vec::new(),
            },
            protocols: PROTOCOLS.map(str::to_owned).to_vec(),
            methods: Vec::new(),
            columns: columns(&targets),
        };
        for target in targets {
            data.push(target);
        }
        data
    }
}

impl SnapshotData {
    fn push(&mut self, target: Target) {
        let index = self.targets.len() as u32;
        for row in target.rows {
            self.push_row(index, row);
        }
        self.grpc_rows
            .extend(target.grpc.iter().map(|row| records::GrpcRow {
                target: index,
                client: matches!(row.direction, Direction::Client),
                status: row.status,
                count: row.count,
            }));
        self.totals.push(target.totals.into());
        let (workload_kind, workload_name) = target
            .workload
            .map_or_else(Default::default, |w| (w.kind, w.name));
        self.targets.push(records::Target {
            id: target.id,
            pod: target.pod,
            uid: target.uid,
            namespace: target.namespace,
            node: self.node.clone(),
            workload_kind,
            workload_name,
            services: target.services,
            ips: target.ips,
            since_unix_ns: target.since,
            status: target.status.into(),
            reason: target.reason,
        });
    }

    fn push_row(&mut self, target: u32, row: Row) {
        let bucket_start = self.latency.counts.len() as u32;
        self.latency.counts.extend(&row.latency.counts);
        self.rows.push(records::Row {
            target,
            client: matches!(row.direction, Direction::Client),
            probe: row.probe,
            protocol: index_of(&mut self.protocols, row.protocol),
            method: index_of(&mut self.methods, row.method),
            status: row.status,
            count: row.count,
            duration_sum_ns: row.duration_sum_ns,
            bucket_offset: row.latency.offset,
            bucket_start,
            bucket_count: row.latency.counts.len() as u32,
        });
    }
}

fn index_of(names: &mut Vec<String>, name: String) -> u32 {
    let at = names
        .iter()
        .position(|known| *known == name)
        .unwrap_or_else(|| {
            names.push(name);
            names.len() - 1
        });
    at as u32
}

fn columns(targets: &[Target]) -> BTreeMap<String, Vec<String>> {
    let names: BTreeSet<&String> = targets
        .iter()
        .flat_map(|target| target.labels.keys())
        .collect();
    let value = |target: &Target, name| target.labels.get(name).cloned().unwrap_or_default();
    names
        .into_iter()
        .map(|name| {
            (
                format!("label:{name}"),
                targets.iter().map(|target| value(target, name)).collect(),
            )
        })
        .collect()
}

impl From<Window> for records::Window {
    fn from(window: Window) -> Self {
        Self {
            start_unix_ns: window.start,
            end_unix_ns: window.end,
            sequence: window.sequence,
            merged: window.merged,
            gap_ns: window.gap_ns,
        }
    }
}

impl From<Status> for records::Status {
    fn from(status: Status) -> Self {
        match status {
            Status::Active => Self::Active,
            Status::Waiting => Self::Waiting,
            Status::Degraded => Self::Degraded,
            Status::Failed => Self::Failed,
        }
    }
}

impl From<Totals> for records::Total {
    fn from(totals: Totals) -> Self {
        let losses = totals.losses.into_iter().filter(|(_, count)| *count > 0);
        Self {
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
            losses: losses
                .map(|(name, count)| records::Loss { name, count })
                .collect(),
        }
    }
}
