//! HTTP/1 messages: start lines, the few fields that framing needs, and what follows a head (RFC 9112).

use core::hint::cold_path;

use owlk8s_ebpf_abi::{Dir, Loss, METHOD_OTHER, Pending, early, flag};

use crate::bytes::{find, first, index, is_token, lower, mask, word};
use crate::count::{self, lose};
use crate::cpu::read_u64;
use crate::scan::{Scan, begin_line, carry, line, lost, state};
use crate::segment::seen;
use crate::verifier::{forget, forget_word, seldom};
use crate::{World, h2};

/// Bytes of a line's start that are looked at together; a line that is cut before is carried over.
const START: u32 = 24;

const GET: u8 = 1;
const HEAD: u8 = 2;
const POST: u8 = 3;
const PUT: u8 = 4;
const DELETE: u8 = 5;
const CONNECT: u8 = 6;

/// A new message may begin.
#[inline(always)]
pub(crate) unsafe fn begin(dir: *mut Dir) {
    (*dir).state = state::START;
    (*dir).first_ns = 0;
    (*dir).left = 0;
    (*dir).flags &= flag::FIN | flag::ENDED;
}

/// A message begins now.
#[inline(always)]
pub(crate) unsafe fn first_byte<W: World>(scan: &mut Scan<W>) {
    if (*scan.dir).first_ns == 0 {
        let now = (*scan.world).now();
        (*scan.dir).first_ns = now;
        seen(scan.conn, now);
    }
}

/// Whether the line's end, or [`START`] bytes, are there to look at.
#[inline(always)]
unsafe fn enough(at: *const u8, avail: u32) -> bool {
    avail >= START || newline_before(at, avail) < START
}

/// The index of the first line feed of the next [`START`] bytes, or [`START`].
#[inline(always)]
unsafe fn newline_before(at: *const u8, avail: u32) -> u32 {
    // Not a loop: without CAP_PERFMON the verifier would want a barrier in it.
    let mark = |base: u32| {
        if avail > base {
            first(find(read_u64(at.add(base as usize)), b'\n'), avail - base)
        } else {
            0
        }
    };
    let found = mark(0);
    if found != 0 {
        return index(found);
    }
    let found = mark(8);
    if found != 0 {
        return 8 + index(found);
    }
    let found = mark(16);
    if found != 0 {
        return 16 + index(found);
    }
    START
}

#[inline(always)]
unsafe fn advance<W>(scan: &mut Scan<W>, n: u32) {
    (*scan.scratch).pos += n;
}

/// The first bytes of a request: method and space, empty lines before it, a PROXY header, the HTTP/2 preface.
#[inline(always)]
pub(crate) unsafe fn request<W: World>(scan: &mut Scan<W>, at: *const u8, avail: u32) {
    let dir = scan.dir;
    let w0 = read_u64(at);
    let c = w0 as u8;
    if seldom(c == b'\r' || c == b'\n') {
        if (*dir).flags & flag::FIRST != 0 && proxy_v2(scan, at, avail) {
            return;
        }
        return advance(scan, 1);
    }
    if seldom(!is_token(c)) {
        if (*dir).flags & flag::TENTATIVE != 0 && h2::goes_on(at, avail) {
            (*scan.conn).mode = 2;
            (*dir).state = state::H2_FRAME;
            return;
        }
        return malformed(scan);
    }
    first_byte(scan);
    if seldom(!enough(at, avail)) {
        return carry(scan, avail);
    }
    let (method, len) = if w0 & mask(4) == word(b"GET ") {
        (GET, 4)
    } else if w0 & mask(5) == word(b"POST ") {
        (POST, 5)
    } else if w0 & mask(4) == word(b"PUT ") {
        (PUT, 4)
    } else if w0 & mask(5) == word(b"HEAD ") {
        (HEAD, 5)
    } else if w0 & mask(7) == word(b"DELETE ") {
        (DELETE, 7)
    } else {
        let other = other_method(scan, at);
        (other as u8, other >> 8)
    };
    if seldom(len == 0 || len > avail) {
        return malformed(scan);
    }
    if seldom(w0 == word(b"PRI * HT")) {
        return preface(scan, at, avail);
    }
    let proxy = seldom(w0 & mask(6) == word(b"PROXY ") && (*dir).flags & flag::FIRST != 0);
    (*dir).method = method;
    begin_line(dir, if proxy { line::PROXY } else { line::REQUEST });
    advance(scan, len);
}

