//! A segment's place: its connection, its place in the byte stream, and the connection's end.

use owlk8s_ebpf_abi::{
    ClosedValue, Conn, ConnKey, Dir, Loss, STASH_BYTES, STASH_SEGMENTS, Scratch, Slot, StashKey, TargetEntry, flag,
};

use crate::bytes::{is_token, mask, word};
use crate::count::{answers_ended, drain, lose};
use crate::cpu::{add, opaque, read_u64, try_lock, unlock};
use crate::packet::{ACK, FIN, RST, SYN, Segment, parse};
use crate::scan::{Scan, skip, state};
use crate::{World, head};

/// How often a CPU asks for a direction that another works on before it gives the segment up: some 0.3 ms.
const SPINS: u32 = 1 << 16;

/// One packet of `target`, on its way to the pod or from it.
///
/// # Safety
/// As [`World`] says of its pointers.
#[inline(always)]
pub unsafe fn observe<W: World>(world: &W, target: &TargetEntry, to_pod: bool) {
    let Some(scratch) = world.scratch() else { return };
    let Some(slot) = world.slot(target.slot) else { return };
    let mut segment = Segment::default();
    if !parse(world, scratch, target.slot, slot, &mut segment) {
        return;
    }
    if segment.len != 0 {
        let seen = if to_pod { &raw mut (*slot).segments_to_pod } else { &raw mut (*slot).segments_from_pod };
        add(seen, 1);
    }
    let key = if to_pod {
        ConnKey {
            slot: target.slot,
            remote_port: segment.source_port,
            pod_port: segment.destination_port,
            remote: segment.source,
            pod: segment.destination,
        }
    } else {
        ConnKey {
            slot: target.slot,
            remote_port: segment.destination_port,
            pod_port: segment.source_port,
            remote: segment.destination,
            pod: segment.source,
        }
    };
    if segment.has(SYN) && !segment.has(ACK) {
        // A new connection may use the ports again; data in its SYN (TCP Fast Open) begins behind it.
        world.remove_closed(&key);
        segment.seq = segment.seq.wrapping_add(1);
    }
    let conn = match world.conn(&key) {
        Some(conn) => conn,
        None => match enter(world, target, slot, scratch, &key, &segment, to_pod) {
            Some(conn) => conn,
            None => return,
        },
    };
    let client = (*conn).client != 0;
    let slot = if client {
        match world.slot((*conn).slot) {
            Some(slot) => slot,
            None => return,
        }
    } else {
        slot
    };
    follow(world, conn, slot, scratch, &key, &segment, to_pod == client);
}

/// Enters a connection whose first bytes could begin a request; a connection without such bytes costs no memory.
#[inline(always)]
unsafe fn enter<W: World>(
    world: &W,
    target: &TargetEntry,
    slot: *mut Slot,
    scratch: *mut Scratch,
    key: &ConnKey,
    segment: &Segment,
    to_pod: bool,
) -> Option<*mut Conn> {
    if segment.len == 0 || segment.has(RST) || !to_pod && target.client_slot == 0 {
        return None;
    }
    let first = (&raw mut (*scratch).window).cast::<u8>();
    if !world.load(segment.offset, first, 1) {
        return None;
    }
    let c = *first;
    if !is_token(c) && c != b'\r' && c != b'\n' {
        if c == 0x16 && to_pod && world.load(segment.offset, first, 3) && *first.add(1) == 3 && *first.add(2) <= 4 {
            add(&raw mut (*slot).tls, 1);
        }
        return None;
    }
    if !to_pod && !method_begins(world, segment, first) {
        return None;
    }
    if let Some(ended) = world.closed(key) {
        let ended = if to_pod { ended.requests } else { ended.answers };
        if (segment.seq.wrapping_sub(ended) as i32) < 0 {
            return None;
        }
    }
    // Its other fields are never written, and zero.
    let new = &raw mut (*scratch).conn;
    (*new).slot = if to_pod { target.slot } else { target.client_slot };
    (*new).client = u32::from(!to_pod);
    (*new).last_seen_ns = world.now_coarse();
    (*new).id = (world.now() << 16 ^ u64::from(key.remote_port)) & (u64::MAX >> 1);
    (*new).first_seq = segment.seq;
    (*new).requests.next = segment.seq;
    (*new).requests.state = state::START;
    (*new).requests.flags = flag::FIRST;
    (*new).answers.next = segment.ack;
    (*new).answers.state = state::LOST;
    (*new).answers.flags = flag::FIRST;
    let entered = world.insert_conn(key, new);
    if entered.is_none() {
        lose(slot, Loss::TableFull, 1);
    }
    entered
}

