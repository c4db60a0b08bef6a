//! HTTP/2 frames (RFC 9113) and just enough of HPACK (RFC 7541): the status, the method and the gRPC status.
//!
//! No string is decoded but these, and no table is rebuilt: a dynamic index is turned into an insertion number, and a
//! ring remembers what the last [`TABLE`] insertions meant to us. An index from before our time, or deeper than the
//! ring, is unknown, and an answer that needs it is lost by name, not guessed.

use owlk8s_ebpf_abi::{
    Conn, Dir, H2, Loss, METHOD_OTHER, Pending, Scratch, Slot, StreamKey, StreamValue, TABLE, flag,
};

use crate::World;
use crate::bytes::{mask, word};
use crate::count::{self, lose};
use crate::cpu::{add_u32, unlock};
use crate::head::first_byte;
use crate::scan::{Scan, WINDOW_READ, lost, state, window};
use crate::segment::lock;
use crate::verifier::{fence, masked};

/// Length of a frame header.
const HEADER: u32 = 9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// What a field means to us, in the upper four bits of a code; its value is in the lower twelve.
mod kind {
    pub(crate) const NONE: u16 = 0;
    pub(crate) const STATUS: u16 = 1 << 12;
    pub(crate) const METHOD: u16 = 2 << 12;
    pub(crate) const GRPC: u16 = 3 << 12;
    pub(crate) const AGENT: u16 = 4 << 12;
    /// A field from before our time.
    pub(crate) const UNKNOWN: u16 = 15 << 12;
    pub(crate) const MASK: u16 = 15 << 12;
}

/// A value that cannot be known.
const UNKNOWN: u16 = 0xfff;
/// The value of [`kind::AGENT`] for a kubelet probe.
const PROBE: u16 = 1;

/// Bytes of a string that `tail` keeps.
const KEPT: u64 = 16;

/// Representations: [`H2::item`].
mod item {
    pub(crate) const INDEXED: u8 = 1;
    pub(crate) const INSERT: u8 = 2;
    pub(crate) const LITERAL: u8 = 3;
    pub(crate) const RESIZE: u8 = 4;
    /// The length of a name.
    pub(crate) const NAME: u8 = 5;
    /// The length of a value.
    pub(crate) const VALUE: u8 = 6;
    /// What follows the part of a value that matters.
    pub(crate) const REST: u8 = 7;
}

/// Reads what the window holds next, or skips what is to be skipped: of the window, or of what is not loaded where `how`
/// is [`WINDOW_READ`].
///
/// # Safety
/// As [`World`] says of its pointers.
#[inline(always)]
pub unsafe fn step<W: World>(
    world: &W,
    conn: *mut Conn,
    slot: *mut Slot,
    cursor: *mut Scratch,
    how: u32,
) {
    let scan = &mut Scan::apart(world, conn, slot, cursor);
    if how == WINDOW_READ {
        let remain = (*cursor).remain;
        let n = skip(scan, remain);
        (*cursor).offset += n;
        (*cursor).remain = remain - n;
        return;
    }
    let (pos, end) = ((*cursor).pos, (*cursor).end);
    let (at, avail) = (window(cursor, pos), end.wrapping_sub(pos));
    match (*scan.dir).state {
        state::H2_FRAME => frame(scan, at, avail),
        state::H2_SKIP..=state::H2_STRING_SKIP => {
            let n = skip(scan, avail);
            (*cursor).pos = pos.wrapping_add(n);
        }
        _ => block(scan, at),
    }
}

