//! What can go wrong, by step, each with what to do about it.

use std::error::Error as _;
use std::io;

use owlk8s_model::TargetId;

/// An error of loading, attaching or reading.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The embedded kernel program is no usable object.
    #[error("cannot read the embedded kernel program ({reason}): build again with `make build`")]
    ReadObject {
        /// What is wrong with it.
        reason: String,
    },
    /// The kernel program was built with other layouts than this library.
    #[error(
        "the kernel program has ABI version {found}, this library {expected}: build both from one source (`make build`)"
    )]
    AbiVersion {
        /// Of the object.
        found: u32,
        /// Of `owlk8s-ebpf-abi`.
        expected: u32,
    },
    /// A map of the kernel program is missing or of another shape.
    #[error("map {map} of the kernel program {problem}: build both from one source (`make build`)")]
    MapLayout {
        /// Its name.
        map: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// One of [`crate::Options`] is out of bounds.
    #[error("room for {room} {option}: must be 1 to {most}")]
    Room {
        /// Its name.
        option: &'static str,
        /// What was asked for.
        room: u32,
        /// The most that can be asked for.
        most: u32,
    },
    /// The kernel refused a map.
    #[error("the kernel refused map {map}: {remedy}")]
    CreateMap {
        /// Its name.
        map: String,
        /// What to do.
        remedy: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refused the program.
    #[error("the kernel refused program {program}: {remedy}{log}")]
    LoadProgram {
        /// Its name.
        program: &'static str,
        /// What to do.
        remedy: String,
        /// The last lines of the verifier's log, each on its own line; may be empty.
        log: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A map could not be mapped into memory.
    #[error("cannot map {map} into memory (needs a kernel of 5.5 or later)")]
    MapMemory {
        /// Its name.
        map: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A map could not be read.
    #[error("cannot read map {map}")]
    ReadMap {
        /// Its name.
        map: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A map could not be written.
    #[error("cannot write map {map}")]
    WriteMap {
        /// Its name.
        map: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// There is no such interface.
    #[error(
        "there is no interface {interface} in this network namespace: compare `ip link`, and see that hostNetwork is true"
    )]
    FindInterface {
        /// Its name.
        interface: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The packet socket could not be made.
    #[error("cannot open a packet socket for {interface}: {remedy}")]
    OpenSocket {
        /// Name of the interface.
        interface: String,
        /// What to do.
        remedy: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The program could not be put on the socket.
    #[error("cannot put the kernel program on the socket for {interface}")]
    AttachFilter {
        /// Name of the interface.
        interface: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The socket could not be bound to the interface.
    #[error(
        "cannot bind to interface {interface} (index {index}): it is gone, or in another network namespace"
    )]
    BindInterface {
        /// Its name.
        interface: String,
        /// Its index.
        index: u32,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The pod's network namespace could not be entered.
    #[error("cannot enter the network namespace {path} of the pod: {remedy}")]
    EnterNamespace {
        /// The file that stands for it.
        path: String,
        /// What to do.
        remedy: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The pod's cgroup could not be attached to.
    #[error("cannot attach to the cgroup {path} of the pod: {remedy}")]
    AttachCgroup {
        /// Its directory.
        path: String,
        /// What to do.
        remedy: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The few instructions that name a target could not be loaded.
    #[error("the kernel refused what names {place} to program {program}: {remedy}")]
    LoadStub {
        /// Where it was for.
        place: String,
        /// The program that it calls.
        program: &'static str,
        /// What to do.
        remedy: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A program that is loaded when it is first needed was refused then.
    #[error("{reason}")]
    Refused {
        /// In the words of the first time.
        reason: String,
    },
    /// Two targets have one interface.
    #[error(
        "interface {interface} already counts for target {owner}: one interface can count for one target only"
    )]
    InterfaceTaken {
        /// Its name.
        interface: String,
        /// Whom it counts for.
        owner: TargetId,
    },
    /// More targets than room was made for.
    #[error("all {limit} places for targets are taken: raise `Options::targets`")]
    TargetsFull {
        /// As loaded.
        limit: u32,
    },
}

impl ProbeError {
    /// Whether trying again later can help without anyone acting.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::FindInterface { .. }
            | Self::BindInterface { .. }
            | Self::InterfaceTaken { .. } => true,
            // The pod has ended, or begins.
            Self::EnterNamespace { source, .. } | Self::AttachCgroup { source, .. } => {
                matches!(source.raw_os_error(), Some(libc::ENOENT | libc::ESTALE))
            }
            Self::OpenSocket { source, .. } => {
                matches!(
                    source.raw_os_error(),
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
                )
            }
            Self::LoadProgram { source, .. } | Self::LoadStub { source, .. } => {
                matches!(
                    source.raw_os_error(),
                    Some(libc::ENOMEM | libc::EAGAIN | libc::EINTR | libc::EMFILE | libc::ENFILE)
                )
            }
            _ => false,
        }
    }
}

/// An error with its cause, in one text.
pub(crate) fn text(error: &ProbeError) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
