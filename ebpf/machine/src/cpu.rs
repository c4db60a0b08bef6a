//! The few operations that the compiler has no stable words for on the BPF target.

/// Reads eight bytes at any alignment.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(crate) unsafe fn read_u64(at: *const u8) -> u64 {
    let word: u64;
    // The compiler would split the read into eight; the kernel allows it wherever the CPU does.
    core::arch::asm!("{word} = *(u64 *)({at} + 0)", word = out(reg) word, at = in(reg) at, options(readonly, nostack, preserves_flags));
    word
}

/// Reads eight bytes at any alignment.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
pub(crate) unsafe fn read_u64(at: *const u8) -> u64 {
    u64::from_le(at.cast::<u64>().read_unaligned())
}

/// Adds to a counter that other CPUs add to.
///
/// # Safety
/// `counter` is live and aligned to 8.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub unsafe fn add(counter: *mut u64, n: u64) {
    core::arch::asm!("lock *(u64 *)({at} + 0) += {n}", at = in(reg) counter, n = in(reg) n, options(nostack, preserves_flags));
}

/// Adds to a counter that other CPUs add to.
///
/// # Safety
/// `counter` is live and aligned to 8.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
pub unsafe fn add(counter: *mut u64, n: u64) {
    core::sync::atomic::AtomicU64::from_ptr(counter)
        .fetch_add(n, core::sync::atomic::Ordering::Relaxed);
}

/// Adds to a histogram bucket that other CPUs add to.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(crate) unsafe fn add_u32(counter: *mut u32, n: u32) {
    core::arch::asm!("lock *(u32 *)({at} + 0) += {n}", at = in(reg) counter, n = in(wreg) n, options(nostack, preserves_flags));
}

/// Adds to a histogram bucket that other CPUs add to.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
pub(crate) unsafe fn add_u32(counter: *mut u32, n: u32) {
    core::sync::atomic::AtomicU32::from_ptr(counter)
        .fetch_add(n, core::sync::atomic::Ordering::Relaxed);
}

/// Sets `at` from 0 to 1; false when it was 1.
///
/// # Safety
/// `at` is live and aligned to 4.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub unsafe fn try_lock(at: *mut u32) -> bool {
    let old: u64;
    core::arch::asm!("w0 = cmpxchg32_32({at} + 0, w0, {one})", at = in(reg) at, one = in(wreg) 1u32, inlateout("r0") 0u64 => old, options(nostack, preserves_flags));
    old == 0
}

/// Sets `at` from 0 to 1; false when it was 1.
///
/// # Safety
/// `at` is live and aligned to 4.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
pub unsafe fn try_lock(at: *mut u32) -> bool {
    use core::sync::atomic::Ordering;
    core::sync::atomic::AtomicU32::from_ptr(at)
        .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
        .is_ok()
}

/// Sets `at` back to 0 after all that was written before.
///
/// # Safety
/// `at` is live and aligned to 4.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub unsafe fn unlock(at: *mut u32) {
    // An atomic exchange is a full barrier on every architecture; a plain store is none on some.
    core::arch::asm!("{zero} = xchg32_32({at} + 0, {zero})", at = in(reg) at, zero = inout(wreg) 0u32 => _, options(nostack, preserves_flags));
}

/// Sets `at` back to 0 after all that was written before.
///
/// # Safety
/// `at` is live and aligned to 4.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
pub unsafe fn unlock(at: *mut u32) {
    core::sync::atomic::AtomicU32::from_ptr(at).store(0, core::sync::atomic::Ordering::Release);
}
