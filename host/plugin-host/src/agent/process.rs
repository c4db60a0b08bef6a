use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use thiserror::Error;
use tokio::sync::oneshot;

use super::Program;
use crate::frames::rights;

/// Of what a child complains.
const COMPLAINT_MAX: u64 = 4 << 10;

/// Why there is no child.
#[derive(Debug, Error)]
pub(super) enum SpawnError {
    #[error("cannot make a pair of sockets")]
    Socketpair(#[source] io::Error),
    #[error("cannot start {program}")]
    Spawn { program: String, source: io::Error },
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

/// Our ends of what joins us with the plugin process.
pub(super) struct Sockets {
    /// For frames.
    pub(super) frames: UnixStream,
    /// For its requests for components: each byte carries a connection.
    pub(super) control: UnixStream,
}

/// A running child.
pub(super) struct Process {
    pub(super) pid: u32,
    child: Arc<Mutex<Option<Child>>>,
    exited: oneshot::Receiver<io::Result<Ended>>,
}

/// How a child ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    /// What it wrote to its standard error, where that is a pipe to us.
    pub(super) complaint: Vec<u8>,
}

impl Process {
    /// The plugin process, with one end of a socketpair as its standard input, no environment, and our standard
    /// output and error; and our ends. The other socket comes to it over the first.
    pub(super) fn of_plugins(program: &Program) -> Result<(Self, Sockets), SpawnError> {
        let (ours, theirs) = UnixStream::pair().map_err(SpawnError::Socketpair)?;
        let (control, to_send) = UnixStream::pair().map_err(SpawnError::Socketpair)?;
        // There is room for a byte in a socket that nobody has written to.
        rights::send(&ours, Some(to_send.as_fd())).map_err(SpawnError::Socketpair)?;
        drop(to_send);
        let mut command = Command::new(&program.path);
        command
            .args(&program.args)
            .stdin(Stdio::from(OwnedFd::from(theirs)));
        let sockets = Sockets {
            frames: ours,
            control,
        };
        Ok((Self::spawn(command)?, sockets))
    }

    /// Without environment.
    ///
    /// A thread of its own starts it and waits for its end: the kernel sends the parent-death signal
    /// when the *thread* that started a process ends, and threads of a runtime may.
    pub(super) fn spawn(mut command: Command) -> Result<Self, SpawnError> {
        command.env_clear();
        let program = command.get_program().to_string_lossy().into_owned();
        let (started, starting) = std::sync::mpsc::channel();
        let (ended, exited) = oneshot::channel();
        let child = Arc::new(Mutex::new(None));
        let for_thread = Arc::clone(&child);
        let thread = std::thread::Builder::new().name("child-process".to_owned());
        thread
            .spawn(move || {
                let spawned = command.spawn();
                // Closes our copy of its end: its death must be the end of the stream.
                drop(command);
                match spawned {
                    Err(error) => {
                        let _ = started.send(Err(error));
                    }
                    Ok(mut spawned) => {
                        let (pid, stderr) = (spawned.id(), spawned.stderr.take());
                        *for_thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(spawned);
                        let _ = started.send(Ok(pid));
                        let complaint = listen(stderr);
                        let status = wait(pid, &for_thread);
                        let _ = ended.send(status.map(|status| Ended { status, complaint }));
                    }
                }
            })
            .map_err(SpawnError::Thread)?;
        // As short as a fork.
        let pid = starting
            .recv()
            .map_err(|_| SpawnError::Thread(io::ErrorKind::Other.into()))?
            .map_err(|source| SpawnError::Spawn { program, source })?;
        Ok(Self { pid, child, exited })
    }

    /// How it ended.
    pub(super) async fn exited(&mut self) -> io::Result<Ended> {
        (&mut self.exited)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
    }

    /// End it by force, if it has not ended.
    pub(super) fn kill(&self) {
        if let Some(child) = self
            .child
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
        {
            let _ = child.kill();
        }
    }
}

/// Its first words; then the pipe closes, and it may die of that.
fn listen(stderr: Option<ChildStderr>) -> Vec<u8> {
    let mut complaint = Vec::new();
    if let Some(stderr) = stderr {
        let _ = stderr.take(COMPLAINT_MAX).read_to_end(&mut complaint);
    }
    complaint
}

/// Wait without reaping, then reap under the lock: until then its pid cannot become another's, so a
/// [`Process::kill`] under the same lock never hits a stranger.
fn wait(pid: u32, child: &Mutex<Option<Child>>) -> io::Result<ExitStatus> {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        while let Err(rustix::io::Errno::INTR) = waitid(
            WaitId::Pid(pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
        ) {}
    }
    let ended = child.lock().unwrap_or_else(PoisonError::into_inner).take();
    ended.ok_or(io::ErrorKind::NotFound)?.wait()
}
