//! Requests in flight, and where they end: in a row, aborted, or lost by name.

use owlk8s_ebpf_abi::{Conn, FIFO, Loss, Pending, ROW_GRPC, ROW_PROBE, RowKey, Slot, bucket_of};

use crate::World;
use crate::cpu::{add, add_u32};

/// Counts `n` that were seen and cannot be counted otherwise.
#[inline(always)]
pub(crate) unsafe fn lose(slot: *mut Slot, why: Loss, n: u64) {
    add((&raw mut (*slot).losses).cast::<u64>().add(why as usize), n);
}

/// One more request began.
#[inline(always)]
pub(crate) unsafe fn start(slot: *mut Slot) {
    add(&raw mut (*slot).started, 1);
}

/// A request's first line is complete.
#[inline(always)]
pub(crate) unsafe fn push(conn: *mut Conn, slot: *mut Slot, request: Pending) {
    start(slot);
    let head = (*conn).head;
    if head.wrapping_sub((*conn).tail_seen) >= FIFO as u32 {
        (*conn).tail_seen = (*conn).tail;
    }
    if head.wrapping_sub((*conn).tail_seen) >= FIFO as u32
        || (*conn).over != 0 && (*conn).over != (*conn).over_taken
    {
        (*conn).over_first = request;
        (*conn).over = (*conn).over.wrapping_add(1);
        return;
    }
    (*conn).fifo[head as usize % FIFO] = request;
    (*conn).head = head.wrapping_add(1);
}

/// The request that was pushed last is a kubelet probe.
#[inline(always)]
pub(crate) unsafe fn mark_probe(conn: *mut Conn, slot: *mut Slot) {
    if (*conn).outstanding() == 0 {
        // Answered before its head was complete.
        return;
    }
    add(&raw mut (*slot).probe_started, 1);
    if (*conn).over != (*conn).over_taken {
        (*conn).over_first.0 |= Pending::PROBE;
        return;
    }
    let last = (*conn).head.wrapping_sub(1) as usize % FIFO;
    (*conn).fifo[last].0 |= Pending::PROBE;
}

/// The oldest request that waits; leaves.
#[inline(always)]
pub(crate) unsafe fn pop(conn: *mut Conn) -> Option<Pending> {
    let tail = (*conn).tail;
    if tail != (*conn).head {
        let request = (*conn).fifo[tail as usize % FIFO];
        (*conn).tail = tail.wrapping_add(1);
        Some(request)
    } else if (*conn).over != (*conn).over_taken {
        (*conn).over_taken = (*conn).over_taken.wrapping_add(1);
        Some((*conn).over_first)
    } else {
        None
    }
}

/// `request` was answered with the final `status` whose first byte was seen at `now_ns`.
#[inline(always)]
pub(crate) unsafe fn answered<W: World>(
    world: &W,
    conn: *mut Conn,
    slot: *mut Slot,
    request: Pending,
    protocol: u8,
    status: u16,
    now_ns: u64,
) {
    let probe = request.0 & Pending::PROBE != 0;
    let duration_ns = request.duration_ns(now_ns);
    let key = RowKey {
        slot: (*conn).slot,
        protocol: protocol | if probe { ROW_PROBE } else { 0 },
        method: request.method(),
        status,
    };
    let word = u64::from(key.slot) << 32
        | u64::from(key.protocol) << 24
        | u64::from(key.method) << 16
        | u64::from(key.status);
    let index = if (*conn).row_key == word {
        (*conn).row
    } else {
        let Some(index) = world.row(key) else {
            lose(slot, Loss::RowsFull, 1);
            return;
        };
        (*conn).row = index;
        (*conn).row_key = word;
        index
    };
    let Some(row) = world.row_at(index) else {
        lose(slot, Loss::RowsFull, 1);
        return;
    };
    add_u32(
        (&raw mut (*row).buckets)
            .cast::<u32>()
            .add(bucket_of(duration_ns) as usize),
        1,
    );
    add(&raw mut (*row).duration_sum_ns, duration_ns);
    add(&raw mut (*row).count, 1);
    if !probe {
        (*slot).duration_last_ns = duration_ns;
    }
}

/// A gRPC call ended with `status`.
#[inline(always)]
pub(crate) unsafe fn grpc<W: World>(world: &W, conn: *mut Conn, status: u16) {
    let key = RowKey {
        slot: (*conn).slot,
        protocol: ROW_GRPC,
        method: 0,
        status,
    };
    if let Some(index) = world.row(key)
        && let Some(row) = world.row_at(index)
    {
        add(&raw mut (*row).count, 1);
    }
}

/// `why` of [`drain`] for requests that nobody answered.
pub const ABORTED: u32 = u32::MAX;

/// Nothing more will be answered: all that waits is aborted, or lost as `why`, a [`Loss`], says. The caller holds the
/// answers' lock.
///
/// # Safety
/// As [`World`] says of its pointers.
#[inline(always)]
pub unsafe fn drain(conn: *mut Conn, slot: *mut Slot, why: u32) {
    let (mut all, mut probes) = (0u64, 0u64);
    let mut left = FIFO;
    let mut tail = (*conn).tail;
    let head = (*conn).head;
    while left > 0 && tail != head {
        left -= 1;
        all += 1;
        probes += (*conn).fifo[tail as usize % FIFO].0 >> 7 & 1;
        tail = tail.wrapping_add(1);
    }
    (*conn).tail = tail;
    let over = (*conn).over.wrapping_sub((*conn).over_taken);
    (*conn).over_taken = (*conn).over;
    let streams = (*conn).streams;
    (*conn).streams = 0;
    all += u64::from(over) + u64::from(streams);
    probes += u64::from(over) * ((*conn).over_first.0 >> 7 & 1) + u64::from((*conn).probe_streams);
    (*conn).probe_streams = 0;
    if all == 0 {
        return;
    }
    if why == ABORTED {
        add(&raw mut (*slot).aborted, all);
        add(&raw mut (*slot).probe_aborted, probes);
    } else {
        add(
            (&raw mut (*slot).losses)
                .cast::<u64>()
                .add(why as usize & (Loss::COUNT - 1)),
            all,
        );
    }
}
