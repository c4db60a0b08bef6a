//! What is not used goes back to the kernel. glibc keeps a heap for each thread, and in it all that it once held; the kernel
//! keeps the code mapped that the start ran. Processes that work for some milliseconds a window have no use for that in between.

use std::time::Duration;

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

/// The smallest page that there is; where they are larger, the kernel refuses what is said of less than one.
const PAGE: usize = 4 << 10;

/// Room in a buffer for so many bytes, most of which will be written: in the kernel's large pages where it has them. What goes
/// back to the kernel is cleared page by page when it is next asked for, which takes longer than writing it.
pub(crate) fn make_room(buffer: &mut Vec<u8>, bytes: usize) {
    buffer.reserve_exact(bytes.saturating_sub(buffer.len()));
    let room = buffer.as_mut_ptr_range().start;
    let first = room.map_addr(|at| at.next_multiple_of(PAGE));
    let whole = buffer.capacity().saturating_sub(first.addr() - room.addr()) / PAGE * PAGE;
    // SAFETY: it is how the kernel is to back the buffer's own pages, and changes nothing in them. A kernel without large pages
    // refuses, which is no loss.
    let _advised =
        unsafe { rustix::mm::madvise(first.cast(), whole, rustix::mm::Advice::LinuxHugepage) };
}

/// After a start, or a change of the configuration: what it needed is not needed any more by then.
const SETTLED: Duration = Duration::from_secs(10);

/// A little later, gives back what the work that begins now leaves behind: holes in the heap, and pages of this program that
/// the kernel has mapped for it. What runs later is mapped again, from the file's pages in memory. In a runtime of tokio.
pub fn let_go_when_settled() {
    tokio::spawn(async {
        tokio::time::sleep(SETTLED).await;
        #[cfg(target_env = "gnu")]
        // SAFETY: it takes what is free, under the locks of those who would take it.
        let _any = unsafe { libc::malloc_trim(0) };
        // SAFETY: its callback is called with the segments of what is loaded, while it cannot be unloaded.
        unsafe { libc::dl_iterate_phdr(Some(unmap), std::ptr::null_mut()) };
    });
}

/// Takes the first of what is loaded, which is the program, and no other.
unsafe extern "C" fn unmap(
    program: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    _data: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: glibc knows it; what rustix asks is refused to the plugin process.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    // SAFETY: the caller's.
    let (base, headers) = unsafe {
        let program = &*program;
        let count = usize::from(program.dlpi_phnum);
        let headers = std::slice::from_raw_parts(program.dlpi_phdr, count);
        (program.dlpi_addr, headers)
    };
    for header in headers {
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        let from = (base + header.p_vaddr) & !(page - 1);
        let to = base + header.p_vaddr + header.p_filesz;
        // SAFETY: a part of the file that is mapped privately and was never written, so that each of its pages is the file's
        // when it is next looked at.
        let _done = unsafe {
            rustix::mm::madvise(
                from as *mut _,
                (to - from) as usize,
                rustix::mm::Advice::LinuxDontNeed,
            )
        };
    }
    1
}

#[cfg(test)]
mod tests {
    use super::make_room;

    #[test]
    fn room_is_made_around_what_is_there() {
        for (len, bytes) in [
            (0, 0),
            (1, 1),
            (100, 10),
            (5_000, 5_001),
            (1 << 20, 16 << 20),
        ] {
            let mut buffer: Vec<u8> = (0..len).map(|at| at as u8).collect();
            make_room(&mut buffer, bytes);
            assert!(buffer.capacity() >= bytes, "{len} {bytes}");
            buffer.resize(buffer.capacity(), 7);
            let kept = buffer[..len].iter().enumerate();
            assert!(kept.into_iter().all(|(at, byte)| *byte == at as u8));
        }
    }
}
