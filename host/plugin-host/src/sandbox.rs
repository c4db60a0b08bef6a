//! What the plugin process, and the one that compiles for it, give up before they touch a byte that a
//! stranger made: identity, capabilities, system calls, files.
//!
//! Two steps, both while the process has one thread, so that every later thread inherits them: [`enter`]
//! is the first thing that it does; [`seal`] comes when it knows its configuration, since that names the
//! files that its endpoints need. What a kernel cannot enforce is told in [`SandboxStatus`], never
//! silently left out; only landlock may be missing, all else is an error.

mod calls;
mod files;
mod limits;
mod privileges;
mod reach;

use std::time::Duration;

use caps::{CapSet, CapsHashSet};
use rustix::process::{DumpableBehavior, chdir, set_dumpable_behavior};
use thiserror::Error;

use crate::agent::chain;
use crate::config::{SinkConfig, Size};
use crate::status::SandboxStatus;

pub use files::landlock_abi;
pub(crate) use limits::ARTIFACT_MAX;
pub(crate) use reach::Reach;

/// Why the process does not dare to go on.
#[derive(Debug, Error)]
pub(crate) enum SandboxError {
    #[error("cannot close inherited files")]
    CloseFiles(#[source] std::io::Error),
    #[error("cannot set no_new_privs")]
    NoNewPrivs(#[source] std::io::Error),
    #[error("cannot forbid others to look into it")]
    Dumpable(#[source] std::io::Error),
    #[error("has {0} threads where it must have one")]
    Threads(usize),
    #[error("cannot count its threads")]
    CountThreads(#[source] std::io::Error),
    #[error("cannot become user {user}")]
    ChangeUser {
        user: u32,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot give up the capabilities of the {set:?} set")]
    DropCapabilities {
        set: CapSet,
        source: caps::errors::CapsError,
    },
    #[error("capabilities are left in the {set:?} set: {left:?}")]
    CapabilitiesLeft { set: CapSet, left: CapsHashSet },
    #[error("cannot ask to end with the agent")]
    ParentDeathSignal(#[source] std::io::Error),
    #[error("cannot leave the agent's working directory")]
    WorkingDirectory(#[source] std::io::Error),
    #[error("cannot limit {what}")]
    Limit {
        what: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot restrict its files by landlock")]
    Landlock(#[from] landlock::RulesetError),
    #[error("cannot make the list of system calls")]
    FilterCalls(#[from] seccompiler::BackendError),
    #[error(
        "cannot restrict its system calls by seccomp (the kernel needs CONFIG_SECCOMP_FILTER, and whatever contains \
         this node must allow it)"
    )]
    InstallCalls(#[from] seccompiler::Error),
}

/// The first thing that the process does: nothing of the agent's is open in it, no program that it might
/// start gains a privilege, and nobody of its user looks into its memory.
pub(crate) fn enter() -> Result<(), SandboxError> {
    close_inherited()?;
    rustix::thread::set_no_new_privs(true).map_err(|error| SandboxError::NoNewPrivs(error.into()))
}

/// The plugin process, for good: `user` where it may become one, no capability, no file but what `reach`
/// names, no system call that it does not need.
pub(crate) fn seal(reach: &Reach, user: u32) -> Result<SandboxStatus, SandboxError> {
    one_thread()?;
    let (user, mut weaknesses) = privileges::give_up(user)?;
    limits::of_plugins(reach.memory())?;
    undumpable()?;
    if reach.is_absolute() {
        leave_directory()?;
    }
    let landlock = files::restrict(reach)?;
    if landlock == 0 {
        weaknesses.push(
            "this kernel has no landlock: files are guarded by their owner and mode alone (add landlock to the \
             kernel's lsm= list)"
                .to_owned(),
        );
    }
    calls::restrict_plugins(reach.unix_sockets())?;
    Ok(SandboxStatus {
        user,
        landlock,
        reads: reach.reads().map(ToOwned::to_owned).collect(),
        writes: reach.writes().map(ToOwned::to_owned).collect(),
        weaknesses,
    })
}

/// The compile child, for good: no file at all but the three it was started with, no socket, no thread,
/// so much processor time and address space, and behind everybody else at the processor.
pub(crate) fn seal_compiler(user: u32, time: Duration, memory: Size) -> Result<(), SandboxError> {
    one_thread()?;
    privileges::give_up(user)?;
    limits::of_compiler(time, memory)?;
    undumpable()?;
    leave_directory()?;
    files::restrict(&Reach::default())?;
    calls::restrict_compiler()
}

/// Give up what the plugin process of these sinks gives up, for tests of nothing else; while there is one thread.
#[doc(hidden)]
pub fn seal_as_plugins(sinks: &[SinkConfig], user: u32) -> Result<SandboxStatus, String> {
    let sealed = enter().and_then(|()| seal(&Reach::of(sinks), user));
    sealed.map_err(|error| chain(&error))
}

/// The same for what a compile child gives up.
#[doc(hidden)]
pub fn seal_as_compiler(user: u32) -> Result<(), String> {
    let (time, memory) = (Duration::from_secs(60), Size(1 << 30));
    let sealed = enter().and_then(|()| seal_compiler(user, time, memory));
    sealed.map_err(|error| chain(&error))
}

fn one_thread() -> Result<(), SandboxError> {
    let threads = std::fs::read_dir("/proc/self/task").map_err(SandboxError::CountThreads)?;
    match threads.count() {
        1 => Ok(()),
        threads => Err(SandboxError::Threads(threads)),
    }
}

fn leave_directory() -> Result<(), SandboxError> {
    chdir("/").map_err(|error| SandboxError::WorkingDirectory(error.into()))
}

/// After the change of user, which sets it anew.
fn undumpable() -> Result<(), SandboxError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| SandboxError::Dumpable(error.into()))
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
