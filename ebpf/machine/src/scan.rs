//! The reader of one direction's byte stream: a state, and a step that looks at a few bytes and moves on.
//!
//! Bytes whose content does not matter are skipped by arithmetic. The others come through the window: what was
//! carried over from the last segment (at most [`CARRY`] bytes: the start of a line that was cut), then up to
//! [`FRESH`] new ones.

use core::hint::cold_path;
use core::mem::offset_of;

use owlk8s_ebpf_abi::{CARRY, Conn, Dir, Loss, STASH_BYTES, Scratch, Slot, WINDOW, flag};

use crate::World;
use crate::bytes::{find, first, index};
use crate::count::lose;
use crate::cpu::read_u64;
use crate::verifier::{chosen, fence, forget, forget_word, masked, opaque};
use crate::{head, segment};

/// New bytes loaded at a time; with the carried ones they stay within [`WINDOW`].
const FRESH: u32 = (WINDOW - 2 * CARRY) as u32;

/// States of [`Dir::state`].
pub(crate) mod state {
    /// Where messages begin is not known: try at each segment's start.
    pub(crate) const LOST: u8 = 0;
    /// Before a message.
    pub(crate) const START: u8 = 1;
    /// Inside a line; [`super::line`] says of what.
    pub(crate) const LINE: u8 = 2;
    /// At the start of a field line.
    pub(crate) const FIELD: u8 = 3;
    /// In the digits of Content-Length.
    pub(crate) const LENGTH: u8 = 4;
    /// In the digits of a chunk size.
    pub(crate) const CHUNK: u8 = 5;
    /// At the start of a trailer line.
    pub(crate) const TRAILER: u8 = 6;
    /// Behind a head.
    pub(crate) const HEAD_END: u8 = 7;
    /// All states of HTTP/2, and no others, have this bit.
    pub(crate) const H2: u8 = 16;
    /// HTTP/2: before a frame.
    pub(crate) const H2_FRAME: u8 = 16;
    /// At the length of a frame's padding.
    pub(crate) const H2_PAD: u8 = 17;
    /// At the start of a header representation.
    pub(crate) const H2_ITEM: u8 = 18;
    /// In the further bytes of an integer.
    pub(crate) const H2_INT: u8 = 19;
    /// At the length of a string.
    pub(crate) const H2_LENGTH: u8 = 20;
    /// In a string that matters.
    pub(crate) const H2_STRING: u8 = 21;

    /// With this bit bytes are skipped: [`super::Dir::left`] tells how many.
    pub(crate) const SKIPS: u8 = 0x80;
    /// A body, then [`START`].
    pub(crate) const BODY: u8 = SKIPS;
    /// A chunk, then the line end behind it.
    pub(crate) const CHUNK_DATA: u8 = SKIPS + 1;
    /// A PROXY header or the HTTP/2 preface, then [`START`] or frames.
    pub(crate) const SKIP: u8 = SKIPS + 2;
    /// A tunnel: for ever.
    pub(crate) const IGNORE: u8 = SKIPS + 3;
    /// The rest of a frame, then the next.
    pub(crate) const H2_SKIP: u8 = SKIPS + 16;
    /// What lies before a header block.
    pub(crate) const H2_AHEAD: u8 = SKIPS + 17;
    /// A string that does not matter.
    pub(crate) const H2_STRING_SKIP: u8 = SKIPS + 18;
}

/// What the line in hand is: [`Dir::line`].
pub(crate) mod line {
    /// Any field that does not matter.
    pub(crate) const OTHER: u8 = 0;
    /// Request line.
    pub(crate) const REQUEST: u8 = 1;
    /// Status line.
    pub(crate) const STATUS: u8 = 2;
    /// Transfer-Encoding.
    pub(crate) const CODING: u8 = 3;
    /// Chunk extension.
    pub(crate) const CHUNK: u8 = 4;
    /// Behind a chunk's data.
    pub(crate) const CHUNK_END: u8 = 5;
    /// A trailer field.
    pub(crate) const TRAILER: u8 = 6;
    /// PROXY protocol version 1.
    pub(crate) const PROXY: u8 = 7;
    /// Content-Length, whose value is still to come.
    pub(crate) const LENGTH: u8 = 8;
}

/// What one run over a segment works with; lives on the caller's stack.
#[repr(C)]
pub struct Scan<W> {
    pub(crate) world: *const W,
    pub(crate) conn: *mut Conn,
    pub(crate) dir: *mut Dir,
    pub(crate) slot: *mut Slot,
    pub(crate) scratch: *mut Scratch,
}

