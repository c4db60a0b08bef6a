//! What the host reads each interval.

/// Buckets of one latency histogram: 26 octaves from 2^-20 s (about 1 µs) to 2^6 s, 8 to each.
pub const BUCKETS: usize = 208;

/// `RowKey::protocol` bit: kubelet probes.
pub const ROW_PROBE: u8 = 0x80;
/// `RowKey::protocol` of rows that count gRPC calls by `grpc-status`; 10, 11 and 20 are HTTP rows.
pub const ROW_GRPC: u8 = 1;

/// Elements of map `NEAR`.
pub const NEAR: u32 = 1024;

/// Value of map `TARGETS`, by interface index (u32) or, with [`BEYOND`], by slot; and of array `NEAR`, which holds at
/// `index % NEAR` the one that was entered last: one look at it is cheaper than a hash, and most nodes have no two that
/// meet there.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct TargetEntry {
    /// Index into `SLOTS` for what the pod answers; never 0.
    pub slot: u32,
    /// Index into `SLOTS` for what the pod asks; 0: not counted.
    pub client_slot: u32,
    /// See [`target_flag`].
    pub flags: u32,
    /// Interface index, or [`BEYOND`] and the slot; 0: no target.
    pub interface: u32,
}

/// Of a target that is read elsewhere than on an interface of the node, where an index would say nothing (it is 2 in
/// every pod): added to its slot, this names it instead. The kernel's own indexes are below it.
pub const BEYOND: u32 = 1 << 31;

/// Bits of [`TargetEntry::flags`].
pub mod target_flag {
    /// The socket is inside the pod's namespace: outgoing packets come from the pod.
    pub const INSIDE: u32 = 1;
}

/// Key of map `ROW_INDEX`, whose value is an index (u32) into `ROWS`.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RowKey {
    /// Index into `SLOTS`.
    pub slot: u32,
    /// 10, 11 or 20 for HTTP/1.0, 1.1, 2, with [`ROW_PROBE`]; or [`ROW_GRPC`].
    pub protocol: u8,
    /// Index into [`crate::METHODS`].
    pub method: u8,
    /// Status code (or `grpc-status`).
    pub status: u16,
}

/// Buckets of one [`RowLine`].
pub const LINE_BUCKETS: usize = 14;

/// Element of the mmapable array `ROWS`: answered requests (or ended gRPC calls) by duration. Their number is the sum of
/// the buckets.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Row {
    /// Bucket `b` is in line `b / LINE_BUCKETS`; see [`bucket_of`].
    pub lines: [RowLine; BUCKETS.div_ceil(LINE_BUCKETS)],
}

/// A cache line of a [`Row`]: a request is counted in one.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RowLine {
    /// Sum of the durations of this line's requests, ns.
    pub duration_sum_ns: u64,
    /// Requests by duration.
    pub buckets: [u32; LINE_BUCKETS],
}

/// Element of the mmapable array `SLOTS`. What is written with each request is in cache lines
/// apart from what is read with each packet, and of the CPUs that write it.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Slot {
    /// TCP segments with payload to the pod, up to 65,536.
    pub segments_to_pod: u64,
    /// TCP segments with payload from the pod, up to 65,536.
    pub segments_from_pod: u64,
    /// Directions that wait for a hole to be filled; too many where a connection went with its hole.
    pub holes: u64,
    /// Connections whose first bytes to the pod are a TLS record.
    pub tls: u64,
    /// In slot 0, which no target has: rows that the kernel program made in `ROW_INDEX`. The host reads that table only
    /// when this has changed.
    pub rows_made: u64,
    /// Connections that were accepted after their SYN was seen. Evidence and no exact count, as the next.
    pub heard: u32,
    /// Connections that were accepted and whose SYN was not seen: their packets to the pod go another way.
    pub unheard: u32,
    /// Acknowledgements by peers of what the pod was not seen to send: its packets go another way. Evidence, as before.
    pub unsent: u64,
    /// Zero. Up to here is one cache line, which each packet reads: nothing in it is written often.
    pub reserved: u64,
    /// By [`Loss`].
    pub losses: [u64; Loss::COUNT],
    /// What is written with each request: CPU `n` writes to element `n % SHARDS`.
    pub shards: [SlotShard; SHARDS],
}

/// Elements of [`Slot::shards`].
pub const SHARDS: usize = 4;

