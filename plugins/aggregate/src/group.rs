//! Groups of targets, and what they sum to. A group is kept as it is written: names, totals, rows by dimension.

use std::collections::{BTreeMap, BTreeSet};

use owlk8s_plugin::records::{self, Loss, Status, Total};
use owlk8s_plugin::{Histogram, RowKey, Snapshot, TablesBuilder, Target};
use serde::{Deserialize, Serialize};

use crate::By;

/// All that did not keep a name of its own.
pub(crate) const OTHER: &str = "other";

/// By the group's id.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Groups(pub(crate) BTreeMap<String, Group>);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Group {
    names: Names,
    counts: Counts,
    rows: BTreeMap<Key, Sum>,
    /// By client and `grpc-status`.
    grpc: BTreeMap<(bool, u16), u64>,
    /// Of the latest window that held it.
    now: Now,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Names {
    namespace: String,
    workload_kind: String,
    workload_name: String,
    pod: String,
    services: BTreeSet<String>,
}

/// A [`Total`] that can be kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Counts {
    requests: u64,
    err4: u64,
    err5: u64,
    aborted: u64,
    duration_last_ns: u64,
    duration_sum_ns: u64,
    duration_count: u64,
    losses: BTreeMap<String, u64>,
}

/// What is no count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Now {
    since_unix_ns: u64,
    in_flight: u64,
    /// Targets by status, in the order of [`STATUSES`].
    statuses: [u32; 4],
    reason: String,
    blind: bool,
}

