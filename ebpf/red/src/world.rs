//! The machine's surroundings in the kernel: helpers and maps.

use core::ffi::c_void;

use aya_ebpf::bindings::{__sk_buff, BPF_ANY};
use aya_ebpf::helpers::generated::{
    bpf_get_smp_processor_id, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns, bpf_loop,
    bpf_skb_load_bytes,
};
use owlk8s_ebpf_abi::{
    Conn, ConnKey, Edge, FragKey, FragValue, METHOD_OTHER, Row, RowKey, Scratch, Slot, Stash,
    StashKey, StreamKey, StreamValue, TABLE, edge,
};
use owlk8s_ebpf_machine::scan::{self, Scan};
use owlk8s_ebpf_machine::{Spin, World, add, chosen, drain, evict, frame, try_lock, turn};

use crate::maps::{
    CONNS, EDGES, EMPTY_TABLE, FRAGS, FREE_ROWS, METHODS, RECENT, RECENT_HEAD, ROW_INDEX, ROWS,
    SCRATCH, SLOTS, STASH, STREAMS, TABLES,
};

/// Steps over a window, and windows of all that is read for a packet: more than the largest (512 KiB) can take.
const STEPS: u32 = 1 << 20;
/// How often a CPU asks for a direction that another works on before it gives the segment up: some 0.3 ms.
const SPINS: u32 = 1 << 16;
/// Older connections that are looked for to let one go for a new one; most of them may be gone by themselves.
const EVICTIONS: u32 = 64;
/// Both directions' beginnings are known.
const BEGINS: u32 = edge::REQUESTS | edge::ANSWERS;
/// Flag of an insertion: not over what is there.
const BPF_NOEXIST: u64 = 1;
/// Elements of `RECENT`.
const RECENT_SIZE: u64 = 65_536;

/// One packet, and all maps.
pub struct Kernel {
    pub skb: *mut __sk_buff,
}

unsafe extern "C" fn turns(_: u32, scan: *mut c_void) -> i64 {
    i64::from(turn(&mut *scan.cast::<Scan<Kernel>>()))
}

unsafe extern "C" fn step(_: u32, scan: *mut c_void) -> i64 {
    i64::from(scan::step(&mut *scan.cast::<Scan<Kernel>>()))
}

unsafe extern "C" fn eviction(_: u32, kernel: *mut c_void) -> i64 {
    i64::from((*kernel.cast::<Kernel>()).evict_oldest())
}

unsafe extern "C" fn spin(_: u32, spin: *mut c_void) -> i64 {
    i64::from((*spin.cast::<Spin>()).step())
}

// Global functions: the verifier looks at each once, knowing nothing of its callers, so the paths through one do not
// multiply those through another. It asks for the null checks; and for the look-ups, see `verifier` of the machine.

