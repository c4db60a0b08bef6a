//! Programs of a few instructions that say for which target a packet is, and call the big one.
//!
//! Inside a pod an interface's index says nothing, and the big program takes the verifier 0.3 s: so each target that is
//! read there has a stub that writes the target's name into the packet's control block and ends in a tail call. And
//! where a socket takes no program of the big one's size (`net.core.optmem_max`), one that only calls it stands in.

use std::ffi::c_int;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr;

/// Of `struct __sk_buff`.
const CB: i16 = 48;
/// `BPF_PSEUDO_MAP_FD`.
const IS_MAP: u8 = 1;
/// `bpf_tail_call`.
const TAIL_CALL: i32 = 12;

/// Operations, as in linux/bpf.h.
const MOV: u8 = 0xb7;
const MOV_32: u8 = 0xb4;
const STORE_32: u8 = 0x63;
const LOAD_64: u8 = 0x18;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// What a stub is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StubKind {
    /// A packet socket; the direction is the packet's own.
    Socket,
    /// A cgroup, for what comes to its sockets.
    CgroupIngress,
    /// A cgroup, for what its sockets send.
    CgroupEgress,
}

impl StubKind {
    /// `enum bpf_prog_type`.
    fn program_type(self) -> u32 {
        match self {
            Self::Socket => 1,
            Self::CgroupIngress | Self::CgroupEgress => 8,
        }
    }

    /// `enum bpf_attach_type`.
    fn attach_type(self) -> u32 {
        match self {
            Self::Socket | Self::CgroupIngress => 0,
            Self::CgroupEgress => 1,
        }
    }

    /// When there is nothing to call: a socket keeps no packet, a cgroup lets each pass.
    fn verdict(self) -> i32 {
        i32::from(self != Self::Socket)
    }
}

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn instruction(
    code: u8,
    destination: u8,
    source: u8,
    offset: i16,
    immediate: i32,
) -> Instruction {
    Instruction {
        code,
        registers: destination | source << 4,
        offset,
        immediate,
    }
}

/// The part of `union bpf_attr` for `BPF_MAP_CREATE`.
#[repr(C)]
struct CreateAttr {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

/// The part of `union bpf_attr` for one element.
#[repr(C)]
struct UpdateAttr {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The part of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// The part of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkAttr {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
}

/// Where stubs find the big program that they call. They call nothing once this is dropped.
pub(crate) struct Callee(OwnedFd);

impl Callee {
    /// With nothing to call yet.
    pub(crate) fn new() -> io::Result<Self> {
        const MAP_CREATE: c_int = 0;
        const PROG_ARRAY: u32 = 3;
        let mut create = CreateAttr {
            map_type: PROG_ARRAY,
            key_size: 4,
            value_size: 4,
            max_entries: 1,
        };
        // SAFETY: the struct is what the command takes, and holds no pointer.
        unsafe { bpf(MAP_CREATE, &mut create) }.map(|fd| Self(descriptor(fd)))
    }

    /// From here on the stubs call `program`, which must be of the type that they are of.
    pub(crate) fn set(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        const MAP_UPDATE_ELEM: c_int = 2;
        let (key, value) = (0_u32, program.as_raw_fd() as u32);
        let mut update = UpdateAttr {
            map_fd: self.0.as_raw_fd() as u32,
            padding: 0,
            key: ptr::from_ref(&key) as u64,
            value: ptr::from_ref(&value) as u64,
            flags: 0,
        };
        // SAFETY: key and value have the map's sizes and outlive the call.
        unsafe { bpf(MAP_UPDATE_ELEM, &mut update) }.map(|_| ())
    }

    /// A stub for the target of this name.
    pub(crate) fn stub(&self, kind: StubKind, name: u32) -> io::Result<OwnedFd> {
        let to_pod = i32::from(kind == StubKind::CgroupIngress);
        let name = [
            instruction(MOV_32, 2, 0, 0, to_pod),
            instruction(STORE_32, 1, 2, CB, 0),
            instruction(MOV_32, 2, 0, 0, name.cast_signed()),
            instruction(STORE_32, 1, 2, CB + 4, 0),
        ];
        load(kind, &[&name[..], &self.call(kind)].concat())
    }

    /// A stub for all targets whose packets tell whose they are, by their interface.
    pub(crate) fn nameless_stub(&self) -> io::Result<OwnedFd> {
        load(StubKind::Socket, &self.call(StubKind::Socket))
    }

    fn call(&self, kind: StubKind) -> [Instruction; 6] {
        [
            instruction(LOAD_64, 2, IS_MAP, 0, self.0.as_raw_fd()),
            instruction(0, 0, 0, 0, 0),
            instruction(MOV, 3, 0, 0, 0),
            instruction(CALL, 0, 0, 0, TAIL_CALL),
            instruction(MOV, 0, 0, 0, kind.verdict()),
            instruction(EXIT, 0, 0, 0, 0),
        ]
    }
}

fn load(kind: StubKind, code: &[Instruction]) -> io::Result<OwnedFd> {
    const PROG_LOAD: c_int = 5;
    let mut load = LoadAttr {
        prog_type: kind.program_type(),
        insn_cnt: code.len() as u32,
        insns: code.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
    };
    // SAFETY: code and licence outlive the call.
    unsafe { bpf(PROG_LOAD, &mut load) }.map(descriptor)
}

/// Attaches a stub to a cgroup, beside what others attached there, until the result is dropped.
pub(crate) fn attach_to_cgroup(
    stub: BorrowedFd<'_>,
    kind: StubKind,
    cgroup: BorrowedFd<'_>,
) -> io::Result<OwnedFd> {
    const LINK_CREATE: c_int = 28;
    let mut link = LinkAttr {
        prog_fd: stub.as_raw_fd() as u32,
        target_fd: cgroup.as_raw_fd() as u32,
        attach_type: kind.attach_type(),
        flags: 0,
    };
    // SAFETY: the struct is what the command takes, and holds no pointer.
    unsafe { bpf(LINK_CREATE, &mut link) }.map(descriptor)
}

/// # Safety
/// `attr` is what `command` takes, and every pointer in it is valid for what the kernel does with it.
unsafe fn bpf<A>(command: c_int, attr: &mut A) -> io::Result<c_int> {
    // SAFETY: `attr` is valid for its size; the rest is the caller's promise.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, ptr::from_mut(attr), size_of::<A>()) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result as c_int)
    }
}

fn descriptor(fd: c_int) -> OwnedFd {
    // SAFETY: the kernel has just given it to us; bpf(2) sets close-on-exec.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
