//! The snapshot as a plugin author walks it: targets, and in each its total and its rows.
//!
//! The host owns the numbers. Each part is fetched when it is first asked for and kept for the
//! window, so a plugin that needs totals only never pays for rows.

use std::cell::OnceCell;
use std::ops::Deref;
use std::time::Duration;

use crate::bindings::snapshots;
use crate::{Histogram, records};

/// Where the parts of a snapshot come from: the host, or in native tests
/// `owlk8s_plugin::testing::SnapshotData`.
#[expect(
    missing_docs,
    reason = "each method is the interface's method of that name, documented in the WIT"
)]
pub trait Source {
    fn window(&self) -> records::Window;
    fn temporality(&self) -> records::Temporality;
    fn node(&self) -> String;
    fn targets(&self) -> Vec<records::Target>;
    fn totals(&self) -> Vec<records::Total>;
    fn rows(&self) -> Vec<records::Row>;
    fn grpc_rows(&self) -> Vec<records::GrpcRow>;
    fn latency(&self) -> records::Latency;
    fn protocols(&self) -> Vec<String>;
    fn methods(&self) -> Vec<String>;
    fn column(&self, name: &str) -> Option<Vec<String>>;
    fn columns(&self) -> Vec<String>;
}

/// One interval's numbers of this node, after the sink's selection and filters.
pub struct Snapshot<'s> {
    source: &'s dyn Source,
    node: OnceCell<String>,
    targets: OnceCell<Vec<records::Target>>,
    totals: OnceCell<Vec<records::Total>>,
    rows: OnceCell<Vec<records::Row>>,
    grpc_rows: OnceCell<Vec<records::GrpcRow>>,
    latency: OnceCell<records::Latency>,
    protocols: OnceCell<Vec<String>>,
    methods: OnceCell<Vec<String>>,
}

/// One target with its numbers; the fields of [`records::Target`] are its own.
#[derive(Clone, Copy)]
pub struct Target<'s> {
    snapshot: &'s Snapshot<'s>,
    index: u32,
    record: &'s records::Target,
}

/// Answered requests of one target that agree in all dimensions; the fields of [`records::Row`] are
/// its own.
#[derive(Clone, Copy)]
pub struct Row<'s> {
    snapshot: &'s Snapshot<'s>,
    index: u32,
    record: &'s records::Row,
}

/// gRPC calls of one target that ended with one status.
pub type GrpcRow = records::GrpcRow;

impl<'s> Snapshot<'s> {
    /// A view of `source`.
    pub fn new(source: &'s dyn Source) -> Self {
        Self {
            source,
            node: OnceCell::new(),
            targets: OnceCell::new(),
            totals: OnceCell::new(),
            rows: OnceCell::new(),
            grpc_rows: OnceCell::new(),
            latency: OnceCell::new(),
            protocols: OnceCell::new(),
            methods: OnceCell::new(),
        }
    }

    /// The interval.
    pub fn window(&self) -> records::Window {
        self.source.window()
    }

    /// What its counts count from.
    pub fn temporality(&self) -> records::Temporality {
        self.source.temporality()
    }

    /// Name of the node.
    pub fn node(&self) -> &str {
        self.node.get_or_init(|| self.source.node())
    }

    /// All targets.
    pub fn targets(&self) -> impl ExactSizeIterator<Item = Target<'_>> {
        let records = self.targets.get_or_init(|| self.source.targets());
        records.iter().enumerate().map(|(index, record)| Target {
            snapshot: self,
            index: index as u32,
            record,
        })
    }

    /// All rows, sorted by target.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        self.row_records()
            .iter()
            .enumerate()
            .map(|(index, record)| Row {
                snapshot: self,
                index: index as u32,
                record,
            })
    }

    /// A further column by target index, such as `label:team`; none where the sink was not granted
    /// it.
    pub fn column(&self, name: &str) -> Option<Vec<String>> {
        self.source.column(name)
    }

    /// Names of all further columns.
    pub fn columns(&self) -> Vec<String> {
        self.source.columns()
    }

    /// Names of all protocols that a row may have: `http/1.0`, `http/1.1`, `http/2`.
    pub fn protocols(&self) -> &[String] {
        self.protocols.get_or_init(|| self.source.protocols())
    }

    fn row_records(&self) -> &[records::Row] {
        self.rows.get_or_init(|| self.source.rows())
    }

    fn latency(&self) -> &records::Latency {
        self.latency.get_or_init(|| self.source.latency())
    }
}

