//! What the plugin process gives up before it reads the first byte: every capability, the way to gain
//! new ones, core dumps, and files that it might have inherited. Runs while the process has one thread,
//! so that what it gives up is given up by all.

use caps::{CapSet, Capability, CapsHashSet};
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use thiserror::Error;

/// Why the plugin process does not dare to run guests.
#[derive(Debug, Error)]
pub(crate) enum SandboxError {
    #[error("cannot set no_new_privs")]
    NoNewPrivs(#[source] std::io::Error),
    #[error("cannot give up the capabilities of the {set:?} set")]
    DropCapabilities {
        set: CapSet,
        source: caps::errors::CapsError,
    },
    #[error("capabilities are left in the {set:?} set: {left:?}")]
    CapabilitiesLeft { set: CapSet, left: CapsHashSet },
    #[error("cannot ask to end with the agent")]
    ParentDeathSignal(#[source] std::io::Error),
    #[error("cannot forbid core dumps")]
    CoreLimit(#[source] std::io::Error),
    #[error("cannot close inherited files")]
    CloseFiles(#[source] std::io::Error),
}

/// After this, neither this process nor what might take it over can gain a privilege.
pub(crate) fn enter() -> Result<(), SandboxError> {
    close_inherited()?;
    rustix::thread::set_no_new_privs(true)
        .map_err(|error| SandboxError::NoNewPrivs(error.into()))?;
    drop_capabilities()?;
    // Last: the kernel clears it when credentials change.
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| SandboxError::ParentDeathSignal(error.into()))?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).map_err(|error| SandboxError::CoreLimit(error.into()))
}

fn drop_capabilities() -> Result<(), SandboxError> {
    let fail = |set| move |source| SandboxError::DropCapabilities { set, source };
    // The bounding set needs CAP_SETPCAP. Without it the set stays, and means nothing: under
    // no_new_privs an exec grants no capability.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)
        .map_err(fail(CapSet::Effective))?
    {
        for capability in caps::runtime::thread_all_supported() {
            caps::drop(None, CapSet::Bounding, capability).map_err(fail(CapSet::Bounding))?;
        }
    }
    for set in [
        CapSet::Ambient,
        CapSet::Inheritable,
        CapSet::Effective,
        CapSet::Permitted,
    ] {
        caps::clear(None, set).map_err(fail(set))?;
        let left = caps::read(None, set).map_err(fail(set))?;
        if !left.is_empty() {
            return Err(SandboxError::CapabilitiesLeft { set, left });
        }
    }
    Ok(())
}

/// Whatever a library of the agent may have opened without close-on-exec.
fn close_inherited() -> Result<(), SandboxError> {
    const FIRST: libc::c_uint = 3;
    // SAFETY: this is the first thing that the process does; it has opened no file itself, so no
    // descriptor from 3 on has an owner that this could take it from.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, 0) };
    if closed == 0 {
        Ok(())
    } else {
        Err(SandboxError::CloseFiles(std::io::Error::last_os_error()))
    }
}