/// From the best to the worst.
const STATUSES: [Status; 4] = [
    Status::Active,
    Status::Waiting,
    Status::Degraded,
    Status::Failed,
];

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Key {
    client: bool,
    probe: bool,
    protocol: String,
    method: String,
    status: u16,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sum {
    count: u64,
    duration_sum_ns: u64,
    offset: i32,
    buckets: Vec<u64>,
}

impl Groups {
    /// The window's targets by group.
    pub(crate) fn of(by: By, snapshot: &Snapshot<'_>) -> Self {
        let mut groups = Self::default();
        for target in snapshot.targets() {
            let names = Names::of(by, &target);
            let group = groups.0.entry(names.id(by)).or_insert_with(|| Group {
                names: names.clone(),
                ..Group::default()
            });
            if by != By::Service {
                group
                    .names
                    .services
                    .extend(target.services().iter().map(str::to_owned));
            }
            group.add(&target);
        }
        groups
    }

    /// With all groups but those of these ids as one, `other`.
    pub(crate) fn folded(self, by: By, keep: &BTreeSet<String>) -> Self {
        let mut folded = Self::default();
        let mut other: Option<Group> = None;
        for (id, group) in self.0 {
            if keep.contains(&id) {
                folded.0.insert(id, group);
            } else {
                let other = other.get_or_insert_with(|| Group {
                    names: Names::other(by),
                    ..Group::default()
                });
                other.plus(&group);
                other.now.plus(&group.now);
            }
        }
        if let Some(other) = other {
            folded.0.insert(OTHER.to_owned(), other);
        }
        folded
    }

    pub(crate) fn write(self, tables: &mut TablesBuilder, snapshot: &Snapshot<'_>) {
        for (id, group) in self.0 {
            group.write(id, tables, snapshot);
        }
    }
}

impl Names {
    fn of(by: By, target: &Target<'_>) -> Self {
        let names = Self {
            namespace: target.namespace().to_owned(),
            ..Self::default()
        };
        let alone = || Self {
            pod: target.pod().to_owned(),
            ..names.clone()
        };
        match by {
            By::Namespace => names,
            By::Workload if target.workload_name().is_empty() => alone(),
            By::Workload => Self {
                workload_kind: target.workload_kind().to_owned(),
                workload_name: target.workload_name().to_owned(),
                ..names
            },
            By::Service => match target.services().first() {
                None => alone(),
                Some(service) => Self {
                    services: [service.to_owned()].into(),
                    ..names
                },
            },
        }
    }

    /// Where a group has its name.
    fn other(by: By) -> Self {
        let (name, none) = (OTHER.to_owned(), Self::default());
        match by {
            By::Workload => Self {
                workload_name: name,
                ..none
            },
            By::Service => Self {
                services: [name].into(),
                ..none
            },
            By::Namespace => Self {
                namespace: name,
                ..none
            },
        }
    }

    fn id(&self, by: By) -> String {
        let namespace = &self.namespace;
        if !self.pod.is_empty() {
            return format!("pod:{namespace}/{}", self.pod);
        }
        match by {
            By::Namespace => format!("namespace:{namespace}"),
            By::Workload => format!(
                "workload:{namespace}/{}/{}",
                self.workload_kind, self.workload_name
            ),
            By::Service => {
                let service = self.services.first().map_or("", String::as_str);
                format!("service:{namespace}/{service}")
            }
        }
    }
}

impl Group {
    fn add(&mut self, target: &Target<'_>) {
        self.counts.add(target.total());
        for row in target.rows() {
            let RowKey {
                client,
                probe,
                protocol,
                method,
                status,
            } = RowKey::of(&row);
            let key = Key {
                client,
                probe,
                protocol: protocol.to_owned(),
                method: method.to_owned(),
                status,
            };
            self.rows
                .entry(key)
                .or_default()
                .add(row.count, row.duration_sum_ns, &row.latency());
        }
        for row in target.grpc_rows() {
            *self.grpc.entry((row.client, row.status)).or_default() += row.count;
        }
        self.now.add(target);
    }

    /// Adds the counts of the same group's next window, or of another group.
    pub(crate) fn plus(&mut self, other: &Self) {
        self.counts.plus(&other.counts);
        for (key, sum) in &other.rows {
            self.rows.entry(key.clone()).or_default().add(
                sum.count,
                sum.duration_sum_ns,
                &sum.latency(),
            );
        }
        for (key, count) in &other.grpc {
            *self.grpc.entry(*key).or_default() += count;
        }
    }

    /// The names and gauges of a later window.
    pub(crate) fn renew(&mut self, later: &Self) {
        let since = self.now.since_unix_ns;
        self.names.clone_from(&later.names);
        self.now.clone_from(&later.now);
        self.now.since_unix_ns = since;
    }

    /// The same without members.
    pub(crate) fn left_alone(&mut self) {
        self.now = Now {
            since_unix_ns: self.now.since_unix_ns,
            ..Now::default()
        };
    }

    /// A group whose counts begin here.
    pub(crate) fn begin(&mut self, since_unix_ns: u64) {
        self.now.since_unix_ns = since_unix_ns;
    }

    pub(crate) fn requests(&self) -> u64 {
        self.counts.requests
    }

    fn write(self, id: String, tables: &mut TablesBuilder, snapshot: &Snapshot<'_>) {
        let (status, reason) = self.now.status();
        let Names {
            namespace,
            workload_kind,
            workload_name,
            pod,
            services,
        } = self.names;
        let target = records::Target {
            id,
            pod,
            uid: String::new(),
            namespace,
            node: snapshot.node().to_owned(),
            workload_kind,
            workload_name,
            services: services.into_iter().collect(),
            ips: Vec::new(),
            since_unix_ns: self.now.since_unix_ns,
            status,
            reason,
        };
        tables.target(target, self.counts.total(&self.now));
        for (key, sum) in &self.rows {
            let of = RowKey {
                client: key.client,
                probe: key.probe,
                protocol: &key.protocol,
                method: &key.method,
                status: key.status,
            };
            tables.row(&of, sum.count, sum.duration_sum_ns, &sum.latency());
        }
        for ((client, status), count) in self.grpc {
            tables.grpc_row(client, status, count);
        }
    }
}

impl Counts {
    fn add(&mut self, total: &Total) {
        self.plus(&Self {
            requests: total.requests,
            err4: total.err4,
            err5: total.err5,
            aborted: total.aborted,
            duration_last_ns: total.duration_last_ns,
            duration_sum_ns: total.duration_sum_ns,
            duration_count: total.duration_count,
            losses: total
                .losses
                .iter()
                .map(|loss| (loss.name.clone(), loss.count))
                .collect(),
        });
    }

    fn plus(&mut self, other: &Self) {
        self.requests += other.requests;
        self.err4 += other.err4;
        self.err5 += other.err5;
        self.aborted += other.aborted;
        if other.duration_last_ns > 0 {
            self.duration_last_ns = other.duration_last_ns;
        }
        self.duration_sum_ns += other.duration_sum_ns;
        self.duration_count += other.duration_count;
        for (name, count) in &other.losses {
            *self.losses.entry(name.clone()).or_default() += count;
        }
    }

    /// Of all that was counted, and of what waits now: so the audit holds.
    fn total(&self, now: &Now) -> Total {
        let lost: u64 = self.losses.values().sum();
        let seen = self.requests + self.aborted + now.in_flight + lost;
        let coverage = match seen {
            _ if now.blind => 0.0,
            0 => 1.0,
            seen => 1.0 - lost as f64 / seen as f64,
        };
        Total {
            requests: self.requests,
            err4: self.err4,
            err5: self.err5,
            aborted: self.aborted,
            in_flight: now.in_flight,
            seen,
            coverage,
            duration_last_ns: self.duration_last_ns,
            duration_sum_ns: self.duration_sum_ns,
            duration_count: self.duration_count,
            losses: self
                .losses
                .iter()
                .map(|(name, count)| Loss {
                    name: name.clone(),
                    count: *count,
                })
                .collect(),
        }
    }
}

impl Now {
    fn add(&mut self, target: &Target<'_>) {
        let rank = STATUSES
            .iter()
            .position(|status| *status == target.status())
            .unwrap_or_default();
        let mut statuses = [0; 4];
        statuses[rank] = 1;
        self.plus(&Self {
            since_unix_ns: target.since_unix_ns(),
            in_flight: target.total().in_flight,
            statuses,
            reason: target.reason().to_owned(),
            blind: target.total().is_blind(),
        });
    }

    fn plus(&mut self, other: &Self) {
        let worst = |now: &Self| now.statuses.iter().rposition(|&count| count > 0);
        if worst(other) > worst(self) {
            self.reason.clone_from(&other.reason);
        }
        self.since_unix_ns = match self.since_unix_ns {
            0 => other.since_unix_ns,
            since => since.min(other.since_unix_ns),
        };
        self.in_flight += other.in_flight;
        for (count, more) in self.statuses.iter_mut().zip(other.statuses) {
            *count += more;
        }
        self.blind |= other.blind;
    }

    /// The worst of its targets', with how many there are of it.
    fn status(&self) -> (Status, String) {
        let all: u32 = self.statuses.iter().sum();
        let worst = (0..STATUSES.len()).rev().find(|&at| self.statuses[at] > 0);
        match worst {
            None | Some(0) => (Status::Active, String::new()),
            Some(at) => {
                let (status, count) = (STATUSES[at], self.statuses[at]);
                let reason = format!("{count} of {all} {}: {}", status.name(), self.reason);
                (status, reason)
            }
        }
    }
}

impl Sum {
    fn add(&mut self, count: u64, duration_sum_ns: u64, latency: &Histogram) {
        self.count += count;
        self.duration_sum_ns += duration_sum_ns;
        let mut sum = self.latency();
        sum.add(latency);
        (self.offset, self.buckets) = (sum.offset, sum.counts);
    }

    fn latency(&self) -> Histogram {
        Histogram {
            scale: 3,
            offset: self.offset,
            counts: self.buckets.clone(),
        }
    }
}
