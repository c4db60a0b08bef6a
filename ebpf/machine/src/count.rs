//! Requests in flight, and where they end: in a row, aborted, or lost by name.

use core::hint::cold_path;

use owlk8s_ebpf_abi::{
    BUCKETS, Conn, FIFO, LINE_BUCKETS, Loss, Pending, ROW_GRPC, ROW_PROBE, RowKey, RowLine, SHARDS,
    Slot, SlotShard, StreamValue,
};

use crate::World;
use crate::cpu::{add, add_u32};
use crate::scan::Scan;
use crate::verifier::{chosen, fence, forget, masked, more, opaque, seldom};

/// Counts `n` that were seen and cannot be counted otherwise.
///
/// # Safety
/// `slot` is live.
#[inline(always)]
pub unsafe fn lose(slot: *mut Slot, why: Loss, n: u64) {
    add((&raw mut (*slot).losses).cast::<u64>().add(why as usize), n);
}

/// The part of a target's counters that this CPU writes to.
#[inline(always)]
unsafe fn shard<W: World>(world: &W, slot: *mut Slot) -> *mut SlotShard {
    (&raw mut (*slot).shards)
        .cast::<SlotShard>()
        .add(opaque(world.cpu() & (SHARDS as u32 - 1)) as usize)
}

/// One more request began.
#[inline(always)]
pub(crate) unsafe fn start<W: World>(world: &W, slot: *mut Slot) {
    add(&raw mut (*shard(world, slot)).started, 1);
}

/// It is a kubelet probe, and waits.
#[inline(always)]
pub(crate) unsafe fn start_probe<W: World>(world: &W, conn: *mut Conn, slot: *mut Slot) {
    add(&raw mut (*shard(world, slot)).probe_started, 1);
    add_u32(&raw mut (*conn).probes, 1);
}

/// A request waits no more.
#[inline(always)]
pub(crate) unsafe fn settle(conn: *mut Conn, request: Pending) {
    if seldom(request.probe() != 0) {
        add_u32(&raw mut (*conn).probes, u32::MAX);
    }
}

/// Where the request number `index` waits.
#[inline(always)]
unsafe fn place(conn: *mut Conn, index: u32) -> *mut Pending {
    (&raw mut (*conn).fifo)
        .cast::<u8>()
        .add(opaque((index << 3) & (8 * (FIFO as u32 - 1))) as usize)
        .cast()
}

/// A request's first line is complete.
#[inline(always)]
pub(crate) unsafe fn push<W: World>(world: &W, conn: *mut Conn, slot: *mut Slot, request: Pending) {
    start(world, slot);
    let requests = &raw mut (*conn).requests;
    let head = (*requests).passed;
    if seldom(head.wrapping_sub((*requests).cached) >= FIFO as u32) {
        (*requests).cached = (*conn).answers.passed;
    }
    if head.wrapping_sub((*requests).cached) < FIFO as u32 {
        *place(conn, head) = request.of_lap(head);
    } else {
        cold_path();
        push_over(world, conn, request);
    }
    (*requests).passed = head.wrapping_add(1);
}

/// The queue is full. Apart, as [`pop_over`], for its words of the stack.
#[inline(never)]
unsafe fn push_over<W: World>(world: &W, conn: *mut Conn, request: Pending) {
    let head = (*conn).requests.passed;
    let value = StreamValue {
        request,
        ..StreamValue::default()
    };
    // Where there is no room its answer will find `Pending::UNKNOWN`.
    world.open_stream(&(*conn).over_key(head), value);
    (*conn).over = head.wrapping_add(1);
}

/// The request that was pushed last is a kubelet probe.
#[inline(always)]
pub(crate) unsafe fn mark_probe<W: World>(world: &W, conn: *mut Conn, slot: *mut Slot) {
    if (*conn).outstanding() == 0 {
        // Answered before its head was complete.
        return;
    }
    start_probe(world, conn, slot);
    let head = (*conn).requests.passed;
    let last = head.wrapping_sub(1);
    if (*conn).over == head {
        if let Some(open) = world.stream(&(*conn).over_key(last)) {
            (*open).request.0 |= Pending::PROBE;
        }
        return;
    }
    (*place(conn, last)).0 |= Pending::PROBE;
}

