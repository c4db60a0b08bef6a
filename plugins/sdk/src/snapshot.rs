//! The snapshot as a plugin author walks it: targets, and in each its total and its rows.
//!
//! The host owns the numbers. Each part is fetched when it is first asked for and kept for the
//! window, so a plugin that needs totals only never pays for rows.

mod columns;

use std::cell::OnceCell;
use std::ops::{Deref, Range};
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
    fn target_columns(&self) -> records::TargetColumns;
    fn total_columns(&self) -> records::TotalColumns;
    fn row_columns(&self) -> records::RowColumns;
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
    targets: OnceCell<records::TargetColumns>,
    totals: OnceCell<Vec<records::Total>>,
    rows: OnceCell<records::RowColumns>,
    grpc_rows: OnceCell<Vec<records::GrpcRow>>,
    latency: OnceCell<records::Latency>,
    protocols: OnceCell<Vec<String>>,
    methods: OnceCell<Vec<String>>,
}

/// One target with its numbers. What each part means is said of the fields of [`records::Target`].
#[derive(Clone, Copy)]
pub struct Target<'s> {
    snapshot: &'s Snapshot<'s>,
    index: u32,
    columns: &'s records::TargetColumns,
}

/// The services of a target, or its addresses.
#[derive(Clone, Copy)]
pub struct Texts<'s> {
    columns: &'s records::TargetColumns,
    begin: u32,
    len: u32,
}

/// Answered requests of one target that agree in all dimensions; the fields of [`records::Row`] are
/// its own.
#[derive(Clone, Copy)]
pub struct Row<'s> {
    snapshot: &'s Snapshot<'s>,
    index: u32,
    record: records::Row,
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
        let columns = self.targets.get_or_init(|| self.source.target_columns());
        (0..columns.before.len()).map(move |index| Target {
            snapshot: self,
            index: index as u32,
            columns,
        })
    }

    /// All rows, sorted by target.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        self.rows_from(0..self.row_columns().target.len())
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

    fn row_columns(&self) -> &records::RowColumns {
        self.rows.get_or_init(|| self.source.row_columns())
    }

    fn rows_from(&self, indexes: Range<usize>) -> impl ExactSizeIterator<Item = Row<'_>> {
        let columns = self.row_columns();
        indexes.map(move |index| Row {
            snapshot: self,
            index: index as u32,
            record: columns::row(columns, index),
        })
    }

    fn latency(&self) -> &records::Latency {
        self.latency.get_or_init(|| self.source.latency())
    }
}

impl<'s> Target<'s> {
    /// Stable for the target's life: the pod's uid, or `namespace/pod` where there is none.
    pub fn id(&self) -> &'s str {
        self.text(0)
    }

    /// Kubernetes pod name.
    pub fn pod(&self) -> &'s str {
        self.text(1)
    }

    /// Kubernetes pod uid; empty outside Kubernetes.
    pub fn uid(&self) -> &'s str {
        self.text(2)
    }

    /// Kubernetes namespace; empty where there is none.
    pub fn namespace(&self) -> &'s str {
        self.text(3)
    }

    /// Name of the node.
    pub fn node(&self) -> &'s str {
        self.text(4)
    }

    /// `Deployment`, `StatefulSet`, `DaemonSet`, ...; empty when not known.
    pub fn workload_kind(&self) -> &'s str {
        self.text(5)
    }

    /// Name of the workload; empty when not known.
    pub fn workload_name(&self) -> &'s str {
        self.text(6)
    }

    /// Why, when the status is not `active`; one sentence.
    pub fn reason(&self) -> &'s str {
        self.text(7)
    }

    /// All services that select it, sorted.
    pub fn services(&self) -> Texts<'s> {
        Texts {
            columns: self.columns,
            begin: self.columns.before[self.index as usize] + OWN_TEXTS,
            len: self.columns.services[self.index as usize],
        }
    }

    /// Its addresses in text form, IPv4 first.
    pub fn ips(&self) -> Texts<'s> {
        let services = self.services();
        Texts {
            begin: services.begin + services.len,
            len: self.columns.ips[self.index as usize],
            ..services
        }
    }

    /// Unix time, nanoseconds: when its cumulative counts began, which is its discovery.
    pub fn since_unix_ns(&self) -> u64 {
        self.columns.since_unix_ns[self.index as usize]
    }

    /// How it stands.
    pub fn status(&self) -> records::Status {
        self.columns.status[self.index as usize]
    }

    /// `shop/cart-0`, or the pod's name alone where there is no namespace.
    pub fn full_name(&self) -> String {
        match (self.namespace(), self.pod()) {
            ("", pod) => pod.to_owned(),
            (namespace, pod) => format!("{namespace}/{pod}"),
        }
    }

    /// All of it, for tables of a filter's own making.
    pub fn record(&self) -> records::Target {
        records::Target {
            id: self.id().to_owned(),
            pod: self.pod().to_owned(),
            uid: self.uid().to_owned(),
            namespace: self.namespace().to_owned(),
            node: self.node().to_owned(),
            workload_kind: self.workload_kind().to_owned(),
            workload_name: self.workload_name().to_owned(),
            services: self.services().iter().map(str::to_owned).collect(),
            ips: self.ips().iter().map(str::to_owned).collect(),
            since_unix_ns: self.since_unix_ns(),
            status: self.status(),
            reason: self.reason().to_owned(),
        }
    }

    fn text(&self, nth: u32) -> &'s str {
        text(self.columns, self.columns.before[self.index as usize] + nth)
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
            .get_or_init(|| columns::totals(self.snapshot.source.total_columns()))
            [self.index as usize]
    }

    /// Its rows: requests that it answered, requests that it sent (`client`) and kubelet probes
    /// (`probe`), by protocol, method and status.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'s>> + use<'s> {
        let all = &self.snapshot.row_columns().target;
        self.snapshot.rows_from(range(all, self.index, |of| *of))
    }

    /// Its gRPC calls by `grpc-status`.
    pub fn grpc_rows(&self) -> &'s [GrpcRow] {
        let all = self
            .snapshot
            .grpc_rows
            .get_or_init(|| self.snapshot.source.grpc_rows());
        &all[range(all, self.index, |row| row.target)]
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
        match (self.workload_kind(), self.workload_name()) {
            ("", name) => name.to_owned(),
            (kind, name) => format!("{kind}/{name}"),
        }
    }
}

