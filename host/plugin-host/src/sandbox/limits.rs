//! Resource limits, each with its reason. Not set, and why: processes (the kernel counts all of a user's
//! on the node, and user 65534 is shared; seccomp allows threads only), address space (wasmtime reserves
//! gigabytes that it never touches; what it touches is bounded as data), size of files (endpoints own
//! their rotation).

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};

use super::SandboxError;
use crate::config::Size;

/// Open files: sockets of endpoints and of requests that a responder answers.
const FILES: u64 = 4096;
/// The largest compiled component.
pub(crate) const ARTIFACT_MAX: Size = Size(512 << 20);
/// Behind all others.
const NICEST: i32 = 19;

pub(super) fn of_plugins(memory: Size) -> Result<(), SandboxError> {
    none_of_these()?;
    limit("open files", Resource::Nofile, FILES)?;
    // What nothing else bounds: a leak of the process itself must not take the node's memory.
    limit("its memory", Resource::Data, memory.0)
}

pub(super) fn of_compiler(time: Duration, memory: Size) -> Result<(), SandboxError> {
    none_of_these()?;
    // Input, output, complaints, and what libraries open for a moment.
    limit("open files", Resource::Nofile, 16)?;
    limit("the compiler's memory", Resource::As, memory.0)?;
    limit("the size of what it makes", Resource::Fsize, ARTIFACT_MAX.0)?;
    // Rounded up: the kernel counts whole seconds.
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    // Told from a kill by its signal, which the hard limit would not be.
    set(
        "the compiler's processor time",
        Resource::Cpu,
        seconds,
        seconds.saturating_add(2),
    )?;
    setpriority_process(None, NICEST).map_err(|error| SandboxError::Limit {
        what: "its priority",
        source: error.into(),
    })
}

/// A core would hold secrets; the others are kernel memory that it has no use for.
fn none_of_these() -> Result<(), SandboxError> {
    limit("core dumps", Resource::Core, 0)?;
    limit("locked memory", Resource::Memlock, 0)?;
    limit("message queues", Resource::Msgqueue, 0)?;
    limit("real-time priority", Resource::Rtprio, 0)
}

/// Never above what there is already.
fn limit(what: &'static str, resource: Resource, value: u64) -> Result<(), SandboxError> {
    set(what, resource, value, value)
}

fn set(what: &'static str, resource: Resource, soft: u64, hard: u64) -> Result<(), SandboxError> {
    let max = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let limit = Rlimit {
        current: Some(soft.min(max)),
        maximum: Some(hard.min(max)),
    };
    setrlimit(resource, limit).map_err(|error| SandboxError::Limit {
        what,
        source: error.into(),
    })
}
