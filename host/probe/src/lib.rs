//! Requests, errors and durations of HTTP as the kernel sees them pass: attach to interfaces, read counters.
//!
//! A library of its own: it knows interfaces and counters, nothing of pods, names or outputs. One kernel program and
//! one set of maps serve all targets; each target costs a packet socket (3.2 KB) that carries the program to its
//! interface and receives nothing. The program is passive: it can neither delay, drop nor rewrite a packet.
//!
//! ```no_run
//! use owlk8s_probe::{Interface, Probe};
//!
//! let mut probe = Probe::load()?;
//! probe.attach("web".into(), Interface::named("veth0")?)?;
//! let reading = probe.read(owlk8s_model::UnixNanos(0))?;
//! println!("{:?}", reading.targets);
//! # Ok::<(), owlk8s_probe::ProbeError>(())
//! ```
//!
//! All calls are synchronous and short: attaching takes about 10 µs a target, reading 5,000 targets about a
//! millisecond or two, detaching waits 11 ms for the kernel however many targets go at once. Needs CAP_BPF and
//! CAP_NET_RAW, which root has; what is missing is named by the error. With CAP_PERFMON the kernel puts no barriers against
//! Spectre into the program, which then costs less a packet; kernels older than those it was tried on may insist on it.
//!
//! Some data paths bypass the node's end of a pod's link. A target there is told from a quiet one (`blind` in its reading),
//! and read at one of the places that [`Wanted::beyond`] names: in the pod's namespace (CAP_SYS_ADMIN) or on its cgroup
//! (CAP_NET_ADMIN).

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test panics where it fails")
)]

mod error;
mod judge;
mod load;
mod probe;
mod read;
mod slots;
mod sweep;
mod sys;
mod targets;
#[cfg(feature = "test-run")]
pub mod testrun;

pub use error::ProbeError;
pub use load::Options;
pub use probe::{Beyond, Cgroup, Changes, Inside, Interface, Place, Probe, Wanted};
pub use sweep::Swept;
