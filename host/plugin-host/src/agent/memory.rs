//! What outlives the plugin process: the newest windows, and of each sink its counters, its plugins'
//! states, how far it came, and, for `delta`, the window that it came to. What of it outlives the agent
//! is written down by [`super::state`].
//!
//! An acknowledgement may be lost with the process that sent it: then the same window is delivered
//! again, byte for byte, and a file that has it already gets it no second time. None is ever taken for
//! delivered that was not.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use owlk8s_model::{Snapshot, TargetSnapshot, UnixNanos, Window};
use owlk8s_pipeline::{Acknowledged, DEPARTED_MAX, Mode, departures};
use tokio::sync::Notify;

use super::state::{Saved, SavedSink};
use crate::config::SinkConfig;
use crate::crash::CrashReport;
use crate::frames::{Attempting, Base, Resume, SinkReport};
use crate::status::{SandboxStatus, SinkState, SinkStatus};

/// Windows that wait for a plugin process that is away or behind. They are shared, and small next to
/// what the agent holds anyway; sinks count what falls out.
const RECENT: usize = 8;
/// Of a plugin's error text and states, from a process that is not trusted.
const TEXT_MAX: usize = 4096;
/// Crash reports of one sink, the oldest goes first; each is bounded where it is made, and once more
/// where it arrives.
const CRASHES: usize = 3;

#[derive(Debug)]
pub(super) struct Memory {
    inner: Mutex<Inner>,
    /// A window was offered.
    pub(super) offered: Notify,
    /// Something came that is to be written down.
    pub(super) changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    first: Option<Window>,
    recent: VecDeque<Arc<Snapshot>>,
    departed: Departed,
    order: Vec<String>,
    sinks: BTreeMap<String, Sink>,
    restarts: u64,
    pid: Option<u32>,
    sandbox: Option<SandboxStatus>,
}

/// Targets whose last window fell out of the recent ones and is not acknowledged by every `delta` sink;
/// as many as one sink keeps.
#[derive(Debug, Default)]
struct Departed {
    targets: VecDeque<(u64, TargetSnapshot)>,
    /// How many more, since a process was told.
    forgotten: u64,
}

#[derive(Debug)]
struct Sink {
    status: SinkStatus,
    /// Its filters, then its plugin, as configured: whose states these are.
    plugins: Vec<String>,
    acknowledged: Option<Acknowledged>,
    /// Where the windows ended that it got from an earlier agent, until it has one of this.
    earlier_end: Option<UnixNanos>,
    states: Vec<Vec<u8>>,
    /// Cumulative, of `acknowledged`; for `delta`.
    base: Option<Arc<Snapshot>>,
    /// The window on its way, and the same cumulative: the next base.
    attempting: Option<(Attempting, Arc<Snapshot>)>,
    /// The newest last.
    crashes: VecDeque<CrashReport>,
}

/// What a new plugin process is told before it gets windows as they come.
#[derive(Debug, Default)]
pub(super) struct Start {
    pub(super) bases: Vec<Base>,
    /// In order: those that sinks had on their way, then the recent ones.
    pub(super) windows: Vec<Arc<Snapshot>>,
}

