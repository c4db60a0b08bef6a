//! From the mapped counters to the model's values: no system call but for the index of rows.

mod row;

use std::borrow::Cow;
use std::mem::{offset_of, take};
use std::ops::Range;

use owlk8s_ebpf_abi::{Loss, ROW_GRPC, RowKey, SHARDS, Slot, SlotShard};
use owlk8s_model::{Counters, Direction, GrpcRow, Losses, Row};

use crate::ProbeError;
use crate::load::Maps;
use crate::slots::SlotPair;
use crate::sys::Words;

use row::Widened;

/// Which rows belong to which slot, and what is remembered of them between two reads.
#[derive(Default)]
pub(crate) struct RowReader {
    /// Sorted by key, so that a slot's rows are neighbours.
    index: Vec<(RowKey, u32)>,
    /// Where in `index` the rows of each slot begin.
    starts: Vec<usize>,
    /// What `index` was made of, in the kernel's order.
    as_read: Vec<(RowKey, u32)>,
    incoming: Vec<(RowKey, u32)>,
    /// [`Slot::rows_made`] before `as_read` was read; None: rows went since.
    made: Option<u64>,
    widened: Widened,
}

impl RowReader {
    /// Learns of rows that were made since the last read.
    pub(crate) fn refresh(&mut self, maps: &Maps) -> Result<(), ProbeError> {
        // Before the index: a row that is made meanwhile is looked for again the next time.
        let made = Some(maps.slots.element(0).get(offset_of!(Slot, rows_made)));
        if self.made == made {
            return Ok(());
        }
        self.incoming.clear();
        maps.row_index
            .visit(|key, row| self.incoming.push((*key, *row)))?;
        // The kernel's order stays while no row is made: most often there is nothing to sort.
        if self.incoming != self.as_read {
            self.as_read.clone_from(&self.incoming);
            self.index.clone_from(&self.incoming);
            self.index.sort_unstable();
            self.starts.clear();
            for (at, (key, _)) in self.index.iter().enumerate() {
                let before = self.starts.len();
                self.starts.resize(before.max(key.slot as usize + 1), at);
            }
        }
        self.made = made;
        Ok(())
    }

    /// Row `row` will be another's.
    pub(crate) fn forget(&mut self, row: u32) {
        self.made = None;
        self.widened.forget(row);
    }

    /// All that was counted in rows for one target, in place of what was there, whose memory is used again.
    pub(crate) fn read(
        &mut self,
        maps: &Maps,
        slots: SlotPair,
        rows: &mut Vec<Row>,
        grpc: &mut Vec<GrpcRow>,
    ) {
        let (server, client) = (self.place(slots.server), self.place(slots.client));
        rows.reserve_exact((server.len() + client.len()).saturating_sub(rows.len()));
        grpc.clear();
        let mut read = 0;
        for (place, direction) in [(server, Direction::Server), (client, Direction::Client)] {
            for &(key, index) in &self.index[place] {
                let words = maps.rows.element(index);
                if key.protocol == ROW_GRPC {
                    let count = row::count(words, index, &mut self.widened);
                    grpc.extend((count > 0).then_some(GrpcRow {
                        direction,
                        status: key.status,
                        count,
                    }));
                    continue;
                }
                let counts = rows.get_mut(read).map(|row| take(&mut row.latency.counts));
                let memory = counts.unwrap_or_default();
                let widened = &mut self.widened;
                let Some(row) = row::read(key, direction, words, index, widened, memory) else {
                    continue;
                };
                match rows.get_mut(read) {
                    Some(place) => *place = row,
                    None => rows.push(row),
                }
                read += 1;
            }
        }
        rows.truncate(read);
        rows.sort_by(|a: &Row, b: &Row| {
            let order = |row: &Row| (row.direction, row.protocol, row.status, row.probe);
            (order(a), &a.method).cmp(&(order(b), &b.method))
        });
        grpc.sort_unstable_by_key(|row| (row.direction, row.status));
    }

    /// Where in `index` the rows of a slot are. Slot 0 is nobody's, and has none.
    fn place(&self, slot: u32) -> Range<usize> {
        let start = |slot: usize| self.starts.get(slot).copied().unwrap_or(self.index.len());
        let slot = slot as usize;
        start(slot)..start(slot + 1)
    }
}

/// A target's unsplit counters. What ended is read before what began, here as in the order of calls.
pub(crate) fn counters(slot: Words<'_>) -> Counters {
    let mut losses = Losses::new();
    let mut lost = 0;
    for (loss, name, was_started) in Loss::ALL {
        let count = slot.get(loss_offset(loss));
        if count > 0 {
            losses.insert(Cow::Borrowed(name), count);
            lost += if was_started { count } else { 0 };
        }
    }
    let probe_aborted = shards(slot, offset_of!(SlotShard, probe_aborted)).sum();
    let aborted = shards(slot, offset_of!(SlotShard, aborted)).sum();
    let probe_started = shards(slot, offset_of!(SlotShard, probe_started)).sum();
    let started = shards(slot, offset_of!(SlotShard, started)).sum();
    // Of equal times, all zero before the first request, it does not matter which.
    let (_, duration_last_ns) = shards(slot, offset_of!(SlotShard, duration_last_at_ns))
        .zip(shards(slot, offset_of!(SlotShard, duration_last_ns)))
        .max()
        .unwrap_or_default();
    Counters {
        started,
        probe_started,
        aborted,
        probe_aborted,
        duration_last_ns,
        lost,
        losses,
        segments_to_pod: slot.get(offset_of!(Slot, segments_to_pod)),
        segments_from_pod: slot.get(offset_of!(Slot, segments_from_pod)),
        tls: slot.get(offset_of!(Slot, tls)),
    }
}

/// The u64 at `offset` bytes of each shard.
fn shards(slot: Words<'_>, offset: usize) -> impl Iterator<Item = u64> {
    let first = offset_of!(Slot, shards) + offset;
    (0..SHARDS).map(move |shard| slot.get(first + shard * size_of::<SlotShard>()))
}

/// Where in a [`Slot`] a loss is counted, bytes.
pub(crate) fn loss_offset(loss: Loss) -> usize {
    offset_of!(Slot, losses) + 8 * loss as usize
}

#[cfg(test)]
mod tests;