/// Whether the segment begins with a frequent method: what is asked of it where the direction alone says nothing.
#[inline(always)]
unsafe fn method_begins<W: World>(world: &W, segment: &Segment, first: *mut u8) -> bool {
    if segment.len < 8 || !world.load(segment.offset, first, 8) {
        return false;
    }
    let w = read_u64(first);
    w & mask(4) == word(b"GET ")
        || w & mask(5) == word(b"POST ")
        || w & mask(4) == word(b"PUT ")
        || w & mask(5) == word(b"HEAD ")
        || w & mask(6) == word(b"PATCH ")
        || w & mask(7) == word(b"DELETE ")
        || w == word(b"OPTIONS ")
        || w == word(b"PRI * HT")
}

/// A segment of a connection that is followed.
#[inline(always)]
unsafe fn follow<W: World>(
    world: &W,
    conn: *mut Conn,
    slot: *mut Slot,
    scratch: *mut Scratch,
    key: &ConnKey,
    segment: &Segment,
    answers: bool,
) {
    if segment.has(SYN) && answers {
        // SYN-ACK: of this connection, where it acknowledges what this one began with; else of its successor.
        let since = segment.ack.wrapping_sub((*conn).first_seq);
        let read = (*conn).requests.next.wrapping_sub((*conn).first_seq);
        if since > read {
            close(world, conn, slot, key);
        }
        return;
    }
    let (dir, other) = if answers {
        (&raw mut (*conn).answers, &raw mut (*conn).requests)
    } else {
        (&raw mut (*conn).requests, &raw mut (*conn).answers)
    };
    if segment.has(RST) {
        // In the window, or at its edge (RFC 9293, 3.10.7.4).
        let ahead = segment.seq.wrapping_sub((*dir).next).wrapping_add(1);
        if ahead < 1 << 30 {
            close(world, conn, slot, key);
        }
        return;
    }
    let mut scan = Scan { world, conn, dir, slot, scratch, stash: core::ptr::null(), answers };
    if (*other).stashed != 0 && (segment.ack.wrapping_sub((*other).next) as i32) > 0 {
        // The receiver has what we miss: it will not come again.
        let mut hole = Scan { world, conn, dir: other, slot, scratch, stash: core::ptr::null(), answers: !answers };
        pass_hole(&mut hole);
    }
    if segment.len == 0 && !segment.has(FIN) {
        return;
    }
    if !lock(dir) {
        if segment.len != 0 {
            lose(slot, Loss::Contended, 1);
        }
        return;
    }
    if segment.has(FIN) {
        (*dir).fin = segment.seq.wrapping_add(segment.len);
        (*dir).flags |= flag::FIN;
    }
    if segment.len != 0 {
        (*conn).last_seen_ns = world.now_coarse();
        if !place(&mut scan, segment.seq, segment.offset, segment.len) {
            keep(&mut scan, segment);
        }
        if (*dir).stashed != 0 {
            replay(&mut scan);
        }
    }
    if (*dir).flags & flag::FIN != 0 && (*dir).next == (*dir).fin {
        (*dir).flags |= flag::ENDED;
    }
    if answers && (*dir).flags & flag::ENDED != 0 {
        drain(conn, slot, None);
    }
    unlock(&raw mut (*dir).lock);
    if !answers && answers_ended(conn) && lock(other) {
        drain(conn, slot, None);
        unlock(&raw mut (*other).lock);
    }
    if (*dir).flags & (*other).flags & flag::ENDED != 0 {
        forget(world, conn, key);
    }
}

