use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use thiserror::Error;
use tokio::sync::oneshot;

use super::Program;

/// Why there is no plugin process.
#[derive(Debug, Error)]
pub(super) enum SpawnError {
    #[error("cannot make a socketpair")]
    Socketpair(#[source] io::Error),
    #[error("cannot start {program}")]
    Spawn { program: String, source: io::Error },
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

/// A running plugin process.
pub(super) struct Process {
    pub(super) pid: u32,
    child: Arc<Mutex<Option<Child>>>,
    exited: oneshot::Receiver<io::Result<ExitStatus>>,
}

impl Process {
    /// Start it with one end of a socketpair as its standard input, no environment, and our standard
    /// output and error; and the other end.
    ///
    /// A thread of its own starts it and waits for its end: the kernel sends the parent-death signal
    /// when the *thread* that started a process ends, and threads of a runtime may.
    pub(super) fn spawn(program: &Program) -> Result<(Self, UnixStream), SpawnError> {
        let (ours, theirs) = UnixStream::pair().map_err(SpawnError::Socketpair)?;
        let mut command = Command::new(&program.path);
        command
            .args(&program.args)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)));
        let (started, starting) = std::sync::mpsc::channel();
        let (ended, exited) = oneshot::channel();
        let child = Arc::new(Mutex::new(None));
        let for_thread = Arc::clone(&child);
        let thread = std::thread::Builder::new().name("plugin-process".to_owned());
        thread
            .spawn(move || {
                let spawned = command.spawn();
                // Closes our copy of its end: its death must be the end of the stream.
                drop(command);
                match spawned {
                    Err(error) => {
                        let _ = started.send(Err(error));
                    }
                    Ok(spawned) => {
                        let pid = spawned.id();
                        *for_thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(spawned);
                        let _ = started.send(Ok(pid));
                        let _ = ended.send(wait(pid, &for_thread));
                    }
                }
            })
            .map_err(SpawnError::Thread)?;
        // As short as a fork.
        let spawn_error = |source| SpawnError::Spawn {
            program: program.path.display().to_string(),
            source,
        };
        let pid = starting
            .recv()
            .map_err(|_| SpawnError::Thread(io::ErrorKind::Other.into()))?
            .map_err(spawn_error)?;
        Ok((Self { pid, child, exited }, ours))
    }

    /// How it ended.
    pub(super) async fn exited(&mut self) -> io::Result<ExitStatus> {
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