/// A frame's header.
#[inline(always)]
unsafe fn frame<W: World>(scan: &mut Scan<W>, at: *const u8, avail: u32) {
    let dir = scan.dir;
    if avail < HEADER {
        first_byte(scan);
        return crate::scan::carry(scan, avail);
    }
    let byte = |n: usize| u32::from(*at.add(n));
    let (len, kind, flags) = (
        byte(0) << 16 | byte(1) << 8 | byte(2),
        byte(3),
        byte(4) as u8,
    );
    let stream = (byte(5) << 24 | byte(6) << 16 | byte(7) << 8 | byte(8)) & 0x7fff_ffff;
    if (*dir).flags & (flag::FIRST | flag::TENTATIVE) != 0 {
        if !is_header(at) {
            return lost(scan);
        }
        (*dir).flags &= !(flag::FIRST | flag::TENTATIVE);
    }
    (*scan.scratch).pos += HEADER;
    let h2 = &raw mut (*dir).h2;
    match kind {
        // HEADERS and PUSH_PROMISE, whose blocks change the table all the same.
        1 | 5 => {
            first_byte(scan);
            (*h2).stream = if kind == 1 { stream } else { 0 };
            (*h2).frame_left = len;
            (*h2).flags = flags;
            (*h2).pad = 0;
            (*h2).status = 0;
            (*h2).method = 0;
            (*h2).grpc = 0;
            (*h2).agent = 0;
            (*h2).unknown = 0;
            let ahead = if kind == 5 {
                4
            } else if flags & PRIORITY != 0 {
                5
            } else {
                0
            };
            (*h2).ahead = ahead;
            (*dir).state = if flags & PADDED != 0 {
                state::H2_PAD
            } else {
                state::H2_ITEM
            };
            if flags & PADDED == 0 {
                skip_ahead(dir);
            }
            return fragment(scan);
        }
        // CONTINUATION
        9 => {
            (*h2).frame_left = len;
            (*h2).flags = (*h2).flags & END_STREAM | flags & END_HEADERS;
            (*dir).state = (*h2).resume;
            (*dir).left = u64::from((*h2).resume_left);
            return fragment(scan);
        }
        0 if flags & END_STREAM != 0 && scan.answers() => end_stream(scan, stream),
        3 => reset(scan, stream),
        _ => {}
    }
    (*dir).first_ns = 0;
    skip_frame(dir, len);
}

/// Whether these nine bytes are a frame's header, as far as they tell (RFC 9113, 6).
#[inline(always)]
unsafe fn is_header(at: *const u8) -> bool {
    let byte = |n: usize| u32::from(*at.add(n));
    let (len, kind, flags) = (
        byte(0) << 16 | byte(1) << 8 | byte(2),
        byte(3),
        byte(4) as u8,
    );
    let stream = byte(5) << 24 | byte(6) << 16 | byte(7) << 8 | byte(8);
    let fits = match kind {
        0 => flags & !(END_STREAM | PADDED) == 0 && stream != 0,
        1 => flags & !(END_STREAM | END_HEADERS | PADDED | PRIORITY) == 0 && stream & 1 == 1,
        2 => len == 5,
        3 | 8 => len == 4,
        4 => len < 256 && flags < 2 && stream == 0,
        6 => len == 8 && flags < 2 && stream == 0,
        // A server may promise before it answers: the first that is seen of it.
        5 => flags & !(END_HEADERS | PADDED) == 0 && stream & 1 == 1,
        // What goes on with a block cannot be understood without its beginning.
        9 => false,
        _ => kind <= 0x10 && stream == 0,
    };
    fits && len <= 1 << 14 && stream >> 31 == 0
}

/// Whether a connection can be joined at this frame, whose beginning was not seen: one that random bytes seldom make.
#[inline(always)]
pub(crate) unsafe fn may_join(at: *const u8) -> bool {
    let (kind, flags) = (*at.add(3), *at.add(4));
    let whole = kind == 1 && flags & END_HEADERS != 0 && *at.add(5) == 0;
    (whole || matches!(kind, 2 | 3 | 4 | 6 | 8)) && is_header(at)
}

/// Where segments begin is not where messages do: whether HTTP/2 goes on here.
#[inline(always)]
pub(crate) unsafe fn goes_on(at: *const u8, avail: u32) -> bool {
    avail >= HEADER && may_join(at)
}

