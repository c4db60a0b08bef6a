//! What outlives the plugin process: what is wanted, the newest windows, and of each sink its counters, its plugins'
//! states, how far it came, and, for `delta`, the window that it came to.
//!
//! An acknowledgement may be lost with the process that sent it: then the window is delivered twice.
//! None is ever taken for delivered that was not.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use owlk8s_model::{Snapshot, UnixNanos};
use owlk8s_pipeline::{Acknowledged, Mode};
use tokio::sync::Notify;

use crate::config::{FilterConfig, SinkConfig};
use crate::crash::CrashReport;
use crate::frames::{Configure, Resume, SinkReport, Wanted};
use crate::plugin::candidates;
use crate::status::{SinkState, SinkStatus};

/// Windows that wait for a plugin process that is away or behind. They are shared, and small next to
/// what the agent holds anyway; sinks count what falls out.
const RECENT: usize = 8;
/// Of a plugin's error text and states, from a process that is not trusted.
const TEXT_MAX: usize = 4096;
/// Crash reports of one sink, the oldest goes first; each is bounded where it is made, and once more
/// where it arrives.
const CRASHES: usize = 3;

/// What shall run.
#[derive(Debug)]
pub(super) struct Wants {
    pub(super) sinks: Vec<SinkConfig>,
    /// Where plugins are looked for by name.
    pub(super) dirs: Vec<PathBuf>,
    pub(super) secrets: BTreeMap<String, String>,
    /// Whether plugins' files may have changed as well.
    pub(super) look_again: bool,
}

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
    /// Of what is wanted: rises with every change.
    revision: u64,
    dirs: Vec<PathBuf>,
    secrets: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Sink {
    /// With the revision that asked for it.
    wanted: (u64, SinkConfig),
    /// What was found good last.
    running: Option<(u64, SinkConfig)>,
    /// Not wanted any more; it delivers what waits.
    leaves: bool,
    status: SinkStatus,
    acknowledged: Option<Acknowledged>,
    states: Vec<Vec<u8>>,
    /// Cumulative, of `acknowledged`; for `delta`.
    base: Option<Arc<Snapshot>>,
    /// Cumulative, of the window on its way: the next base.
    attempting: Option<Arc<Snapshot>>,
    /// The newest last.
    crashes: VecDeque<CrashReport>,
}

impl Memory {
    pub(super) fn new(wanted: Wants) -> Self {
        let memory = Self {
            inner: Mutex::default(),
            offered: Notify::new(),
        };
        memory.want(wanted);
        memory
    }

    /// From here on this is wanted. Sinks that are as they were are not touched, unless the plugins may
    /// be others now.
    pub(super) fn want(&self, wants: Wants) {
        let mut inner = self.inner();
        let revision = inner.revision + 1;
        let look_again = wants.look_again || inner.dirs != wants.dirs;
        let Inner { sinks, pid, .. } = &mut *inner;
        let names: Vec<String> = wants.sinks.iter().map(|sink| sink.name.clone()).collect();
        sinks.retain(|name, sink| {
            if !names.contains(name) {
                sink.leaves = true;
                sink.status.state = SinkState::Draining;
            }
            // With nobody to report that it is gone, it is.
            !sink.leaves || (pid.is_some() && sink.wanted.1.enabled)
        });
        for config in wants.sinks {
            match sinks.get_mut(&config.name) {
                Some(sink) => sink.want(config, revision, look_again),
                None => {
                    sinks.insert(config.name.clone(), Sink::new(config, revision));
                }
            }
        }
        inner.order = names;
        (inner.revision, inner.dirs, inner.secrets) = (revision, wants.dirs, wants.secrets);
        drop(inner);
        self.offered.notify_one();
    }

    /// As [`Self::want`], with what is wanted already: files may have changed.
    pub(super) fn look_again(&self) {
        let mut inner = self.inner();
        inner.revision += 1;
        let revision = inner.revision;
        for sink in inner.sinks.values_mut() {
            sink.wanted.0 = revision;
        }
        drop(inner);
        self.offered.notify_one();
    }

    pub(super) fn revision(&self) -> u64 {
        self.inner().revision
    }

