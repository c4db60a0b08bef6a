//! Where sinks report: each has a [`Desk`]; one writer sends what changed to the agent. A report holds
//! the whole of a sink's news, so a slow agent gets fewer reports, not stale ones; log lines over the
//! queue are dropped and counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use owlk8s_pipeline::Acknowledged;
use tokio::io::AsyncWrite;
use tokio::sync::{Notify, mpsc, watch};

use crate::config::Limit;
use crate::crash::CrashReport;
use crate::endpoints::Mark;
use crate::frames::{Attempting, FrameError, Level, SinkReport, TO_AGENT_MAX, ToAgent, write};
use crate::status::{PluginStatus, Refused, SinkCounters, SinkState, SinkStatus};

/// Log lines that wait for the agent.
const LOG_QUEUE: usize = 1024;
/// A report at least as often, so that the agent knows a living process from a stuck one.
const BEAT: Duration = Duration::from_secs(1);
/// Between two reports: changes within it go together.
const GATHER: Duration = Duration::from_millis(20);

/// Of one process.
#[derive(Clone)]
pub(crate) struct Desks {
    shared: Arc<Shared>,
    logs: mpsc::Sender<ToAgent>,
}

struct Shared {
    news: Mutex<News>,
    notify: Notify,
    /// The edition that the agent has, or that waits in its socket.
    sent: watch::Sender<u64>,
}

#[derive(Default)]
struct News {
    sinks: BTreeMap<String, SinkReport>,
    changed: BTreeSet<String>,
    /// Rises with every change.
    edition: u64,
    /// Somebody waits until it is sent.
    urgent: bool,
    gone: BTreeSet<String>,
}

/// What the writer reads.
pub(crate) struct Outbox {
    shared: Arc<Shared>,
    logs: mpsc::Receiver<ToAgent>,
}

/// Of one sink.
#[derive(Clone)]
pub(crate) struct Desk {
    desks: Desks,
    sink: Arc<str>,
    /// By earlier plugin processes.
    dropped_before: u64,
}

/// All desks of a process, and what they have to say.
pub(crate) fn desks() -> (Desks, Outbox) {
    let shared = Arc::new(Shared {
        news: Mutex::default(),
        notify: Notify::new(),
        sent: watch::Sender::new(0),
    });
    let (sender, logs) = mpsc::channel(LOG_QUEUE);
    (
        Desks {
            shared: Arc::clone(&shared),
            logs: sender,
        },
        Outbox { shared, logs },
    )
}

impl Desks {
    /// A sink's, beginning with `report`.
    pub(crate) fn open(&self, report: SinkReport) -> Desk {
        let sink: Arc<str> = report.status.name.as_str().into();
        let dropped_before = report.status.counters.windows_dropped;
        let mut news = self.shared.news();
        news.gone.remove(&*sink);
        news.changed.insert(sink.to_string());
        news.sinks.insert(sink.to_string(), report);
        drop(news);
        self.shared.notify.notify_one();
        Desk {
            desks: self.clone(),
            sink,
            dropped_before,
        }
    }
}

impl Shared {
    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    fn update(&self, change: impl FnOnce(&mut SinkReport)) {
        let mut news = self.desks.shared.news();
        news.edition += 1;
        if let Some(report) = news.sinks.get_mut(&*self.sink) {
            change(report);
        }
        news.changed.insert(self.sink.to_string());
        drop(news);
        self.desks.shared.notify.notify_one();
    }

