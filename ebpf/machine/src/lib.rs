//! The HTTP machine: from TCP segments to counted requests, exactly.
//!
//! [`observe`] takes one packet of one target. It finds the connection, puts the segment in its place in the
//! byte stream (TCP sequence numbers, RFC 9293), reads the stream as HTTP messages (RFC 9112 framing; RFC 9113
//! frames), and counts a request when its final status line is complete. It never reads a body and never blocks.
//!
//! Everything that it needs of the outside comes through [`World`], so the same code runs in the kernel (crate
//! `owlk8s-ebpf-red`) and natively in tests. State is kept in map values only, small and position-driven: one
//! [`scan::step`] looks at a few bytes and moves on, which keeps the verifier's work small and lets a message be
//! cut at any byte. Cost and bounds: a segment's body is skipped by arithmetic; a head is read eight bytes a step.

#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![allow(
    unsafe_op_in_unsafe_fn,
    reason = "the whole crate works on map values by raw pointer, as the kernel gives them"
)]
#![allow(
    clippy::missing_safety_doc,
    reason = "every pointer here is a live map value or lives on the caller's stack"
)]
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "as above: one contract for the crate, stated at World"
)]

mod bytes;
mod count;
mod cpu;
mod h2;
mod head;
mod packet;
pub mod scan;
mod segment;
mod verifier;

use owlk8s_ebpf_abi::{
    Conn, ConnKey, Edge, FragKey, FragValue, Row, RowKey, Slot, Stash, StashKey, StreamKey,
    StreamValue, TABLE,
};

/// What surrounds the machine: the packet, the clocks and the maps.
///
/// Every pointer that a method returns is valid, aligned to 8 and stays so for the length of [`observe`]; several
/// CPUs may hold the same one, and the machine uses locks and atomic adds where that matters.
pub trait World {
    /// Copies `len` bytes of the packet, counted from the IP header, to `to`; false when it has fewer.
    unsafe fn load(&self, offset: u32, to: *mut u8, len: u32) -> bool;
    /// Bytes of the packet from the IP header on, padding included.
    fn packet_len(&self) -> u32;
    /// Monotonic clock, nanoseconds.
    fn now(&self) -> u64;
    /// Monotonic clock, a few milliseconds coarse and cheap.
    fn now_coarse(&self) -> u64;
    /// The number of the CPU that this runs on.
    fn cpu(&self) -> u32;

    /// A target's counters.
    fn slot(&self, slot: u32) -> Option<*mut Slot>;
    /// A method's number; see [`owlk8s_ebpf_abi::METHODS`].
    fn method(&self, key: &[u64; 2]) -> u8;
    /// Where rows of this key are counted, made when there is none; its index too. None: the table is full.
    fn row(&self, key: RowKey) -> Option<u32>;
    /// The row at an index.
    fn row_at(&self, index: u32) -> Option<*mut Row>;

    /// A connection's state.
    fn conn(&self, key: &ConnKey) -> Option<*mut Conn>;
    /// Enters a connection, evicting the oldest where the table is full; the one that is there, where another CPU was faster.
    /// None: it cannot be entered.
    unsafe fn insert_conn(&self, key: &ConnKey, conn: *const Conn) -> Option<*mut Conn>;
    /// Forgets a connection.
    fn remove_conn(&self, key: &ConnKey);
    /// Where a connection begins or ended, if that is not long ago.
    fn edge(&self, key: &ConnKey) -> Option<Edge>;
    /// Remembers it.
    fn set_edge(&self, key: &ConnKey, value: Edge);

    /// Keeps a segment; false when it cannot.
    unsafe fn put_stash(&self, key: &StashKey, value: *const Stash) -> bool;
    /// A kept segment.
    fn stash(&self, key: &StashKey) -> Option<*const Stash>;
    /// Lets a kept segment go.
    fn remove_stash(&self, key: &StashKey);

    /// Opens an HTTP/2 stream; false when the table is full.
    fn open_stream(&self, key: &StreamKey, value: StreamValue) -> bool;
    /// An open stream.
    fn stream(&self, key: &StreamKey) -> Option<*mut StreamValue>;
    /// Closes a stream.
    fn close_stream(&self, key: &StreamKey);
    /// The insertions of an HPACK table (`stream` is the direction), made when there is none.
    fn table(&self, key: &StreamKey) -> Option<*mut [u16; TABLE]>;

    /// Remembers a datagram's first fragment.
    fn put_fragment(&self, key: &FragKey, value: FragValue);
    /// What was remembered.
    fn fragment(&self, key: &FragKey) -> Option<FragValue>;

    // The big pieces: functions of their own in the kernel, so that their words of the stack are not those of the others,
    // and the verifier looks at most of them once and alone. `copy` is that of the working memory, which they look up.

    /// [`frame`].
    unsafe fn frame(&self, copy: u32, conn: *mut Conn, how: u32);
    /// [`drain`].
    unsafe fn drain(&self, conn: *mut Conn, why: u32);

    /// Calls [`turn`] until it says that it is done.
    unsafe fn turns(scan: &mut Scan<Self>)
    where
        Self: Sized;
    /// Calls [`scan::step`] until it says that it is done.
    unsafe fn steps(scan: &mut Scan<Self>)
    where
        Self: Sized;
    /// Calls [`Spin::step`] until it says that it is done, for some 0.3 ms at the most; [`Spin::taken`].
    unsafe fn spin(spin: &mut Spin) -> bool;
}

pub use count::{ABORTED, drain, lose};
pub use cpu::{add, try_lock, unlock};
pub use h2::step as frame;
pub use scan::Scan;
pub use segment::{Spin, evict, observe, turn};
pub use verifier::chosen;
