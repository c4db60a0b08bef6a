//! Connections that ended without a word: found by age, each 30 s, and never dropped without being counted.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use owlk8s_ebpf_abi::{Conn, ConnKey, Loss, Stash, StashKey, StreamKey, StreamValue};

use crate::load::Maps;
use crate::read::loss_offset;
use crate::{Probe, ProbeError, sys};

/// A connection that waits for nothing is forgotten after this; its next request makes it known again.
const IDLE: Duration = Duration::from_secs(10 * 60);
/// A request without answer is given up after this.
const UNANSWERED: Duration = Duration::from_secs(60 * 60);

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Connections that are left.
    pub connections: usize,
    /// Connections that waited for nothing.
    pub idle: usize,
    /// Connections with requests that were given up.
    pub given_up: usize,
    /// Requests that were given up, counted as the loss `idle` of their targets.
    pub lost_requests: u64,
}

impl Probe {
    /// Removes connections that have been silent for long. To be called each 30 s or so.
    pub fn sweep(&mut self) -> Result<Swept, ProbeError> {
        let now = sys::monotonic_ns().map_err(ProbeError::ReadClock)?;
        self.sweep_at(Duration::from_nanos(now))
    }

    /// As [`Probe::sweep`], as if the monotonic clock stood at `now`.
    pub fn sweep_at(&mut self, now: Duration) -> Result<Swept, ProbeError> {
        let maps = &self.maps;
        let leftovers = Leftovers::read(maps)?;
        let mut connections = Vec::new();
        maps.connections
            .entries(&mut connections)
            .map_err(reading)?;

        let mut swept = Swept {
            connections: connections.len(),
            ..Swept::default()
        };
        let mut alive: BTreeSet<u64> = connections
            .iter()
            .map(|(_, connection)| connection.id)
            .collect();
        for (key, connection) in &connections {
            if sweep_one(maps, key, connection, now, &mut swept)? {
                alive.remove(&connection.id);
            }
        }
        leftovers.remove(maps, &alive)?;
        Ok(swept)
    }
}

/// What the tables hold for connections by their ids. To be read before the connections: each is made after its
/// connection, so one whose connection is not found later is left over.
pub(crate) struct Leftovers {
    stash: Vec<(StashKey, Stash)>,
    streams: Vec<(StreamKey, StreamValue)>,
}

/// Of [`StashKey::conn`]: the direction, not the connection.
const STASH_DIRECTION: u64 = 1 << 63;

impl Leftovers {
    pub(crate) fn read(maps: &Maps) -> Result<Self, ProbeError> {
        let mut both = Self {
            stash: Vec::new(),
            streams: Vec::new(),
        };
        maps.stash
            .entries(&mut both.stash)
            .map_err(|source| ProbeError::ReadMap {
                map: "STASH",
                source,
            })?;
        if let Some(map) = &maps.streams {
            map.entries(&mut both.streams)
                .map_err(|source| ProbeError::ReadMap {
                    map: "STREAMS",
                    source,
                })?;
        }
        Ok(both)
    }

    /// Removes what belongs to no connection of `alive`.
    pub(crate) fn remove(&self, maps: &Maps, alive: &BTreeSet<u64>) -> Result<(), ProbeError> {
        for (key, _) in self
            .stash
            .iter()
            .filter(|(key, _)| !alive.contains(&(key.conn & !STASH_DIRECTION)))
        {
            maps.stash
                .remove(key)
                .map_err(|source| ProbeError::WriteMap {
                    map: "STASH",
                    source,
                })?;
        }
        for (key, _) in self
            .streams
            .iter()
            .filter(|(key, _)| !alive.contains(&key.conn))
        {
            let Some(map) = &maps.streams else { break };
            map.remove(key).map_err(|source| ProbeError::WriteMap {
                map: "STREAMS",
                source,
            })?;
        }
        Ok(())
    }
}

/// Whether it was removed.
fn sweep_one(
    maps: &Maps,
    key: &ConnKey,
    as_read: &Conn,
    now: Duration,
    swept: &mut Swept,
) -> Result<bool, ProbeError> {
    if verdict(as_read, now) == Verdict::Keep {
        return Ok(false);
    }
    // Again, since it may have spoken while the others were read.
    let Some(connection) = maps.connections.get(key).map_err(reading)? else {
        return Ok(true);
    };
    let verdict = verdict(&connection, now);
    let writing = |source| ProbeError::WriteMap {
        map: "CONNS",
        source,
    };
    if verdict == Verdict::Keep || !maps.connections.remove(key).map_err(writing)? {
        return Ok(false);
    }
    swept.connections -= 1;
    if verdict == Verdict::GiveUp {
        let lost = u64::from(connection.outstanding());
        maps.slots
            .element(connection.slot)
            .add(loss_offset(Loss::Idle), lost);
        swept.given_up += 1;
        swept.lost_requests += lost;
    } else {
        swept.idle += 1;
    }
    Ok(true)
}

fn reading(source: io::Error) -> ProbeError {
    ProbeError::ReadMap {
        map: "CONNS",
        source,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Keep,
    Forget,
    GiveUp,
}

fn verdict(connection: &Conn, now: Duration) -> Verdict {
    let silent = now.saturating_sub(Duration::from_nanos(connection.last_seen_ns));
    if connection.outstanding() > 0 {
        if silent >= UNANSWERED {
            Verdict::GiveUp
        } else {
            Verdict::Keep
        }
    } else if silent >= IDLE {
        Verdict::Forget
    } else {
        Verdict::Keep
    }
}
