use std::sync::Arc;
use std::time::{Duration, Instant};

use owlk8s_pipeline::Backoff;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::connection::Connection;
use super::loader::Loader;
use super::memory::Memory;
use super::process::Process;
use super::views::Views;
use super::{HostOptions, Program};
use crate::frames::Configure;

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
    pub(super) options: HostOptions,
    pub(super) drain: watch::Receiver<Option<Duration>>,
}

impl Supervisor {
    pub(super) async fn run(self) {
        let mut backoff = Backoff::new(RESTART.0, RESTART.1);
        loop {
            let began = Instant::now();
            let reason = self.one_life(&self.options.program).await;
            if self.draining() {
                return;
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
    async fn one_life(&self, program: &Program) -> String {
        let (mut process, sockets) = match Process::of_plugins(program) {
            Ok(started) => started,
            Err(error) => return chain(&error),
        };
        self.memory.runs(process.pid);
        info!(pid = process.pid, "plugin process started");
        let connection = Connection {
            memory: &self.memory,
            drain: self.drain.clone(),
            configure: self.configure(),
            views: Views::of(&self.options.sinks, &self.options.plugins.ceiling),
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

    fn configure(&self) -> Configure {
        Configure {
            sinks: serde_json::to_string(&self.options.sinks)
                .unwrap_or_else(|_| unreachable!("a sink's configuration has string keys only")),
            ceiling: serde_json::to_string(&self.options.plugins.ceiling)
                .unwrap_or_else(|_| unreachable!("a ceiling has string keys only")),
            user: self.options.plugins.user,
            secrets: self.options.secrets.clone(),
            resume: self.memory.resume(),
        }
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
