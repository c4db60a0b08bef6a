use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::reading::{GrpcRow, Hook, Losses, Row};
use crate::{TargetId, UnixNanos, Workload};

/// The interval that a snapshot speaks of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Unix nanoseconds.
    pub start: UnixNanos,
    /// Unix nanoseconds.
    pub end: UnixNanos,
    /// Rises by one with each interval since the agent's start.
    pub sequence: u64,
    /// How many intervals it covers: 1, or more where a sink missed some.
    pub merged: u32,
}

/// Whether counts are since the start or since the window's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Temporality {
    /// Since the target was discovered.
    Cumulative,
    /// Since the window's start.
    Delta,
}

/// How it stands with a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Read, and nothing speaks against its numbers.
    Active,
    /// Not attached yet.
    Waiting,
    /// Read, and its numbers are not whole; the reason says why.
    Degraded,
    /// Cannot be attached until a person acts.
    Failed,
}

/// The audited sums of one target. `seen = requests + aborted + in_flight + sum(losses)`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Answered with a final status.
    pub requests: u64,
    /// Of these, status 400..=499.
    pub err4: u64,
    /// Of these, status 500..=599.
    pub err5: u64,
    /// Never answered: reset, closed or replaced.
    pub aborted: u64,
    /// Asked and not answered yet.
    pub in_flight: u64,
    /// All that began.
    pub seen: u64,
    /// `1 - sum(losses) / seen`; 1 where nothing was seen, 0 where nothing can be seen ([`TargetSnapshot::blind`]).
    pub coverage: f64,
    /// The latest duration, nanoseconds.
    pub duration_last_ns: u64,
    /// Nanoseconds.
    pub duration_sum_ns: u64,
    /// How many durations are in the sum.
    pub duration_count: u64,
    /// Seen and not counted, by reason.
    pub losses: Losses,
}

/// One target in a snapshot. In JSON that a person writes, all but id, pod, status and totals may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetSnapshot {
    /// Identity; see [`TargetId`].
    pub id: TargetId,
    /// Pod name.
    pub pod: String,
    /// Pod uid; empty outside Kubernetes.
    #[serde(default)]
    pub uid: String,
    /// Kubernetes namespace; empty where there is none.
    #[serde(default)]
    pub namespace: String,
    /// `Deployment/cart`, when known.
    #[serde(default)]
    pub workload: Option<Workload>,
    /// All services that select it, sorted.
    #[serde(default)]
    pub services: Vec<String>,
    /// Its addresses.
    #[serde(default)]
    pub ips: Vec<IpAddr>,
    /// Kubernetes labels.
    #[serde(default)]
    pub labels: std::collections::BTreeMap<String, String>,
    /// Host-side interface; empty while it is not known.
    #[serde(default)]
    pub interface: String,
    /// When its cumulative counts began: the start of the first window that held it. Of a target whose counts were
    /// added over several lives, of the latest one.
    #[serde(default)]
    pub since: UnixNanos,
    /// How it stands.
    pub status: Status,
    /// Why, when the status is not `active`.
    #[serde(default)]
    pub reason: String,
    /// Where its packets are read; none while it is not attached.
    #[serde(default)]
    pub hook: Option<Hook>,
    /// Why there and at no better place; empty at the first choice.
    #[serde(default)]
    pub hook_reason: String,
    /// Its packets bypass that place: its numbers are not available, and its zeros mean nothing. The status is
    /// `degraded`, and the reason names the remedy.
    #[serde(default)]
    pub blind: bool,
    /// Its sums.
    pub totals: Totals,
    /// Answered requests by dimension.
    #[serde(default)]
    pub rows: Vec<Row>,
    /// gRPC calls by `grpc-status`.
    #[serde(default)]
    pub grpc: Vec<GrpcRow>,
}

/// What users, plugins and `/snapshot` see. Never changes once it is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// This node's name.
    pub node: String,
    /// The interval.
    pub window: Window,
    /// Of every count in it.
    pub temporality: Temporality,
    /// When the source of targets last confirmed them; Unix nanoseconds.
    #[serde(default)]
    pub targets_confirmed_at: UnixNanos,
    /// Sorted by id.
    pub targets: Vec<TargetSnapshot>,
}

