//! A segment's place: its connection, its place in the byte stream, and the connection's end.

use core::hint::cold_path;
use core::ptr;

use owlk8s_ebpf_abi::{
    Conn, ConnKey, Dir, EARLY_FRAGMENTS, Edge, Loss, STASH_BYTES, STASH_SEGMENTS, Scratch, Slot,
    Stash, StashKey, TargetEntry, early, edge, flag, sign,
};

use crate::bytes::{find, index, is_token, mask, word};
use crate::count::{ABORTED, lose};
use crate::cpu::{add, read_u64, try_lock, unlock};
use crate::packet::{ACK, FIN, RST, SYN, has, parse};
use crate::scan::{self, ANSWERS, Scan, skip, state};
use crate::verifier::{chosen, fence, forget, forget_word, masked, opaque, opaque_word, seldom};
use crate::{World, h2, head};

/// Segments with payload are counted up to here.
const SEGMENTS_SEEN: u64 = 1 << 16;

/// One packet of `target`, on its way to the pod or from it; with a working memory that nobody else uses meanwhile.
///
/// # Safety
/// As [`World`] says of its pointers.
#[inline(always)]
pub unsafe fn observe<W: World>(
    world: &W,
    scratch: *mut Scratch,
    target: &TargetEntry,
    to_pod: bool,
) {
    let Some(slot) = world.slot(target.slot) else {
        return;
    };
    (*scratch).key.slot = target.slot;
    (*scratch).client_slot = target.client_slot;
    if !parse(world, scratch, slot) {
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
        if seldom(n < SEGMENTS_SEEN) {
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
    if seldom(has(&*segment, SYN)) {
        note_start(world, scratch, to_pod);
        if (*segment).len != 0 && !has(&*segment, ACK) {
            succeed(world, scratch);
        }
    }
    let conn = match world.conn(key) {
        Some(conn) => conn,
        None => {
            cold_path();
            let entered = enter(world, slot, scratch, to_pod);
            if entered.is_null() {
                return;
            }
            entered
        }
    };
    let client = (*conn).client != 0;
    let slot = if seldom(client) {
        match world.slot((*conn).slot) {
            Some(slot) => slot,
            None => return,
        }
    } else {
        slot
    };
    let answers = if to_pod == client { ANSWERS } else { 0 };
    follow(&mut Scan::new(world, conn, slot, scratch, answers));
}

/// Remembers where the streams of a connection begin. Data in a SYN (TCP Fast Open) begins behind it.
#[inline(never)]
unsafe fn note_start<W: World>(world: &W, scratch: *mut Scratch, to_pod: bool) {
    let (segment, key) = (&raw mut (*scratch).segment, &(*scratch).key);
    (*segment).seq = (*segment).seq.wrapping_add(1);
    let accepts = has(&*segment, ACK);
    let by_pod = if accepts == to_pod { edge::BY_POD } else { 0 };
    let start = if accepts {
        // What the SYN said of itself is better than what the answer says of it, which may acknowledge data.
        let asked = world.edge(key).unwrap_or_default();
        let requests = if asked.known & (edge::REQUESTS | edge::ENDED) == edge::REQUESTS {
            asked.requests
        } else {
            (*segment).ack
        };
        Edge {
            requests,
            answers: (*segment).seq,
            known: edge::REQUESTS | edge::ANSWERS | by_pod,
        }
    } else {
        Edge {
            requests: (*segment).seq,
            answers: 0,
            known: edge::REQUESTS | by_pod,
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
    close(world, conn, key);
    retire::<W>(conn, key);
    world.remove_conn(key);
}

/// How far ahead of a connection's known beginning its first segment may be.
const REORDERED: u32 = 1 << 20;

/// Enters a connection whose first bytes could begin a request; a connection without such bytes costs no memory.
#[inline(never)]
unsafe fn enter<W: World>(
    world: &W,
    slot: *mut Slot,
    scratch: *mut Scratch,
    to_pod: bool,
) -> *mut Conn {
    let (segment, key) = (&(*scratch).segment, &(*scratch).key);
    let client_slot = (*scratch).client_slot;
    if segment.len == 0 || has(segment, RST) {
        return ptr::null_mut();
    }
    if !to_pod && settings_begin(world, segment.offset, segment.len, scratch) {
        note_early_answer(world, scratch);
    }
    if !to_pod && client_slot == 0 {
        return ptr::null_mut();
    }
    let known = world.edge(key).unwrap_or_default();
    let asks = to_pod != (known.known & edge::BY_POD != 0);
    let opened = known.known & edge::REQUESTS != 0;
    let answers_known = known.known & edge::ANSWERS != 0;
    let mut start = segment.seq;
    if known.known & edge::ENDED != 0 {
        let ended = if asks { known.requests } else { known.answers };
        if (segment.seq.wrapping_sub(ended) as i32) < 0 {
            return ptr::null_mut();
        }
    } else if opened && !asks {
        // Whoever was asked to connect does not ask.
        return ptr::null_mut();
    } else if opened && segment.seq.wrapping_sub(known.requests) < REORDERED {
        start = known.requests;
    }
    let mut frames = false;
    let mut begins = BEGINS;
    if start == segment.seq {
        frames = to_pod && frames_begin(world, segment.offset, segment.len, scratch);
        if !frames {
            begins = could_begin(world, slot, scratch, to_pod, opened);
            if begins == NOTHING {
                return ptr::null_mut();
            }
        }
    }
    // Nothing tells that a message begins here: an earlier segment may be on its way.
    let guess = begins == MAY_BEGIN && !(opened && start == known.requests);
    // Its other fields are never written, and zero.
    let new = &raw mut (*scratch).conn;
    let (to_slot, from_slot) = (key.slot, opaque(client_slot));
    (*new).slot = if to_pod { to_slot } else { from_slot };
    (*new).client = u8::from(!to_pod);
    (*new).signs = [sign::LOOK; 2];
    (*new).last_seen_ns = world.now_coarse();
    (*new).id = (world.now() << 16 ^ u64::from(key.remote_port)) & (u64::MAX >> 1);
    (*new).first_seq = start;
    (*new).mode = if frames { 2 } else { 0 };
    (*new).requests.next = if guess { start.wrapping_sub(1) } else { start };
    (*new).requests.state = if frames {
        state::H2_FRAME
    } else {
        state::START
    };
    (*new).requests.flags = if guess {
        flag::FIRST | flag::GUESS
    } else {
        flag::FIRST
    };
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
    if known.known & (edge::ANSWERS | edge::ENDED) == edge::ANSWERS && known.answers == segment.seq
    {
        world.set_edge(
            key,
            Edge {
                answers: segment.seq.wrapping_add(segment.len),
                ..known
            },
        );
    }
}

/// Whether the segment begins with a frame of HTTP/2 that tells itself from other protocols' bytes: the connection is older
/// than the observer.
#[inline(always)]
unsafe fn frames_begin<W: World>(world: &W, offset: u32, len: u32, scratch: *mut Scratch) -> bool {
    let first = (&raw mut (*scratch).peek).cast::<u8>();
    len >= 9 && world.load(offset, first, 9) && h2::may_join(first)
}

/// [`could_begin`]: no request.
const NOTHING: u32 = 0;
/// A request, or something else.
const MAY_BEGIN: u32 = 1;
/// A request.
const BEGINS: u32 = 2;

/// Whether the segment's first bytes could begin a request; `opened`: its sender has opened the connection. What is TLS is
/// counted.
#[inline(always)]
unsafe fn could_begin<W: World>(
    world: &W,
    slot: *mut Slot,
    scratch: *mut Scratch,
    to_pod: bool,
    opened: bool,
) -> u32 {
    let first = first_word(world, scratch);
    if is_request(world, scratch, first) {
        return BEGINS;
    }
    // Where the direction says nothing what the pod sends must begin with a method, and what it gets not like an answer.
    if !opened && (!to_pod || first & mask(7) == word(b"HTTP/1.")) {
        return NOTHING;
    }
    let c = first as u8;
    if to_pod && first & mask(2) == word(b"\x16\x03") && (first >> 16) as u8 <= 4 {
        add(&raw mut (*slot).tls, 1);
    }
    if is_token(c) || c == b'\r' || c == b'\n' {
        MAY_BEGIN
    } else {
        NOTHING
    }
}

/// The segment's first eight bytes, zero behind its last.
#[inline(always)]
unsafe fn first_word<W: World>(world: &W, scratch: *mut Scratch) -> u64 {
    let segment = &(*scratch).segment;
    let first = (&raw mut (*scratch).peek).cast::<u8>();
    let wanted = if segment.len < 8 { segment.len } else { 8 };
    let n = (opaque(wanted.wrapping_sub(1)) & 7) + 1;
    if segment.len != 0 && world.load(segment.offset, first, n) {
        forget_word(scratch, read_u64(first) & mask(n))
    } else {
        0
    }
}

/// Whether the segment, whose first word is `first`, begins with a method and what may follow one (RFC 9112, 3.2).
#[inline(never)]
unsafe fn is_request<W: World>(world: &W, scratch: *mut Scratch, first: u64) -> bool {
    let (offset, len) = ((*scratch).segment.offset, (*scratch).segment.len);
    if len != 0 && is_method(first, len) {
        return true;
    }
    let at = (&raw mut (*scratch).peek).cast::<u8>();
    let wanted = if len < 32 { len } else { 32 };
    let n = (opaque(wanted.wrapping_sub(1)) & 31) + 1;
    if len < 3 || !world.load(offset, at, n) {
        return false;
    }
    let blank = |from: usize| find(read_u64(at.add(from)), b' ');
    let (near, far, last) = (blank(0), blank(8), blank(16));
    let end = if near != 0 {
        index(near)
    } else if far != 0 {
        8 + index(far)
    } else if last != 0 {
        16 + index(last)
    } else {
        return false;
    };
    if end == 0 || end + 1 >= n {
        return false;
    }
    // No name of a field, and a target behind it.
    let before = *at.add(masked::<31>(scratch, end.wrapping_sub(1)));
    let target = *at.add(masked::<31>(scratch, end + 1));
    is_token(first as u8) && is_token(before) && matches!(target, b'/' | b'*')
}

/// Whether a segment begins with a frequent method, as far as its first `len` bytes tell.
#[inline(always)]
fn is_method(first: u64, len: u32) -> bool {
    let known = mask(len);
    // Not 0 in its highest bit where it does not: all are asked, so that the ways through do not multiply.
    let differs = |method: u64, n: u32| {
        let bits = opaque_word((first ^ method) & mask(n) & known);
        bits | bits.wrapping_neg()
    };
    let none = differs(word(b"GET "), 4)
        & differs(word(b"POST "), 5)
        & differs(word(b"PUT "), 4)
        & differs(word(b"HEAD "), 5)
        & differs(word(b"PATCH "), 6)
        & differs(word(b"DELETE "), 7)
        & differs(word(b"OPTIONS "), 8)
        & differs(word(b"PRI * HT"), 8);
    none >> 63 == 0
}

/// What is read next: [`Scratch::turn`].
mod turn {
    /// The packet's segment.
    pub(super) const PACKET: u32 = 0;
    /// What is kept of its direction; what it was itself is read.
    pub(super) const KEPT: u32 = 1;
    /// What is kept of the other direction; the packet's segment is still to come.
    pub(super) const BACK: u32 = 2;
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
    let signs = (&raw mut (*scan.conn).signs).cast::<u8>();
    let back = if scan.answers() {
        chosen(signs)
    } else {
        chosen(signs.add(1))
    };
    if seldom(*back & sign::LOOK != 0) {
        scan.turn_round();
        if look(scan) {
            W::turns(scan);
        } else {
            scan.turn_round();
        }
    }
    if !begin(scan) {
        return;
    }
    // Most segments end here: what is new of them is at hand, or needs no reading.
    let alone = (*scan.dir).stashed == 0;
    if alone {
        scan::read(scan);
    }
    if seldom(!alone || (*scratch).remain != 0 || (*scratch).pos < (*scratch).end) {
        W::turns(scan);
    } else {
        passed(scan);
    }
    finish(scan);
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
            let key = &(*scan.scratch).key;
            close(&*scan.world, conn, key);
            retire::<W>(conn, key);
            // Where the successor begins is remembered already.
            (*scan.world).remove_conn(key);
            return true;
        }
        if (*dir).flags & flag::GUESS != 0 {
            (*dir).next = (*segment).seq;
            (*dir).flags &= !flag::GUESS;
        }
    }
    let reset = has(&*segment, RST);
    if reset && resets(dir, (*segment).seq) {
        close(&*scan.world, conn, &(*scan.scratch).key);
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

/// Reads on: a window's length of the segment in hand, or a frame of HTTP/2 in it, else of the next; true when there is none,
/// or when what was kept of the other direction is read.
///
/// # Safety
/// As [`World`] says of its pointers.
#[inline(always)]
pub unsafe fn turn<W: World>(scan: &mut Scan<W>) -> bool {
    let scratch = scan.scratch;
    if (*scratch).pos < (*scratch).end {
        // The packet's first bytes are at hand.
    } else if (*scratch).remain != 0 {
        scan::refill(scan);
    } else if (*scratch).turn != turn::PACKET && !next_kept(scan) {
        if (*scan.dir).stashed == 0 {
            count_hole(scan, u64::MAX);
        }
        if (*scratch).turn == turn::KEPT {
            return true;
        }
        release(scan);
        scan.turn_round();
        (*scratch).turn = turn::PACKET;
        return true;
    }
    scan::read(scan);
    if (*scratch).pos < (*scratch).end {
        (*scan.world).frame((*scratch).copy, scan.conn, 0);
        return false;
    }
    if (*scratch).remain != 0 || (*scratch).turn != turn::PACKET {
        return false;
    }
    passed(scan);
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
    let fin = has(&*segment, FIN);
    if (*segment).len == 0 && !fin {
        return false;
    }
    if seldom(!lock::<W>(scan.conn, dir, &(*scan.scratch).key)) {
        if (*segment).len != 0 {
            lose(scan.slot, Loss::Contended, 1);
        }
        return false;
    }
    if seldom((*dir).flags & flag::ENDED != 0) {
        // Another CPU closed the connection while this one waited for it, and counted what was outstanding.
        unlock(&raw mut (*dir).lock);
        return false;
    }
    let (seq, len) = ((*segment).seq, (*segment).len);
    if seldom(fin) {
        (*dir).fin = seq.wrapping_add(len);
        (*dir).flags |= flag::FIN;
    }
    if len != 0 && seldom(!place(scan, seq, (*segment).offset, len, false)) {
        keep(scan);
    }
    if (*scan.scratch).early != 0 {
        adopt_fragments(scan);
    }
    true
}

/// The fragments that came before the packet, the first of their datagram, are segments behind it.
#[inline(never)]
unsafe fn adopt_fragments<W: World>(scan: &Scan<W>) {
    let (dir, scratch) = (scan.dir, scan.scratch);
    let mut n = 0;
    while n < EARLY_FRAGMENTS {
        let StashKey { conn, index } = (*scratch).early_key;
        let key = StashKey {
            conn,
            index: index | u64::from(n),
        };
        let free = !(*dir).stashed & ((1 << STASH_SEGMENTS) - 1);
        let bit = forget(scratch, free & free.wrapping_neg());
        if n < (*scratch).early
            && let Some(kept) = (*scan.world).stash(&key)
        {
            let kept = kept.cast_mut();
            let last = (*kept).len & Stash::LAST != 0;
            (*kept).seq = (*kept).seq.wrapping_add((*scratch).early_seq);
            (*kept).len &= !Stash::LAST;
            if last && (*scratch).early_flags & u32::from(FIN) != 0 {
                (*dir).fin = (*kept).seq.wrapping_add((*kept).len);
                (*dir).flags |= flag::FIN;
            }
            if bit != 0 && (*scan.world).put_stash(&stash_key(scan, u64::from(bit)), kept) {
                if (*dir).stashed == 0 {
                    count_hole(scan, 1);
                }
                (*dir).stashed |= bit;
            } else {
                lose(scan.slot, Loss::Fragment, 1);
            }
            (*scan.world).remove_stash(&key);
        }
        fence(dir);
        n += 1;
    }
    (*scratch).early = 0;
}

/// The packet is read, and what was kept behind it.
#[inline(always)]
unsafe fn finish<W: World>(scan: &mut Scan<W>) {
    let dir = scan.dir;
    let flags = (*dir).flags;
    if seldom(flags & flag::FIN != 0 && (*dir).next == (*dir).fin) {
        (*dir).flags = flags | flag::ENDED;
    }
    release(scan);
    let [_, of_answers] = (*scan.conn).signs;
    if seldom(of_answers & sign::ENDED != 0) {
        end(scan);
    }
}

/// The packet's segment is read.
#[inline(always)]
unsafe fn passed<W: World>(scan: &Scan<W>) {
    if (*scan.scratch).segment.len != 0 && (*scan.dir).state != state::START {
        // Between messages `head::first_byte` said so already.
        seen(scan.conn, (*scan.world).now_coarse());
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
    if ahead != 0
        && ahead < SAID_FIRST
        && (*dir).stashed == 0
        && lock::<W>(scan.conn, dir, &(*scan.scratch).key)
    {
        if (*dir).flags & flag::FIRST != 0 && (*dir).next.wrapping_add(ahead) == ack {
            resume_at(scan, ack);
            if scan.answers() {
                add(&raw mut (*scan.slot).unsent, 1);
            }
        }
        release(scan);
    }
}

/// Whether a RST at `seq` ends the connection: exactly where its direction stands, or the other end would not believe
/// it either (RFC 9293, 3.10.7.4). Beyond a hole Linux believes one at the end of what came last.
#[inline(always)]
unsafe fn resets(dir: *mut Dir, seq: u32) -> bool {
    let ahead = seq.wrapping_sub((*dir).next);
    let flags = (*dir).flags;
    ahead == 0
        || ahead == 1 && flags & flag::FIN != 0
        || flags & flag::GUESS != 0
        || (*dir).stashed != 0 && ahead < REORDERED
}

/// The answers have ended: nothing more will be answered.
#[inline(never)]
unsafe fn end<W: World>(scan: &Scan<W>) {
    let conn = scan.conn;
    let [of_requests, _] = (*conn).signs;
    let answers = &raw mut (*conn).answers;
    if (*conn).outstanding() != 0 && lock::<W>(conn, answers, &(*scan.scratch).key) {
        (*scan.world).drain(conn, ABORTED);
        unlock(&raw mut (*answers).lock);
    }
    if of_requests & sign::ENDED != 0 {
        let_go(scan);
    }
}

/// Takes a direction of the connection of `key`; false when it cannot be had, or is another connection's by now: the kernel
/// gives the memory of what was let go to the next at once, while this CPU may still point there.
#[inline(always)]
pub(crate) unsafe fn lock<W: World>(conn: *const Conn, dir: *mut Dir, key: *const ConnKey) -> bool {
    let at = &raw mut (*dir).lock;
    if seldom(!try_lock(at)) && !wait::<W>(at) {
        return false;
    }
    let ours = (*conn).id as u16 == (*key).remote_port;
    if seldom(!ours) {
        unlock(at);
    }
    ours
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
    if seldom(*at != signs) {
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
unsafe fn close<W: World>(world: &W, conn: *mut Conn, key: *const ConnKey) {
    let answers = &raw mut (*conn).answers;
    if lock::<W>(conn, answers, key) {
        (*answers).flags |= flag::ENDED;
        (*conn).signs[1] |= sign::ENDED;
        world.drain(conn, ABORTED);
        unlock(&raw mut (*answers).lock);
    }
}

/// Nobody works on the connection of `key` any more, and whoever still points to it will read nothing for it: it can be let
/// go.
#[inline(always)]
unsafe fn retire<W: World>(conn: *mut Conn, key: *const ConnKey) {
    end_direction::<W>(conn, &raw mut (*conn).requests, key);
    end_direction::<W>(conn, &raw mut (*conn).answers, key);
}

#[inline(always)]
unsafe fn end_direction<W: World>(conn: *mut Conn, dir: *mut Dir, key: *const ConnKey) {
    if lock::<W>(conn, dir, key) {
        (*dir).flags |= flag::ENDED;
        unlock(&raw mut (*dir).lock);
    }
}

/// Lets a connection go to make room for another; what waits is lost by name.
///
/// # Safety
/// As [`World`] says of its pointers.
#[inline(always)]
pub unsafe fn evict<W: World>(world: &W, conn: *mut Conn, key: &ConnKey) {
    let answers = &raw mut (*conn).answers;
    if lock::<W>(conn, answers, key) {
        world.drain(conn, Loss::Evicted as u32);
        unlock(&raw mut (*answers).lock);
    }
    retire::<W>(conn, key);
    // It may go on, from here.
    let known = edge::ENDED | if (*conn).client != 0 { edge::BY_POD } else { 0 };
    let (requests, answers) = ((*conn).requests.next, (*conn).answers.next);
    world.set_edge(
        key,
        Edge {
            requests,
            answers,
            known,
        },
    );
    world.remove_conn(key);
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
        known: if (*conn).client != 0 {
            edge::ENDED | edge::BY_POD
        } else {
            edge::ENDED
        },
    };
    retire::<W>(conn, key);
    world.set_edge(key, ended);
    world.remove_conn(key);
}

/// Points at the new bytes of a segment that continues the stream; false when it lies beyond a hole.
#[inline(always)]
unsafe fn place<W: World>(scan: &Scan<W>, seq: u32, offset: u32, len: u32, stashed: bool) -> bool {
    let dir = scan.dir;
    let ahead = seq.wrapping_sub((*dir).next);
    let mut old = 0;
    if seldom(ahead != 0 && (*dir).flags & flag::GUESS != 0) {
        if stashed || !message_begins(scan, offset, len) {
            return false;
        }
    } else if seldom((ahead as i32) < 0) {
        old = ahead.wrapping_neg();
        if old >= len {
            return true;
        }
    } else if seldom(ahead != 0) && !jump(scan, ahead) {
        return false;
    }
    if seldom((*scan.conn).mode == 1) {
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
    if seldom((*dir).state == state::LOST) {
        (*dir).state = if (*scan.conn).mode == 2 {
            state::H2_FRAME
        } else {
            state::START
        };
        (*dir).flags = flags | flag::TENTATIVE;
        (*dir).first_ns = 0;
    } else if !stashed && seldom(may_be_refused(scan)) {
        // What is new of it may be behind what is sent again.
        (*scan.scratch).segment.offset = offset + old;
        (*scan.scratch).segment.len = new;
        let first = first_word(&*scan.world, scan.scratch);
        if is_request(&*scan.world, scan.scratch, first) {
            head::begin(dir);
        }
    }
    (*dir).next = seq.wrapping_add(len);
    true
}

/// Whether the segment begins a message: what is asked of it where its place in the stream is not known.
#[inline(always)]
unsafe fn message_begins<W: World>(scan: &Scan<W>, offset: u32, len: u32) -> bool {
    if (*scan.conn).mode == 2 {
        return frames_begin(&*scan.world, offset, len, scan.scratch);
    }
    let first = first_word(&*scan.world, scan.scratch);
    if scan.answers() {
        first & mask(7) == word(b"HTTP/1.")
    } else {
        // A letter or two begin many things.
        len >= 4 && is_request(&*scan.world, scan.scratch, first)
    }
}

/// Skips a hole of `ahead` bytes whose content does not matter.
#[inline(always)]
unsafe fn jump<W: World>(scan: &Scan<W>, ahead: u32) -> bool {
    let dir = scan.dir;
    let skippable = (*dir).state == state::IGNORE
        || (*dir).state & state::SKIPS != 0
            && (*dir).state < state::H2_AHEAD
            && (*dir).left >= u64::from(ahead)
            // What is in the hole may be the next request's beginning.
            && !may_be_refused(scan);
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

/// Whether the body that is expected was announced with `Expect: 100-continue` and may never come: after a final answer
/// without a 100 the client may go on with its next request (RFC 9110, 10.1.1).
#[inline(always)]
unsafe fn may_be_refused<W: World>(scan: &Scan<W>) -> bool {
    const WAITS: u16 = flag::EXPECT | flag::UNTOUCHED;
    (*scan.dir).flags & WAITS == WAITS && !scan.answers() && (*scan.conn).outstanding() == 0
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
    if bit == 0 || is_kept_already(scan) {
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
        if free == bit && (*dir).flags & flag::GUESS != 0 {
            // Nothing that begins a message came, and there is no room to wait for it.
            (*dir).flags &= !flag::GUESS;
            resume_at(scan, (*dir).next.wrapping_add(nearest_kept(scan)));
        }
        return;
    }
    // No memory for it: go on behind the hole.
    lose(scan.slot, Loss::Hole, 1);
    resume_at(scan, (*segment).seq.wrapping_add(len));
}

/// Whether the same segment, or one that begins where it does and is longer, is kept.
#[inline(always)]
unsafe fn is_kept_already<W: World>(scan: &Scan<W>) -> bool {
    let (stashed, seq, len) = (
        (*scan.dir).stashed,
        (*scan.scratch).segment.seq,
        (*scan.scratch).segment.len,
    );
    let mut found = 0;
    let mut bit = 1u32;
    while bit < 1 << STASH_SEGMENTS {
        if stashed & bit != 0
            && let Some(stash) = (*scan.world).stash(&stash_key(scan, u64::from(bit)))
            && (*stash).seq == seq
            && (*stash).len >= len
        {
            found = 1;
        }
        found = forget(scan.scratch, found);
        bit <<= 1;
        fence(scan.dir);
    }
    found != 0
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
        (*scan.world).drain(scan.conn, Loss::Desync as u32);
    }
    let mut began = 0;
    if !scan.answers() {
        let answered = (*scan.conn).early == early::ANSWERED;
        let cut = !answered && head::has_begun(dir);
        began = if cut { (*dir).first_ns } else { 0 };
        (*scan.conn).early = if cut { early::UNREADABLE } else { 0 };
    }
    (*dir).next = seq;
    (*dir).state = state::LOST;
    // What was inserted into the HPACK table from here on is not known.
    (*dir).h2.inserted = 0;
    (*dir).carry_len = 0;
    (*dir).first_ns = began;
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
    let (first, len) = ((*stash).data[0], (*stash).len);
    if (*scratch).remain == len && may_be_refused(scan) && is_method(first, len) {
        head::begin(dir);
    }
    (*dir).stashed &= !bit;
    (*scan.world).remove_stash(&key);
    (*scratch).idle = 0;
    true
}

/// How far ahead of the stream the first segment is that is kept.
#[inline(never)]
unsafe fn nearest_kept<W: World>(scan: &Scan<W>) -> u32 {
    let dir = scan.dir;
    let mut nearest = u32::MAX;
    let mut bit = 1u32;
    while bit < 1 << STASH_SEGMENTS {
        if let Some(stash) = (*scan.world).stash(&stash_key(scan, u64::from(bit))) {
            let ahead = (*stash).seq.wrapping_sub((*dir).next);
            nearest = if ahead < nearest { ahead } else { nearest };
        }
        nearest = forget(scan.scratch, nearest);
        bit <<= 1;
        fence(dir);
    }
    nearest
}

/// What a window can hold at the most that matters here: an acknowledgement further ahead is none of this stream.
const ACKED_AHEAD: u32 = 1 << 24;

/// Goes on behind a hole that will not be filled, at the first segment that is kept: the receiver acknowledged more, so
/// it has what we miss, and it will not come again. True when kept segments are to be read, under the lock that is held.
#[inline(always)]
unsafe fn pass_hole<W: World>(scan: &Scan<W>, ack: u32) -> bool {
    let dir = scan.dir;
    if !lock::<W>(scan.conn, dir, &(*scan.scratch).key) {
        return false;
    }
    let next = (*dir).next;
    let nearest = nearest_kept(scan);
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
