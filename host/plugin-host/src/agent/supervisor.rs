use std::sync::Arc;
use std::time::{Duration, Instant};

use owlk8s_pipeline::Backoff;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::Program;
use super::connection::Connection;
use super::loader::Loader;
use super::memory::Memory;
use super::process::Process;

/// Between two starts: the first is quick, for a process that ran well before.
const RESTART: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// A process that ran for so long was well.
const WELL_AFTER: Duration = Duration::from_secs(60);
/// For the exit of a process whose connection ended.
const EXIT_PATIENCE: Duration = Duration::from_secs(1);

/// Keeps one plugin process running until the drain.
pub(super) struct Supervisor {
    pub(super) memory: Arc<Memory>,
    pub(super) loader: Arc<Loader>,
    pub(super) program: Program,
    pub(super) drain: watch::Receiver<Option<Duration>>,
}

impl Supervisor {
    pub(super) async fn run(self) {
        let mut backoff = Backoff::new(RESTART.0, RESTART.1);
        loop {
            let began = Instant::now();
            let reason = self.one_life().await;
            if self.draining() {
                return;
            }
            if self.memory.is_to_be_sealed_anew() {
                self.memory
                    .gone("the plugin process is started anew for the new configuration");
                continue;
            }
            if began.elapsed() >= WELL_AFTER {
                backoff.reset();
            }
            let wait = backoff.next(fastrand::f64());
            self.memory.gone(&format!("{reason}; it is started again"));
            error!(reason, restart_in = ?wait, "plugin process ended");
            let mut drain = self.drain.clone();
            tokio::select! {
                () = tokio::time::sleep(wait) => self.memory.restarted(),
                _ = drain.wait_for(Option::is_some) => return,
            }
        }
    }

    fn draining(&self) -> bool {
        self.drain.borrow().is_some()
    }

    /// Why it ended.
    async fn one_life(&self) -> String {
        let (mut process, sockets) = match Process::of_plugins(&self.program) {
            Ok(started) => started,
            Err(error) => return chain(&error),
        };
        self.memory.runs(process.pid);
        info!(pid = process.pid, "plugin process started");
        let connection = Connection {
            memory: &self.memory,
            drain: self.drain.clone(),
        };
        let loads = Arc::clone(&self.loader).serve(sockets.control);
        let ended = tokio::select! {
            ended = connection.run(sockets.frames) => ended,
            // A process that closes this end is at its end, and its connection says how.
            Err(error) = loads => Err(format!("cannot hear what it asks for: {error}")),
        };
        match ended {
            Ok(()) => self.drained(&mut process).await,
            Err(reason) => end(&mut process, reason).await,
        }
    }

    async fn drained(&self, process: &mut Process) -> String {
        if tokio::time::timeout(EXIT_PATIENCE, process.exited())
            .await
            .is_err()
        {
            warn!(
                pid = process.pid,
                "plugin process did not end after its drain: killed"
            );
            process.kill();
            let _ = process.exited().await;
        }
        "drained".to_owned()
    }
}

/// How the process ended whose connection did; one that lives on without it is killed.
async fn end(process: &mut Process, reason: String) -> String {
    match tokio::time::timeout(EXIT_PATIENCE, process.exited()).await {
        Ok(Ok(ended)) => format!("plugin process ended ({})", ended.status),
        Ok(Err(error)) => format!("plugin process is lost ({error})"),
        Err(_) => {
            process.kill();
            let _ = process.exited().await;
            format!("plugin process was killed: {reason}")
        }
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
