use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::memory::Memory;
use super::state::{Saved, State};
use super::supervisor::chain;

/// Between two writes: what changes meanwhile goes together.
const GATHER: Duration = Duration::from_millis(200);

/// Writes down what shall outlive the agent, or does nothing where that cannot be.
pub(super) struct Recorder(Option<State>);

/// At work, in the background.
#[derive(Debug)]
pub(super) struct Recording {
    task: JoinHandle<()>,
    end: Option<oneshot::Sender<()>>,
}

impl Recorder {
    /// With what an earlier agent left. That there is none, and why, is said once.
    pub(super) fn open(dir: Option<&Path>) -> (Self, Saved) {
        let Some(dir) = dir else {
            return (Self(None), Saved::default());
        };
        match State::open(dir) {
            Ok((state, Ok(saved))) => {
                info!(dir = %dir.display(), "positions of sinks are kept");
                (Self(Some(state)), saved)
            }
            Ok((state, Err(error))) => {
                warn!("sinks begin anew: {}", chain(&error));
                (Self(Some(state)), Saved::default())
            }
            Err(error) => {
                warn!(
                    "positions of sinks do not outlive the agent: {}",
                    chain(&error)
                );
                (Self(None), Saved::default())
            }
        }
    }

    pub(super) fn record(self, memory: Arc<Memory>) -> Recording {
        let (end, ended) = oneshot::channel();
        Recording {
            task: tokio::spawn(self.run(memory, ended)),
            end: Some(end),
        }
    }

    async fn run(self, memory: Arc<Memory>, mut ended: oneshot::Receiver<()>) {
        let Some(mut state) = self.0 else {
            return;
        };
        let mut well = true;
        loop {
            let last = tokio::select! {
                () = memory.changed.notified() => false,
                _ = &mut ended => true,
            };
            let saved = memory.saved();
            let write = tokio::task::spawn_blocking(move || {
                let written = state.write(&saved);
                (state, written)
            });
            let Ok((back, written)) = write.await else {
                return;
            };
            state = back;
            if let Err(error) = &written
                && well
            {
                warn!("positions of sinks are not kept: {}", chain(error));
            }
            well = written.is_ok();
            if last {
                return;
            }
            tokio::time::sleep(GATHER).await;
        }
    }
}

impl Recording {
    /// Everything that is known by now is written.
    pub(super) async fn end(mut self) {
        if let Some(end) = self.end.take() {
            let _ = end.send(());
        }
        let _ = (&mut self.task).await;
    }
}