/// The direction of the answers.
pub(crate) const ANSWERS: u32 = 1;
/// `how` of [`crate::h2::step`]: the window is read to its end.
pub(crate) const WINDOW_READ: u32 = 1;

/// Reads the window to its end, or until it goes on as HTTP/2.
#[inline(always)]
pub(crate) unsafe fn read<W: World>(scan: &mut Scan<W>) {
    let (dir, cursor) = (scan.dir, scan.scratch);
    if (*cursor).pos >= (*cursor).end {
        return;
    }
    prepend(dir, cursor);
    if (*dir).state & state::H2 == 0 {
        W::steps(scan);
    }
}

/// The direction of the answers, or of the requests. Of its place in the connection the verifier knows no more than that it
/// is one of few, so what works on a direction is looked at once for both.
#[inline(always)]
unsafe fn direction(scratch: *const Scratch, conn: *mut Conn, answers: u32) -> *mut Dir {
    const APART: u32 = (offset_of!(Conn, answers) - offset_of!(Conn, requests)) as u32;
    (&raw mut (*conn).requests)
        .cast::<u8>()
        .add(masked::<APART>(scratch, answers * APART))
        .cast()
}

/// Points at the `len` bytes at `offset`, which [`read`] is to read.
#[inline(always)]
pub(crate) unsafe fn point(scratch: *mut Scratch, offset: u32, len: u32, stashed: bool) {
    let loaded = (*scratch).loaded;
    (*scratch).pos = 0;
    (*scratch).end = 0;
    (*scratch).offset = offset;
    (*scratch).remain = len;
    if !stashed && offset >= CARRY as u32 && offset < loaded {
        let behind = loaded - offset;
        let n = if behind < len { behind } else { len };
        (*scratch).pos = offset;
        (*scratch).end = offset + n;
        (*scratch).offset = offset + n;
        (*scratch).remain = len - n;
    }
}

/// Puts what was carried over before the window's first byte to read, over what is of no use any more.
#[inline(always)]
unsafe fn prepend(dir: *mut Dir, scratch: *mut Scratch) {
    let carried = u32::from((*dir).carry_len) & (CARRY as u32 - 1);
    if carried == 0 {
        return;
    }
    cold_path();
    let pos = (*scratch).pos;
    let to = (&raw mut (*scratch).window)
        .cast::<u8>()
        .add(masked::<{ WINDOW as u32 - 1 }>(
            scratch,
            pos.wrapping_sub(CARRY as u32),
        ));
    write_u64(to, (*dir).carry[0]);
    write_u64(to.add(8), (*dir).carry[1]);
    write_u64(to.add(16), (*dir).carry[2]);
    write_u64(to.add(24), (*dir).carry[3]);
    (*dir).carry_len = 0;
    (*scratch).pos = pos - carried;
}

impl<W> Scan<W> {
    /// The direction of the answers.
    #[inline(always)]
    pub(crate) fn answers(&self) -> bool {
        unsafe { (*self.scratch).answers != 0 }
    }

    /// [`fence`](crate::verifier::fence), on a word of the caller's that holds a pointer anyway: one of this function's would be
    /// a number's, too.
    #[inline(always)]
    pub(crate) unsafe fn fence(&mut self) {
        (&raw mut self.dir).write_volatile(self.dir);
    }

    /// The other direction is looked at.
    #[inline(always)]
    pub(crate) unsafe fn turn_round(&mut self) {
        let answers = (*self.scratch).answers ^ ANSWERS;
        (*self.scratch).answers = answers;
        self.dir = direction(self.scratch, self.conn, answers);
    }

    #[inline(always)]
    pub(crate) unsafe fn new(
        world: &W,
        conn: *mut Conn,
        slot: *mut Slot,
        scratch: *mut Scratch,
        answers: u32,
    ) -> Self {
        (*scratch).answers = answers;
        Self {
            world,
            conn,
            dir: direction(scratch, conn, answers),
            slot,
            scratch,
        }
    }

    /// In a global function.
    #[inline(always)]
    pub(crate) unsafe fn apart(
        world: &W,
        conn: *mut Conn,
        slot: *mut Slot,
        scratch: *mut Scratch,
    ) -> Self {
        let dir = if (*scratch).answers != 0 {
            chosen(&raw mut (*conn).answers)
        } else {
            chosen(&raw mut (*conn).requests)
        };
        Self {
            world,
            conn,
            dir,
            slot,
            scratch,
        }
    }
}