    pub(crate) fn status(&self, change: impl FnOnce(&mut SinkStatus)) {
        self.update(|report| change(&mut report.status));
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut SinkCounters)) {
        self.update(|report| change(&mut report.status.counters));
    }

    /// Its sink's name.
    pub(crate) fn sink(&self) -> &str {
        &self.sink
    }

    /// Limits that a call crossed, and how often.
    pub(crate) fn crossed(&self, crossed: &[(Limit, u64)]) {
        self.status(|status| {
            for (limit, times) in crossed {
                *status.limits_exceeded.entry(*limit).or_default() += times;
            }
        });
    }

    /// A plugin crashed in a new way. A report that finds no room is left out: the fault is counted anyway.
    pub(crate) fn crashed(&self, report: &CrashReport) {
        if let Ok(report) = serde_json::to_string(report) {
            let _ = self.desks.logs.try_send(ToAgent::Crash { report });
        }
    }

    /// A plugin crashed as it did before.
    pub(crate) fn crashed_again(&self, plugin: &str) {
        let again = ToAgent::CrashAgain {
            sink: self.sink.to_string(),
            plugin: plugin.to_owned(),
        };
        let _ = self.desks.logs.try_send(again);
    }

    pub(crate) fn states(&self, states: Vec<Vec<u8>>) {
        self.update(|report| report.states = states);
    }

    /// A window is about to be delivered, with where its files end. Comes back when the agent will know
    /// of it whatever becomes of this process: the same window is delivered again by the next one.
    pub(crate) async fn attempting(&self, sequence: u64, marks: BTreeMap<String, Mark>) {
        self.update(|report| {
            report.attempting = Some(Attempting {
                sequence,
                states: report.states.clone(),
                marks,
            });
        });
        let shared = &self.desks.shared;
        let told = {
            let mut news = shared.news();
            news.urgent = true;
            news.edition
        };
        shared.notify.notify_one();
        let mut sent = shared.sent.subscribe();
        // An error: the outbox is closed, and this process ends.
        let _ = sent.wait_for(|sent| *sent >= told).await;
    }

    /// The window on its way is given up.
    pub(crate) fn abandoned(&self) {
        self.update(|report| report.attempting = None);
    }

    /// As reported last.
    pub(crate) fn last_states(&self) -> Vec<Vec<u8>> {
        let news = self.desks.shared.news();
        let report = news.sinks.get(&*self.sink);
        report
            .map(|report| report.states.clone())
            .unwrap_or_default()
    }

    /// Another generation runs, of this revision and with these plugins.
    pub(crate) fn runs(&self, revision: u64, plugins: Vec<PluginStatus>) {
        let mut generation = 0;
        self.update(|report| {
            report.revision = revision;
            report.status.generation += 1;
            report.status.chain = plugins;
            report.status.refused = None;
            generation = report.status.generation;
        });
        if generation > 1 {
            self.log(Level::Info, format!("generation {generation} runs"));
        }
    }

    /// What runs is what `revision` wants: nothing had changed.
    pub(crate) fn unchanged(&self, revision: u64) {
        self.update(|report| {
            report.revision = revision;
            report.status.refused = None;
        });
    }

    /// A generation was refused, and the one before it runs on; logged when the reason is new.
    pub(crate) fn refused(&self, reason: &str) {
        let refused = Refused {
            reason: reason.to_owned(),
            at_unix_ns: unix_now(),
        };
        let (mut new, mut generation) = (false, 0);
        self.status(|status| {
            generation = status.generation;
            new = status
                .refused
                .as_ref()
                .is_none_or(|old| old.reason != reason);
            status.refused = Some(refused);
            status.counters.generations_refused += 1;
        });
        if new {
            let line = format!(
                "the new generation is refused, and generation {generation} runs on: {reason}"
            );
            self.log(Level::Error, line);
        }
    }

    /// The sink is no more: its last report goes out, and then that.
    pub(crate) fn gone(&self) {
        let mut news = self.desks.shared.news();
        news.gone.insert(self.sink.to_string());
        drop(news);
        self.desks.shared.notify.notify_one();
    }

    /// A window has arrived, with the counts of so many others; `gap`: so long before it nothing was counted.
    pub(crate) fn acknowledged(
        &self,
        acknowledged: Acknowledged,
        merged: u64,
        gap: Option<Duration>,
    ) {
        self.update(|report| {
            report.acknowledged = Some(acknowledged);
            report.attempting = None;
            report.status.last_sequence = acknowledged.sequence;
            report.status.counters.windows_delivered += 1;
            report.status.counters.gaps += u64::from(gap.is_some());
            report.status.counters.windows_merged += merged;
            report.status.last_success_unix_ns = Some(unix_now());
        });
        if let Some(gap) = gap {
            let gap = Duration::from_millis(u64::try_from(gap.as_millis()).unwrap_or(u64::MAX));
            let text = format!(
                "nothing was counted for {gap:?} before window {}: the agent was not running, and what it had \
                 counted and not delivered ended with it",
                acknowledged.sequence
            );
            self.log(Level::Warn, text);
        }
    }

    /// How many windows the mailbox dropped in this process.
    pub(crate) fn dropped(&self, dropped: u64) {
        let total = self.dropped_before + dropped;
        self.count(|counters| counters.windows_dropped = total);
    }

    /// A new state; logged when it differs from the last one in more than its reason.
    pub(crate) fn state(&self, state: SinkState, reason: &str) {
        let mut before = SinkState::Starting;
        self.status(|status| {
            before = std::mem::replace(&mut status.state, state);
            reason.clone_into(&mut status.reason);
        });
        if before == state {
            return;
        }
        match state {
            SinkState::Active => self.log(Level::Info, "sink is active"),
            SinkState::Backoff => self.log(Level::Warn, format!("sink waits: {reason}")),
            SinkState::Quarantined => {
                self.log(Level::Error, format!("sink is quarantined: {reason}"))
            }
            SinkState::Failed => self.log(Level::Error, format!("sink cannot run: {reason}")),
            SinkState::Draining => self.log(Level::Info, format!("sink ends: {reason}")),
            SinkState::Starting | SinkState::Disabled => {}
        }
    }

    /// A fault of plugin or endpoint; logged when its text differs from the last one's.
    pub(crate) fn fault(&self, error: &str, count: impl FnOnce(&mut SinkCounters)) {
        let mut new = false;
        self.status(|status| {
            new = status.last_error != error;
            error.clone_into(&mut status.last_error);
            status.last_error_unix_ns = Some(unix_now());
            count(&mut status.counters);
        });
        if new {
            self.log(Level::Warn, error);
        }
    }

    pub(crate) fn log(&self, level: Level, message: impl Into<String>) {
        let line = ToAgent::Log {
            sink: self.sink.to_string(),
            level,
            message: message.into(),
        };
        if self.desks.logs.try_send(line).is_err() {
            self.count(|counters| counters.log_lines_dropped += 1);
        }
    }
}

