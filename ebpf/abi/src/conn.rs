//! State of one watched TCP connection. Written by the kernel program; the host only sweeps it.

use core::mem::offset_of;

/// Outstanding requests that a connection holds itself; further ones are in map `STREAMS` (see [`Conn::over`]).
pub const FIFO: usize = 32;
/// Bytes of an unfinished line start that wait for the next segment.
pub const CARRY: usize = 32;
/// Bytes of a segment that are loaded and scanned at a time.
pub const WINDOW: usize = 512;
/// Segments beyond a hole that are kept for each direction.
pub const STASH_SEGMENTS: usize = 16;
/// Bytes kept of each of them; the rest of a longer one must be skippable.
pub const STASH_BYTES: usize = 2048;
/// Fragments of a datagram that are kept when they come before its first.
pub const EARLY_FRAGMENTS: u32 = 8;

/// Key of map `CONNS`. IPv4 addresses are in the first word, the others zero.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct ConnKey {
    /// Slot of the target (its server side, whoever asks).
    pub slot: u32,
    /// Network byte order.
    pub remote_port: u16,
    /// Network byte order.
    pub pod_port: u16,
    /// Network byte order.
    pub remote: [u32; 4],
    /// Network byte order.
    pub pod: [u32; 4],
}

/// A request that waits for its answer: start time in the upper 55 bits (ns, modulo 2^55), then the bit
/// for the lap (see [`Pending::of_lap`]), the bit for a kubelet probe, the bit for HTTP/1.0, and six bits of method.
#[repr(transparent)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Pending(pub u64);

impl Pending {
    /// Bit of a kubelet probe.
    pub const PROBE: u64 = 0x80;
    /// Bit of HTTP/1.0.
    pub const HTTP10: u64 = 0x40;
    /// Bit of every other lap around [`Conn::fifo`], the first one included.
    pub const LAP: u64 = 0x100;

    /// A request of which nothing is known but that it waits.
    pub const UNKNOWN: Self = Self(0);

    /// A request of `method` whose first byte was seen at `start_ns`.
    #[inline(always)]
    pub const fn new(start_ns: u64, method: u8, http10: bool) -> Self {
        Self(start_ns << 9 | (method & 0x3f) as u64 | if http10 { Self::HTTP10 } else { 0 })
    }

    /// Index into [`crate::METHODS`].
    #[inline(always)]
    pub const fn method(self) -> u8 {
        (self.0 & 0x3f) as u8
    }

    /// Nanoseconds from the request's first byte to `now_ns`.
    #[inline(always)]
    pub const fn duration_ns(self, now_ns: u64) -> u64 {
        ((now_ns << 9).wrapping_sub(self.0 & !0x1ff)) >> 9
    }

    /// The lap's bit for the request that is pushed as number `index`. An element of [`Conn::fifo`] that has another was
    /// left there by an earlier lap: who reads there need not ask how many were pushed.
    #[inline(always)]
    const fn lap(index: u32) -> u64 {
        if (index / FIFO as u32) & 1 == 0 {
            Self::LAP
        } else {
            0
        }
    }

    /// The same request, as number `index`.
    #[inline(always)]
    pub const fn of_lap(self, index: u32) -> Self {
        Self(self.0 & !Self::LAP | Self::lap(index))
    }

    /// Whether it was pushed in the lap of number `index`.
    #[inline(always)]
    pub const fn is_of_lap(self, index: u32) -> bool {
        self.0 & Self::LAP == Self::lap(index)
    }

    /// Whether it is [`Pending::UNKNOWN`], of whatever lap.
    #[inline(always)]
    pub const fn is_unknown(self) -> bool {
        self.0 & !Self::LAP == Self::UNKNOWN.0
    }

    /// 1 for a kubelet probe, else 0.
    #[inline(always)]
    pub const fn probe(self) -> u32 {
        (self.0 >> 7 & 1) as u32
    }
}

