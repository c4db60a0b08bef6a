//! The one room for system calls that aya has no call for: batch reads of maps, maps as memory, packet sockets, stubs,
//! network namespaces, limits and clocks. Everything `unsafe` of this crate is in here; what leaves is safe to use.

mod map;
mod mmap;
mod namespace;
mod packet;
mod process;
mod stub;
mod traffic;

pub(crate) use map::{KernelMap, Plain};
pub(crate) use mmap::{MappedArray, Words};
pub(crate) use namespace::{inside, is_namespace};
pub(crate) use packet::{
    attach_program, bind_to_interface, bound_interface, interface_index, open_packet_socket,
};
pub(crate) use process::{allow_descriptors, kernel_release, monotonic, raise_memlock};
pub(crate) use stub::{Callee, StubKind, attach_to_cgroup};
pub(crate) use traffic::{Passed, passed};
