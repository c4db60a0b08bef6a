//! A map by its descriptor: one element at a time, or all in batches (which aya 0.14 has not).

use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::ptr;

use owlk8s_ebpf_abi::{
    Conn, ConnKey, Edge, RowKey, Stash, StashKey, StreamKey, StreamValue, TargetEntry,
};

use crate::ProbeError;

/// A type that the kernel may read from and write to byte by byte.
///
/// # Safety
/// Every bit pattern is a value, and there is no padding.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: integers.
unsafe impl Plain for u8 {}
// SAFETY: integers.
unsafe impl Plain for u32 {}
// SAFETY: an array of integers.
unsafe impl Plain for [u8; 16] {}
// SAFETY: a queue has no key; nothing is read or written.
unsafe impl Plain for () {}
// SAFETY: `repr(C)`, integers only; the sizes asserted in the abi leave no room for padding.
unsafe impl Plain for TargetEntry {}
// SAFETY: as above.
unsafe impl Plain for RowKey {}
// SAFETY: as above.
unsafe impl Plain for ConnKey {}
// SAFETY: as above.
unsafe impl Plain for Conn {}
// SAFETY: as above: two u32.
unsafe impl Plain for Edge {}
// SAFETY: as above: two u64.
unsafe impl Plain for StreamKey {}
// SAFETY: as above: two u64.
unsafe impl Plain for StashKey {}
// SAFETY: as above: two u32 and an array of u64.
unsafe impl Plain for Stash {}
// SAFETY: as above: two u64 and two u32.
unsafe impl Plain for StreamValue {}

/// `enum bpf_cmd` of `linux/bpf.h`.
#[repr(i32)]
#[derive(Clone, Copy)]
enum Command {
    LookupElem = 1,
    UpdateElem = 2,
    DeleteElem = 3,
    GetNextKey = 4,
    #[cfg(test)]
    LookupAndDeleteElem = 21,
    LookupBatch = 24,
}

/// The part of `union bpf_attr` for one element.
#[repr(C)]
struct ElemAttr {
    map_fd: u32,
    padding: u32,
    key: u64,
    /// Or the next key.
    value: u64,
    flags: u64,
}

/// The part of `union bpf_attr` for batches.
#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// How many elements one batch call asks for. A hash bucket must fit whole, and never has that many.
const BATCH: usize = 4096;
/// ENOTSUPP of the kernel: a map type without batch calls.
const ENOTSUPP: i32 = 524;

/// A map of the kernel.
pub(crate) struct KernelMap<K, V> {
    fd: OwnedFd,
    name: &'static str,
    max_entries: u32,
    shape: PhantomData<fn() -> (K, V)>,
}

impl<K: Plain, V: Plain> KernelMap<K, V> {
    /// The caller has compared the sizes of `K` and `V` with the map's: see `load`.
    pub(crate) fn new(fd: OwnedFd, name: &'static str, max_entries: u32) -> Self {
        Self {
            fd,
            name,
            max_entries,
            shape: PhantomData,
        }
    }

    /// None when it is not there.
    pub(crate) fn get(&self, key: &K) -> Result<Option<V>, ProbeError> {
        let mut value = MaybeUninit::<V>::uninit();
        let found = self.elem(Command::LookupElem, key, value.as_mut_ptr().cast());
        let found = self.present(found)?;
        // SAFETY: when it was found, the kernel wrote the whole value; any bits are a `V`.
        Ok(found.then(|| unsafe { value.assume_init() }))
    }

    /// In place of what was there.
    pub(crate) fn insert(&self, key: &K, value: &V) -> Result<(), ProbeError> {
        self.elem(
            Command::UpdateElem,
            key,
            ptr::from_ref(value).cast_mut().cast(),
        )
        .map_err(|e| self.writing(e))
    }