/// One direction of a connection: what has been read of its byte stream.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Dir {
    /// 1 while a CPU works on it.
    pub lock: u32,
    /// Sequence number of the next byte.
    pub next: u32,
    /// Parser state; private to the machine.
    pub state: u8,
    /// What the current line is; private to the machine.
    pub line: u8,
    /// Bits of [`flag`].
    pub flags: u16,
    /// Status code of the current answer.
    pub status: u16,
    /// Method of the current request, or of the one that is being answered.
    pub method: u8,
    /// Valid bytes of `carry`, its last ones.
    pub carry_len: u8,
    /// Bit `i`: the stash holds a segment at index `i`.
    pub stashed: u32,
    /// Requests that went into [`Conn::fifo`], or answers that took them out of it; index modulo [`FIFO`].
    pub passed: u32,
    /// Requests: `passed` of the answers, as seen last. Answers: index into `ROWS` that `cached_key` leads to.
    pub cached: u32,
    /// Answers: the last row that was counted, as protocol, method and status of a [`crate::RowKey`]; 0: none.
    pub cached_key: u32,
    /// Bytes of body, chunk or frame that are still to be skipped; before, the Content-Length or chunk size that says how
    /// many, as far as it is read.
    pub left: u64,
    /// When the current message's first byte was seen; 0: not yet.
    pub first_ns: u64,
    /// The last 16 bytes of the current line. Up to here is one cache line: all that most segments need.
    pub tail: [u64; 2],
    /// The start of a line that was cut by the segment's end.
    pub carry: [u64; CARRY / 8],
    /// Sequence number of the FIN, when [`flag::FIN`] is set.
    pub fin: u32,
    /// Zero.
    pub reserved: u32,
    /// HTTP/2 frames and header blocks; private to the machine.
    pub h2: H2,
}

/// Dynamic-table insertions that are remembered for each direction: what HPACK's default table can hold.
pub const TABLE: usize = 128;

/// How far one direction's HTTP/2 frames have been read; private to the machine.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct H2 {
    /// The integer in hand.
    pub number: u64,
    /// Bytes of the header block that are left in the frame in hand.
    pub frame_left: u32,
    /// Stream of the block in hand; 0: a pushed one.
    pub stream: u32,
    /// The highest stream that a request came on.
    pub last_stream: u32,
    /// Insertions into the dynamic table.
    pub inserted: u32,
    /// Code of the block's `:status`; 0: none.
    pub status: u16,
    /// Code of the block's `:method`; 0: none.
    pub method: u16,
    /// Code of the block's `grpc-status`; 0: none.
    pub grpc: u16,
    /// What the name in hand means.
    pub name: u16,
    /// The frame's flags.
    pub flags: u8,
    /// Padding behind the block.
    pub pad: u8,
    /// Bytes before the block.
    pub ahead: u8,
    /// State in which a CONTINUATION goes on.
    pub resume: u8,
    /// The representation in hand.
    pub item: u8,
    /// It goes into the dynamic table.
    pub insert: u8,
    /// Bits read of the integer in hand.
    pub shift: u8,
    /// The string in hand is Huffman-coded.
    pub huffman: u8,
    /// Its length, 255 for longer ones.
    pub len: u8,
    /// The block has an index from before our time.
    pub unknown: u8,
    /// The block is a kubelet probe's.
    pub agent: u8,
    /// Zero.
    pub reserved: u8,
    /// Bytes left of a string that goes on in a CONTINUATION.
    pub resume_left: u32,
}

