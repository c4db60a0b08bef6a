//! A snapshot of a filter's own making, built target by target.

use std::collections::BTreeMap;

use crate::{Histogram, Row, Snapshot, records};

/// Builds the tables that a filter hands on in place of the snapshot it was given.
///
/// ```
/// use owlk8s_plugin::{Snapshot, TablesBuilder, Verdict};
///
/// /// All of a node as one target.
/// fn whole(snapshot: &Snapshot<'_>) -> Verdict {
///     let mut tables = TablesBuilder::new(snapshot, snapshot.temporality());
///     let mut total = owlk8s_plugin::records::Total::none();
///     snapshot.targets().for_each(|target| total.add(target.total()));
///     if let Some(first) = snapshot.targets().next() {
///         tables.target(owlk8s_plugin::records::Target {
///             id: "node".to_owned(), pod: snapshot.node().to_owned(), ..first.record()
///         }, total);
///     }
///     Verdict::replace(tables.finish())
/// }
/// ```
pub struct TablesBuilder {
    tables: records::Tables,
    methods: BTreeMap<String, u32>,
    protocols: Vec<String>,
}

/// What rows of one target are told apart by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowKey<'s> {
    /// The pod asked instead of answering.
    pub client: bool,
    /// A kubelet probe.
    pub probe: bool,
    /// One of the snapshot's.
    pub protocol: &'s str,
    /// The IANA registry's name, or `_OTHER`.
    pub method: &'s str,
    /// HTTP status code.
    pub status: u16,
}

impl<'s> RowKey<'s> {
    /// Of a row.
    pub fn of(row: &Row<'s>) -> Self {
        Self {
            client: row.client,
            probe: row.probe,
            protocol: row.protocol(),
            method: row.method(),
            status: row.status,
        }
    }
}

impl TablesBuilder {
    /// Empty tables, for the window of `snapshot`.
    pub fn new(snapshot: &Snapshot<'_>, temporality: records::Temporality) -> Self {
        Self {
            tables: records::Tables {
                temporality,
                targets: Vec::new(),
                totals: Vec::new(),
                rows: Vec::new(),
                grpc_rows: Vec::new(),
                bucket_counts: Vec::new(),
                methods: Vec::new(),
                columns: Vec::new(),
            },
            methods: BTreeMap::new(),
            protocols: snapshot.protocols().to_vec(),
        }
    }

    /// The next target. Rows that follow are its own.
    pub fn target(&mut self, target: records::Target, total: records::Total) {
        self.tables.targets.push(target);
        self.tables.totals.push(total);
    }

    /// A row of the last target.
    ///
    /// # Panics
    /// Where there is no target yet, or the protocol is none of the snapshot's.
    pub fn row(&mut self, key: &RowKey<'_>, count: u64, duration_sum_ns: u64, latency: &Histogram) {
        let bucket_start = self.tables.bucket_counts.len() as u32;
        self.tables.bucket_counts.extend_from_slice(&latency.counts);
        let protocol = self.protocols.iter().position(|name| name == key.protocol);
        let row = records::Row {
            target: self.last(),
            client: key.client,
            probe: key.probe,
            protocol: protocol.expect("a protocol of the snapshot") as u32,
            method: self.method(key.method),
            status: key.status,
            count,
            duration_sum_ns,
            bucket_offset: latency.offset,
            bucket_start,
            bucket_count: latency.counts.len() as u32,
        };
        self.tables.rows.push(row);
    }

    /// gRPC calls of the last target.
    ///
    /// # Panics
    /// Where there is no target yet.
    pub fn grpc_row(&mut self, client: bool, status: u16, count: u64) {
        let target = self.last();
        self.tables.grpc_rows.push(records::GrpcRow {
            target,
            client,
            status,
            count,
        });
    }

    /// A column of the snapshot, with one value for each target.
    pub fn column(&mut self, name: String, values: Vec<String>) {
        self.tables.columns.push(records::Column { name, values });
    }

    /// The tables.
    pub fn finish(self) -> records::Tables {
        self.tables
    }

    fn last(&self) -> u32 {
        let last = self.tables.targets.len().checked_sub(1);
        last.expect("a target before its rows") as u32
    }

    fn method(&mut self, name: &str) -> u32 {
        if let Some(known) = self.methods.get(name) {
            return *known;
        }
        let new = self.tables.methods.len() as u32;
        self.tables.methods.push(name.to_owned());
        self.methods.insert(name.to_owned(), new);
        new
    }
}