/// A cache line of a [`Slot`] that few CPUs write to.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct SlotShard {
    /// Requests whose first line was seen whole.
    pub started: u64,
    /// Of these, kubelet probes.
    pub probe_started: u64,
    /// The latest duration of a request that is no probe, ns.
    pub duration_last_ns: u64,
    /// Monotonic clock when it was counted: the latest of all shards is the target's.
    pub duration_last_at_ns: u64,
    /// Started and never answered.
    pub aborted: u64,
    /// Of these, kubelet probes.
    pub probe_aborted: u64,
    /// Zero.
    pub reserved: [u64; 2],
}

/// What was seen and not counted, and why: index into [`Slot::losses`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Loss {
    /// The connection table was full at a request's beginning.
    TableFull = 0,
    /// Outstanding requests of a connection that was evicted for another.
    Evicted = 1,
    /// Outstanding for an hour, then given up.
    Idle = 2,
    /// Outstanding on a connection whose stream was lost track of.
    Desync = 3,
    /// The answer was no HTTP, or its head could not be parsed.
    UnparsableAnswer = 4,
    /// An answer with no request before it.
    Unsolicited = 5,
    /// An IP fragment that could not be put to its datagram.
    Fragment = 6,
    /// Answered, but the row table was full.
    RowsFull = 7,
    /// The HTTP/2 stream table was full at a request's beginning.
    StreamsFull = 8,
    /// An HTTP/2 answer whose status could not be known.
    H2Unknown = 9,
    /// A segment skipped because another CPU held its connection.
    Contended = 10,
    /// A hole in the byte stream where framing was unknown; a request may have been in it.
    Hole = 11,
}

impl Loss {
    /// Room for more, so that a new reason does not change the layout.
    pub const COUNT: usize = 16;

    /// All reasons, in the order of their numbers, with the name that users see and whether the lost
    /// request had been counted in [`SlotShard::started`].
    pub const ALL: [(Self, &'static str, bool); 12] = [
        (Self::TableFull, "table-full", false),
        (Self::Evicted, "evicted", true),
        (Self::Idle, "idle", true),
        (Self::Desync, "desync", true),
        (Self::UnparsableAnswer, "unparsable-answer", true),
        (Self::Unsolicited, "unsolicited-answer", false),
        (Self::Fragment, "fragment", false),
        (Self::RowsFull, "rows-full", true),
        (Self::StreamsFull, "streams-full", false),
        (Self::H2Unknown, "h2-unknown", true),
        (Self::Contended, "contended", false),
        (Self::Hole, "hole", false),
    ];
}

/// The bucket of a duration: index 0 is OpenTelemetry index -160 at scale 3. Exact within one part in
/// 10^6 of the bucket bounds; longer than 2^6 s goes into the last.
#[inline(always)]
pub const fn bucket_of(ns: u64) -> u32 {
    // (ns * 1125900) >> 20 makes one second 2^30.
    let ns = if ns > 100_000_000_000 {
        100_000_000_000
    } else {
        ns
    };
    let v = (ns * 1_125_900) >> 20;
    let v = if v < 1 << 10 { 1 << 10 } else { v };
    let mut octave = 0;
    let mut x = v >> 10;
    if x >= 1 << 16 {
        x >>= 16;
        octave += 16;
    }
    if x >= 1 << 8 {
        x >>= 8;
        octave += 8;
    }
    if x >= 1 << 4 {
        x >>= 4;
        octave += 4;
    }
    if x >= 1 << 2 {
        x >>= 2;
        octave += 2;
    }
    if x >= 2 {
        octave += 1;
    }
    // The mantissa in [2^16, 2^17), against 2^(16 + k/8).
    let m = if octave + 10 >= 16 {
        v >> (octave + 10 - 16)
    } else {
        v << (16 - octave - 10)
    };
    let mut eighth = 0;
    if m >= 92_682 {
        eighth += 4;
        if m >= 110_218 {
            eighth += 2;
            if m >= 120_194 {
                eighth += 1;
            }
        } else if m >= 101_070 {
            eighth += 1;
        }
    } else if m >= 77_936 {
        eighth += 2;
        if m >= 84_990 {
            eighth += 1;
        }
    } else if m >= 71_468 {
        eighth += 1;
    }
    let bucket = octave * 8 + eighth;
    if bucket >= BUCKETS as u32 {
        BUCKETS as u32 - 1
    } else {
        bucket
    }
}

const _: () = {
    assert!(size_of::<TargetEntry>() == 16);
    assert!(size_of::<RowKey>() == 8);
    assert!(size_of::<RowLine>() == 64);
    assert!(size_of::<SlotShard>() == 64);
    assert!(size_of::<Slot>() == 64 + 8 * Loss::COUNT + 64 * SHARDS);
    assert!(bucket_of(0) == 0);
    assert!(bucket_of(1_000_000_000) == 160);
    assert!(bucket_of(u64::MAX) == 207);
};