/// The rest of the frame is of no interest.
#[inline(always)]
unsafe fn skip_frame(dir: *mut Dir, len: u32) {
    (*dir).state = if len == 0 {
        state::H2_FRAME
    } else {
        state::H2_SKIP
    };
    (*dir).left = u64::from(len);
}

/// The priority fields of HEADERS, the promised stream of PUSH_PROMISE: what lies before the block.
#[inline(always)]
unsafe fn skip_ahead(dir: *mut Dir) {
    let h2 = &raw mut (*dir).h2;
    let ahead = u32::from((*h2).ahead);
    if ahead != 0 && ahead <= (*h2).frame_left {
        (*h2).frame_left -= ahead;
        (*dir).state = state::H2_AHEAD;
        (*dir).left = u64::from(ahead);
    } else {
        (*dir).state = state::H2_ITEM;
    }
}

/// Skips what is to be skipped of `avail` bytes; how many.
#[inline(always)]
unsafe fn skip<W: World>(scan: &mut Scan<W>, avail: u32) -> u32 {
    let dir = scan.dir;
    let h2 = &raw mut (*dir).h2;
    let left = (*dir).left;
    let mut n = if left < u64::from(avail) {
        left as u32
    } else {
        avail
    };
    if (*dir).state == state::H2_STRING_SKIP {
        if n > (*h2).frame_left {
            n = (*h2).frame_left;
        }
        (*h2).frame_left -= n;
    }
    (*dir).left = left - u64::from(n);
    let done = (*dir).left == 0;
    match (*dir).state {
        state::H2_STRING_SKIP => {
            if done {
                string_end(scan, false);
            }
            fragment(scan);
        }
        state::H2_AHEAD if done => {
            (*dir).state = state::H2_ITEM;
            fragment(scan);
        }
        _ if done => (*dir).state = state::H2_FRAME,
        _ => {}
    }
    n
}

/// One byte of a header block.
#[inline(always)]
unsafe fn block<W: World>(scan: &mut Scan<W>, at: *const u8) {
    let dir = scan.dir;
    let h2 = &raw mut (*dir).h2;
    let byte = *at;
    (*scan.scratch).pos += 1;
    (*h2).frame_left = (*h2).frame_left.wrapping_sub(1);
    match (*dir).state {
        state::H2_PAD => {
            let pad = u32::from(byte);
            if pad > (*h2).frame_left {
                return lost(scan);
            }
            (*h2).pad = byte;
            (*h2).frame_left -= pad;
            skip_ahead(dir);
        }
        state::H2_ITEM => begin_item(scan, byte),
        state::H2_INT => {
            let shift = (*h2).shift & 31;
            (*h2).number += u64::from(byte & 0x7f) << shift;
            (*h2).shift = shift + 7;
            if byte & 0x80 == 0 {
                int_end(scan);
            }
        }
        state::H2_LENGTH => {
            (*h2).huffman = byte >> 7;
            begin_int(scan, byte & 0x7f, 0x7f);
        }
        // A string that matters: at most 16 bytes, kept in `tail`.
        _ => {
            let [low, high] = (*dir).tail;
            (*dir).tail = [low >> 8 | high << 56, high >> 8 | u64::from(byte) << 56];
            (*dir).left = (*dir).left.wrapping_sub(1);
            if (*dir).left == 0 {
                string_end(scan, true);
            }
        }
    }
    fragment(scan);
}

/// The first byte of a representation (RFC 7541, 6).
#[inline(always)]
unsafe fn begin_item<W: World>(scan: &mut Scan<W>, byte: u8) {
    let h2 = &raw mut (*scan.dir).h2;
    let (item, prefix) = if byte & 0x80 != 0 {
        (item::INDEXED, 0x7f)
    } else if byte & 0x40 != 0 {
        (item::INSERT, 0x3f)
    } else if byte & 0x20 != 0 {
        (item::RESIZE, 0x1f)
    } else {
        (item::LITERAL, 0x0f)
    };
    (*h2).item = item;
    (*h2).insert = u8::from(item == item::INSERT);
    begin_int(scan, byte & prefix, prefix);
}