/// The oldest request that waits; leaves.
#[inline(always)]
pub(crate) unsafe fn pop<W: World>(world: &W, conn: *mut Conn) -> Option<Pending> {
    let tail = (*conn).answers.passed;
    let at = place(conn, tail);
    let mut request = *at;
    if seldom(((*conn).over.wrapping_sub(tail) as i32) > 0) {
        request = pop_over(world, conn, request);
        // What an earlier lap left here must not be taken for the next one's.
        *at = request;
    }
    if seldom(!request.is_of_lap(tail)) {
        return None;
    }
    (*conn).answers.passed = tail.wrapping_add(1);
    settle(conn, request);
    Some(request)
}

/// The oldest request that waits, where the queue was full since; `kept` is in its place there.
#[inline(never)]
unsafe fn pop_over<W: World>(world: &W, conn: *mut Conn, kept: Pending) -> Pending {
    let tail = (*conn).answers.passed;
    let key = (*conn).over_key(tail);
    if let Some(open) = world.stream(&key) {
        let request = (*open).request.of_lap(tail);
        world.close_stream(&key);
        request
    } else if kept.is_of_lap(tail) {
        kept
    } else {
        Pending::UNKNOWN.of_lap(tail)
    }
}

/// `request` was answered with the final `status` whose first byte was seen at `now_ns`.
#[inline(always)]
pub(crate) unsafe fn answered<W: World>(
    scan: &Scan<W>,
    request: Pending,
    protocol: u8,
    status: u16,
    now_ns: u64,
) {
    let (world, conn, slot) = (&*scan.world, scan.conn, scan.slot);
    let probe = request.0 & Pending::PROBE != 0;
    let duration_ns = request.duration_ns(now_ns);
    let key = RowKey {
        slot: (*conn).slot,
        protocol: protocol | if probe { ROW_PROBE } else { 0 },
        method: request.method(),
        status,
    };
    let word = u32::from(key.protocol) << 24 | u32::from(key.method) << 16 | u32::from(key.status);
    let answers = &raw mut (*conn).answers;
    let index = if (*answers).cached_key == word {
        (*answers).cached
    } else {
        cold_path();
        let Some(index) = world.row(key) else {
            lose(slot, Loss::RowsFull, 1);
            return;
        };
        (*answers).cached = index;
        (*answers).cached_key = word;
        index
    };
    if seldom(!add_to(scan, index, duration_ns)) {
        lose(slot, Loss::RowsFull, 1);
        return;
    }
    if !probe {
        let shard = shard(world, slot);
        (*shard).duration_last_ns = duration_ns;
        (*shard).duration_last_at_ns = now_ns;
    }
}

/// A gRPC call ended with `status`.
#[inline(always)]
pub(crate) unsafe fn grpc<W: World>(scan: &Scan<W>, status: u16) {
    let key = RowKey {
        slot: (*scan.conn).slot,
        protocol: ROW_GRPC,
        method: 0,
        status,
    };
    if let Some(index) = (*scan.world).row(key) {
        add_to(scan, index, 0);
    }
}

/// [`owlk8s_ebpf_abi::bucket_of`] without a branch but the first two.
#[inline(always)]
fn bucket(ns: u64) -> u64 {
    let ns = if ns > 100_000_000_000 {
        100_000_000_000
    } else {
        ns
    };
    let v = (ns * 1_125_900) >> 20;
    let v = if v < 1 << 10 { 1 << 10 } else { v };
    let mut x = v >> 10;
    let s = more(x, 0xffff) << 4;
    x >>= s;
    let mut octave = s;
    let s = more(x, 0xff) << 3;
    x >>= s;
    octave += s;
    let s = more(x, 0xf) << 2;
    x >>= s;
    octave += s;
    let s = more(x, 3) << 1;
    x >>= s;
    octave += s;
    octave += more(x, 1);
    // The mantissa in [2^16, 2^17), against 2^(16 + k/8).
    let m = (v << 6) >> octave;
    let eighth = more(m, 71_467)
        + more(m, 77_935)
        + more(m, 84_989)
        + more(m, 92_681)
        + more(m, 101_069)
        + more(m, 110_217)
        + more(m, 120_193);
    let bucket = octave * 8 + eighth;
    if bucket >= BUCKETS as u64 {
        BUCKETS as u64 - 1
    } else {
        bucket
    }
}

