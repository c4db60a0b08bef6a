//! Forms that the kernel's verifier asks for, most of them only of a program that is loaded without CAP_PERFMON.
//!
//! Then it also follows what a CPU does ahead of a branch that it guessed wrong, and wants of each addition to a pointer
//! that all ways which lead there add the same range to the same pointer. From the first such addition on, two
//! paths are one to it only where each live number has the very same bounds in both. Hence the rules that the machine is
//! written by:
//!
//! * What is added to a pointer is [`masked`]; what is added to it by a loop is a constant, and [`chosen`] keeps it one.
//! * One of two places is a branch between two [`chosen`] pointers, never a pointer and one of two offsets.
//! * What is read on behind a join of many paths is made to [`forget`] where it came from, above all at the head of a loop;
//!   and each loop has a [`fence`].
//! * A global function, which is verified apart, gets no pointer that something unknown is added to: it looks it up itself.
//! * What keeps pointers on the stack is a function of its own with words beside them, and the compiler is told not to
//!   share stack slots (`-no-stack-slot-sharing`): no slot may hold now a pointer and then a number.
//!
//! With CAP_PERFMON each of them costs an instruction or two, or none.

use core::hint::cold_path;

use owlk8s_ebpf_abi::Scratch;

/// The same value, of which the verifier knows nothing more: only we know that what is added is zero.
#[inline(always)]
pub(crate) unsafe fn forget(scratch: *const Scratch, value: u32) -> u32 {
    value.wrapping_add((&raw const (*scratch).zero).read_volatile())
}

/// [`forget`] for eight bytes.
#[inline(always)]
pub(crate) unsafe fn forget_word(scratch: *const Scratch, value: u64) -> u64 {
    value.wrapping_add(u64::from((&raw const (*scratch).zero).read_volatile()))
}

/// `value & MASK`, in a form in which it may be added to a pointer.
#[inline(always)]
pub(crate) unsafe fn masked<const MASK: u32>(scratch: *const Scratch, value: u32) -> usize {
    opaque(forget(scratch, value) & MASK) as usize
}

/// Ends what the CPU does ahead of a branch that it guessed wrong: the verifier would follow that around a loop for ever. A
/// pointer goes to the stack, where a kernel that does not trust the program puts a barrier, and any other a store.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(crate) unsafe fn fence<T>(at: *const T) {
    let mut place = core::mem::MaybeUninit::<*const T>::uninit();
    place.as_mut_ptr().write_volatile(at);
}

/// Nothing.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
pub(crate) unsafe fn fence<T>(_: *const T) {}

/// Hides a pointer's origin from the compiler, so that a choice between two stays a choice, and does not become a sum with a
/// chosen offset.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub fn chosen<T>(mut at: *mut T) -> *mut T {
    // An empty template makes line information that the kernel refuses.
    unsafe {
        core::arch::asm!("{at} = {at}", at = inout(reg) at, options(pure, nomem, nostack, preserves_flags))
    };
    at
}

/// The pointer.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
pub fn chosen<T>(at: *mut T) -> *mut T {
    at
}

/// 1 where `a` is more than `b`, else 0, both below 2^63: without a branch, which would be two paths.
#[inline(always)]
pub(crate) fn more(a: u64, b: u64) -> u64 {
    opaque_word(b.wrapping_sub(a)) >> 63
}

/// Hides a value's origin from the compiler, so that a bound that was checked is a bound that the verifier sees.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(crate) fn opaque(mut value: u32) -> u32 {
    unsafe {
        core::arch::asm!("{value} = {value}", value = inout(reg) value, options(pure, nomem, nostack, preserves_flags))
    };
    value
}

/// Hides a value's origin from the compiler.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
pub(crate) fn opaque(value: u32) -> u32 {
    value
}

/// [`opaque`] for eight bytes.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(crate) fn opaque_word(mut value: u64) -> u64 {
    unsafe {
        core::arch::asm!("{value} = {value}", value = inout(reg) value, options(pure, nomem, nostack, preserves_flags))
    };
    value
}

/// [`opaque`] for eight bytes.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
pub(crate) fn opaque_word(value: u64) -> u64 {
    value
}

/// The condition, which seldom holds: what it leads to is put behind what most packets run, so that they fetch less code.
#[inline(always)]
pub(crate) fn seldom(condition: bool) -> bool {
    if condition {
        cold_path();
    }
    condition
}