impl<'s> Target<'s> {
    /// The record itself, for borrows that outlive this view of it.
    pub fn record(&self) -> &'s records::Target {
        self.record
    }

    /// Index of the target, as [`Verdict`](crate::Verdict) and [`Snapshot::column`] use it.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The audited sums: `seen = requests + aborted + in_flight + sum(losses)`.
    pub fn total(&self) -> &'s records::Total {
        &self
            .snapshot
            .totals
            .get_or_init(|| self.snapshot.source.totals())[self.index as usize]
    }

    /// Its rows: requests that it answered, requests that it sent (`client`) and kubelet probes
    /// (`probe`), by protocol, method and status.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'s>> + use<'s> {
        let (snapshot, all) = (self.snapshot, self.snapshot.row_records());
        let (start, end) = range(all, self.index, |row| row.target);
        all[start..end]
            .iter()
            .enumerate()
            .map(move |(index, record)| Row {
                snapshot,
                index: (start + index) as u32,
                record,
            })
    }

    /// Its gRPC calls by `grpc-status`.
    pub fn grpc_rows(&self) -> &'s [GrpcRow] {
        let all = self
            .snapshot
            .grpc_rows
            .get_or_init(|| self.snapshot.source.grpc_rows());
        let (start, end) = range(all, self.index, |row| row.target);
        &all[start..end]
    }

    /// Durations of all requests that it answered, kubelet probes left out.
    pub fn latency(&self) -> Histogram {
        let mut sum = Histogram::default();
        for row in self.rows().filter(|row| !row.client && !row.probe) {
            sum.add(&row.latency());
        }
        sum
    }

    /// `Deployment/cart`, or nothing where the workload is not known.
    pub fn workload(&self) -> String {
        match (self.workload_kind.as_str(), self.workload_name.as_str()) {
            ("", name) => name.to_owned(),
            (kind, name) => format!("{kind}/{name}"),
        }
    }
}

impl<'s> Row<'s> {
    /// Index of the row, as [`Verdict`](crate::Verdict) uses it.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The IANA registry's name, or `_OTHER`.
    pub fn method(&self) -> &'s str {
        let names = self
            .snapshot
            .methods
            .get_or_init(|| self.snapshot.source.methods());
        &names[self.record.method as usize]
    }

    /// `http/1.0`, `http/1.1` or `http/2`.
    pub fn protocol(&self) -> &'s str {
        &self.snapshot.protocols()[self.record.protocol as usize]
    }

    /// Sum of its durations.
    pub fn duration_sum(&self) -> Duration {
        Duration::from_nanos(self.duration_sum_ns)
    }

    /// Its durations.
    pub fn latency(&self) -> Histogram {
        let latency = self.snapshot.latency();
        let start = self.bucket_start as usize;
        let counts = &latency.counts[start..start + self.bucket_count as usize];
        Histogram {
            scale: latency.scale,
            offset: self.bucket_offset,
            counts: counts.to_vec(),
        }
    }
}

/// Where `target`'s part of a list sorted by target begins and ends.
fn range<T>(sorted: &[T], target: u32, of: impl Fn(&T) -> u32) -> (usize, usize) {
    let start = sorted.partition_point(|row| of(row) < target);
    let end = start + sorted[start..].partition_point(|row| of(row) == target);
    (start, end)
}

impl Deref for Target<'_> {
    type Target = records::Target;

    fn deref(&self) -> &records::Target {
        self.record
    }
}

impl Deref for Row<'_> {
    type Target = records::Row;

    fn deref(&self) -> &records::Row {
        self.record
    }
}

