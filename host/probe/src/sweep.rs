//! Connections that ended without a word: found by age, each 30 s, and never dropped without being counted.

use std::collections::HashSet;
use std::time::Duration;

use owlk8s_ebpf_abi::{Conn, ConnKey, Loss, StashKey, StreamKey};

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
        self.sweep_at(sys::monotonic())
    }

    /// As [`Probe::sweep`], as if the monotonic clock stood at `now`.
    pub fn sweep_at(&mut self, now: Duration) -> Result<Swept, ProbeError> {
        let maps = &self.maps;
        let leftovers = Leftovers::read(maps)?;
        let (mut old, mut alive) = (Vec::new(), HashSet::new());
        let mut swept = Swept::default();
        maps.connections.visit(|key, connection| {
            swept.connections += 1;
            if verdict(connection, now) != Verdict::Keep {
                old.push(*key);
            } else if !leftovers.is_empty() {
                alive.insert(connection.id);
            }
        })?;
        for key in old {
            alive.extend(sweep_one(maps, &key, now, &mut swept)?);
        }
        leftovers.remove(maps, &alive)?;
        Ok(swept)
    }
}

/// Removes a connection, unless it has spoken since it was found to be old: then its id.
fn sweep_one(
    maps: &Maps,
    key: &ConnKey,
    now: Duration,
    swept: &mut Swept,
) -> Result<Option<u64>, ProbeError> {
    let Some(connection) = maps.connections.get(key)? else {
        return Ok(None);
    };
    let verdict = verdict(&connection, now);
    if verdict == Verdict::Keep || !maps.connections.remove(key)? {
        return Ok(Some(connection.id));
    }
    // Where it began says nothing of where it goes on.
    maps.edges.remove(key)?;
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
    Ok(None)
}

/// What the tables hold for connections by their ids. To be read before the connections: each is made after its
/// connection, so one whose connection is not found later is left over.
pub(crate) struct Leftovers {
    stash: Vec<StashKey>,
    streams: Vec<StreamKey>,
}

/// Of [`StashKey::conn`]: the direction, not the connection.
const STASH_DIRECTION: u64 = 1 << 63;

impl Leftovers {
    pub(crate) fn read(maps: &Maps) -> Result<Self, ProbeError> {
        Ok(Self {
            stash: maps.stash.keys()?,
            streams: maps.streams.keys()?,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.stash.is_empty() && self.streams.is_empty()
    }

    /// Removes what belongs to no connection of `alive`; a fragment whose datagram's first did not come is a loss.
    pub(crate) fn remove(&self, maps: &Maps, alive: &HashSet<u64>) -> Result<(), ProbeError> {
        for key in self
            .stash
            .iter()
            .filter(|key| !alive.contains(&(key.conn & !STASH_DIRECTION)))
        {
            if maps.stash.remove(key)?
                && let Some(slot) = key.slot()
            {
                maps.slots.element(slot).add(loss_offset(Loss::Fragment), 1);
            }
        }
        for key in self.streams.iter().filter(|key| !alive.contains(&key.conn)) {
            maps.streams.remove(key)?;
        }
        Ok(())
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
