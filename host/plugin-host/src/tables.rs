//! A snapshot in the form that guests read, made once for a sink's window and shared by all calls of it.
//!
//! Strings of targets that the sink does not select, and columns that it was not granted, are never
//! made. What a filter drops is gone for the rest of the chain.

mod build;
#[cfg(test)]
pub(crate) mod fixtures;
mod lend;
mod list;
mod replace;
mod snapshot;
mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use build::LABEL;
#[expect(unreachable_pub, reason = "generated code re-exports it")]
pub use lend::Lent;
pub(crate) use lend::add_to_linker;
use list::List;

use crate::bindings::snapshots as wit;

/// One window of one sink.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    window: wit::Window,
    temporality: wit::Temporality,
    node: String,
    targets: List<wit::Target>,
    totals: List<wit::Total>,
    rows: List<wit::Row>,
    grpc_rows: Arc<Vec<wit::GrpcRow>>,
    /// Rows that a filter dropped leave their buckets behind: nothing points to them.
    buckets: Arc<Vec<u64>>,
    methods: Arc<Vec<String>>,
    columns: BTreeMap<String, Arc<Vec<String>>>,
}

impl Tables {
    /// Names of its columns.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &String> {
        self.columns.keys()
    }

    /// Sequence of the window.
    pub(crate) fn sequence(&self) -> u64 {
        self.window.sequence
    }

    /// End of the window, Unix nanoseconds: the time that a guest's wall clock shows.
    pub(crate) fn end_unix_ns(&self) -> u64 {
        self.window.end_unix_ns
    }
}