/// Bits of [`Dir::flags`].
pub mod flag {
    /// No message has been read yet: a PROXY header may come.
    pub const FIRST: u16 = 1;
    /// `Content-Length` was given.
    pub const LENGTH: u16 = 2;
    /// The last transfer coding is `chunked`.
    pub const CHUNKED: u16 = 4;
    /// There is another transfer coding, and `chunked` is not the last.
    pub const CODED: u16 = 8;
    /// `Expect: 100-continue`.
    pub const EXPECT: u16 = 16;
    /// `Upgrade: h2c`.
    pub const H2C: u16 = 32;
    /// The head is a final answer's.
    pub const FINAL: u16 = 64;
    /// A FIN was seen, at [`super::Dir::fin`].
    pub const FIN: u16 = 128;
    /// The FIN was reached: all of this direction has been read.
    pub const ENDED: u16 = 256;
    /// The stream position is not trusted: no loss is counted when the next bytes make no message.
    pub const TENTATIVE: u16 = 512;
    /// The request's head is still open and its entry may yet become a probe.
    pub const HEAD: u16 = 1024;
    /// `next` is a guess: no segment of this direction was read, and the first that begins a message tells.
    pub const GUESS: u16 = 4096;
    /// No byte of the expected body has come.
    pub const UNTOUCHED: u16 = 2048;
}

/// Values of [`Conn::early`]: what is known of the message in the direction of the requests that is no request yet.
pub mod early {
    /// The request whose first line is still coming has been answered and counted already.
    pub const ANSWERED: u32 = 1;
    /// It was no request at all, or the rest of its first line was in a hole: an answer to it counts all the same.
    pub const UNREADABLE: u32 = 2;
}

/// Bits of [`Conn::signs`].
pub mod sign {
    /// The other direction must look at this one: nothing was read yet, or it waits for a hole to be filled.
    pub const LOOK: u8 = 1;
    /// As [`super::flag::ENDED`].
    pub const ENDED: u8 = 2;
}

/// Value of map `CONNS`. `requests` and `answers` are worked on by different CPUs at once, each under its own lock, and
/// each with what only it needs behind it: a cache line that one CPU writes costs the other more than all else that it
/// does with a packet. The two meet in the first 32 bytes, which change seldom, and in `fifo`, which the one writes and
/// the other reads. In the kernel's element the value begins in the middle of a cache line, so `requests`, `answers` and
/// `fifo` begin one each.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Conn {
    /// Index into `SLOTS` that its counts go to.
    pub slot: u32,
    /// 1: the pod asks, and `requests` is the direction from the pod.
    pub client: u8,
    /// 1: a tunnel (CONNECT, upgrade); 2: HTTP/2.
    pub mode: u8,
    /// Bits of [`sign`]: what each direction, `requests` first, tells the other.
    pub signs: [u8; 2],
    /// Distinguishes this connection's stash and streams from those of an earlier one of the same key.
    pub id: u64,
    /// Clock at the last segment with payload, a second late at the most.
    pub last_seen_ns: u64,
    /// See [`early`].
    pub early: u32,
    /// One past the last request that found `fifo` full: those before it may be in `STREAMS`, at [`Conn::over_key`].
    pub over: u32,
    /// From whoever asks.
    pub requests: Dir,
    /// First sequence number of `requests`.
    pub first_seq: u32,
    /// HTTP/2 streams that wait for an answer.
    pub streams: u32,
    /// Kubelet probes that wait for an answer.
    pub probes: u32,
    /// Zero.
    pub reserved: [u32; 7],
    /// From whoever answers.
    pub answers: Dir,
    /// Zero.
    pub reserved_too: [u64; 5],
    /// Sorted by arrival.
    pub fifo: [Pending; FIFO],
}

impl Conn {
    /// Requests that wait for an answer, as far as one CPU can say.
    pub const fn outstanding(&self) -> u32 {
        self.requests.passed.wrapping_sub(self.answers.passed) + self.streams
    }

    /// Key of the request number `index` in `STREAMS`, whose streams have 31 bits.
    #[inline(always)]
    pub const fn over_key(&self, index: u32) -> StreamKey {
        StreamKey {
            conn: self.id,
            stream: 1 << 32 | index as u64,
        }
    }
}