/// How many texts a target has before its services.
const OWN_TEXTS: u32 = 8;

fn text(columns: &records::TargetColumns, nth: u32) -> &str {
    let nth = nth as usize;
    let begin = nth.checked_sub(1).map_or(0, |before| columns.ends[before]);
    &columns.texts[begin as usize..columns.ends[nth] as usize]
}

impl<'s> Texts<'s> {
    /// How many.
    pub fn len(self) -> usize {
        self.len as usize
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The first.
    pub fn first(self) -> Option<&'s str> {
        self.iter().next()
    }

    /// Each in turn.
    pub fn iter(self) -> impl Iterator<Item = &'s str> {
        (self.begin..self.begin + self.len).map(move |nth| text(self.columns, nth))
    }

    /// All, with `separator` between them.
    pub fn join(self, separator: &str) -> String {
        let mut joined = self.first().unwrap_or_default().to_owned();
        for text in self.iter().skip(1) {
            joined.push_str(separator);
            joined.push_str(text);
        }
        joined
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
fn range<T>(sorted: &[T], target: u32, of: impl Fn(&T) -> u32) -> Range<usize> {
    let start = sorted.partition_point(|row| of(row) < target);
    let end = start + sorted[start..].partition_point(|row| of(row) == target);
    start..end
}

impl Deref for Row<'_> {
    type Target = records::Row;

    fn deref(&self) -> &records::Row {
        &self.record
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
    fn target_columns(&self) -> records::TargetColumns {
        self.target_columns()
    }
    fn total_columns(&self) -> records::TotalColumns {
        self.total_columns()
    }
    fn row_columns(&self) -> records::RowColumns {
        self.row_columns()
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

#[cfg(test)]
mod tests {
    use super::{Snapshot, Texts};
    use crate::testing::SnapshotData;

    fn data() -> SnapshotData {
        SnapshotData::from_json(
            r#"{
            "node": "worker-1",
            "window": {"start": 0, "end": 10, "sequence": 1, "merged": 1},
            "temporality": "cumulative",
            "targets": [
                {"id": "a", "pod": "", "namespace": "", "status": "failed", "reason": "größer",
                 "services": [], "ips": [], "totals": {}},
                {"id": "b", "pod": "cart-0", "uid": "b", "namespace": "shop", "status": "active", "since": 7,
                 "workload": {"kind": "StatefulSet", "name": "cart"}, "services": ["cart", "store"],
                 "ips": ["10.0.0.1", "fd00::1"],
                 "totals": {"requests": 4, "seen": 7, "losses": {"late": 3}},
                 "rows": [
                    {"direction": "client", "protocol": "http/2", "method": "GET", "status": 200, "count": 1,
                     "latency": {"offset": 0, "counts": [1]}},
                    {"direction": "server", "probe": true, "protocol": "http/1.1", "method": "PUT", "status": 404,
                     "count": 3, "latency": {"offset": 2, "counts": [1, 2]}}]}
            ]}"#,
        )
        .unwrap()
    }

    fn all(texts: Texts<'_>) -> Vec<&str> {
        texts.iter().collect()
    }

    #[test]
    fn each_target_has_its_own_texts() {
        let data = data();
        let snapshot = Snapshot::new(&data);
        let targets: Vec<_> = snapshot.targets().collect();
        let [first, second] = targets.as_slice() else {
            panic!("{} targets", targets.len());
        };
        assert_eq!(
            (first.id(), first.pod(), first.reason()),
            ("a", "", "größer")
        );
        assert_eq!((first.services().first(), first.ips().len()), (None, 0));
        assert_eq!(first.services().join(","), "");
        assert_eq!(
            (second.id(), second.uid(), second.node()),
            ("b", "b", "worker-1")
        );
        assert_eq!(second.full_name(), "shop/cart-0");
        assert_eq!(second.workload(), "StatefulSet/cart");
        assert_eq!(second.since_unix_ns(), 7);
        assert_eq!(all(second.services()), ["cart", "store"]);
        assert_eq!(second.ips().join(" "), "10.0.0.1 fd00::1");
        assert!(!second.ips().is_empty());
        assert_eq!([first.record(), second.record()], data.targets[..]);
    }

    #[test]
    fn rows_and_totals_are_those_of_the_records() {
        let data = data();
        let snapshot = Snapshot::new(&data);
        let rows: Vec<_> = snapshot.rows().map(|row| *row).collect();
        assert_eq!(rows, data.rows);
        let targets: Vec<_> = snapshot.targets().collect();
        let totals: Vec<_> = targets
            .iter()
            .map(|target| target.total().clone())
            .collect();
        assert_eq!(totals, data.totals);
        assert_eq!(totals[1].lost(), 3);
        let of_each: Vec<usize> = targets.iter().map(|target| target.rows().len()).collect();
        assert_eq!(of_each, [0, 2]);
        let last = targets[1].rows().last().unwrap();
        assert_eq!(
            (last.index(), last.method(), last.latency().counts),
            (1, "PUT", vec![1, 2])
        );
    }
}