impl records::Target {
    /// `shop/cart-0`, or the pod's name alone where there is no namespace.
    pub fn full_name(&self) -> String {
        if self.namespace.is_empty() {
            self.pod.clone()
        } else {
            format!("{}/{}", self.namespace, self.pod)
        }
    }
}

impl records::Total {
    /// Of nothing, to add to.
    pub fn none() -> Self {
        Self {
            requests: 0,
            err4: 0,
            err5: 0,
            aborted: 0,
            in_flight: 0,
            seen: 0,
            coverage: 1.0,
            duration_last_ns: 0,
            duration_sum_ns: 0,
            duration_count: 0,
            losses: Vec::new(),
        }
    }

    /// Adds the counts of another target. Coverage is that of all requests together, but 0 where the other is
    /// blind; the latest duration is the other's, unless it had none.
    pub fn add(&mut self, other: &Self) {
        let blind = |total: &Self| total.coverage == 0.0;
        let blind = blind(self) || blind(other);
        self.requests += other.requests;
        self.err4 += other.err4;
        self.err5 += other.err5;
        self.aborted += other.aborted;
        self.in_flight += other.in_flight;
        self.seen += other.seen;
        if other.duration_last_ns > 0 {
            self.duration_last_ns = other.duration_last_ns;
        }
        self.duration_sum_ns += other.duration_sum_ns;
        self.duration_count += other.duration_count;
        for loss in &other.losses {
            match self.losses.iter_mut().find(|known| known.name == loss.name) {
                Some(known) => known.count += loss.count,
                None => self.losses.push(loss.clone()),
            }
        }
        self.coverage = match self.seen {
            _ if blind => 0.0,
            0 => 1.0,
            seen => 1.0 - self.lost() as f64 / seen as f64,
        };
    }

    /// Nothing of its packets is seen, so its zeros mean nothing: nothing is covered, and nothing was lost.
    pub fn is_blind(&self) -> bool {
        self.coverage == 0.0 && self.lost() == 0
    }

    /// Mean duration; none before the first answer.
    pub fn duration_mean(&self) -> Option<Duration> {
        self.duration_sum_ns
            .checked_div(self.duration_count)
            .map(Duration::from_nanos)
    }

    /// The latest duration.
    pub fn duration_last(&self) -> Duration {
        Duration::from_nanos(self.duration_last_ns)
    }

    /// Requests lost to any reason.
    pub fn lost(&self) -> u64 {
        self.losses.iter().map(|loss| loss.count).sum()
    }
}

impl records::Window {
    /// How long it is.
    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.end_unix_ns.saturating_sub(self.start_unix_ns))
    }

    /// How long before it nothing was counted for this sink; none where it goes on from the window
    /// before.
    pub fn gap(&self) -> Option<Duration> {
        (self.gap_ns > 0).then(|| Duration::from_nanos(self.gap_ns))
    }

    /// Its end in Unix milliseconds.
    pub fn end_unix_ms(&self) -> u64 {
        self.end_unix_ns / 1_000_000
    }
}

impl records::Status {
    /// `active`, `waiting`, `degraded` or `failed`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Waiting => "waiting",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
        }
    }
}

impl Source for snapshots::Snapshot {
    fn window(&self) -> records::Window {
        self.window()
    }
    fn temporality(&self) -> records::Temporality {
        self.temporality()
    }
    fn node(&self) -> String {
        self.node()
    }
    fn targets(&self) -> Vec<records::Target> {
        self.targets()
    }
    fn totals(&self) -> Vec<records::Total> {
        self.totals()
    }
    fn rows(&self) -> Vec<records::Row> {
        self.rows()
    }
    fn grpc_rows(&self) -> Vec<records::GrpcRow> {
        self.grpc_rows()
    }
    fn latency(&self) -> records::Latency {
        self.latency()
    }
    fn protocols(&self) -> Vec<String> {
        self.protocols()
    }
    fn methods(&self) -> Vec<String> {
        self.methods()
    }
    fn column(&self, name: &str) -> Option<Vec<String>> {
        self.column(name)
    }
    fn columns(&self) -> Vec<String> {
        self.columns()
    }
}