/// What was sent is no request. A server may say so all the same, and that is an answer (RFC 9112, 3).
#[inline(always)]
unsafe fn malformed<W: World>(scan: &mut Scan<W>) {
    let conn = scan.conn;
    if (*scan.dir).flags & flag::TENTATIVE == 0 && (*conn).early == 0 {
        (*conn).early = early::UNREADABLE;
    }
    lost(scan);
}

/// Number of a method that is not among the frequent, in the lower eight bits, and its length with the space
/// above; length 0: no method at all.
#[inline(never)]
unsafe fn other_method<W: World>(scan: &Scan<W>, at: *const u8) -> u32 {
    let (w0, w1, w2) = (read_u64(at), read_u64(at.add(8)), read_u64(at.add(16)));
    // What ends a token: of a method a space, of a field's name a colon, since "X: GET / HTTP/1.1" may begin a segment, too.
    let ends = |word| find(word, b' ') | find(word, b':') | find(word, b'\n');
    let (before, word, end) = match (ends(w0), ends(w1), ends(w2)) {
        (0, 0, 0) => {
            // A longer one than anybody has: the line's end tells whether it is a request line.
            return START << 8 | u32::from(METHOD_OTHER);
        }
        (0, 0, end) => (16, w2, end),
        (0, end, _) => (8, w1, end),
        (end, _, _) => (0, w0, end),
    };
    let place = index(end);
    let word = forget_word(scan.scratch, word >> ((place * 8) & 63));
    let len = forget(scan.scratch, before + place);
    if word as u8 != b' ' {
        return 0;
    }
    if len > 16 {
        return (len + 1) << 8 | u32::from(METHOD_OTHER);
    }
    let key = [w0 & mask(len), if len > 8 { w1 & mask(len - 8) } else { 0 }];
    (len + 1) << 8 | u32::from((*scan.world).method(&key))
}

/// A binary PROXY header (version 2), or the beginning of one; false when it is none.
#[inline(always)]
unsafe fn proxy_v2<W: World>(scan: &mut Scan<W>, at: *const u8, avail: u32) -> bool {
    let dir = scan.dir;
    let (w0, w1) = (read_u64(at), read_u64(at.add(8)));
    let known = if avail < 8 { avail } else { 8 };
    if (w0 ^ word(b"\r\n\r\n\0\r\nQ")) & mask(known) != 0 {
        return false;
    }
    if avail < 16 {
        carry(scan, avail);
        return true;
    }
    if w1 & mask(4) != word(b"UIT\n") {
        return false;
    }
    (*dir).state = state::SKIP;
    (*dir).left = 16 + (w1 >> 48 & 0xff) * 256 + (w1 >> 56);
    (*dir).first_ns = 0;
    true
}

/// The HTTP/2 connection preface (RFC 9113, 3.4).
#[inline(always)]
unsafe fn preface<W: World>(scan: &mut Scan<W>, at: *const u8, avail: u32) {
    if avail < START {
        return carry(scan, avail);
    }
    if read_u64(at.add(8)) != word(b"TP/2.0\r\n") || read_u64(at.add(16)) != word(b"\r\nSM\r\n\r\n")
    {
        return lost(scan);
    }
    (*scan.conn).mode = 2;
    (*scan.dir).state = state::SKIP;
    (*scan.dir).left = u64::from(START);
}