/// One step over HTTP/1; true when the window is read to its end, or goes on as HTTP/2. A line's start, the line, the end of the head behind it and what
/// is to be skipped behind that are one step.
#[inline(always)]
pub unsafe fn step<W: World>(scan: &mut Scan<W>) -> bool {
    let cursor = scan.scratch;
    let dir = scan.dir;
    let (pos, end) = ((*cursor).pos, (*cursor).end);
    let avail = end - pos;
    let at = window(cursor, pos);
    match (*dir).state {
        state::LINE => {}
        state::FIELD | state::TRAILER => head::field(scan, at, avail),
        state::START if scan.answers() => head::status(scan, at, avail),
        state::START => head::request(scan, at, avail),
        state::LENGTH => head::length(scan, at, avail),
        state::CHUNK => head::chunk(scan, at),
        state::LOST => give_up_segment(cursor),
        _ => {}
    }
    if (*dir).state == state::LINE {
        read_line(scan);
    }
    if (*dir).state == state::HEAD_END {
        head::head_end(scan);
    }
    let (pos, end) = ((*cursor).pos, (*cursor).end);
    if (*dir).state & state::SKIPS != 0 && (*dir).state < state::H2_SKIP && pos < end {
        (*cursor).pos = pos + skip(dir, (*scan.conn).mode, end - pos);
    }
    (*cursor).pos >= end || (*dir).state & state::H2 != 0
}

/// The window's byte `pos` and what follows it; the window is longer than any `pos` can be by what is read at once.
#[inline(always)]
pub(crate) unsafe fn window(cursor: *mut Scratch, pos: u32) -> *const u8 {
    (&raw const (*cursor).window)
        .cast::<u8>()
        .add(masked::<{ WINDOW as u32 - 1 }>(cursor, pos))
}

/// Reads no more of this segment.
#[inline(always)]
pub(crate) unsafe fn give_up_segment(cursor: *mut Scratch) {
    (*cursor).remain = 0;
    (*cursor).pos = (*cursor).end;
}

/// The stream cannot be followed: the next segment may begin a message.
#[inline(always)]
pub(crate) unsafe fn lost<W>(scan: &mut Scan<W>) {
    (*scan.dir).state = state::LOST;
    (*scan.dir).carry_len = 0;
    // What is inserted into the HPACK table until it can be followed again is not known.
    (*scan.dir).h2.inserted = 0;
    give_up_segment(scan.scratch);
}

/// Skips up to `avail` bytes of what is to be skipped, and moves to what follows when all is; how many.
#[inline(always)]
pub(crate) unsafe fn skip(dir: *mut Dir, mode: u8, avail: u32) -> u32 {
    let left = (*dir).left;
    if (*dir).state == state::IGNORE || left == u64::MAX {
        return avail;
    }
    (*dir).flags &= !flag::UNTOUCHED;
    if left > u64::from(avail) {
        (*dir).left = left - u64::from(avail);
        return avail;
    }
    (*dir).left = 0;
    match (*dir).state {
        state::CHUNK_DATA => begin_line(dir, line::CHUNK_END),
        state::SKIP if mode == 2 => (*dir).state = state::H2_FRAME,
        _ => head::begin(dir),
    }
    left as u32
}

/// Loads the next bytes, or skips as many of them as are of no interest.
#[inline(always)]
pub(crate) unsafe fn refill<W: World>(scan: &mut Scan<W>) {
    let (cursor, dir) = (scan.scratch, scan.dir);
    let remain = (*cursor).remain;
    if (*dir).state >= state::H2_SKIP {
        return (*scan.world).frame((*scan.scratch).copy, scan.conn, WINDOW_READ);
    }
    if (*dir).state & state::SKIPS != 0 {
        let n = skip(dir, (*scan.conn).mode, remain);
        (*cursor).offset += n;
        (*cursor).remain = remain - n;
        return;
    }
    let wanted = if remain < FRESH { remain } else { FRESH };
    // 1..=FRESH, in a form that kernels before 6.9 follow too.
    let n = (opaque(wanted - 1) & 511) + 1;
    if n > FRESH {
        return;
    }
    let to = (&raw mut (*cursor).window).cast::<u8>().add(CARRY);
    (*cursor).loaded = 0;
    let stashed = segment::is_kept(cursor);
    let loaded = if stashed {
        load_stash(cursor, (*cursor).offset, to.cast(), n)
    } else {
        (*scan.world).load((*cursor).offset, to, n)
    };
    if !loaded {
        if stashed {
            lose(scan.slot, Loss::Hole, 1);
        }
        return lost(scan);
    }
    (*cursor).offset += n;
    (*cursor).remain = remain - n;
    (*cursor).pos = CARRY as u32;
    (*cursor).end = CARRY as u32 + n;
}

