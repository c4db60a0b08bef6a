//! How a target leaves: first its socket, so that nothing is written any more, then every trace of its slots, and only
//! then can another have them.

use std::collections::HashSet;
use std::os::fd::OwnedFd;

use owlk8s_model::TargetId;

use super::{Attached, Link, Probe};
use crate::ProbeError;
use crate::slots::SlotPair;
use crate::sweep::Leftovers;

/// Closing a packet socket waits about 11 ms for an RCU grace period; waits that overlap cost one.
const CLOSERS: usize = 64;

/// Closes all, waiting for the kernel as few times as can be.
pub(super) fn close_together(mut sockets: Vec<OwnedFd>) {
    let share = sockets.len().div_ceil(CLOSERS);
    std::thread::scope(|scope| {
        while sockets.len() > share {
            let some = sockets.split_off(sockets.len() - share);
            // Where no thread is to be had, `some` comes back dropped: closed here, only later.
            let _ = std::thread::Builder::new()
                .stack_size(64 * 1024)
                .spawn_scoped(scope, move || drop(some));
        }
        drop(sockets);
    });
}

impl Probe {
    /// Gives up the places of `targets`; their slots and counts stay.
    pub(super) fn unlink(&mut self, targets: &[TargetId]) -> Result<(), ProbeError> {
        let mut left = Vec::new();
        for target in targets {
            let Some(watched) = self.watched.get_mut(target) else {
                continue;
            };
            if let Some(attached) = watched.link.attached() {
                let gone = Link::Waiting(format!(
                    "no longer on {}",
                    attached.spot.name(&attached.interface)
                ));
                if let Link::Attached(attached) = std::mem::replace(&mut watched.link, gone) {
                    left.push(*attached);
                }
            }
        }
        self.leave(left)
    }

    /// Closes what held these places; then no packet needs their names any more.
    pub(super) fn leave(&mut self, places: Vec<Attached>) -> Result<(), ProbeError> {
        let names: Vec<u32> = places.iter().map(|place| place.name).collect();
        close_together(places.into_iter().flat_map(|place| place.held).collect());
        let mut result = Ok(());
        for name in names {
            self.owners.remove(&name);
            result = result.and(self.maps.targets.remove(name));
        }
        result
    }

    /// Removes every trace of `slots` from the kernel's tables and makes them free again.
    pub(super) fn release(&mut self, slots: &[SlotPair]) -> Result<(), ProbeError> {
        if slots.is_empty() {
            return Ok(());
        }
        let gone: HashSet<u32> = slots.iter().flat_map(|pair| pair.iter()).collect();
        // Connections before rows: a connection remembers the row that it counted in last.
        self.forget_connections(&gone)?;
        self.free_rows(&gone)?;
        for &slot in &gone {
            self.maps.slots.element(slot).clear();
        }
        for &pair in slots {
            self.pool.give_back(pair);
        }
        Ok(())
    }

    fn forget_connections(&self, gone: &HashSet<u32>) -> Result<(), ProbeError> {
        let maps = &self.maps;
        let leftovers = Leftovers::read(maps)?;
        let (mut theirs, mut alive) = (Vec::new(), HashSet::new());
        maps.connections.visit(|key, connection| {
            if gone.contains(&key.slot) || gone.contains(&connection.slot) {
                theirs.push(*key);
            } else {
                alive.insert(connection.id);
            }
        })?;
        for key in theirs {
            maps.connections.remove(&key)?;
        }
        leftovers.remove(maps, &alive)?;
        for key in maps
            .edges
            .keys()?
            .iter()
            .filter(|key| gone.contains(&key.slot))
        {
            maps.edges.remove(key)?;
        }
        Ok(())
    }

    fn free_rows(&mut self, gone: &HashSet<u32>) -> Result<(), ProbeError> {
        let maps = &self.maps;
        let mut theirs = Vec::new();
        maps.row_index
            .visit(|key, row| theirs.extend(gone.contains(&key.slot).then_some((*key, *row))))?;
        for (key, row) in theirs {
            maps.row_index.remove(&key)?;
            maps.rows.element(row).clear();
            self.reader.forget(row);
            maps.free_rows.push(&row)?;
        }
        Ok(())
    }
}
