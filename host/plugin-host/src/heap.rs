//! What was freed goes back to the kernel. glibc keeps a heap for each thread, and in it all that it once held; processes that
//! work for some milliseconds a window have no use for that in between.

/// Of freed memory that is kept, and the largest piece that is taken from a heap at all.
#[cfg(target_env = "gnu")]
const KEPT: libc::c_int = 256 << 10;

/// For the processes that live long, before their first thread. Other C libraries than glibc are left as they are.
pub fn keep_heap_small() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [
        (libc::M_ARENA_MAX, 1),
        (libc::M_MMAP_THRESHOLD, KEPT),
        (libc::M_TRIM_THRESHOLD, KEPT),
    ] {
        // SAFETY: it changes how memory is given out from here on, not what was given out.
        let _taken = unsafe { libc::mallopt(parameter, value) };
    }
}
