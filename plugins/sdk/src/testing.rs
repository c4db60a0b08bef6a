//! Native tests of a plugin: a snapshot from JSON, in the format of the agent's `GET /snapshot`.
//!
//! ```
//! use owlk8s_plugin::{Snapshot, testing::SnapshotData};
//!
//! let data = SnapshotData::from_json(r#"{
//!     "node": "worker-1",
//!     "window": {"start": 0, "end": 10000000000, "sequence": 1, "merged": 1},
//!     "temporality": "cumulative",
//!     "targets": [{"id": "shop/cart-0", "pod": "cart-0", "namespace": "shop", "status": "active",
//!                  "totals": {"requests": 7, "seen": 7, "coverage": 1.0}}]
//! }"#).unwrap();
//! let snapshot = Snapshot::new(&data);
//! assert_eq!(snapshot.targets().next().unwrap().total().requests, 7);
//! ```

mod columns;
mod filtered;
mod json;

use std::collections::BTreeMap;

use crate::{Source, records};

/// A snapshot as plain data; build it by hand, or by [`SnapshotData::from_json`].
#[derive(Clone, Debug)]
pub struct SnapshotData {
    /// As [`Source::window`].
    pub window: records::Window,
    /// As [`Source::temporality`].
    pub temporality: records::Temporality,
    /// As [`Source::node`].
    pub node: String,
    /// What [`Source::target_columns`] is made of.
    pub targets: Vec<records::Target>,
    /// What [`Source::total_columns`] is made of.
    pub totals: Vec<records::Total>,
    /// What [`Source::row_columns`] is made of.
    pub rows: Vec<records::Row>,
    /// As [`Source::grpc_rows`].
    pub grpc_rows: Vec<records::GrpcRow>,
    /// As [`Source::latency`].
    pub latency: records::Latency,
    /// As [`Source::protocols`].
    pub protocols: Vec<String>,
    /// As [`Source::methods`].
    pub methods: Vec<String>,
    /// By name, as [`Source::column`]; from JSON, one `label:NAME` for each label.
    pub columns: BTreeMap<String, Vec<String>>,
}

impl SnapshotData {
    /// Reads a snapshot as the agent serves it. A number that is left out is 0.
    ///
    /// # Errors
    /// Where the text is not a snapshot.
    pub fn from_json(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<json::Snapshot>(json).map(Self::from)
    }
}

impl Source for SnapshotData {
    fn window(&self) -> records::Window {
        self.window
    }
    fn temporality(&self) -> records::Temporality {
        self.temporality
    }
    fn node(&self) -> String {
        self.node.clone()
    }
    fn target_columns(&self) -> records::TargetColumns {
        columns::of_targets(&self.targets)
    }
    fn total_columns(&self) -> records::TotalColumns {
        columns::of_totals(&self.totals)
    }
    fn row_columns(&self) -> records::RowColumns {
        columns::of_rows(&self.rows)
    }
    fn grpc_rows(&self) -> Vec<records::GrpcRow> {
        self.grpc_rows.clone()
    }
    fn latency(&self) -> records::Latency {
        self.latency.clone()
    }
    fn protocols(&self) -> Vec<String> {
        self.protocols.clone()
    }
    fn methods(&self) -> Vec<String> {
        self.methods.clone()
    }
    fn column(&self, name: &str) -> Option<Vec<String>> {
        self.columns.get(name).cloned()
    }
    fn columns(&self) -> Vec<String> {
        self.columns.keys().cloned().collect()
    }
}
