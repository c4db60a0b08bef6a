//! What is in the kernel's tables, for tests that nothing is left behind.

use std::io;

use crate::sys::{KernelMap, Plain};
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
    /// Closed connections that are remembered.
    pub closed: usize,
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
            targets: count("TARGETS", &maps.targets)?,
            rows: count("ROW_INDEX", &maps.row_index)?,
            connections: count("CONNS", &maps.connections)?,
            closed: count("EDGES", &maps.closed)?,
            stash: count("STASH", &maps.stash)?,
            streams: maps
                .streams
                .as_ref()
                .map_or(Ok(0), |map| count("STREAMS", map))?,
        })
    }
}

fn count<K: Plain, V: Plain>(
    name: &'static str,
    map: &KernelMap<K, V>,
) -> Result<usize, ProbeError> {
    let mut entries = Vec::new();
    let read: io::Result<()> = map.entries(&mut entries);
    read.map_err(|source| ProbeError::ReadMap { map: name, source })?;
    Ok(entries.len())
}