/// An integer (RFC 7541, 5.1).
#[inline(always)]
unsafe fn begin_int<W: World>(scan: &mut Scan<W>, value: u8, prefix: u8) {
    let dir = scan.dir;
    let h2 = &raw mut (*dir).h2;
    (*h2).number = u64::from(value);
    if value == prefix {
        (*h2).shift = 0;
        (*dir).state = state::H2_INT;
    } else {
        int_end(scan);
    }
}

/// The integer in hand is complete: an index, or a string's length.
#[inline(always)]
unsafe fn int_end<W: World>(scan: &mut Scan<W>) {
    let dir = scan.dir;
    let h2 = &raw mut (*dir).h2;
    let number = (*h2).number;
    match (*h2).item {
        item::INDEXED => {
            let code = entry(scan, number);
            note(h2, code);
            (*dir).state = state::H2_ITEM;
        }
        item::RESIZE => (*dir).state = state::H2_ITEM,
        item::NAME | item::VALUE => begin_string(scan, number),
        _ if number == 0 => {
            (*h2).item = item::NAME;
            (*dir).state = state::H2_LENGTH;
        }
        _ => {
            (*h2).name = entry(scan, number) & kind::MASK;
            (*h2).item = item::VALUE;
            (*dir).state = state::H2_LENGTH;
        }
    }
}

/// A string of `len` bytes: kept where it can matter, else skipped.
#[inline(always)]
unsafe fn begin_string<W: World>(scan: &mut Scan<W>, len: u64) {
    let dir = scan.dir;
    let h2 = &raw mut (*dir).h2;
    let is_name = (*h2).item == item::NAME;
    // Of a user agent the first bytes tell: a gRPC probe's goes on with the library's name.
    let first = if !is_name && (*h2).name == kind::AGENT && len > KEPT {
        KEPT
    } else {
        len
    };
    (*dir).left = first;
    (*h2).number = len - first;
    (*dir).tail = [0; 2];
    (*h2).len = if first < 255 { first as u8 } else { 255 };
    let matters = if is_name {
        matches!(len, 5 | 7 | 8 | 10 | 11)
    } else {
        (*h2).name != kind::NONE && first <= KEPT
    };
    if len == 0 {
        string_end(scan, false);
    } else if matters {
        (*dir).state = state::H2_STRING;
    } else {
        (*dir).state = state::H2_STRING_SKIP;
    }
}

/// A string is complete; `kept`: its bytes are the last of `tail`.
#[inline(never)]
unsafe fn string_end<W: World>(scan: &mut Scan<W>, kept: bool) {
    let dir = scan.dir;
    let h2 = &raw mut (*dir).h2;
    let [low, high] = (*dir).tail;
    let len = u32::from((*h2).len);
    // Left-aligned to the first byte, zero behind the last.
    let text = if len >= 16 {
        [low, high]
    } else if len >= 8 {
        let bits = ((16 - len) * 8) & 63;
        if len == 8 {
            [high, 0]
        } else {
            [low >> bits | high << (64 - bits), high >> bits]
        }
    } else {
        [high >> (((8 - len) * 8) & 63), 0]
    };
    if (*h2).item == item::NAME {
        (*h2).name = if kept {
            name_kind(text, len, (*h2).huffman != 0)
        } else {
            kind::NONE
        };
        (*h2).item = item::VALUE;
        (*dir).state = state::H2_LENGTH;
        return;
    }
    (*dir).state = state::H2_ITEM;
    if (*h2).item == item::REST {
        return;
    }
    if (*h2).number != 0 && kept {
        (*h2).item = item::REST;
        (*dir).left = (*h2).number;
        (*dir).state = state::H2_STRING_SKIP;
    }
    let name = (*h2).name;
    let code = match name {
        kind::NONE => kind::NONE,
        kind::AGENT if !kept => name,
        _ if !kept => name | UNKNOWN,
        kind::METHOD => name | u16::from((*scan.world).method(&text)),
        kind::AGENT => agent(text, len),
        _ => name | number_of(dir, text[0], len, (*h2).huffman != 0),
    };
    note(h2, code);
    if (*h2).insert != 0 {
        insert(scan, code);
    }
}

