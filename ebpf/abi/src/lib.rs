//! Layouts that the kernel program writes and the host reads: map keys, map values, and the numbers
//! that both must agree on. `no_std`, no dependency, every size asserted.
//!
//! All counters only rise while a slot is in use. Times are `bpf_ktime_get_ns` nanoseconds.

#![no_std]

mod conn;
mod counters;
mod method;

pub use conn::{
    CARRY, Conn, ConnKey, Datagram, Dir, EARLY_FRAGMENTS, Edge, FIFO, FragKey, FragValue, H2,
    Pending, STASH_BYTES, STASH_SEGMENTS, Scratch, Segment, Stash, StashKey, StreamKey,
    StreamValue, TABLE, WINDOW, early, edge, flag, sign,
};
pub use counters::{
    BEYOND, BUCKETS, LINE_BUCKETS, Loss, NEAR, ROW_GRPC, ROW_PROBE, Row, RowKey, RowLine, SHARDS,
    Slot, SlotShard, TargetEntry, bucket_of, target_flag,
};
pub use method::{METHOD_OTHER, METHODS, method_key, method_key_huffman};

/// Raised with every change of a layout here; the loader refuses an object of another version.
pub const ABI_VERSION: u32 = 5;