    /// Whether it was there.
    pub(crate) fn remove(&self, key: &K) -> Result<bool, ProbeError> {
        match self.elem(Command::DeleteElem, key, ptr::null_mut()) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(self.writing(error)),
        }
    }

    /// Shows `each` all elements, as far as they do not change meanwhile.
    pub(crate) fn visit(&self, mut each: impl FnMut(&K, &V)) -> Result<(), ProbeError> {
        match self.visit_batches(&mut each) {
            // Kernels before 5.6 know no batch calls: they refuse the first.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | ENOTSUPP)) => {
                self.visit_one_by_one(&mut each)
            }
            result => result.map_err(|error| self.reading(error)),
        }
    }

    /// All keys, as far as they do not change meanwhile.
    pub(crate) fn keys(&self) -> Result<Vec<K>, ProbeError> {
        let mut keys = Vec::new();
        self.visit(|key, _| keys.push(*key))?;
        Ok(keys)
    }

    fn visit_batches(&self, each: &mut impl FnMut(&K, &V)) -> io::Result<()> {
        let room = BATCH.min(self.max_entries as usize);
        let mut keys = Vec::<K>::with_capacity(room);
        let mut values = Vec::<V>::with_capacity(room);
        let mut position = 0_u64;
        let mut attr = BatchAttr {
            in_batch: 0,
            out_batch: ptr::from_mut(&mut position) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: 0,
            map_fd: self.fd.as_raw_fd() as u32,
            elem_flags: 0,
            flags: 0,
        };
        loop {
            attr.count = room as u32;
            // SAFETY: keys, values and position are valid for `count` elements of the map's sizes, and outlive the call.
            let last = match unsafe { bpf(Command::LookupBatch, &mut attr) } {
                Ok(()) => false,
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
                Err(error) => return Err(error),
            };
            // SAFETY: the kernel wrote `count` <= `room` keys and values; any bits are a `K` and a `V`.
            unsafe {
                keys.set_len(attr.count as usize);
                values.set_len(attr.count as usize);
            }
            keys.iter()
                .zip(&values)
                .for_each(|(key, value)| each(key, value));
            if last {
                return Ok(());
            }
            attr.in_batch = attr.out_batch;
        }
    }

    fn visit_one_by_one(&self, each: &mut impl FnMut(&K, &V)) -> Result<(), ProbeError> {
        let mut before: Option<K> = None;
        // A key that is deleted meanwhile starts the walk again: bounded, so that it ends.
        for _ in 0..self.max_entries.saturating_mul(2) {
            let Some(key) = self.next_key(before.as_ref())? else {
                break;
            };
            if let Some(value) = self.get(&key)? {
                each(&key, &value);
            }
            before = Some(key);
        }
        Ok(())
    }

    fn next_key(&self, before: Option<&K>) -> Result<Option<K>, ProbeError> {
        let mut next = MaybeUninit::<K>::uninit();
        let mut attr = ElemAttr {
            map_fd: self.fd.as_raw_fd() as u32,
            padding: 0,
            key: before.map_or(0, |key| ptr::from_ref(key) as u64),
            value: next.as_mut_ptr() as u64,
            flags: 0,
        };
        // SAFETY: both pointers are null or valid for a key, and outlive the call.
        let found = unsafe { bpf(Command::GetNextKey, &mut attr) };
        let found = self.present(found)?;
        // SAFETY: when there is a next one, the kernel wrote the whole key; any bits are a `K`.
        Ok(found.then(|| unsafe { next.assume_init() }))
    }

    fn elem(&self, command: Command, key: &K, value: *mut u8) -> io::Result<()> {
        // A queue wants no key at all.
        let key = if size_of::<K>() == 0 {
            0
        } else {
            ptr::from_ref(key) as u64
        };
        let map_fd = self.fd.as_raw_fd() as u32;
        let mut attr = ElemAttr {
            map_fd,
            padding: 0,
            key,
            value: value as u64,
            flags: 0,
        };
        // SAFETY: `key` is null or valid for a key, `value` null or valid for a value of the map's size; both outlive
        // the call.
        unsafe { bpf(command, &mut attr) }
    }

    /// Whether what was asked for is there.
    fn present(&self, answer: io::Result<()>) -> Result<bool, ProbeError> {
        match answer {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(self.reading(error)),
        }
    }

    fn reading(&self, source: io::Error) -> ProbeError {
        ProbeError::ReadMap {
            map: self.name,
            source,
        }
    }

    fn writing(&self, source: io::Error) -> ProbeError {
        ProbeError::WriteMap {
            map: self.name,
            source,
        }
    }
}

impl<V: Plain> KernelMap<(), V> {
    /// To the end of a queue.
    pub(crate) fn push(&self, value: &V) -> Result<(), ProbeError> {
        self.insert(&(), value)
    }

    /// From the front of a queue; None when it is empty.
    #[cfg(test)]
    pub(crate) fn pop(&self) -> Result<Option<V>, ProbeError> {
        let mut value = MaybeUninit::<V>::uninit();
        let found = self.elem(Command::LookupAndDeleteElem, &(), value.as_mut_ptr().cast());
        let found = self.present(found)?;
        // SAFETY: when there was one, the kernel wrote the whole value; any bits are a `V`.
        Ok(found.then(|| unsafe { value.assume_init() }))
    }
}

/// # Safety
/// `attr` is what `command` takes, and every pointer in it is valid for what the kernel does with it.
unsafe fn bpf<A>(command: Command, attr: &mut A) -> io::Result<()> {
    // SAFETY: `attr` is valid for its size; the rest is the caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as i32,
            ptr::from_mut(attr),
            size_of::<A>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