/// The first bytes of an answer: version and status code.
#[inline(always)]
pub(crate) unsafe fn status<W: World>(scan: &mut Scan<W>, at: *const u8, avail: u32) {
    let dir = scan.dir;
    let w0 = read_u64(at);
    let c = w0 as u8;
    if seldom(c == b'\r' || c == b'\n') {
        return advance(scan, 1);
    }
    let known = if avail < 7 { avail } else { 7 };
    if seldom((w0 ^ word(b"HTTP/1.")) & mask(known) != 0) {
        return unparsable(scan);
    }
    first_byte(scan);
    if seldom(!enough(at, avail)) {
        return carry(scan, avail);
    }
    let w1 = read_u64(at.add(8));
    let digit = |n: u32| (w1 >> (8 * n)) as u8;
    let after = digit(4);
    let digits = digit(1).is_ascii_digit()
        && digit(2).is_ascii_digit()
        && digit(3).is_ascii_digit()
        && digit(1) != b'0';
    if seldom(avail < 13 || digit(0) != b' ' || !digits || !matches!(after, b' ' | b'\r' | b'\n')) {
        return unparsable(scan);
    }
    let value = |n: u32| u16::from(digit(n) - b'0');
    (*dir).status = value(1) * 100 + value(2) * 10 + value(3);
    begin_line(dir, line::STATUS);
    advance(scan, 12);
}

/// What the pod sent is no HTTP/1 answer.
#[inline(never)]
unsafe fn unparsable<W: World>(scan: &mut Scan<W>) {
    if (*scan.dir).flags & flag::TENTATIVE == 0 && count::pop(&*scan.world, scan.conn).is_some() {
        lose(scan.slot, Loss::UnparsableAnswer, 1);
    }
    lost(scan);
}

/// The start of a field line, or the empty line that ends the head (or the trailers).
#[inline(always)]
pub(crate) unsafe fn field<W: World>(scan: &mut Scan<W>, at: *const u8, avail: u32) {
    let dir = scan.dir;
    let w0 = read_u64(at);
    let c = w0 as u8;
    if seldom(c == b'\n') {
        advance(scan, 1);
        return fields_end(dir);
    }
    if c == b'\r' {
        if seldom(avail < 2) {
            return carry(scan, avail);
        }
        if empty_line(scan, w0) {
            return;
        }
    }
    if seldom((*dir).state == state::TRAILER) {
        return begin_line(dir, line::TRAILER);
    }
    match c | 0x20 {
        b'c' | b't' | b'u' | b'e' => {}
        // The value goes on (RFC 9112, 5.2): of these lines it matters.
        _ if is_blank(c) && (*dir).line == line::CODING => return begin_line(dir, line::CODING),
        _ if is_blank(c) && (*dir).line == line::LENGTH => {
            (*dir).state = state::LENGTH;
            return length(scan, at, avail);
        }
        _ => return begin_line(dir, line::OTHER),
    }
    if seldom(!enough(at, avail)) {
        return carry(scan, avail);
    }
    known_field(scan, at, avail, w0);
}

/// Reads the empty line that ends a head or trailers, if `next` begins with it.
#[inline(always)]
pub(crate) unsafe fn empty_line<W>(scan: &mut Scan<W>, next: u64) -> bool {
    let empty = next & mask(2) == word(b"\r\n");
    if empty {
        advance(scan, 2);
        fields_end(scan.dir);
    }
    empty
}

/// The head, or the trailers, are complete.
#[inline(always)]
unsafe fn fields_end(dir: *mut Dir) {
    if (*dir).state == state::TRAILER {
        begin(dir);
    } else {
        (*dir).state = state::HEAD_END;
    }
}

/// Whether a line in a head must be looked at by [`field`].
#[inline(always)]
pub(crate) unsafe fn matters(at: *const u8, avail: u32) -> bool {
    let name = lower(read_u64(at));
    if avail < 8 {
        return true;
    }
    match name as u8 {
        // \n and \r in lower case.
        b'*' | b'-' => true,
        b'c' => {
            name == word(b"content-")
                && (avail < 16 || lower(read_u64(at.add(8))) & mask(7) == word(b"length:"))
        }
        b't' => name == word(b"transfer"),
        b'u' => name == word(b"user-age") || name == word(b"upgrade:"),
        b'e' => name & mask(7) == word(b"expect:"),
        _ => false,
    }
}