    /// What a plugin process is to run, and of which revision that is.
    pub(super) fn configure(&self) -> (u64, Configure) {
        let inner = self.inner();
        let staying = inner.order.iter().filter_map(|name| inner.sinks.get(name));
        let wanted: Vec<Wanted> = staying.map(Sink::wanted).collect();
        let configure = Configure {
            sinks: serde_json::to_string(&wanted)
                .unwrap_or_else(|_| unreachable!("a sink's configuration has string keys only")),
            plugin_dirs: inner.dirs.clone(),
            secrets: inner.secrets.clone(),
            resume: inner
                .sinks
                .iter()
                .map(|(name, sink)| (name.clone(), sink.resume()))
                .collect(),
        };
        (inner.revision, configure)
    }

    /// Files that the plugins of all sinks are looked for in.
    pub(super) fn plugin_files(&self) -> BTreeSet<PathBuf> {
        let inner = self.inner();
        let configs = inner.sinks.values().map(|sink| &sink.wanted.1);
        let references = configs.filter(|config| config.enabled).flat_map(|config| {
            let filters = config.filters.iter().map(FilterConfig::plugin);
            filters.chain([config.plugin.as_str()])
        });
        references
            .flat_map(|reference| candidates(reference, &inner.dirs))
            .collect()
    }

    /// A sink that was not wanted any more has delivered what it could.
    pub(super) fn left(&self, name: &str) {
        self.inner()
            .sinks
            .retain(|known, sink| known != name || !sink.leaves);
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

    /// In the order of the configuration; those that leave come last.
    pub(super) fn status(&self) -> Vec<SinkStatus> {
        let inner = self.inner();
        let staying = inner.order.iter().filter_map(|name| inner.sinks.get(name));
        let leaving = inner.sinks.values().filter(|sink| sink.leaves);
        staying
            .chain(leaving)
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

    pub(super) fn runs(&self, pid: u32) {
        self.inner().pid = Some(pid);
    }

    /// The plugin process is gone, and why; sinks wait for the next.
    pub(super) fn gone(&self, reason: &str) {
        let mut inner = self.inner();
        inner.pid = None;
        inner.sinks.retain(|_, sink| !sink.leaves);
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
        if report.revision == sink.wanted.0 {
            sink.running = Some(sink.wanted.clone());
        }
        sink.status = report.status;
        sink.settle();
        cut(&mut sink.status.reason);
        cut(&mut sink.status.last_error);
        if let Some(refused) = &mut sink.status.refused {
            cut(&mut refused.reason);
        }
    }
}

impl Sink {
    fn new(config: SinkConfig, revision: u64) -> Self {
        Self {
            status: SinkStatus::starting(&config),
            wanted: (revision, config),
            running: None,
            leaves: false,
            acknowledged: None,
            states: Vec::new(),
            base: None,
            attempting: None,
            crashes: VecDeque::new(),
        }
    }

    fn want(&mut self, config: SinkConfig, revision: u64, look_again: bool) {
        let back = std::mem::take(&mut self.leaves) || config.enabled && !self.wanted.1.enabled;
        if back {
            self.status.state = SinkState::Starting;
            self.status.reason.clear();
        }
        if back || look_again || self.wanted.1 != config {
            self.wanted = (revision, config);
        }
        self.settle();
    }

    /// What a plugin process is not asked about: what runs, as configured, and that it shall not.
    fn settle(&mut self) {
        let runs = self.running.as_ref().unwrap_or(&self.wanted);
        self.status.plugin.clone_from(&runs.1.plugin);
        self.status.mode = runs.1.mode;
        if self.leaves {
            self.status.state = SinkState::Draining;
        } else if !self.wanted.1.enabled {
            self.status.state = SinkState::Disabled;
            self.status.reason.clear();
            self.status.listening.clear();
        }
    }

    fn wanted(&self) -> Wanted {
        let (revision, config) = self.wanted.clone();
        let other = |running: &&(u64, SinkConfig)| running.1 != config;
        let running = self.running.as_ref().filter(other).cloned();
        Wanted {
            revision,
            config,
            running,
        }
    }

    fn resume(&self) -> Resume {
        Resume {
            acknowledged: self.acknowledged,
            states: self.states.clone(),
            counters: self.status.counters,
            last_error: self.status.last_error.clone(),
            limits_exceeded: self.status.limits_exceeded.clone(),
            openings: self.status.breaker.openings,
            last_success_unix_ns: self.status.last_success_unix_ns,
            last_error_unix_ns: self.status.last_error_unix_ns,
            generation: self.status.generation,
        }
    }

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