impl Outbox {
    /// The log lines that wait, for who reads them in this process.
    pub(crate) fn logged(&mut self) -> Vec<(Level, String)> {
        let mut lines = Vec::new();
        while let Ok(frame) = self.logs.try_recv() {
            if let ToAgent::Log { level, message, .. } = frame {
                lines.push((level, message));
            }
        }
        lines
    }

    /// Send news until `closing` turns true; then all that waits, and `Drained`. Not cancel safe: a frame
    /// that is cut short would make nonsense of the next.
    pub(crate) async fn send(
        &mut self,
        to: &mut (impl AsyncWrite + Unpin),
        mut closing: watch::Receiver<bool>,
    ) -> Result<(), FrameError> {
        loop {
            let beat = tokio::time::sleep(BEAT);
            tokio::select! {
                () = self.shared.notify.notified() => self.gather().await,
                line = self.logs.recv() => {
                    let Some(line) = line else { continue };
                    match write(to, &line, TO_AGENT_MAX).await {
                        // A crash report is bounded far below it.
                        Ok(()) | Err(FrameError::TooLarge(..)) => {}
                        Err(error) => return Err(error),
                    }
                    continue;
                }
                () = beat => {}
                // An error: nobody can close it any more.
                _ = closing.wait_for(|closing| *closing) => return self.close(to).await,
            }
            self.report(to).await?;
        }
    }

    /// Wait for what comes right behind, unless somebody waits already.
    async fn gather(&self) {
        let more = tokio::time::sleep(GATHER);
        tokio::pin!(more);
        loop {
            if self.shared.news().urgent {
                return;
            }
            tokio::select! {
                () = &mut more => return,
                () = self.shared.notify.notified() => {}
            }
        }
    }

    /// Send all that waits, and `Drained`.
    async fn close(&mut self, to: &mut (impl AsyncWrite + Unpin)) -> Result<(), FrameError> {
        while let Ok(line) = self.logs.try_recv() {
            write(to, &line, TO_AGENT_MAX).await?;
        }
        self.report(to).await?;
        write(to, &ToAgent::Drained, TO_AGENT_MAX).await
    }

    /// One frame a sink: each stays far below the limit. An empty one is the beat.
    async fn report(&mut self, to: &mut (impl AsyncWrite + Unpin)) -> Result<(), FrameError> {
        let (changed, gone, edition): (Vec<SinkReport>, _, u64) = {
            let mut news = self.shared.news();
            let changed = std::mem::take(&mut news.changed);
            let gone = std::mem::take(&mut news.gone);
            news.urgent = false;
            let reports = changed
                .iter()
                .filter_map(|sink| news.sinks.get(sink).cloned())
                .collect();
            news.sinks.retain(|sink, _| !gone.contains(sink));
            (reports, gone, news.edition)
        };
        if changed.is_empty() && gone.is_empty() {
            write(to, &ToAgent::Report(Vec::new()), TO_AGENT_MAX).await?;
        }
        for report in changed {
            match write(to, &ToAgent::Report(vec![report]), TO_AGENT_MAX).await {
                // States over the limit stay here: after a restart the plugin begins with older ones.
                Err(FrameError::TooLarge(..)) => {}
                other => other?,
            }
        }
        for sink in gone {
            write(to, &ToAgent::Gone(sink), TO_AGENT_MAX).await?;
        }
        self.shared.sent.send_replace(edition);
        Ok(())
    }
}

fn unix_now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