/// Copies from a kept segment; false where only its length was kept.
#[inline(always)]
unsafe fn load_stash(cursor: *const Scratch, offset: u32, mut to: *mut u64, n: u32) -> bool {
    if offset + n > STASH_BYTES as u32 {
        return false;
    }
    let from = (&raw const (*cursor).stash.data).cast::<u8>();
    let mut at = 0;
    // What is copied beyond `n` is within the window, and of no meaning; a loop without a choice is one path to verify.
    while at < FRESH {
        let word = read_u64(from.add(masked::<{ STASH_BYTES as u32 - 1 }>(cursor, offset + at)));
        *to = word;
        to = chosen(to.add(1));
        fence(to);
        at += 8;
    }
    true
}

#[inline(always)]
unsafe fn write_u64(at: *mut u8, word: u64) {
    at.cast::<u64>().write_unaligned(word);
}

/// The rest of the window is the start of a line that goes on in the next segment.
#[inline(always)]
pub(crate) unsafe fn carry<W>(scan: &mut Scan<W>, avail: u32) {
    let (cursor, dir) = (scan.scratch, scan.dir);
    let at = window(cursor, (*cursor).end.wrapping_sub(CARRY as u32));
    (*dir).carry[0] = read_u64(at);
    (*dir).carry[1] = read_u64(at.add(8));
    (*dir).carry[2] = read_u64(at.add(16));
    (*dir).carry[3] = read_u64(at.add(24));
    (*dir).carry_len = avail as u8;
    (*cursor).pos = (*cursor).end;
}

/// From here to the line's end is one line of kind `kind`.
#[inline(always)]
pub(crate) unsafe fn begin_line(dir: *mut Dir, kind: u8) {
    (*dir).state = state::LINE;
    (*dir).line = kind;
    (*dir).tail = [0; 2];
}

/// Words of lines that one step looks at.
const WORDS: u32 = 24;

/// Reads on to the line's end, remembering the line's last bytes; behind a message's first line or a field that does not
/// matter to the end of the last such field.
#[inline(always)]
unsafe fn read_line<W: World>(scan: &mut Scan<W>) {
    let (cursor, dir) = (scan.scratch, scan.dir);
    let (mut pos, end) = ((*cursor).pos, (*cursor).end);
    let [mut low, mut high] = (*dir).tail;
    let mut words = 0;
    let mut found = false;
    // Whether the line may be a message's first: but one is read here, or the verifier would look at a head in each word.
    let mut starts = true;
    while words < WORDS && pos < end {
        words += 1;
        scan.fence();
        let word = read_u64(window(cursor, pos));
        let avail = end - pos;
        let mark = first(find(word, b'\n'), avail);
        found = mark != 0;
        if !found && avail >= 8 {
            low = high;
            high = word;
            pos += 8;
            continue;
        }
        let n = if found { index(mark) + 1 } else { avail };
        // By 8 to 64 bits, in two steps: a shift by 64 is none.
        let (half, rest) = ((n * 4) & 63, (64 - n * 8) & 63);
        low = forget_word(cursor, low >> half >> half | high << rest);
        high = forget_word(cursor, high >> half >> half | word << rest);
        pos = forget(cursor, pos + n);
        if !found {
            break;
        }
        if starts && matches!((*dir).line, line::REQUEST | line::STATUS) {
            (*dir).tail = [low, high];
            (*cursor).pos = pos;
            head::start_line(scan);
            if (*dir).state != state::FIELD || pos >= end {
                return;
            }
            starts = false;
            words = 0;
            begin_line(dir, line::OTHER);
            low = forget_word(cursor, 0);
            high = low;
        } else if (*dir).line != line::OTHER || pos >= end {
            break;
        }
        scan.fence();
        if head::matters(window(cursor, pos), end - pos) {
            break;
        }
    }
    (*cursor).pos = pos;
    (*dir).tail = [low, high];
    let end = forget(cursor, end);
    if found {
        head::line_end(scan);
        if (*dir).state == state::FIELD && end - pos >= 2 {
            head::empty_line(scan, read_u64(window(cursor, pos)));
        }
    }
}
