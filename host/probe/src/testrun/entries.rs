//! What is in the kernel's tables, for tests that nothing is left behind.

use crate::{Probe, ProbeError};

/// How many entries each table has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// Interfaces that are watched.
    pub targets: usize,
    /// Combinations of target, protocol, method and status.
    pub rows: usize,
    /// Connections.
    pub connections: usize,
    /// Connections whose beginning or end is remembered.
    pub edges: usize,
    /// Segments that wait for those before them.
    pub stash: usize,
    /// HTTP/2 streams that wait for an answer.
    pub streams: usize,
}

impl Probe {
    /// Counts what is in the kernel's tables.
    pub fn entries(&self) -> Result<Entries, ProbeError> {
        let maps = &self.maps;
        Ok(Entries {
            targets: maps.targets.keys()?.len(),
            rows: maps.row_index.keys()?.len(),
            connections: maps.connections.keys()?.len(),
            edges: maps.edges.keys()?.len(),
            stash: maps.stash.keys()?.len(),
            streams: maps.streams.keys()?.len(),
        })
    }
}