impl Snapshot {
    /// What this one adds to `earlier`, an older cumulative snapshot of the same agent.
    ///
    /// Counts become differences, gauges (`in_flight`, `duration_last_ns`) stay, a target that
    /// `earlier` did not hold is taken whole.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let targets = self
            .targets
            .iter()
            .map(
                |now| match earlier.targets.binary_search_by(|t| t.id.cmp(&now.id)) {
                    Ok(at) => now.since(&earlier.targets[at]),
                    Err(_) => now.clone(),
                },
            )
            .collect();
        let intervals = self.window.sequence.saturating_sub(earlier.window.sequence);
        Self {
            window: Window {
                start: earlier.window.end,
                merged: u32::try_from(intervals).unwrap_or(u32::MAX),
                ..self.window
            },
            temporality: Temporality::Delta,
            targets,
            ..self.clone_head()
        }
    }

    fn clone_head(&self) -> Self {
        Self {
            node: self.node.clone(),
            window: self.window,
            temporality: self.temporality,
            targets_confirmed_at: self.targets_confirmed_at,
            targets: Vec::new(),
        }
    }
}

impl TargetSnapshot {
    fn since(&self, earlier: &Self) -> Self {
        let rows = self.rows.iter().map(|row| {
            match earlier.rows.iter().find(|old| old.same_dimensions(row)) {
                Some(old) => row.since(old),
                None => row.clone(),
            }
        });
        let grpc = self.grpc.iter().map(|row| {
            let old = earlier
                .grpc
                .iter()
                .find(|old| (old.direction, old.status) == (row.direction, row.status));
            GrpcRow {
                count: row.count.saturating_sub(old.map_or(0, |old| old.count)),
                ..*row
            }
        });
        Self {
            rows: rows.filter(|row| row.count > 0).collect(),
            grpc: grpc.filter(|row| row.count > 0).collect(),
            ..self.clone()
        }
        .with_totals(self.totals.since(&earlier.totals))
    }

    /// The same with other totals, of which nothing is covered where nothing can be seen.
    #[must_use]
    pub fn with_totals(self, mut totals: Totals) -> Self {
        if self.blind {
            totals.coverage = 0.0;
        }
        Self { totals, ..self }
    }
}

impl Totals {
    fn since(&self, earlier: &Self) -> Self {
        let less = |now: u64, then: u64| now.saturating_sub(then);
        let losses: Losses = self
            .losses
            .iter()
            .map(|(name, count)| {
                (
                    name.clone(),
                    less(*count, earlier.losses.get(name).copied().unwrap_or(0)),
                )
            })
            .collect();
        let (requests, aborted) = (
            less(self.requests, earlier.requests),
            less(self.aborted, earlier.aborted),
        );
        // What was in flight at the window's start is seen again in it: the audit holds in each window.
        let seen = requests + aborted + self.in_flight + losses.values().sum::<u64>();
        Self {
            requests,
            err4: less(self.err4, earlier.err4),
            err5: less(self.err5, earlier.err5),
            aborted,
            in_flight: self.in_flight,
            seen,
            coverage: Self::coverage_of(seen, losses.values().sum()),
            duration_last_ns: self.duration_last_ns,
            duration_sum_ns: less(self.duration_sum_ns, earlier.duration_sum_ns),
            duration_count: less(self.duration_count, earlier.duration_count),
            losses,
        }
    }

    /// `1 - lost / seen`; 1 where nothing was seen.
    pub fn coverage_of(seen: u64, lost: u64) -> f64 {
        if seen == 0 {
            1.0
        } else {
            1.0 - lost as f64 / seen as f64
        }
    }
}

impl Row {
    /// Whether both count the same kind of exchange.
    pub fn same_dimensions(&self, other: &Self) -> bool {
        let dimensions = |row: &Self| (row.direction, row.protocol, row.status, row.probe);
        dimensions(self) == dimensions(other) && self.method == other.method
    }

    fn since(&self, earlier: &Self) -> Self {
        Self {
            count: self.count.saturating_sub(earlier.count),
            duration_sum_ns: self.duration_sum_ns.saturating_sub(earlier.duration_sum_ns),
            latency: self.latency.minus(&earlier.latency),
            ..self.clone()
        }
    }
}
