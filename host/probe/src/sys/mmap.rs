//! An array map as memory: read without a system call, while the kernel program adds to it.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// One element, word by word. The kernel adds to the words meanwhile, so each is an atomic.
#[derive(Clone, Copy)]
pub(crate) struct Words<'a>(&'a [AtomicU64]);

impl Words<'_> {
    /// The u64 at `offset` bytes. What is read after it is at least as new.
    pub(crate) fn get(&self, offset: usize) -> u64 {
        self.0[offset / 8].load(Ordering::Acquire)
    }

    /// Adds to the u64 at `offset` bytes.
    pub(crate) fn add(&self, offset: usize, more: u64) {
        self.0[offset / 8].fetch_add(more, Ordering::Relaxed);
    }

    /// All words, `N` at a time, each group once it is asked for.
    pub(crate) fn lines<const N: usize>(&self) -> impl Iterator<Item = [u64; N]> + '_ {
        let (lines, _) = self.0.as_chunks::<N>();
        lines
            .iter()
            .map(|line| line.each_ref().map(|word| word.load(Ordering::Relaxed)))
    }

    /// All to zero.
    pub(crate) fn clear(&self) {
        for word in self.0 {
            word.store(0, Ordering::Relaxed);
        }
    }
}

/// All elements of a `BPF_F_MMAPABLE` array of `T`.
pub(crate) struct MappedArray<T> {
    start: NonNull<AtomicU64>,
    len: usize,
    elements: usize,
    shape: PhantomData<fn() -> T>,
}

// SAFETY: the memory is shared with the kernel anyway; it is only reached through atomics.
unsafe impl<T> Send for MappedArray<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for MappedArray<T> {}

impl<T> MappedArray<T> {
    const WORDS: usize = {
        assert!(
            size_of::<T>().is_multiple_of(8),
            "the kernel lays elements out in steps of 8 bytes"
        );
        size_of::<T>() / 8
    };

    /// The caller has compared the size of `T` with the map's, and `elements` is its number.
    pub(crate) fn new(map: BorrowedFd<'_>, elements: u32) -> io::Result<Self> {
        let elements = elements as usize;
        let len = elements * size_of::<T>();
        // SAFETY: a new mapping, at an address of the kernel's choice, of a descriptor that is open.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start =
            NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self {
            start,
            len,
            elements,
            shape: PhantomData,
        })
    }

    /// Panics beyond the end, as an index into a slice does.
    pub(crate) fn element(&self, index: u32) -> Words<'_> {
        let index = index as usize;
        assert!(
            index < self.elements,
            "element {index} of {}",
            self.elements
        );
        // SAFETY: the element lies inside the mapping, which lives as long as `self`; a mapping is aligned to a page and
        // elements follow in steps of 8 bytes; it is only reached through atomics.
        Words(unsafe {
            std::slice::from_raw_parts(self.start.as_ptr().add(index * Self::WORDS), Self::WORDS)
        })
    }
}

impl<T> Drop for MappedArray<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