/// Value of map `EDGES`: where a connection's byte streams begin, from its SYN on, or where they ended, so that a late
/// retransmission cannot bring it back. A bounded memory of the latest: what falls out of it costs a guess.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Edge {
    /// Sequence number in the direction of whoever opened the connection.
    pub requests: u32,
    /// Sequence number in the other direction.
    pub answers: u32,
    /// Bits of [`edge`].
    pub known: u32,
}

/// Bits of [`Edge::known`].
pub mod edge {
    /// `requests` is where they begin.
    pub const REQUESTS: u32 = 1;
    /// `answers` is where they begin.
    pub const ANSWERS: u32 = 2;
    /// Both are where they ended.
    pub const ENDED: u32 = 4;
    /// The pod opened the connection: what comes to it are answers.
    pub const BY_POD: u32 = 8;
}

/// Key of map `STASH`: a segment of a connection, or a fragment whose datagram's first is still to come.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct StashKey {
    /// [`Conn::id`], with bit 63 for the answers' direction; or [`FragKey::id_in_stash`].
    pub conn: u64,
    /// 1 << 0..[`STASH_SEGMENTS`]; or 0..[`EARLY_FRAGMENTS`], with [`StashKey::of_slot`].
    pub index: u64,
}

impl StashKey {
    /// The upper half of a fragment's `index`.
    #[inline(always)]
    pub const fn of_slot(slot: u32) -> u64 {
        (slot as u64 + 1) << 32
    }

    /// Of a fragment the slot of its target; None for a segment.
    pub const fn slot(self) -> Option<u32> {
        ((self.index >> 32) as u32).checked_sub(1)
    }
}

/// Value of map `STASH`: a segment beyond a hole.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Stash {
    /// Its sequence number; a fragment's offset.
    pub seq: u32,
    /// Its length; more than is in `data` when it was longer than [`STASH_BYTES`]. A fragment's has [`Stash::LAST`], too.
    pub len: u32,
    /// The first bytes.
    pub data: [u64; STASH_BYTES / 8],
}

impl Stash {
    /// Bit of `len`: no fragment follows.
    pub const LAST: u32 = 1 << 31;
}

/// Key of map `STREAMS`.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct StreamKey {
    /// [`Conn::id`].
    pub conn: u64,
    /// HTTP/2 stream identifier, or see [`Conn::over_key`].
    pub stream: u64,
}

/// Value of map `STREAMS`: an HTTP/2 request that waits for its answer or its trailers.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct StreamValue {
    /// The request.
    pub request: Pending,
    /// Coarse clock, for the sweep.
    pub last_seen_ns: u64,
    /// Final status once it is known, else 0.
    pub status: u32,
    /// 1: counted; waits for trailers only.
    pub answered: u32,
}

/// Key of map `FRAGS`: a datagram of which a fragment was seen.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct FragKey {
    /// Slot of the target.
    pub slot: u32,
    /// Identification.
    pub id: u32,
    /// Source address.
    pub source: [u32; 4],
    /// Destination address.
    pub destination: [u32; 4],
}

impl FragKey {
    /// [`StashKey::conn`] of its fragments: as good as different for each datagram, and no connection's.
    #[inline(always)]
    pub const fn id_in_stash(&self) -> u64 {
        const fn mixed(hash: u64, word: u32) -> u64 {
            (hash ^ word as u64)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29)
        }
        let [s0, s1, s2, s3] = self.source;
        let [d0, d1, d2, d3] = self.destination;
        let hash = mixed(mixed(mixed(mixed(self.id as u64, s0), s1), s2), s3);
        mixed(mixed(mixed(mixed(hash, d0), d1), d2), d3) & (u64::MAX >> 1)
    }
}

/// Value of map `FRAGS`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct FragValue {
    /// Source port, network byte order.
    pub source_port: u16,
    /// Destination port, network byte order.
    pub destination_port: u16,
    /// Sequence number of the byte at fragment offset 0 of the IP payload.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// TCP flags.
    pub flags: u32,
    /// Fragments that came before the first and are kept; then nothing else here is known.
    pub early: u32,
}

