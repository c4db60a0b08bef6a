//! A segment's place: its connection, its place in the byte stream, and the connection's end.

use core::ptr;

use owlk8s_ebpf_abi::{
    Conn, Dir, Edge, Loss, STASH_BYTES, STASH_SEGMENTS, Scratch, Slot, StashKey, TargetEntry, edge,
    flag, sign,
};

use crate::bytes::{is_token, mask, word};
use crate::count::{ABORTED, lose};
use crate::cpu::{add, read_u64, try_lock, unlock};
use crate::packet::{ACK, FIN, RST, SYN, has};
use crate::scan::{self, ANSWERS, Scan, skip, state};
use crate::verifier::{chosen, fence, forget, opaque};
use crate::{World, head};

/// Segments with payload are counted up to here.
const SEGMENTS_SEEN: u64 = 1 << 16;

/// One packet of `target`, on its way to the pod or from it.
///
/// # Safety
/// As [`World`] says of its pointers.
#[inline(always)]
pub unsafe fn observe<W: World>(world: &W, target: &TargetEntry, to_pod: bool) {
    let Some(scratch) = world.scratch() else {
        return;
    };
    let Some(slot) = world.slot(target.slot) else {
        return;
    };
    if !world.parse(target.slot, slot) {
        return;
    }
    let segment = &raw mut (*scratch).segment;
    if (*segment).len != 0 {
        let seen = if to_pod {
            chosen(&raw mut (*slot).segments_to_pod)
        } else {
            chosen(&raw mut (*slot).segments_from_pod)
        };
        // They tell a silent direction, and nothing else: no need to pass the cache line between CPUs for ever.
        let n = *seen;
        if n < SEGMENTS_SEEN {
            *seen = n + 1;
        }
    }
    if (*segment).len == 0
        && (*segment).flags & u32::from(SYN | FIN | RST) == 0
        && (*slot).holes == 0
    {
        // A bare acknowledgement tells only whether a hole will be filled.
        return;
    }
    let key = &mut (*scratch).key;
    key.slot = target.slot;
    let source = chosen(&raw mut (*segment).source);
    let destination = chosen(&raw mut (*segment).destination);
    let (remote, pod) = if to_pod {
        (source, destination)
    } else {
        (destination, source)
    };
    (key.remote, key.pod) = (*remote, *pod);
    let source_port = (*segment).source_port;
    let destination_port = opaque(u32::from((*segment).destination_port)) as u16;
    (key.remote_port, key.pod_port) = if to_pod {
        (source_port, destination_port)
    } else {
        (destination_port, source_port)
    };
    if has(&*segment, SYN) {
        note_start(world, scratch);
        if (*segment).len != 0 && !has(&*segment, ACK) {
            succeed(world, scratch);
        }
    }
    let conn = match world.conn(key) {
        Some(conn) => conn,
        None => {
            let entered = enter(world, target, slot, scratch, to_pod);
            if entered.is_null() {
                return;
            }
            entered
        }
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
    let how = if to_pod == client { ANSWERS } else { 0 };
    follow(&mut Scan::new(world, conn, slot, scratch, how));
}

/// Remembers where the streams of a connection begin. Data in a SYN (TCP Fast Open) begins behind it.
#[inline(never)]
unsafe fn note_start<W: World>(world: &W, scratch: *mut Scratch) {
    let (segment, key) = (&raw mut (*scratch).segment, &(*scratch).key);
    (*segment).seq = (*segment).seq.wrapping_add(1);
    let start = if has(&*segment, ACK) {
        // What the SYN said of itself is better than what the answer says of it.
        let asked = world.edge(key).unwrap_or_default();
        let requests = if asked.known == edge::REQUESTS {
            asked.requests
        } else {
            (*segment).ack
        };
        Edge {
            requests,
            answers: (*segment).seq,
            known: edge::REQUESTS | edge::ANSWERS,
        }
    } else {
        Edge {
            requests: (*segment).seq,
            answers: 0,
            known: edge::REQUESTS,
        }
    };
    world.set_edge(key, start);
}

/// A SYN with data (TCP Fast Open) of a new connection: one of the same addresses whose end was not seen has ended.
#[inline(never)]
unsafe fn succeed<W: World>(world: &W, scratch: *mut Scratch) {
    let key = &(*scratch).key;
    let Some(conn) = world.conn(key) else {
        return;
    };
    if (*conn).first_seq == (*scratch).segment.seq {
        return;
    }
    let Some(slot) = world.slot((*conn).slot) else {
        return;
    };
    close(world, conn, slot);
    world.remove_conn(key);
}

/// How far ahead of a connection's known beginning its first segment may be.
const REORDERED: u32 = 1 << 20;

/// Enters a connection whose first bytes could begin a request; a connection without such bytes costs no memory.
#[inline(never)]
unsafe fn enter<W: World>(
    world: &W,
    target: &TargetEntry,
    slot: *mut Slot,
    scratch: *mut Scratch,
    to_pod: bool,
) -> *mut Conn {
    let (segment, key) = (&(*scratch).segment, &(*scratch).key);
    if segment.len == 0 || has(segment, RST) {
        return ptr::null_mut();
    }
    if !to_pod && settings_begin(world, segment.offset, segment.len, scratch) {
        note_early_answer(world, scratch);
    }
    if !to_pod && target.client_slot == 0 {
        return ptr::null_mut();
    }
    let known = world.edge(key).unwrap_or_default();
    let mut start = segment.seq;
    if known.known & edge::ENDED != 0 {
        let ended = if to_pod {
            known.requests
        } else {
            known.answers
        };
        if (segment.seq.wrapping_sub(ended) as i32) < 0 {
            return ptr::null_mut();
        }
    } else if known.known & edge::REQUESTS != 0
        && segment.seq.wrapping_sub(known.requests) < REORDERED
        && to_pod
    {
        start = known.requests;
    }
    let frames =
        to_pod && start == segment.seq && frames_begin(world, segment.offset, segment.len, scratch);
    if start == segment.seq && !frames && !could_begin(world, slot, scratch, to_pod) {
        return ptr::null_mut();
    }
    let answers_known = known.known & edge::ANSWERS != 0;
    // Its other fields are never written, and zero.
    let new = &raw mut (*scratch).conn;
    let (to_slot, from_slot) = (target.slot, opaque(target.client_slot));
    (*new).slot = if to_pod { to_slot } else { from_slot };
    (*new).client = u8::from(!to_pod);
    (*new).signs = [sign::LOOK; 2];
    (*new).last_seen_ns = world.now_coarse();
    (*new).id = (world.now() << 16 ^ u64::from(key.remote_port)) & (u64::MAX >> 1);
    (*new).first_seq = start;
    (*new).mode = if frames { 2 } else { 0 };
    (*new).requests.next = start;
    (*new).requests.state = if frames {
        state::H2_FRAME
    } else {
        state::START
    };
    (*new).requests.flags = flag::FIRST;
    (*new).answers.next = if answers_known {
        known.answers
    } else {
        segment.ack
    };
    (*new).answers.state = state::LOST;
    (*new).answers.flags = if answers_known {
        flag::FIRST
    } else {
        flag::FIRST | flag::GUESS
    };
    let Some(entered) = world.insert_conn(key, new) else {
        lose(slot, Loss::TableFull, 1);
        return ptr::null_mut();
    };
    entered
}

/// Whether the segment begins with SETTINGS: an HTTP/2 server may speak first.
#[inline(always)]
unsafe fn settings_begin<W: World>(
    world: &W,
    offset: u32,
    len: u32,
    scratch: *mut Scratch,
) -> bool {
    let first = (&raw mut (*scratch).peek).cast::<u8>();
    if len < 9 || !world.load(offset, first, 9) {
        return false;
    }
    // No longer than 255 bytes, no acknowledgement, of no stream.
    let (kind, stream) = (read_u64(first), *first.add(8));
    kind & !0xff_0000 == 4 << 24 && stream == 0
}

/// What a server says before the connection is entered is behind where its answers begin.
#[inline(always)]
unsafe fn note_early_answer<W: World>(world: &W, scratch: *mut Scratch) {
    let (segment, key) = (&(*scratch).segment, &(*scratch).key);
    let known = world.edge(key).unwrap_or_default();
    if known.known == edge::REQUESTS | edge::ANSWERS && known.answers == segment.seq {
        world.set_edge(
            key,
            Edge {
                answers: segment.seq.wrapping_add(segment.len),
                ..known
            },
        );
    }
}

/// Whether the segment begins with the HEADERS of an HTTP/2 request: a connection that is older than the observer.
#[inline(always)]
unsafe fn frames_begin<W: World>(world: &W, offset: u32, len: u32, scratch: *mut Scratch) -> bool {
    let first = (&raw mut (*scratch).peek).cast::<u8>();
    if len < 10 || !world.load(offset, first, 9) {
        return false;
    }
    let byte = |n: usize| *first.add(n);
    let (long, kind, flags) = (byte(0) != 0 || byte(1) > 0x40, byte(3), byte(4));
    // END_HEADERS, and no flag that HEADERS do not have; an odd stream, and not a very late one.
    !long && kind == 1 && flags & !0x2d == 0 && flags & 4 != 0 && byte(5) == 0 && byte(8) & 1 == 1
}

/// Whether the segment's first bytes could begin a request. What is TLS is counted.
#[inline(always)]
unsafe fn could_begin<W: World>(
    world: &W,
    slot: *mut Slot,
    scratch: *mut Scratch,
    to_pod: bool,
) -> bool {
    let segment = &(*scratch).segment;
    let first = (&raw mut (*scratch).peek).cast::<u8>();
    if !to_pod {
        return method_begins(world, segment.offset, segment.len, first);
    }
    if !world.load(segment.offset, first, 1) {
        return false;
    }
    let c = *first;
    if c == 0x16 && world.load(segment.offset, first, 3) && *first.add(1) == 3 && *first.add(2) <= 4
    {
        add(&raw mut (*slot).tls, 1);
    }
    is_token(c) || c == b'\r' || c == b'\n'
}

/// Whether the segment begins with a frequent method: what is asked of it where the direction alone says nothing.
#[inline(always)]
unsafe fn method_begins<W: World>(world: &W, offset: u32, len: u32, first: *mut u8) -> bool {
    if len < 8 || !world.load(offset, first, 8) {
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

/// What is read next: [`Scratch::turn`].
mod turn {
    /// The packet's segment.
    pub(super) const PACKET: u32 = 0;
    /// What is kept of its direction; what it was itself is read.
    pub(super) const KEPT: u32 = 1;
    /// What is kept of the other direction; the packet's segment is still to come.
    pub(super) const BACK: u32 = 2;
    /// Nothing, and the direction is not ours.
    pub(super) const NONE: u32 = 3;
}

/// Whether the segment in hand is a kept one: its bytes are in [`Scratch::stash`], not in the packet.
#[inline(always)]
pub(crate) unsafe fn is_kept(scratch: *const Scratch) -> bool {
    (*scratch).turn != turn::PACKET
}

/// A segment of a connection that is followed.
#[inline(always)]
unsafe fn follow<W: World>(scan: &mut Scan<W>) {
    let scratch = scan.scratch;
    let segment = &raw const (*scratch).segment;
    if (*segment).flags & u32::from(SYN | RST) != 0 && breaks(scan) {
        return;
    }
    (*scratch).turn = turn::PACKET;
    (*scratch).pos = 0;
    (*scratch).end = 0;
    (*scratch).remain = 0;
    let [requests, answers] = (*scan.conn).signs;
    let back = if scan.answers() { requests } else { answers };
    if back & sign::LOOK != 0 {
        scan.turn_round();
        if !look(scan) {
            scan.turn_round();
        }
    }
    W::turns(scan);
    if (*scratch).turn != turn::NONE {
        finish(scan);
    }
}

/// A SYN or RST; true when the segment is of no more interest.
#[inline(never)]
unsafe fn breaks<W: World>(scan: &Scan<W>) -> bool {
    let (conn, dir, segment) = (scan.conn, scan.dir, &raw const (*scan.scratch).segment);
    if has(&*segment, SYN) && scan.answers() {
        // SYN-ACK: of this connection, where it acknowledges what this one began with; else of its successor.
        let since = (*segment).ack.wrapping_sub((*conn).first_seq);
        let read = (*conn).requests.next.wrapping_sub((*conn).first_seq);
        if since > read {
            close(&*scan.world, conn, scan.slot);
            // Where the successor begins is remembered already.
            (*scan.world).remove_conn(&(*scan.scratch).key);
            return true;
        }
        if (*dir).flags & flag::GUESS != 0 {
            (*dir).next = (*segment).seq;
            (*dir).flags &= !flag::GUESS;
        }
    }
    let reset = has(&*segment, RST);
    if reset && resets(dir, (*segment).seq) {
        close(&*scan.world, conn, scan.slot);
        let_go(scan);
    }
    reset
}

/// What a segment of the other direction tells of this one; true when kept segments are to be read for it.
#[inline(never)]
unsafe fn look<W: World>(scan: &Scan<W>) -> bool {
    let segment = &raw const (*scan.scratch).segment;
    if (*scan.dir).flags & flag::FIRST != 0 && has(&*segment, ACK) {
        skip_unseen(scan, (*segment).ack);
    }
    (*scan.dir).stashed != 0 && pass_hole(scan, (*segment).ack)
}

/// Reads on: a window's length of the segment in hand, else of the next. True when there is none.
///
/// This is the one place that reads segments, so the verifier sees what reads them once.
///
/// # Safety
/// As [`World`] says of its pointers.
#[inline(always)]
pub unsafe fn turn<W: World>(scan: &mut Scan<W>) -> bool {
    let scratch = scan.scratch;
    if (*scratch).remain != 0 {
        scan::refill(scan);
    } else if (*scratch).turn == turn::PACKET {
        if !begin(scan) {
            return true;
        }
    } else if !next_kept(scan) {
        if (*scan.dir).stashed == 0 {
            count_hole(scan, u64::MAX);
        }
        if (*scratch).turn == turn::KEPT {
            return true;
        }
        release(scan);
        scan.turn_round();
        (*scratch).turn = turn::PACKET;
        return false;
    }
    scan::read(scan);
    if (*scratch).remain != 0 || (*scratch).turn != turn::PACKET {
        return false;
    }
    if (*scratch).segment.len != 0 && (*scan.dir).state != state::START {
        // Between messages `head::first_byte` said so already.
        seen(scan.conn, (*scan.world).now_coarse());
    }
    if (*scan.dir).stashed == 0 {
        return true;
    }
    replay(scratch, turn::KEPT);
    false
}

/// Takes the direction, and points at what is new of the packet's segment, or keeps it; false when it is not ours to read.
#[inline(always)]
unsafe fn begin<W: World>(scan: &mut Scan<W>) -> bool {
    let (dir, segment) = (scan.dir, &raw const (*scan.scratch).segment);
    (*scan.scratch).turn = turn::NONE;
    let fin = has(&*segment, FIN);
    if (*segment).len == 0 && !fin {
        return false;
    }
    if !lock::<W>(dir) {
        if (*segment).len != 0 {
            lose(scan.slot, Loss::Contended, 1);
        }
        return false;
    }
    if (*dir).flags & flag::ENDED != 0 {
        // Another CPU closed the connection while this one waited for it, and counted what was outstanding.
        unlock(&raw mut (*dir).lock);
        return false;
    }
    (*scan.scratch).turn = turn::PACKET;
    let (seq, len) = ((*segment).seq, (*segment).len);
    if fin {
        (*dir).fin = seq.wrapping_add(len);
        (*dir).flags |= flag::FIN;
    }
    if len != 0 && !place(scan, seq, (*segment).offset, len, false) {
        keep(scan);
    }
    true
}

/// The packet is read, and what was kept behind it.
#[inline(always)]
unsafe fn finish<W: World>(scan: &mut Scan<W>) {
    let dir = scan.dir;
    let flags = (*dir).flags;
    if flags & flag::FIN != 0 && (*dir).next == (*dir).fin {
        (*dir).flags = flags | flag::ENDED;
    }
    release(scan);
    let [_, of_answers] = (*scan.conn).signs;
    if of_answers & sign::ENDED != 0 {
        end(scan);
    }
}

/// Nanoseconds: see [`seen`].
const TELL: i64 = 1_000_000_000;

/// What passes, passes at `now`; told each second, since both directions read where it is written.
#[inline(always)]
pub(crate) unsafe fn seen(conn: *mut Conn, now: u64) {
    if now.wrapping_sub((*conn).last_seen_ns) as i64 > TELL {
        (*conn).last_seen_ns = now;
    }
}

/// More than a server says before it is asked: an acknowledgement further ahead is none of this stream.
const SAID_FIRST: u32 = 1 << 16;

/// What came and was acknowledged before the connection was entered is not waited for: an HTTP/2 server's first frames
/// may pass before the client's.
#[inline(always)]
unsafe fn skip_unseen<W: World>(scan: &Scan<W>, ack: u32) {
    let dir = scan.dir;
    let ahead = ack.wrapping_sub((*dir).next);
    if ahead != 0 && ahead < SAID_FIRST && (*dir).stashed == 0 && lock::<W>(dir) {
        if (*dir).flags & flag::FIRST != 0 && (*dir).next.wrapping_add(ahead) == ack {
            (*dir).next = ack;
        }
        release(scan);
    }
}

/// Whether a RST at `seq` ends the connection: exactly where its direction stands, or the other end would not believe
/// it either (RFC 9293, 3.10.7.4).
#[inline(always)]
unsafe fn resets(dir: *mut Dir, seq: u32) -> bool {
    let ahead = seq.wrapping_sub((*dir).next);
    let flags = (*dir).flags;
    ahead == 0 || ahead == 1 && flags & flag::FIN != 0 || flags & flag::GUESS != 0
}

/// The answers have ended: nothing more will be answered.
#[inline(never)]
unsafe fn end<W: World>(scan: &Scan<W>) {
    let conn = scan.conn;
    let [of_requests, _] = (*conn).signs;
    let answers = &raw mut (*conn).answers;
    if (*conn).outstanding() != 0 && lock::<W>(answers) {
        (*scan.world).drain(conn, scan.slot, ABORTED);
        unlock(&raw mut (*answers).lock);
    }
    if of_requests & sign::ENDED != 0 {
        let_go(scan);
    }
}

#[inline(always)]
unsafe fn lock<W: World>(dir: *mut Dir) -> bool {
    let at = &raw mut (*dir).lock;
    try_lock(at) || wait::<W>(at)
}

#[inline(never)]
unsafe fn wait<W: World>(at: *mut u32) -> bool {
    W::spin(&mut Spin { at, taken: 0 })
}

/// Gives a direction back, and says what the other must know of it.
#[inline(always)]
unsafe fn release<W: World>(scan: &Scan<W>) {
    let dir = scan.dir;
    let signs = (&raw mut (*scan.conn).signs).cast::<u8>();
    let at = if scan.answers() {
        chosen(signs.add(1))
    } else {
        chosen(signs)
    };
    let flags = (*dir).flags;
    let look = flags & flag::FIRST != 0 || (*dir).stashed != 0;
    let ended = flags & flag::ENDED != 0;
    let signs = if look { sign::LOOK } else { 0 } | if ended { sign::ENDED } else { 0 };
    if *at != signs {
        *at = signs;
    }
    unlock(&raw mut (*dir).lock);
}

/// What a CPU that waits for a direction works with.
#[repr(C)]
pub struct Spin {
    at: *mut u32,
    /// 1: yes.
    taken: u64,
}

impl Spin {
    /// Tries once; true when it need not be tried again.
    ///
    /// # Safety
    /// As [`World`] says of its pointers.
    #[inline(always)]
    pub unsafe fn step(&mut self) -> bool {
        self.taken = u64::from(try_lock(self.at));
        self.taken()
    }

    /// Whether the lock was taken.
    #[inline(always)]
    pub fn taken(&self) -> bool {
        self.taken != 0
    }
}

/// Ends a connection at once: what waits is aborted.
#[inline(always)]
unsafe fn close<W: World>(world: &W, conn: *mut Conn, slot: *mut Slot) {
    let answers = &raw mut (*conn).answers;
    if lock::<W>(answers) {
        (*answers).flags |= flag::ENDED;
        (*conn).signs[1] |= sign::ENDED;
        world.drain(conn, slot, ABORTED);
        unlock(&raw mut (*answers).lock);
    }
}

/// Lets a connection go, and remembers where it ended.
#[inline(never)]
unsafe fn let_go<W: World>(scan: &Scan<W>) {
    let (world, conn, key) = (&*scan.world, scan.conn, &(*scan.scratch).key);
    let waiting =
        u64::from((*conn).requests.stashed != 0) + u64::from((*conn).answers.stashed != 0);
    if waiting != 0 {
        count_hole(scan, waiting.wrapping_neg());
    }
    // One past the FIN: a retransmission of it is old too.
    let ended = Edge {
        requests: (*conn).requests.next.wrapping_add(1),
        answers: (*conn).answers.next.wrapping_add(1),
        known: edge::ENDED,
    };
    world.set_edge(key, ended);
    world.remove_conn(key);
}

/// Points at the new bytes of a segment that continues the stream; false when it lies beyond a hole.
#[inline(always)]
unsafe fn place<W: World>(scan: &Scan<W>, seq: u32, offset: u32, len: u32, stashed: bool) -> bool {
    let dir = scan.dir;
    let ahead = seq.wrapping_sub((*dir).next);
    let mut old = 0;
    if ahead != 0 && (*dir).flags & flag::GUESS != 0 {
        if stashed || !answer_begins(scan, offset, len) {
            return false;
        }
    } else if (ahead as i32) < 0 {
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
    let flags = (*dir).flags & !flag::GUESS;
    (*dir).flags = flags;
    let new = len - old;
    if (*dir).state == state::BODY && (*dir).left > u64::from(new) && flags & flag::UNTOUCHED == 0 {
        // Amid a body: most segments of a large one.
        if (*dir).left != u64::MAX {
            (*dir).left -= u64::from(new);
        }
        (*dir).next = seq.wrapping_add(len);
        return true;
    }
    scan::point(scan.scratch, offset + old, new, stashed);
    if (*dir).state == state::LOST {
        (*dir).state = if (*scan.conn).mode == 2 {
            state::H2_FRAME
        } else {
            state::START
        };
        (*dir).flags = flags | flag::TENTATIVE;
    } else if flags & (flag::EXPECT | flag::UNTOUCHED) == flag::EXPECT | flag::UNTOUCHED && !stashed
    {
        declined(scan, offset + old, new);
    }
    (*dir).next = seq.wrapping_add(len);
    true
}

/// Whether a segment begins with an answer: what is asked of it where its place in the stream is not known.
#[inline(always)]
unsafe fn answer_begins<W: World>(scan: &Scan<W>, offset: u32, len: u32) -> bool {
    if (*scan.conn).mode == 2 {
        return frames_begin(&*scan.world, offset, len, scan.scratch);
    }
    let first = (&raw mut (*scan.scratch).peek).cast::<u8>();
    len >= 8
        && (*scan.world).load(offset, first, 8)
        && read_u64(first) & mask(7) == word(b"HTTP/1.")
}

/// Skips a hole of `ahead` bytes whose content does not matter.
#[inline(always)]
unsafe fn jump<W: World>(scan: &Scan<W>, ahead: u32) -> bool {
    let dir = scan.dir;
    let skippable = (*dir).state == state::IGNORE
        || (*dir).state & state::SKIPS != 0
            && (*dir).state < state::H2_AHEAD
            && (*dir).left >= u64::from(ahead);
    if skippable {
        if (*dir).state == state::H2_SKIP {
            (*dir).left -= u64::from(ahead);
            if (*dir).left == 0 {
                (*dir).state = state::H2_FRAME;
            }
        } else {
            skip(dir, (*scan.conn).mode, ahead);
        }
        (*dir).next = (*dir).next.wrapping_add(ahead);
    }
    skippable
}

/// A body that was announced with `Expect: 100-continue` may never come: after a final answer without a 100 the
/// client may go on with its next request (RFC 9110, 10.1.1).
#[inline(always)]
unsafe fn declined<W: World>(scan: &Scan<W>, offset: u32, len: u32) {
    if scan.answers() || (*scan.conn).outstanding() != 0 {
        return;
    }
    let first = (&raw mut (*scan.scratch).peek).cast::<u8>();
    if method_begins(&*scan.world, offset, len, first) {
        head::begin(scan.dir);
    }
}

/// Keeps a segment beyond a hole until the hole is filled.
#[inline(never)]
unsafe fn keep<W: World>(scan: &Scan<W>) {
    let (dir, segment, stash) = (
        scan.dir,
        &raw const (*scan.scratch).segment,
        &raw mut (*scan.scratch).stash,
    );
    let free = !(*dir).stashed & ((1 << STASH_SEGMENTS) - 1);
    let bit = free & free.wrapping_neg();
    if bit == 0 {
        return;
    }
    let len = (*segment).len;
    let wanted = if len < STASH_BYTES as u32 {
        len
    } else {
        STASH_BYTES as u32
    };
    let n = (opaque(wanted.wrapping_sub(1)) & (STASH_BYTES as u32 - 1)) + 1;
    (*stash).seq = (*segment).seq;
    (*stash).len = len;
    let kept = (*scan.world).load((*segment).offset, (&raw mut (*stash).data).cast::<u8>(), n)
        && (*scan.world).put_stash(&stash_key(scan, u64::from(bit)), stash);
    if kept {
        if (*dir).stashed == 0 {
            count_hole(scan, 1);
        }
        (*dir).stashed |= bit;
        return;
    }
    // No memory for it: go on behind the hole.
    lose(scan.slot, Loss::Hole, 1);
    resume_at(scan, (*segment).seq.wrapping_add(len));
}

/// A direction begins to wait for a hole to be filled, or (`u64::MAX`, less one) no longer waits.
#[inline(always)]
unsafe fn count_hole<W: World>(scan: &Scan<W>, n: u64) {
    // The target's own slot, whoever asks: every packet looks there.
    if let Some(slot) = (*scan.world).slot((*scan.scratch).key.slot) {
        add(&raw mut (*slot).holes, n);
    }
}

/// The stream is picked up at the next segment, which begins at `seq`. Behind a hole in an HTTP/1 connection's answers
/// nothing tells which requests they were for.
#[inline(always)]
unsafe fn resume_at<W: World>(scan: &Scan<W>, seq: u32) {
    let dir = scan.dir;
    if scan.answers() && (*scan.conn).mode == 0 && (*dir).flags & flag::FIRST == 0 {
        (*scan.world).drain(scan.conn, scan.slot, Loss::Desync as u32);
    }
    (*dir).next = seq;
    (*dir).state = state::LOST;
    // What was inserted into the HPACK table from here on is not known.
    (*dir).h2.inserted = 0;
    (*dir).carry_len = 0;
    (*dir).first_ns = 0;
}

#[inline(always)]
unsafe fn stash_key<W>(scan: &Scan<W>, bit: u64) -> StashKey {
    StashKey {
        conn: (*scan.conn).id | u64::from(scan.answers()) << 63,
        index: bit,
    }
}

/// Kept segments are read next.
#[inline(always)]
unsafe fn replay(scratch: *mut Scratch, turn: u32) {
    (*scratch).turn = turn;
    (*scratch).bit = 1;
    (*scratch).idle = 0;
}

/// Looks at one kept segment, and points at it where the stream has come to it; false when no other can be read.
#[inline(never)]
unsafe fn next_kept<W: World>(scan: &Scan<W>) -> bool {
    let (dir, scratch) = (scan.dir, scan.scratch);
    if (*dir).stashed == 0 || (*scratch).idle > STASH_SEGMENTS as u32 {
        return false;
    }
    let bit = (*scratch).bit;
    (*scratch).bit = if bit >= 1 << (STASH_SEGMENTS - 1) {
        1
    } else {
        bit << 1
    };
    let bit = forget(scratch, bit);
    (*scratch).idle += 1;
    if (*dir).stashed & bit == 0 {
        return true;
    }
    let key = stash_key(scan, u64::from(bit));
    let Some(stash) = (*scan.world).stash(&key) else {
        (*dir).stashed &= !bit;
        return true;
    };
    if !place(scan, (*stash).seq, 0, (*stash).len, true) {
        return true;
    }
    // Backwards: behind the last step both pointers are still within what they point into, as the verifier wants it.
    let last = STASH_BYTES / 8 - 1;
    let mut from = (&raw const (*stash).data)
        .cast::<u64>()
        .cast_mut()
        .add(last);
    let mut to = (&raw mut (*scratch).stash.data).cast::<u64>().add(last);
    let mut words = STASH_BYTES / 8;
    while words > 0 {
        *to = *from;
        (from, to) = (chosen(from.sub(1)), chosen(to.sub(1)));
        fence(to);
        words -= 1;
    }
    (*dir).stashed &= !bit;
    (*scan.world).remove_stash(&key);
    (*scratch).idle = 0;
    true
}

/// What a window can hold at the most that matters here: an acknowledgement further ahead is none of this stream.
const ACKED_AHEAD: u32 = 1 << 24;

/// Goes on behind a hole that will not be filled, at the first segment that is kept: the receiver acknowledged more, so
/// it has what we miss, and it will not come again. True when kept segments are to be read, under the lock that is held.
#[inline(always)]
unsafe fn pass_hole<W: World>(scan: &Scan<W>, ack: u32) -> bool {
    let dir = scan.dir;
    if !lock::<W>(dir) {
        return false;
    }
    let next = (*dir).next;
    let mut nearest = u32::MAX;
    let mut bit = 1u32;
    while bit < 1 << STASH_SEGMENTS {
        if let Some(stash) = (*scan.world).stash(&stash_key(scan, u64::from(bit))) {
            let ahead = (*stash).seq.wrapping_sub(next);
            nearest = if ahead < nearest { ahead } else { nearest };
        }
        nearest = forget(scan.scratch, nearest);
        bit <<= 1;
        fence(dir);
    }
    let acked = ack.wrapping_sub(next);
    if acked < ACKED_AHEAD && acked > nearest {
        // Where nothing was read yet, what lies before the first message is of no interest.
        if (*dir).flags & flag::FIRST == 0 {
            lose(scan.slot, Loss::Hole, 1);
        }
        (*dir).flags &= !flag::GUESS;
        resume_at(scan, next.wrapping_add(nearest));
        replay(scan.scratch, turn::BACK);
        return true;
    }
    release(scan);
    false
}
