//! Connections that ended without a word: found by age, each 30 s, and never dropped without being counted.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use owlk8s_ebpf_abi::{Conn, ConnKey, Loss};

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
        // Before the connections: a stream is made after its connection, so one without is left over.
        let mut streams = Vec::new();
        maps.streams
            .entries(&mut streams)
            .map_err(|source| ProbeError::ReadMap {
                map: "STREAMS",
                source,
            })?;
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
        for (key, _) in streams.iter().filter(|(key, _)| !alive.contains(&key.conn)) {
            maps.streams
                .remove(key)
                .map_err(|source| ProbeError::WriteMap {
                    map: "STREAMS",
                    source,
                })?;
        }
        Ok(swept)
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