/// What a literal name means; the Huffman forms are those of RFC 7541, appendix B.
#[inline(always)]
fn name_kind(text: [u64; 2], len: u32, huffman: bool) -> u16 {
    match (len, huffman) {
        (7, false) if text[0] == word(b":status") => kind::STATUS,
        (5, true) if text[0] == word(b"\xb8\x84\x8d\x36\xa3") => kind::STATUS,
        (7, false) if text[0] == word(b":method") => kind::METHOD,
        (5, true) if text[0] == word(b"\xb9\x49\x53\x39\xe4") => kind::METHOD,
        (11, false) if text[0] == word(b"grpc-sta") && text[1] == word(b"tus") => kind::GRPC,
        (8, true) if text[0] == word(b"\x9a\xca\xc8\xb2\x12\x34\xda\x8f") => kind::GRPC,
        (10, false) if text[0] == word(b"user-age") && text[1] == word(b"nt") => kind::AGENT,
        (7, true) if text[0] == word(b"\xb5\x05\xb1\x61\xcc\x5a\x93") => kind::AGENT,
        _ => kind::NONE,
    }
}

/// Whether a user agent is a kubelet's probe.
#[inline(always)]
fn agent(text: [u64; 2], len: u32) -> u16 {
    let raw = len >= 11 && text[0] == word(b"kube-pro") && text[1] & mask(3) == word(b"be/");
    // "kube-probe/" is 63 bits long: the last belongs to what follows.
    let huffman =
        len >= 8 && (text[0] ^ word(b"\xeb\x6c\x65\x5a\xbb\x0f\x19\x58")) & !(1 << 56) == 0;
    if raw || huffman {
        kind::AGENT | PROBE
    } else {
        kind::AGENT
    }
}

/// The number that up to three digits make.
#[inline(always)]
fn number_of(dir: *const Dir, text: u64, len: u32, huffman: bool) -> u16 {
    let mut value = 0u16;
    if !huffman {
        let mut at = 0;
        while at < 3 {
            let c = (text >> (8 * at)) as u8;
            if at < len {
                if !c.is_ascii_digit() {
                    return UNKNOWN;
                }
                value = value * 10 + u16::from(c - b'0');
            }
            at += 1;
            unsafe { fence(dir) };
        }
        return value;
    }
    // 0 1 2 are 00000 00001 00010; 3..=9 are 011001..=011111; the padding is ones. At most 18 bits.
    let bits = (text as u8 as u32) << 24
        | ((text >> 8) as u8 as u32) << 16
        | ((text >> 16) as u8 as u32) << 8;
    let mut rest = bits;
    let mut left = len * 8;
    let mut digits = 0;
    while digits < 3 {
        digits += 1;
        unsafe { fence(dir) };
        let (five, six) = (rest >> 27, rest >> 26);
        if left >= 5 && five <= 2 {
            value = value * 10 + five as u16;
            rest <<= 5;
            left -= 5;
        } else if left >= 6 && (25..=31).contains(&six) {
            value = value * 10 + (six as u16 - 22);
            rest <<= 6;
            left -= 6;
        } else {
            break;
        }
    }
    value
}