/// A field whose name begins like one that matters.
#[inline(always)]
unsafe fn known_field<W: World>(scan: &mut Scan<W>, at: *const u8, avail: u32, w0: u64) {
    let dir = scan.dir;
    let w1 = read_u64(at.add(8));
    let w2 = read_u64(at.add(16));
    match lower(w0) {
        name if name == word(b"content-") && lower(w1) & mask(7) == word(b"length:") => {
            (*dir).state = state::LENGTH;
            (*dir).left = 0;
            (*dir).flags &= !flag::LENGTH;
            advance(scan, 15);
            return length(scan, at.add(15), avail - 15);
        }
        name if name == word(b"transfer")
            && lower(w1) == word(b"-encodin")
            && lower(w2) & mask(2) == word(b"g:") =>
        {
            begin_line(dir, line::CODING);
            return advance(scan, 18);
        }
        // "User-Agent: kube-probe/", as every kubelet writes it.
        name if name == word(b"user-age")
            && lower(w1) == word(b"nt: kube")
            && lower(w2) & mask(7) == word(b"-probe/")
            && (*dir).flags & flag::HEAD != 0 =>
        {
            (*dir).flags &= !flag::HEAD;
            count::mark_probe(&*scan.world, scan.conn, scan.slot);
        }
        name if name & mask(7) == word(b"expect:") && !scan.answers() => {
            (*dir).flags |= flag::EXPECT
        }
        name if name == word(b"upgrade:") && begins_h2c(w1) => (*dir).flags |= flag::H2C,
        _ => {}
    }
    begin_line(dir, line::OTHER);
}

/// Whether the first protocol of an Upgrade's value is h2c (RFC 7540, 3.2).
#[inline(always)]
fn begins_h2c(value: u64) -> bool {
    let value = if is_blank(value as u8) {
        value >> 8
    } else {
        value
    };
    let value = if is_blank(value as u8) {
        value >> 8
    } else {
        value
    };
    lower(value) & mask(3) == word(b"h2c") && !is_token((value >> 24) as u8)
}

#[inline(always)]
const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Bytes of Content-Length's value that one step looks at.
const DIGITS: u32 = 8;

/// Content-Length's value.
#[inline(always)]
pub(crate) unsafe fn length<W: World>(scan: &mut Scan<W>, at: *const u8, avail: u32) {
    let dir = scan.dir;
    let mut bytes = read_u64(at);
    let mut n = 0;
    while n < DIGITS && n < avail {
        bytes = forget_word(scan.scratch, bytes);
        let c = bytes as u8;
        match c {
            b'0'..=b'9' => {
                (*dir).left = (*dir)
                    .left
                    .wrapping_mul(10)
                    .wrapping_add(u64::from(c - b'0'));
                (*dir).flags |= flag::LENGTH;
            }
            b' ' | b'\t' => {}
            // The line's end, or a list of equal values (RFC 9112, 6.3): the first stands for all.
            _ => {
                let whole = (*dir).flags & flag::LENGTH != 0;
                begin_line(dir, if whole { line::OTHER } else { line::LENGTH });
                break;
            }
        }
        bytes >>= 8;
        scan.fence();
        n += 1;
    }
    advance(scan, n);
}

/// A byte of a chunk size (RFC 9112, 7.1).
#[inline(always)]
pub(crate) unsafe fn chunk<W: World>(scan: &mut Scan<W>, at: *const u8) {
    let dir = scan.dir;
    let c = *at;
    let digit = match c {
        b'0'..=b'9' => c - b'0',
        b'a'..=b'f' => c - b'a' + 10,
        b'A'..=b'F' => c - b'A' + 10,
        // The line's end, an extension, or blanks before either.
        _ => return begin_line(dir, line::CHUNK),
    };
    advance(scan, 1);
    (*dir).left = (*dir).left << 4 | u64::from(digit);
}