impl Memory {
    /// `saved` is what an earlier agent wrote down of its sinks.
    pub(super) fn new(sinks: &[SinkConfig], saved: &Saved) -> Self {
        let inner = Inner {
            order: sinks.iter().map(|sink| sink.name.clone()).collect(),
            sinks: sinks
                .iter()
                .map(|sink| (sink.name.clone(), Sink::new(sink, saved.of(sink))))
                .collect(),
            ..Inner::default()
        };
        Self {
            inner: Mutex::new(inner),
            offered: Notify::new(),
            changed: Notify::new(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn offer(&self, snapshot: Arc<Snapshot>) {
        let mut inner = self.inner();
        inner.first.get_or_insert(snapshot.window);
        inner.recent.push_back(snapshot);
        while inner.recent.len() > RECENT {
            inner.forget_oldest();
        }
        drop(inner);
        self.offered.notify_one();
    }

    /// The oldest window newer than `sequence` that is still here.
    pub(super) fn after(&self, sequence: Option<u64>) -> Option<Arc<Snapshot>> {
        let inner = self.inner();
        inner
            .recent
            .iter()
            .find(|snapshot| sequence.is_none_or(|last| snapshot.window.sequence > last))
            .cloned()
    }

    pub(super) fn status(&self) -> Vec<SinkStatus> {
        let inner = self.inner();
        inner
            .order
            .iter()
            .filter_map(|name| inner.sinks.get(name))
            .map(|sink| sink.status.clone())
            .collect()
    }

    /// Of one sink, the newest last.
    pub(super) fn crashes(&self, sink: &str) -> Vec<CrashReport> {
        let inner = self.inner();
        let sink = inner.sinks.get(sink);
        sink.map_or_else(Vec::new, |sink| sink.crashes.iter().cloned().collect())
    }

    /// A report from a process that is not trusted; of a sink that is not there it is dropped.
    pub(super) fn crashed(&self, report: CrashReport) {
        let mut inner = self.inner();
        if let Some(sink) = inner.sinks.get_mut(&report.sink) {
            sink.crashes.push_back(report);
            while sink.crashes.len() > CRASHES {
                sink.crashes.pop_front();
            }
        }
    }

    pub(super) fn crashed_again(&self, sink: &str, plugin: &str, at: UnixNanos) {
        let mut inner = self.inner();
        let crashes = inner.sinks.get_mut(sink).map(|sink| &mut sink.crashes);
        let mut newest_first = crashes.into_iter().flat_map(|all| all.iter_mut().rev());
        if let Some(report) = newest_first.find(|report| report.plugin == plugin) {
            report.times += 1;
            report.last_at = at;
        }
    }

    pub(super) fn restarts(&self) -> u64 {
        self.inner().restarts
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.inner().pid
    }

    pub(super) fn sandbox(&self) -> Option<SandboxStatus> {
        self.inner().sandbox.clone()
    }

    pub(super) fn sealed(&self, status: SandboxStatus) {
        self.inner().sandbox = Some(status);
    }

    pub(super) fn runs(&self, pid: u32) {
        self.inner().pid = Some(pid);
    }

    /// The plugin process is gone, and why; sinks wait for the next.
    pub(super) fn gone(&self, reason: &str) {
        let mut inner = self.inner();
        inner.pid = None;
        inner.sandbox = None;
        for sink in inner
            .sinks
            .values_mut()
            .filter(|sink| sink.status.state != SinkState::Disabled)
        {
            sink.status.state = SinkState::Starting;
            reason.clone_into(&mut sink.status.reason);
            sink.status.listening.clear();
        }
    }

    pub(super) fn restarted(&self) {
        self.inner().restarts += 1;
    }

    /// The first window of this agent's life.
    pub(super) fn first(&self) -> Option<Window> {
        self.inner().first
    }

    /// What a new plugin process goes on from.
    pub(super) fn resume(&self) -> BTreeMap<String, Resume> {
        let inner = self.inner();
        let sinks = inner.sinks.iter();
        sinks
            .map(|(name, sink)| (name.clone(), sink.resume()))
            .collect()
    }

    /// All of one moment, so that nobody departs between a base and the first window.
    pub(super) fn start(&self) -> Start {
        let mut inner = self.inner();
        let forgotten = std::mem::take(&mut inner.departed.forgotten);
        let until = { inner.recent.front() }.map_or(0, |oldest| oldest.window.sequence);
        let delta = inner.sinks.iter().filter(|(_, sink)| sink.is_delta());
        let base = |(name, sink): (&String, &Sink)| Base {
            sink: name.clone(),
            acknowledged: sink.base.clone(),
            departed: inner.departed.from(sink.from()),
            until,
            forgotten,
        };
        let bases = delta.map(base).collect();
        let on_their_way: BTreeMap<u64, &Arc<Snapshot>> = { inner.sinks.values() }
            .filter_map(|sink| {
                Some((
                    sink.attempting.as_ref()?.0.sequence,
                    &sink.attempting.as_ref()?.1,
                ))
            })
            .filter(|(sequence, _)| *sequence < until)
            .collect();
        let windows = on_their_way.into_values().chain(&inner.recent);
        Start {
            bases,
            windows: windows.cloned().collect(),
        }
    }

    /// News of a sink. What it says of itself as configured is not taken: the plugin process is not
    /// trusted with it.
    pub(super) fn report(&self, report: SinkReport) {
        let mut inner = self.inner();
        let Inner { recent, sinks, .. } = &mut *inner;
        let Some(sink) = sinks.get_mut(&report.status.name) else {
            return;
        };
        let at = |sequence: u64| {
            recent
                .iter()
                .find(|snapshot| snapshot.window.sequence == sequence)
                .cloned()
        };
        sink.follow(&report, at);
        sink.states = report.states;
        let configured = (sink.status.plugin.clone(), sink.status.mode);
        sink.status = report.status;
        (sink.status.plugin, sink.status.mode) = configured;
        cut(&mut sink.status.reason);
        cut(&mut sink.status.last_error);
        cut(&mut sink.status.last_denial);
        drop(inner);
        self.changed.notify_one();
    }

    /// What shall outlive the agent.
    pub(super) fn saved(&self) -> Saved {
        let inner = self.inner();
        let sinks = inner.sinks.iter();
        Saved::new(
            sinks
                .map(|(name, sink)| (name.clone(), sink.saved()))
                .collect(),
        )
    }
}

impl Inner {
    /// The oldest window goes; who was in it last is kept for the sinks that have not got that far.
    fn forget_oldest(&mut self) {
        let Some(oldest) = self.recent.pop_front() else {
            return;
        };
        let behind = { self.sinks.values() }
            .filter(|sink| sink.is_delta())
            .map(Sink::from)
            .min();
        match (behind, self.recent.front()) {
            (Some(behind), Some(next)) => self.departed.follow(&oldest, next, behind),
            _ => self.departed.targets.clear(),
        }
    }
}

impl Departed {
    /// Those that a sink does not have which has acknowledged `from`.
    fn from(&self, from: u64) -> Vec<(u64, TargetSnapshot)> {
        let missing = self
            .targets
            .iter()
            .filter(|(sequence, _)| *sequence >= from);
        missing.cloned().collect()
    }

    fn follow(&mut self, before: &Snapshot, now: &Snapshot, behind: u64) {
        self.targets.extend(departures(before, now));
        self.targets.retain(|(sequence, _)| *sequence >= behind);
        while self.targets.len() > DEPARTED_MAX {
            self.targets.pop_front();
            self.forgotten += 1;
        }
    }
}

impl Sink {
    fn new(config: &SinkConfig, saved: Option<&SavedSink>) -> Self {
        let mut status = SinkStatus::starting(config);
        if let Some(saved) = saved {
            status.counters = saved.counters;
            status.last_error.clone_from(&saved.last_error);
        }
        Self {
            status,
            plugins: plugins(config),
            acknowledged: None,
            earlier_end: saved.and_then(|saved| saved.end),
            states: saved.map(|saved| saved.states.clone()).unwrap_or_default(),
            base: None,
            attempting: None,
            crashes: VecDeque::new(),
        }
    }

    /// Whether it takes differences; one that is switched off takes nothing, and would only hold on to
    /// what departed.
    fn is_delta(&self) -> bool {
        self.status.mode == Mode::Delta && self.status.state != SinkState::Disabled
    }

    /// The last window that it has.
    fn from(&self) -> u64 {
        self.acknowledged
            .map_or(0, |acknowledged| acknowledged.sequence)
    }

    fn resume(&self) -> Resume {
        let attempting = self.attempting.as_ref().map(|(attempting, _)| attempting);
        Resume {
            acknowledged: self.acknowledged,
            // What its plugins kept of a call whose window did not arrive is not kept.
            states: attempting
                .map_or(&self.states, |on_its_way| &on_its_way.states)
                .clone(),
            attempting: attempting.cloned(),
            earlier_end: self.earlier_end,
            counters: self.status.counters,
            last_error: self.status.last_error.clone(),
            limits_exceeded: self.status.limits_exceeded.clone(),
            openings: self.status.breaker.openings,
        }
    }

    fn saved(&self) -> SavedSink {
        let attempting = self.attempting.as_ref().map(|(attempting, _)| attempting);
        SavedSink {
            plugins: self.plugins.clone(),
            mode: self.status.mode,
            end: { self.acknowledged }
                .map(|acknowledged| acknowledged.end)
                .or(self.earlier_end),
            states: attempting
                .map_or(&self.states, |on_its_way| &on_its_way.states)
                .clone(),
            counters: self.status.counters,
            last_error: self.status.last_error.clone(),
        }
    }

    /// In `delta` the acknowledgement moves together with its window, or not at all: one without the
    /// other would count twice or lose.
    fn follow(&mut self, report: &SinkReport, at: impl Fn(u64) -> Option<Arc<Snapshot>>) {
        let held = self.attempting.take().map(|(_, snapshot)| snapshot);
        let find = |sequence: u64| {
            let held = held
                .as_ref()
                .filter(|held| held.window.sequence == sequence);
            held.cloned().or_else(|| at(sequence))
        };
        if let Some(acknowledged) = report
            .acknowledged
            .filter(|new| Some(*new) != self.acknowledged)
        {
            let base = find(acknowledged.sequence);
            if base.is_some() || self.status.mode != Mode::Delta {
                self.acknowledged = Some(acknowledged);
                self.earlier_end = None;
                self.base = base.filter(|_| self.status.mode == Mode::Delta);
            }
        }
        self.attempting = { report.attempting.clone() }
            .and_then(|on_its_way| Some((on_its_way.clone(), find(on_its_way.sequence)?)));
    }
}

/// Its filters, then its plugin, as configured.
pub(super) fn plugins(config: &SinkConfig) -> Vec<String> {
    let filters = config.filters.iter().map(|filter| filter.plugin());
    filters
        .chain([config.plugin.as_str()])
        .map(str::to_owned)
        .collect()
}

fn cut(text: &mut String) {
    text.truncate(text.floor_char_boundary(TEXT_MAX));
}
