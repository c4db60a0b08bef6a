//! What outlives the plugin process: the newest windows, and of each sink its counters, its plugins'
//! states, how far it came, and, for `delta`, the window that it came to.
//!
//! An acknowledgement may be lost with the process that sent it: then the window is delivered twice.
//! None is ever taken for delivered that was not.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use owlk8s_model::Snapshot;
use owlk8s_pipeline::{Acknowledged, Mode};
use tokio::sync::Notify;

use crate::config::SinkConfig;
use crate::frames::{Resume, SinkReport};
use crate::status::{SandboxStatus, SinkState, SinkStatus};

/// Windows that wait for a plugin process that is away or behind. They are shared, and small next to
/// what the agent holds anyway; sinks count what falls out.
const RECENT: usize = 8;
/// Of a plugin's error text and states, from a process that is not trusted.
const TEXT_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct Memory {
    inner: Mutex<Inner>,
    /// A window was offered.
    pub(super) offered: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    recent: VecDeque<Arc<Snapshot>>,
    order: Vec<String>,
    sinks: BTreeMap<String, Sink>,
    restarts: u64,
    pid: Option<u32>,
    sandbox: Option<SandboxStatus>,
}

#[derive(Debug)]
struct Sink {
    status: SinkStatus,
    acknowledged: Option<Acknowledged>,
    states: Vec<Vec<u8>>,
    /// Cumulative, of `acknowledged`; for `delta`.
    base: Option<Arc<Snapshot>>,
    /// Cumulative, of the window on its way: the next base.
    attempting: Option<Arc<Snapshot>>,
}

impl Memory {
    pub(super) fn new(sinks: &[SinkConfig]) -> Self {
        let new = |config: &SinkConfig| Sink {
            status: SinkStatus::starting(config),
            acknowledged: None,
            states: Vec::new(),
            base: None,
            attempting: None,
        };
        let inner = Inner {
            order: sinks.iter().map(|sink| sink.name.clone()).collect(),
            sinks: sinks
                .iter()
                .map(|sink| (sink.name.clone(), new(sink)))
                .collect(),
            ..Inner::default()
        };
        Self {
            inner: Mutex::new(inner),
            offered: Notify::new(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn offer(&self, snapshot: Arc<Snapshot>) {
        let mut inner = self.inner();
        inner.recent.push_back(snapshot);
        while inner.recent.len() > RECENT {
            inner.recent.pop_front();
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
            sink.attempting = None;
        }
    }

    pub(super) fn restarted(&self) {
        self.inner().restarts += 1;
    }

    /// What a new plugin process goes on from.
    pub(super) fn resume(&self) -> BTreeMap<String, Resume> {
        let inner = self.inner();
        let of = |sink: &Sink| Resume {
            acknowledged: sink.acknowledged,
            states: sink.states.clone(),
            counters: sink.status.counters,
            last_error: sink.status.last_error.clone(),
        };
        inner
            .sinks
            .iter()
            .map(|(name, sink)| (name.clone(), of(sink)))
            .collect()
    }

    /// The windows that `delta` sinks acknowledged last.
    pub(super) fn bases(&self) -> Vec<(String, Arc<Snapshot>)> {
        let inner = self.inner();
        let base =
            |(name, sink): (&String, &Sink)| Some((name.clone(), Arc::clone(sink.base.as_ref()?)));
        inner.sinks.iter().filter_map(base).collect()
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
        match sink.status.mode {
            Mode::Delta => sink.follow_base(&report, at),
            Mode::Latest | Mode::EveryWindow => sink.acknowledged = report.acknowledged,
        }
        sink.states = report.states;
        let configured = (sink.status.plugin.clone(), sink.status.mode);
        sink.status = report.status;
        (sink.status.plugin, sink.status.mode) = configured;
        cut(&mut sink.status.reason);
        cut(&mut sink.status.last_error);
    }
}

impl Sink {
    /// The acknowledgement moves together with its window, or not at all: one without the other would
    /// count twice or lose.
    fn follow_base(&mut self, report: &SinkReport, at: impl Fn(u64) -> Option<Arc<Snapshot>>) {
        let held = self.attempting.take();
        let find = |sequence: u64| {
            let held = held
                .as_ref()
                .filter(|held| held.window.sequence == sequence);
            held.cloned().or_else(|| at(sequence))
        };
        if let Some(acknowledged) = report
            .acknowledged
            .filter(|new| Some(*new) != self.acknowledged)
            && let Some(base) = find(acknowledged.sequence)
        {
            self.base = Some(base);
            self.acknowledged = Some(acknowledged);
        }
        self.attempting = report.attempting.and_then(find);
    }
}

fn cut(text: &mut String) {
    text.truncate(text.floor_char_boundary(TEXT_MAX));
}