#[inline(always)]
unsafe fn lock(dir: *mut Dir) -> bool {
    let mut spins = 0;
    while spins < SPINS {
        if try_lock(&raw mut (*dir).lock) {
            return true;
        }
        spins += 1;
    }
    false
}

/// Ends a connection at once: what waits is aborted.
#[inline(always)]
unsafe fn close<W: World>(world: &W, conn: *mut Conn, slot: *mut Slot, key: &ConnKey) {
    let answers = &raw mut (*conn).answers;
    if lock(answers) {
        (*answers).flags |= flag::ENDED;
        drain(conn, slot, None);
        unlock(&raw mut (*answers).lock);
    }
    forget(world, conn, key);
}

#[inline(always)]
unsafe fn forget<W: World>(world: &W, conn: *mut Conn, key: &ConnKey) {
    // One past the FIN: a retransmission of it is old too.
    let ended = ClosedValue {
        requests: (*conn).requests.next.wrapping_add(1),
        answers: (*conn).answers.next.wrapping_add(1),
    };
    world.set_closed(key, ended);
    world.remove_conn(key);
}

/// Reads the new bytes of a segment that continues the stream; false when it lies beyond a hole.
#[inline(always)]
unsafe fn place<W: World>(scan: &mut Scan<W>, seq: u32, offset: u32, len: u32) -> bool {
    let (dir, cursor) = (scan.dir, scan.scratch);
    let ahead = seq.wrapping_sub((*dir).next);
    let mut old = 0;
    if (ahead as i32) < 0 {
        old = ahead.wrapping_neg();
        if old >= len {
            return true;
        }
    } else if ahead != 0 && !jump(scan, ahead) {
        return false;
    }
    if (*scan.conn).mode == 1 {
        (*dir).state = state::IGNORE;
    }
    (*cursor).offset = offset + old;
    (*cursor).remain = len - old;
    (*cursor).pos = 0;
    (*cursor).end = 0;
    if (*dir).state == state::LOST {
        (*dir).state = state::START;
        (*dir).flags |= flag::TENTATIVE;
    } else if (*dir).flags & (flag::EXPECT | flag::UNTOUCHED) == flag::EXPECT | flag::UNTOUCHED {
        declined(scan);
    }
    W::run(scan);
    (*dir).next = seq.wrapping_add(len);
    true
}

/// Skips a hole of `ahead` bytes whose content does not matter.
#[inline(always)]
unsafe fn jump<W: World>(scan: &mut Scan<W>, ahead: u32) -> bool {
    let dir = scan.dir;
    let skippable = (*dir).state == state::IGNORE || (*dir).state >= state::BODY && (*dir).left >= u64::from(ahead);
    if skippable {
        skip(dir, (*scan.conn).mode, ahead);
        (*dir).next = (*dir).next.wrapping_add(ahead);
    }
    skippable
}

/// A body that was announced with `Expect: 100-continue` may never come: after a final answer without a 100 the
/// client may go on with its next request (RFC 9110, 10.1.1).
#[inline(always)]
unsafe fn declined<W: World>(scan: &mut Scan<W>) {
    let cursor = scan.scratch;
    if scan.answers || (*scan.conn).outstanding() != 0 || !scan.stash.is_null() {
        return;
    }
    let segment = Segment { offset: (*cursor).offset, len: (*cursor).remain, ..Segment::default() };
    if method_begins(&*scan.world, &segment, (&raw mut (*cursor).window).cast::<u8>()) {
        head::begin(scan.dir);
    }
}