/// A TCP segment: who, where in the stream, and where its payload is in the packet.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Segment {
    /// IP source; network byte order.
    pub source: [u32; 4],
    /// IP destination; network byte order.
    pub destination: [u32; 4],
    /// Network byte order.
    pub source_port: u16,
    /// Network byte order.
    pub destination_port: u16,
    /// Sequence number of the payload's first byte.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Where the payload is, from the IP header on.
    pub offset: u32,
    /// Bytes of payload.
    pub len: u32,
    /// TCP flags.
    pub flags: u32,
}

/// The IP layer's part of a packet: what carries TCP, from where to where.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Datagram {
    /// Where its payload begins.
    pub start: u32,
    /// Where the packet ends, padding left out.
    pub end: u32,
    /// Fragment offset, bytes.
    pub fragment: u32,
    /// Not 0: more fragments follow.
    pub more: u32,
    /// Identification.
    pub id: u32,
}

/// What a packet's run works with: one for each CPU, and a few more for where one packet may interrupt another.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Scratch {
    /// Where the next unread byte of the segment is, from the IP header on (or in the stashed segment).
    pub offset: u32,
    /// Unread bytes of the segment.
    pub remain: u32,
    /// The next unscanned byte of `window`.
    pub pos: u32,
    /// Valid bytes of `window`.
    pub end: u32,
    /// As many of the packet's first bytes are in `window`, at its beginning; 0: others are there.
    pub loaded: u32,
    /// Zero, which only the machine knows: see its `verifier::forget`.
    pub zero: u32,
    /// Not 0: the direction in hand is that of the answers. Here the verifier knows nothing of it whatever was asked of it before.
    pub answers: u32,
    /// What is read next: private to the machine.
    pub turn: u32,
    /// The kept segment that is looked at next, as a bit.
    pub bit: u32,
    /// Kept segments looked at since one was read.
    pub idle: u32,
    /// Which of its CPU's it is.
    pub copy: u32,
    /// Fragments that came before the packet, the first of their datagram.
    pub early: u32,
    /// Where they are, the first of them.
    pub early_key: StashKey,
    /// Sequence number of the byte at fragment offset 0.
    pub early_seq: u32,
    /// The packet's TCP flags, if it were whole.
    pub early_flags: u32,
    /// The packet's IP layer.
    pub datagram: Datagram,
    /// The first bytes of something, to be looked at apart from the window.
    pub peek: [u64; 4],
    /// The packet as a segment.
    pub segment: Segment,
    /// Its connection.
    pub key: ConnKey,
    /// [`crate::TargetEntry::client_slot`] of its target.
    pub client_slot: u32,
    /// The loaded part of the segment, after what was carried over; or the packet's first bytes.
    pub window: [u64; (WINDOW + 64) / 8],
    /// A new connection, before it is entered.
    pub conn: Conn,
    /// A segment on its way into the stash.
    pub stash: Stash,
    /// Zero: what is read by eight bytes may begin at the stash's last one.
    pub behind: u64,
    /// 1: in use, where another packet may come between.
    pub taken: u32,
}

const _: () = {
    assert!(size_of::<ConnKey>() == 40);
    assert!(size_of::<H2>() == 48);
    assert!(size_of::<Dir>() == 152);
    assert!(offset_of!(Conn, requests) == 32);
    assert!(offset_of!(Conn, answers) == 32 + 3 * 64);
    assert!(offset_of!(Conn, fifo) == 32 + 6 * 64);
    assert!(offset_of!(Dir, carry) == 64);
    assert!(size_of::<Conn>() == 32 + 6 * 64 + 8 * FIFO);
    assert!(size_of::<FragKey>() == 40);
    assert!(size_of::<Segment>() == 56);
};