/// What an index stands for: the static table's entries that matter (RFC 7541, appendix A), or an insertion.
#[inline(always)]
unsafe fn entry<W: World>(scan: &mut Scan<W>, index: u64) -> u16 {
    const STATUSES: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    match index {
        2 => return kind::METHOD | 1,
        3 => return kind::METHOD | 3,
        8 => return kind::STATUS | STATUSES[0],
        9 => return kind::STATUS | STATUSES[1],
        10 => return kind::STATUS | STATUSES[2],
        11 => return kind::STATUS | STATUSES[3],
        12 => return kind::STATUS | STATUSES[4],
        13 => return kind::STATUS | STATUSES[5],
        14 => return kind::STATUS | STATUSES[6],
        58 => return kind::AGENT,
        0..62 => return kind::NONE,
        _ => {}
    }
    let inserted = (*scan.dir).h2.inserted;
    let back = index as u32 - 62;
    if back >= inserted || back >= TABLE as u32 {
        return kind::UNKNOWN;
    }
    match (*scan.world).table(&table_key(scan)) {
        // Inverted, so that the zeros of a table that was pushed out and made anew are unknown.
        Some(table) => !*insertion(scan, table, inserted - 1 - back),
        None => kind::UNKNOWN,
    }
}

#[inline(always)]
unsafe fn insert<W: World>(scan: &mut Scan<W>, code: u16) {
    let inserted = (*scan.dir).h2.inserted;
    (*scan.dir).h2.inserted = inserted.wrapping_add(1);
    if let Some(table) = (*scan.world).table(&table_key(scan)) {
        *insertion(scan, table, inserted) = !code;
    }
}

/// Where the insertion number `index` is remembered.
#[inline(always)]
unsafe fn insertion<W>(scan: &Scan<W>, table: *mut [u16; TABLE], index: u32) -> *mut u16 {
    table
        .cast::<u8>()
        .add(masked::<{ 2 * (TABLE as u32 - 1) }>(
            scan.scratch,
            index << 1,
        ))
        .cast()
}

#[inline(always)]
unsafe fn table_key<W>(scan: &Scan<W>) -> StreamKey {
    StreamKey {
        conn: (*scan.conn).id,
        stream: u64::from(scan.answers()),
    }
}

/// A field of the block in hand.
#[inline(always)]
unsafe fn note(h2: *mut H2, code: u16) {
    match code & kind::MASK {
        kind::STATUS => (*h2).status = code,
        kind::METHOD => (*h2).method = code,
        kind::GRPC => (*h2).grpc = code,
        kind::AGENT => (*h2).agent = (code & PROBE) as u8,
        kind::UNKNOWN => (*h2).unknown = 1,
        _ => {}
    }
}

/// Where a frame's part of the block ends, the block ends or waits for CONTINUATION.
#[inline(always)]
unsafe fn fragment<W: World>(scan: &mut Scan<W>) {
    let dir = scan.dir;
    let h2 = &raw mut (*dir).h2;
    if (*h2).frame_left != 0 || (*dir).state == state::H2_AHEAD || (*dir).state == state::LOST {
        return;
    }
    if (*h2).flags & END_HEADERS != 0 {
        if (*h2).stream != 0 {
            if scan.answers() {
                answer(scan);
            } else {
                request(scan);
            }
        }
        (*dir).first_ns = 0;
    } else {
        (*h2).resume = (*dir).state;
        (*h2).resume_left = (*dir).left as u32;
    }
    let pad = u32::from((*h2).pad);
    (*h2).pad = 0;
    skip_frame(dir, pad);
}

#[inline(always)]
unsafe fn stream_key<W>(scan: &Scan<W>, stream: u32) -> StreamKey {
    StreamKey {
        conn: (*scan.conn).id,
        stream: u64::from(stream),
    }
}