/// Lines of a row.
const LINES: usize = BUCKETS.div_ceil(LINE_BUCKETS);
/// A mask that keeps a line's index, and one in a line.
const PLACES: u32 = 15;
const _: () = assert!(LINES.next_power_of_two() <= PLACES as usize + 1);
const _: () = assert!(LINE_BUCKETS.next_power_of_two() <= PLACES as usize + 1);

/// Adds one request to a row; false when there is no such row.
#[inline(always)]
unsafe fn add_to<W: World>(scan: &Scan<W>, index: u32, duration_ns: u64) -> bool {
    let Some(row) = (*scan.world).row_at(index) else {
        return false;
    };
    let scratch = scan.scratch;
    let bucket = forget(scratch, bucket(duration_ns) as u32);
    let line = masked::<PLACES>(scratch, bucket / LINE_BUCKETS as u32);
    let place = masked::<PLACES>(scratch, bucket % LINE_BUCKETS as u32);
    if line >= LINES || place >= LINE_BUCKETS {
        return false;
    }
    let line = (&raw mut (*row).lines).cast::<RowLine>().add(line);
    let count = (&raw mut (*line).buckets).cast::<u32>().add(place);
    add_u32(count, 1);
    add(&raw mut (*line).duration_sum_ns, duration_ns);
    true
}

/// `why` of [`drain`] for requests that nobody answered.
pub const ABORTED: u32 = u32::MAX;

/// `n` requests, of which `probes` were kubelet probes, will not be answered any more.
#[inline(always)]
pub(crate) unsafe fn abort<W: World>(world: &W, slot: *mut Slot, n: u64, probes: u64) {
    let shard = shard(world, slot);
    add(&raw mut (*shard).aborted, n);
    add(&raw mut (*shard).probe_aborted, probes);
}

/// Nothing more will be answered: all that waits is aborted, or lost as `why`, evicted or [`Loss::Desync`], says. The caller holds the
/// answers' lock.
///
/// # Safety
/// As [`World`] says of its pointers.
#[inline(always)]
pub unsafe fn drain<W: World>(world: &W, conn: *mut Conn, slot: *mut Slot, why: u32) {
    let (head, mut tail) = ((*conn).requests.passed, (*conn).answers.passed);
    let all = u64::from((*conn).outstanding());
    let probes = u64::from((*conn).probes);
    if ((*conn).over.wrapping_sub(tail) as i32) > 0 {
        // What an earlier lap left must not be taken for the next one's: see `pop`. The host lets go what is in `STREAMS`.
        if head.wrapping_sub(tail) > FIFO as u32 {
            tail = head.wrapping_sub(FIFO as u32);
        }
        let waiting = head.wrapping_sub(tail);
        let mut at = (&raw mut (*conn).fifo).cast::<Pending>();
        let mut place = 0;
        while place < FIFO as u32 {
            let ahead = place.wrapping_sub(tail) & (FIFO as u32 - 1);
            if ahead < waiting {
                *at = Pending::UNKNOWN.of_lap(tail.wrapping_add(ahead));
            }
            at = chosen(at.add(1));
            fence(at);
            place += 1;
        }
    }
    (*conn).answers.passed = head;
    (*conn).streams = 0;
    (*conn).probes = 0;
    if all == 0 {
        return;
    }
    let lost = (&raw mut (*slot).losses).cast::<u64>();
    if why == ABORTED {
        abort(world, slot, all, probes);
    } else if why == Loss::Evicted as u32 {
        add(chosen(lost.add(Loss::Evicted as usize)), all);
    } else {
        add(chosen(lost.add(Loss::Desync as usize)), all);
    }
}

#[cfg(test)]
mod tests {
    use owlk8s_ebpf_abi::bucket_of;

    use super::bucket;

    #[test]
    fn bucket_is_the_one_that_the_layout_says() {
        let mut edge = 1u64;
        while edge < 1 << 60 {
            for ns in [edge - 1, edge, edge + 1] {
                assert_eq!(bucket(ns), u64::from(bucket_of(ns)), "{ns}");
            }
            // Some hundred for each bucket.
            edge += edge / 1024 + 1;
        }
        for ns in [0, 1_000_000_000, u64::MAX] {
            assert_eq!(bucket(ns), u64::from(bucket_of(ns)), "{ns}");
        }
    }
}