/// Keeps a segment beyond a hole until the hole is filled.
#[inline(always)]
unsafe fn keep<W: World>(scan: &mut Scan<W>, segment: &Segment) {
    let (dir, stash) = (scan.dir, &raw mut (*scan.scratch).stash);
    let free = !(*dir).stashed & ((1 << STASH_SEGMENTS) - 1);
    let bit = free & free.wrapping_neg();
    if bit == 0 {
        return;
    }
    let wanted = if segment.len < STASH_BYTES as u32 { segment.len } else { STASH_BYTES as u32 };
    let n = (opaque(wanted.wrapping_sub(1)) & (STASH_BYTES as u32 - 1)) + 1;
    (*stash).seq = segment.seq;
    (*stash).len = segment.len;
    let kept = (*scan.world).load(segment.offset, (&raw mut (*stash).data).cast::<u8>(), n)
        && (*scan.world).put_stash(&stash_key(scan, u64::from(bit)), stash);
    if kept {
        (*dir).stashed |= bit;
        return;
    }
    // No memory for it: go on behind the hole.
    lose(scan.slot, Loss::Hole, 1);
    (*dir).state = state::LOST;
    (*dir).next = segment.seq;
    place(scan, segment.seq, segment.offset, segment.len);
}

#[inline(always)]
unsafe fn stash_key<W>(scan: &Scan<W>, bit: u64) -> StashKey {
    StashKey { conn: (*scan.conn).id | u64::from(scan.answers) << 63, index: bit }
}

/// What a run over the kept segments works with.
#[repr(C)]
pub struct Replay<W> {
    scan: Scan<W>,
    /// The next index, as a bit.
    bit: u32,
    /// Indexes looked at since one was read.
    idle: u32,
}

/// Reads the kept segments that the stream has come to.
#[inline(always)]
unsafe fn replay<W: World>(scan: &mut Scan<W>) {
    let mut replay = Replay { scan: Scan { ..*scan }, bit: 1, idle: 0 };
    W::replay(&mut replay);
}

/// Looks at one kept segment; true when no other can be read.
///
/// # Safety
/// As [`World`] says of its pointers.
#[inline(always)]
pub unsafe fn replay_step<W: World>(replay: &mut Replay<W>) -> bool {
    let bit = replay.bit;
    replay.bit = if bit >= 1 << (STASH_SEGMENTS - 1) { 1 } else { bit << 1 };
    replay.idle += 1;
    let dir = replay.scan.dir;
    if (*dir).stashed == 0 {
        return true;
    }
    if (*dir).stashed & bit != 0 {
        let key = stash_key(&replay.scan, u64::from(bit));
        let Some(stash) = (*replay.scan.world).stash(&key) else {
            (*dir).stashed &= !bit;
            return false;
        };
        replay.scan.stash = stash;
        if place(&mut replay.scan, (*stash).seq, 0, (*stash).len) {
            (*dir).stashed &= !bit;
            (*replay.scan.world).remove_stash(&key);
            replay.idle = 0;
        }
    }
    replay.idle > STASH_SEGMENTS as u32
}

/// Goes on behind a hole that will not be filled, at the first segment that is kept.
#[inline(always)]
unsafe fn pass_hole<W: World>(scan: &mut Scan<W>) {
    let dir = scan.dir;
    if !lock(dir) {
        return;
    }
    let mut nearest = u32::MAX;
    let mut bit = 1u32;
    while bit < 1 << STASH_SEGMENTS {
        if (*dir).stashed & bit != 0
            && let Some(stash) = (*scan.world).stash(&stash_key(scan, u64::from(bit)))
        {
            let ahead = (*stash).seq.wrapping_sub((*dir).next);
            if ahead < nearest {
                nearest = ahead;
            }
        }
        bit <<= 1;
    }
    if nearest != u32::MAX {
        // Where nothing was read yet, what lies before the first message is of no interest.
        if (*dir).flags & flag::FIRST == 0 {
            lose(scan.slot, Loss::Hole, 1);
        }
        (*dir).next = (*dir).next.wrapping_add(nearest);
        (*dir).state = state::LOST;
        (*dir).carry_len = 0;
        (*dir).first_ns = 0;
        replay(scan);
    }
    unlock(&raw mut (*dir).lock);
}