#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn owlk8s_frame(
    skb: *mut __sk_buff,
    copy: u32,
    conn: *mut Conn,
    how: u32,
) -> u32 {
    if conn.is_null() {
        return 0;
    }
    let Some(scratch) = SCRATCH.get_ptr_mut(copy) else {
        return 0;
    };
    let Some(slot) = SLOTS.get_ptr_mut((*conn).slot) else {
        return 0;
    };
    frame(&Kernel { skb }, conn, slot, scratch, how);
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn owlk8s_drain(conn: *mut Conn, why: u32) -> u32 {
    if conn.is_null() {
        return 0;
    }
    let Some(slot) = SLOTS.get_ptr_mut((*conn).slot) else {
        return 0;
    };
    // No packet: it asks for the CPU only.
    let kernel = Kernel {
        skb: core::ptr::null_mut(),
    };
    drain(&kernel, conn, slot, why);
    0
}

impl World for Kernel {
    #[inline(always)]
    unsafe fn load(&self, offset: u32, to: *mut u8, len: u32) -> bool {
        bpf_skb_load_bytes(self.skb.cast(), offset, to.cast(), len) == 0
    }

    #[inline(always)]
    fn packet_len(&self) -> u32 {
        // SAFETY: a live packet.
        unsafe { (*self.skb).len }
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: no argument.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn now_coarse(&self) -> u64 {
        // SAFETY: no argument.
        unsafe { bpf_ktime_get_coarse_ns() }
    }

    #[inline(always)]
    fn cpu(&self) -> u32 {
        // SAFETY: no argument.
        unsafe { bpf_get_smp_processor_id() }
    }

    #[inline(always)]
    fn slot(&self, slot: u32) -> Option<*mut Slot> {
        SLOTS.get_ptr_mut(slot)
    }

    #[inline(always)]
    fn method(&self, key: &[u64; 2]) -> u8 {
        // SAFETY: written by the host before any packet.
        unsafe { METHODS.get(key) }.copied().unwrap_or(METHOD_OTHER)
    }

    #[inline(always)]
    fn row(&self, key: RowKey) -> Option<u32> {
        // SAFETY: an entry's value is never changed.
        if let Some(index) = unsafe { ROW_INDEX.get(key) } {
            return Some(*index);
        }
        let index = FREE_ROWS.pop().ok()??;
        if ROW_INDEX.insert(key, index, BPF_NOEXIST).is_err() {
            let _ = FREE_ROWS.push(index, 0);
        } else if let Some(slot) = SLOTS.get_ptr_mut(0) {
            // SAFETY: an element of the array, aligned to 8.
            unsafe { add(&raw mut (*slot).rows_made, 1) };
        }
        // SAFETY: as above.
        unsafe { ROW_INDEX.get(key) }.copied()
    }

    #[inline(always)]
    fn row_at(&self, index: u32) -> Option<*mut Row> {
        ROWS.get_ptr_mut(index)
    }

    #[inline(always)]
    fn conn(&self, key: &ConnKey) -> Option<*mut Conn> {
        CONNS.get_ptr_mut(key)
    }

    #[inline(always)]
    unsafe fn insert_conn(&self, key: &ConnKey, conn: *const Conn) -> Option<*mut Conn> {
        if CONNS.insert(key, &*conn, BPF_NOEXIST).is_err() {
            // Another CPU may have entered it, at another segment.
            if let Some(entered) = CONNS.get_ptr_mut(key) {
                return Some(entered);
            }
            self.make_room();
            if CONNS.insert(key, &*conn, BPF_NOEXIST).is_err() {
                return CONNS.get_ptr_mut(key);
            }
        }
        self.note_recent(key);
        CONNS.get_ptr_mut(key)
    }

    #[inline(always)]
    fn remove_conn(&self, key: &ConnKey) {
        let _ = CONNS.remove(key);
    }

    #[inline(always)]
    fn edge(&self, key: &ConnKey) -> Option<Edge> {
        // SAFETY: copied at once; a torn value costs one late retransmission its recognition.
        unsafe { EDGES.get(key) }.copied()
    }

    #[inline(always)]
    fn set_edge(&self, key: &ConnKey, value: Edge) {
        if value.known & BEGINS == BEGINS {
            self.note_accepted(key);
        }
        let _ = EDGES.insert(key, value, u64::from(BPF_ANY));
    }

    #[inline(always)]
    unsafe fn put_stash(&self, key: &StashKey, value: *const Stash) -> bool {
        STASH.insert(key, &*value, u64::from(BPF_ANY)).is_ok()
    }

    #[inline(always)]
    fn stash(&self, key: &StashKey) -> Option<*const Stash> {
        STASH.get_ptr(key)
    }

    #[inline(always)]
    fn remove_stash(&self, key: &StashKey) {
        let _ = STASH.remove(key);
    }

    #[inline(always)]
    fn open_stream(&self, key: &StreamKey, value: StreamValue) -> bool {
        STREAMS.insert(key, value, u64::from(BPF_ANY)).is_ok()
    }

    #[inline(always)]
    fn stream(&self, key: &StreamKey) -> Option<*mut StreamValue> {
        STREAMS.get_ptr_mut(key)
    }

    #[inline(always)]
    fn close_stream(&self, key: &StreamKey) {
        let _ = STREAMS.remove(key);
    }

    #[inline(always)]
    fn table(&self, key: &StreamKey) -> Option<*mut [u16; TABLE]> {
        if let Some(table) = TABLES.get_ptr_mut(key) {
            return Some(table);
        }
        let _ = TABLES.insert(key, EMPTY_TABLE.get(0)?, u64::from(BPF_ANY));
        TABLES.get_ptr_mut(key)
    }

    #[inline(always)]
    fn put_fragment(&self, key: &FragKey, value: FragValue) {
        let _ = FRAGS.insert(key, value, u64::from(BPF_ANY));
    }

    #[inline(always)]
    fn fragment(&self, key: &FragKey) -> Option<FragValue> {
        // SAFETY: copied at once.
        unsafe { FRAGS.get(key) }.copied()
    }

    #[inline(always)]
    unsafe fn frame(&self, copy: u32, conn: *mut Conn, how: u32) {
        owlk8s_frame(self.skb, copy, conn, how);
    }

    #[inline(always)]
    unsafe fn drain(&self, conn: *mut Conn, why: u32) {
        owlk8s_drain(conn, why);
    }

    #[inline(always)]
    unsafe fn turns(scan: &mut Scan<Self>) {
        bpf_loop(STEPS, turns as *mut c_void, (&raw mut *scan).cast(), 0);
    }

    #[inline(always)]
    unsafe fn steps(scan: &mut Scan<Self>) {
        bpf_loop(STEPS, step as *mut c_void, (&raw mut *scan).cast(), 0);
    }

    #[inline(always)]
    unsafe fn spin(state: &mut Spin) -> bool {
        bpf_loop(SPINS, spin as *mut c_void, (&raw mut *state).cast(), 0);
        state.taken()
    }
}

/// Working memories of a CPU.
pub const COPIES: u32 = 4;
/// Of a packet at a socket: soft interrupts are off there, and no other packet comes between. The others are for [`take`].
pub const UNDISTURBED: u32 = 0;

/// Takes a working memory in a process, which a soft interrupt or, on a preemptible kernel, another process may come between
/// with a packet of its own: the number of the first that is free, until it is unlocked. Apart, for its words of the stack.
#[inline(never)]
pub unsafe fn take() -> u32 {
    let mut copy = UNDISTURBED + 1;
    while copy < COPIES {
        if let Some(scratch) = scratch(copy)
            && try_lock(&raw mut (*scratch).taken)
        {
            (*scratch).copy = copy;
            break;
        }
        copy += 1;
    }
    copy
}

/// The working memory of that number; [`COPIES`] is none's.
#[inline(always)]
pub fn scratch(copy: u32) -> Option<*mut Scratch> {
    SCRATCH.get_ptr_mut(copy)
}

impl Kernel {
    /// A connection was accepted, or said more of itself after that: whether the beginning of it was seen. Where it never
    /// is, packets to the pod bypass this place.
    #[inline(always)]
    fn note_accepted(&self, key: &ConnKey) {
        let before = self.edge(key).unwrap_or_default().known;
        if before & BEGINS == BEGINS {
            return;
        }
        if let Some(slot) = SLOTS.get_ptr_mut(key.slot) {
            // SAFETY: an element of the array. Two CPUs may count one for two, and that is evidence enough.
            unsafe {
                let seen = if before & BEGINS == edge::REQUESTS {
                    chosen(&raw mut (*slot).heard)
                } else {
                    chosen(&raw mut (*slot).unheard)
                };
                *seen = (*seen).wrapping_add(1);
            }
        }
    }

    /// Remembers a connection's coming.
    #[inline(always)]
    unsafe fn note_recent(&self, key: &ConnKey) {
        let Some(head) = RECENT_HEAD.get_ptr_mut(0) else {
            return;
        };
        // Two CPUs may take one place: one of the two is then found by the idle sweep only.
        let place = *head;
        *head = place.wrapping_add(1);
        if let Some(recent) = RECENT.get_ptr_mut((place % RECENT_SIZE) as u32) {
            *recent = *key;
        }
    }

    /// Lets a connection go. Apart, since no pointer may be where another's words were on the stack.
    #[inline(never)]
    unsafe fn make_room(&self) {
        let mut kernel = Kernel { skb: self.skb };
        bpf_loop(
            EVICTIONS,
            eviction as *mut c_void,
            (&raw mut kernel).cast(),
            0,
        );
    }

    /// Lets the oldest connection go, and counts what waited on it; true when one went or there is none.
    #[inline(always)]
    unsafe fn evict_oldest(&self) -> bool {
        let (Some(head), Some(tail)) = (RECENT_HEAD.get_ptr_mut(0), RECENT_HEAD.get_ptr_mut(1))
        else {
            return true;
        };
        let (head, mut place) = (*head, *tail);
        if head.wrapping_sub(place) > RECENT_SIZE {
            place = head.wrapping_sub(RECENT_SIZE);
        }
        if place == head {
            return true;
        }
        *tail = place.wrapping_add(1);
        let Some(recent) = RECENT.get_ptr_mut((place % RECENT_SIZE) as u32) else {
            return true;
        };
        let key = *recent;
        let Some(conn) = CONNS.get_ptr_mut(&key) else {
            return false;
        };
        evict(self, conn, &key);
        true
    }
}
