//! The maps, one set for the node. Sizes are what a small node needs; the loader sets them before it loads.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, Queue};
use owlk8s_ebpf_abi::{
    Conn, ConnKey, Edge, FragKey, FragValue, Row, RowKey, Scratch, Slot, Stash, StashKey,
    StreamKey, StreamValue, TABLE, TargetEntry,
};

/// Interface index -> slot.
#[map]
pub static TARGETS: HashMap<u32, TargetEntry> = HashMap::with_max_entries(1024, BPF_F_NO_PREALLOC);

/// The same by interface index modulo its size, without those that were pushed out.
#[map]
pub static NEAR: Array<TargetEntry> = Array::with_max_entries(owlk8s_ebpf_abi::NEAR, 0);

/// Counters of a target.
#[map]
pub static SLOTS: Array<Slot> = Array::with_max_entries(1024, BPF_F_MMAPABLE);

/// Answered requests by dimension.
#[map]
pub static ROWS: Array<Row> = Array::with_max_entries(8192, BPF_F_MMAPABLE);

/// Where a row of these dimensions is.
#[map]
pub static ROW_INDEX: HashMap<RowKey, u32> = HashMap::with_max_entries(8192, BPF_F_NO_PREALLOC);

/// Rows that no key has.
#[map]
pub static FREE_ROWS: Queue<u32> = Queue::with_max_entries(8192, 0);

/// Method tokens -> number.
#[map]
pub static METHODS: HashMap<[u64; 2], u8> = HashMap::with_max_entries(128, BPF_F_NO_PREALLOC);

/// Connections that carry HTTP; memory follows use.
#[map]
pub static CONNS: HashMap<ConnKey, Conn> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// Keys of `CONNS` in the order of their coming, for eviction.
#[map]
pub static RECENT: Array<ConnKey> = Array::with_max_entries(65_536, 0);

/// Element 0: how many were written to `RECENT`; element 1: how many of these were looked at for eviction.
#[map]
pub static RECENT_HEAD: Array<u64> = Array::with_max_entries(2, 0);

/// Where connections begin and ended.
#[map]
pub static EDGES: LruHashMap<ConnKey, Edge> = LruHashMap::with_max_entries(16_384, 0);

/// Segments beyond a hole.
#[map]
pub static STASH: HashMap<StashKey, Stash> = HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);

/// HTTP/2 requests that wait for their answer or its trailers.
#[map]
pub static STREAMS: HashMap<StreamKey, StreamValue> =
    HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// What the latest insertions into a connection's HPACK tables mean; empty at first.
#[map]
pub static TABLES: LruHashMap<StreamKey, [u16; TABLE]> = LruHashMap::with_max_entries(4096, 0);

/// Element 0: an empty one.
#[map]
pub static EMPTY_TABLE: Array<[u16; TABLE]> = Array::with_max_entries(1, 0);

/// First fragments.
#[map]
pub static FRAGS: LruHashMap<FragKey, FragValue> = LruHashMap::with_max_entries(1024, 0);

/// Working memory.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(crate::world::COPIES, 0);
