//! The kernel program: the HTTP machine of `owlk8s-ebpf-machine` as a socket filter, and the maps that it works on.
//!
//! `red` is attached to AF_PACKET sockets of type SOCK_DGRAM, so a packet begins with its IP header. It returns 0:
//! no packet is ever queued to the socket, delayed, dropped or changed. `red_test` is the same for
//! BPF_PROG_TEST_RUN, which cannot set the packet's direction: it takes it from `cb[0]` and the interface from `cb[1]`.
//!
//! `red_beyond` and `red_cgroup` are for targets that are read elsewhere than on an interface of the node. They are never
//! attached themselves: a few instructions that the host makes for each target write the target's name to `cb[1]`
//! (and for a cgroup the direction to `cb[0]`), and call them.

#![no_std]
#![no_main]
#![allow(
    clippy::needless_borrows_for_generic_args,
    reason = "passed by value, a key or value would be copied to a stack that has no room for it"
)]
#![allow(
    unsafe_op_in_unsafe_fn,
    reason = "everything here is a call into the kernel"
)]

mod maps;
mod world;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::macros::{cgroup_skb, socket_filter};
use aya_ebpf::programs::SkBuffContext;
use owlk8s_ebpf_abi::{Loss, NEAR, Scratch, TargetEntry, target_flag};
use owlk8s_ebpf_machine::{lose, observe, unlock};

use crate::world::{Kernel, UNDISTURBED, scratch, take};

/// `skb->pkt_type` of packets that leave through the interface.
const PACKET_OUTGOING: u32 = 4;
/// Index of the loopback interface in every network namespace.
const LOOPBACK: u32 = 1;
/// A packet of a cgroup goes on.
const PASS: i32 = 1;

/// The layout that this object was built with.
#[unsafe(no_mangle)]
static ABI_VERSION: u32 = owlk8s_ebpf_abi::ABI_VERSION;

/// Counts one packet.
#[socket_filter]
pub fn red(ctx: SkBuffContext) -> i64 {
    let skb = ctx.skb.skb;
    // SAFETY: the kernel passes a live packet.
    let (ifindex, kind) = unsafe { ((*skb).ifindex, (*skb).pkt_type) };
    run(skb, scratch(UNDISTURBED), ifindex, kind == PACKET_OUTGOING)
}

/// Counts one packet inside a pod's namespace.
#[socket_filter]
pub fn red_beyond(ctx: SkBuffContext) -> i64 {
    let skb = ctx.skb.skb;
    // SAFETY: the kernel passes a live packet.
    let (target, kind) = unsafe { ((*skb).cb[1], (*skb).pkt_type) };
    run(skb, scratch(UNDISTURBED), target, kind == PACKET_OUTGOING)
}

/// Counts one packet of a pod's cgroup, and lets it pass.
#[cgroup_skb]
pub fn red_cgroup(ctx: SkBuffContext) -> i32 {
    let skb = ctx.skb.skb;
    // SAFETY: the kernel passes a live packet.
    let (to_pod, target, ifindex) = unsafe { ((*skb).cb[0], (*skb).cb[1], (*skb).ifindex) };
    // What a pod tells itself is nobody's request to it, here as at the other hooks.
    if ifindex != LOOPBACK {
        // SAFETY: a live packet, and the memory is given back before the program ends.
        unsafe { in_process(skb, target, to_pod != 0) };
    }
    PASS
}

/// Counts one packet of a test run.
#[socket_filter]
pub fn red_test(ctx: SkBuffContext) -> i64 {
    let skb = ctx.skb.skb;
    // SAFETY: the kernel passes a live packet.
    let (to_pod, ifindex) = unsafe { ((*skb).cb[0], (*skb).cb[1]) };
    run(skb, scratch(UNDISTURBED), ifindex, to_pod != 0)
}

#[inline(always)]
fn run(skb: *mut __sk_buff, scratch: Option<*mut Scratch>, ifindex: u32, outgoing: bool) -> i64 {
    // SAFETY: map values live as long as the program runs; see `World`.
    unsafe {
        if let (Some(scratch), Some(target)) = (scratch, target(ifindex)) {
            let inside = target.flags & target_flag::INSIDE != 0;
            observe(&Kernel { skb }, scratch, &target, outgoing != inside);
        }
    }
    0
}

/// [`run`] where another packet may come between.
#[inline(always)]
unsafe fn in_process(skb: *mut __sk_buff, ifindex: u32, outgoing: bool) {
    if let Some(scratch) = scratch(take()) {
        run(skb, Some(scratch), ifindex, outgoing);
        unlock(&raw mut (*scratch).taken);
    } else if let Some(target) = target(ifindex)
        && let Some(slot) = maps::SLOTS.get_ptr_mut(target.slot)
    {
        lose(slot, Loss::Contended, 1);
    }
}

#[inline(always)]
unsafe fn target(ifindex: u32) -> Option<TargetEntry> {
    match maps::NEAR.get(ifindex % NEAR) {
        Some(target) if target.interface == ifindex => Some(*target),
        _ => maps::TARGETS.get(ifindex).copied(),
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: no code path reaches it; the verifier would refuse one that does.
    unsafe { core::hint::unreachable_unchecked() }
}