/// A request's header block; a block on a stream that was open before is its trailers.
#[inline(never)]
unsafe fn request<W: World>(scan: &mut Scan<W>) {
    let (dir, conn, slot) = (scan.dir, scan.conn, scan.slot);
    let h2 = &raw mut (*dir).h2;
    let stream = (*h2).stream;
    if stream <= (*h2).last_stream {
        return;
    }
    (*h2).last_stream = stream;
    let method = (*h2).method & UNKNOWN;
    let method = if method == UNKNOWN {
        METHOD_OTHER
    } else {
        method as u8
    };
    let mut request = Pending::new((*dir).first_ns, method, false);
    if (*h2).agent != 0 {
        request.0 |= Pending::PROBE;
    }
    let value = StreamValue {
        request,
        last_seen_ns: (*scan.world).now_coarse(),
        status: 0,
        answered: 0,
    };
    if !(*scan.world).open_stream(&stream_key(scan, stream), value) {
        lose(slot, Loss::StreamsFull, 1);
        return;
    }
    count::start(&*scan.world, slot);
    if (*h2).agent != 0 {
        count::start_probe(&*scan.world, conn, slot);
    }
    add_u32(&raw mut (*conn).streams, 1);
}

/// An answer's header block: interim, final, or trailers. What can be read again is: kernels before 6.8 leave 512 bytes for all
/// frames of a chain of calls, each counted in steps of 32, and this one ends the longest.
#[inline(never)]
unsafe fn answer<W: World>(scan: &mut Scan<W>) {
    let h2 = &raw mut (*scan.dir).h2;
    let key = stream_key(scan, (*h2).stream);
    let Some(open) = (*scan.world).stream(&key) else {
        return;
    };
    if (*open).answered == 0 {
        let status = (*h2).status & UNKNOWN;
        let is_final = (*h2).status != 0 && status >= 200 && status != UNKNOWN;
        let unknown =
            (*h2).status != 0 && status == UNKNOWN || (*h2).status == 0 && (*h2).unknown != 0;
        if !is_final && !unknown && (*h2).flags & END_STREAM == 0 {
            return;
        }
        (*open).answered = 1;
        waits_no_more(scan.conn, (*open).request);
        if is_final {
            count::answered(scan, (*open).request, 20, status, (*scan.dir).first_ns);
        } else {
            lose(scan.slot, Loss::H2Unknown, 1);
        }
    }
    let h2 = &raw mut (*scan.dir).h2;
    if (*h2).flags & END_STREAM != 0 {
        let key = stream_key(scan, (*h2).stream);
        (*scan.world).close_stream(&key);
    }
    let status = (*h2).grpc;
    if status != 0 && status & UNKNOWN != UNKNOWN {
        count::grpc(scan, status & UNKNOWN);
    }
}

/// One stream less to wait for.
#[inline(always)]
unsafe fn waits_no_more(conn: *mut Conn, request: Pending) {
    add_u32(&raw mut (*conn).streams, u32::MAX);
    count::settle(conn, request);
}

/// The answer's last DATA.
#[inline(never)]
unsafe fn end_stream<W: World>(scan: &mut Scan<W>, stream: u32) {
    let key = stream_key(scan, stream);
    if let Some(open) = (*scan.world).stream(&key)
        && (*open).answered != 0
    {
        (*scan.world).close_stream(&key);
    }
}

/// RST_STREAM from either side. Under the lock of the answers, whoever sent it: an answer may be at work on the stream.
#[inline(never)]
unsafe fn reset<W: World>(scan: &mut Scan<W>, stream: u32) {
    if scan.answers() {
        return close_reset(scan, stream);
    }
    let answers = &raw mut (*scan.conn).answers;
    if lock::<W>(scan.conn, answers, &(*scan.scratch).key) {
        close_reset(scan, stream);
        unlock(&raw mut (*answers).lock);
    } else {
        lose(scan.slot, Loss::Contended, 1);
    }
}

#[inline(never)]
unsafe fn close_reset<W: World>(scan: &mut Scan<W>, stream: u32) {
    let key = stream_key(scan, stream);
    let Some(open) = (*scan.world).stream(&key) else {
        return;
    };
    let (answered, request) = ((*open).answered, (*open).request);
    (*scan.world).close_stream(&key);
    if answered == 0 {
        waits_no_more(scan.conn, request);
        count::abort(&*scan.world, scan.slot, 1, u64::from(request.probe()));
    }
}