/// Blanks behind a value that are looked over.
const BLANKS: u32 = 5;

/// The bits of a line's end, which is one byte or two.
#[inline(always)]
const fn end_bits(high: u64) -> u32 {
    if (high >> 48) as u8 == b'\r' { 16 } else { 8 }
}

/// The last eight bytes of the line's value, and the one in front of them. Blanks may follow it (RFC 9112, 3 and 5).
#[inline(always)]
unsafe fn value_end<W>(scan: &mut Scan<W>) -> (u64, u8) {
    let [low, high] = (*scan.dir).tail;
    let bits = end_bits(high);
    let (mut last, mut before) = (high << bits | low >> (64 - bits), low << bits);
    let mut blanks = 0;
    while blanks < BLANKS && seldom(is_blank((last >> 56) as u8)) {
        last = last << 8 | before >> 56;
        before <<= 8;
        scan.fence();
        blanks += 1;
    }
    (last, (before >> 56) as u8)
}

/// A line behind a message's first is complete, and `tail` holds its last bytes, the line feed included.
#[inline(always)]
pub(crate) unsafe fn line_end<W: World>(scan: &mut Scan<W>) {
    let dir = scan.dir;
    match (*dir).line {
        line::CODING => {
            (*dir).state = state::FIELD;
            let (coding, _) = value_end(scan);
            // Nothing yet: the value is on the next line (RFC 9112, 5.2).
            let empty = coding >> 56 == 0;
            let coding = lower(coding);
            if coding >> 8 == word(b"chunked") {
                (*dir).flags |= flag::CHUNKED;
            } else if !empty && coding != word(b"identity") {
                // What RFC 2616 called identity is none.
                (*dir).flags |= flag::CODED;
            }
        }
        line::CHUNK => {
            (*dir).flags &= !flag::UNTOUCHED;
            (*dir).state = if (*dir).left == 0 {
                state::TRAILER
            } else {
                state::CHUNK_DATA
            };
        }
        line::CHUNK_END => {
            (*dir).state = state::CHUNK;
            (*dir).left = 0;
        }
        line::TRAILER => (*dir).state = state::TRAILER,
        line::PROXY => begin(dir),
        _ => (*dir).state = state::FIELD,
    }
}

/// A message's first line is complete: a request begins to wait, or is answered.
#[inline(always)]
pub(crate) unsafe fn start_line<W: World>(scan: &mut Scan<W>) {
    if scan.answers() {
        status_line(scan);
    } else {
        request_line(scan);
    }
}

#[inline(always)]
unsafe fn request_line<W: World>(scan: &mut Scan<W>) {
    let dir = scan.dir;
    let (last, before) = value_end(scan);
    let (major, dot, minor) = ((last >> 40) as u8, (last >> 48) as u8, (last >> 56) as u8);
    // Any version: a server that does not know it says so in one that it knows.
    let version = major.is_ascii_digit() && dot == b'.' && minor.is_ascii_digit();
    if seldom(last & mask(5) != word(b"HTTP/") || !version || !is_blank(before)) {
        return malformed(scan);
    }
    (*dir).flags = (*dir).flags & (flag::FIN | flag::ENDED) | flag::HEAD;
    (*dir).state = state::FIELD;
    let early = (*scan.conn).early;
    if seldom(early != 0) {
        (*scan.conn).early = 0;
        if early == early::ANSWERED {
            (*dir).flags &= !flag::HEAD;
            return;
        }
    }
    let http10 = major == b'1' && minor == b'0';
    let request = Pending::new((*dir).first_ns, (*dir).method, http10);
    count::push(&*scan.world, scan.conn, scan.slot, request);
}

#[inline(always)]
unsafe fn status_line<W: World>(scan: &mut Scan<W>) {
    let (conn, dir) = (scan.conn, scan.dir);
    let status = (*dir).status;
    let kept = (*dir).flags & (flag::FIN | flag::ENDED);
    (*dir).state = state::FIELD;
    if seldom(status < 200 && status != 101) {
        (*dir).flags = kept;
        return;
    }
    (*dir).flags = kept | flag::FINAL;
    (*dir).method = GET;
    let Some(request) = count::pop(&*scan.world, conn).or_else(|| {
        cold_path();
        early(scan)
    }) else {
        lose(scan.slot, Loss::Unsolicited, 1);
        return;
    };
    if seldom(request.is_unknown()) {
        lose(scan.slot, Loss::Desync, 1);
        return;
    }
    (*dir).method = request.method();
    let protocol = if request.0 & Pending::HTTP10 != 0 {
        10
    } else {
        11
    };
    count::answered(scan, request, protocol, status, (*dir).first_ns);
}

/// What is answered and was no request yet: its first line is not complete (408, 414), or is none (400).
#[inline(always)]
unsafe fn early<W: World>(scan: &Scan<W>) -> Option<Pending> {
    let conn = scan.conn;
    let requests = &raw const (*conn).requests;
    if (*conn).early == early::UNREADABLE {
        (*conn).early = 0;
        count::start(&*scan.world, scan.slot);
        let began = (*requests).first_ns;
        // Its first byte may be a token's no more than the rest.
        let began = if began != 0 {
            began
        } else {
            (*scan.dir).first_ns
        };
        return Some(Pending::new(began, METHOD_OTHER, false));
    }
    let in_line = (*requests).state == state::LINE;
    if !has_begun(requests) || (*conn).early != 0 {
        return None;
    }
    (*conn).early = early::ANSWERED;
    count::start(&*scan.world, scan.slot);
    let method = if in_line {
        (*requests).method
    } else {
        METHOD_OTHER
    };
    Some(Pending::new((*requests).first_ns, method, false))
}

/// Whether a request has begun whose first line is not complete.
#[inline(always)]
pub(crate) unsafe fn has_begun(requests: *const Dir) -> bool {
    (*requests).state == state::LINE && (*requests).line == line::REQUEST
        || (*requests).state == state::START && (*requests).carry_len != 0
}

/// The head is complete: what comes next (RFC 9112, 6.3).
#[inline(always)]
pub(crate) unsafe fn head_end<W: World>(scan: &mut Scan<W>) {
    let (conn, dir) = (scan.conn, scan.dir);
    let flags = (*dir).flags;
    if scan.answers() {
        let (status, method) = ((*dir).status, (*dir).method);
        if seldom(flags & flag::FINAL == 0) {
            return begin(dir);
        }
        if seldom(status == 101 || method == CONNECT && (200..300).contains(&status)) {
            // Upgrade: h2c goes on with the server's frames; anything else is not ours to read.
            let h2 = status == 101 && flags & flag::H2C != 0;
            (*conn).mode = if h2 { 2 } else { 1 };
            (*dir).state = if h2 { state::H2_FRAME } else { state::IGNORE };
            return;
        }
        if method == HEAD || status == 204 || status == 304 {
            return begin(dir);
        }
    } else if (*dir).method == CONNECT {
        return begin(dir);
    }
    if flags & flag::CHUNKED != 0 {
        (*dir).state = state::CHUNK;
        (*dir).left = 0;
        (*dir).flags |= flag::UNTOUCHED;
    } else if flags & flag::LENGTH != 0 && flags & flag::CODED == 0 {
        if (*dir).left == 0 {
            return begin(dir);
        }
        (*dir).state = state::BODY;
        (*dir).flags |= flag::UNTOUCHED;
    } else if scan.answers() || flags & flag::CODED != 0 {
        (*dir).state = state::BODY;
        (*dir).left = u64::MAX;
    } else {
        begin(dir);
    }
}
