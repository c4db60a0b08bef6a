//! What outlives the plugin process: what is wanted, the newest windows, and of each sink its counters, its plugins'
//! states, how far it came, and, for `delta`, the window that it came to. What of it outlives the agent
//! is written down by [`super::state`].
//!
//! An acknowledgement may be lost with the process that sent it: then the same window is delivered
//! again, byte for byte, and a file that has it already gets it no second time. None is ever taken for
//! delivered that was not.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use owlk8s_model::{Snapshot, TargetSnapshot, UnixNanos, Window};
use owlk8s_pipeline::{Acknowledged, DEPARTED_MAX, Mode, departures};
use tokio::sync::Notify;

use super::state::{Saved, SavedSink};
use super::views::Views;
use crate::authority::{Ceiling, view};
use crate::config::{Endpoint, FilterConfig, Secret, SinkConfig};
use crate::crash::CrashReport;
use crate::frames::{Attempting, Base, Configure, Resume, SinkReport, Wanted};
use crate::plugin::candidates;
use crate::sandbox::Reach;
use crate::status::{SandboxStatus, SinkState, SinkStatus, Standing};

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
    pub(super) secrets: BTreeMap<String, Secret>,
    pub(super) ceiling: Ceiling,
    /// The user that the plugin process becomes, where it may.
    pub(super) user: u32,
    /// Whether plugins' files may have changed as well.
    pub(super) look_again: bool,
}

/// For one plugin process.
pub(super) struct Orders {
    /// 0: there is more to order.
    pub(super) revision: u64,
    /// What sinks that shall run as another generation may see of the last window, by name.
    pub(super) samples: Vec<(String, Arc<Snapshot>)>,
    pub(super) configure: Configure,
    pub(super) bases: Vec<Base>,
    /// In order: those that sinks had on their way, then the recent ones; only with the first orders.
    pub(super) windows: Vec<Arc<Snapshot>>,
}

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
    /// Of what is wanted: rises with every change.
    revision: u64,
    dirs: Vec<PathBuf>,
    secrets: BTreeMap<String, Secret>,
    ceiling: Ceiling,
    user: u32,
    /// Of an earlier agent, for sinks that come later.
    saved: Saved,
    /// What the plugin process was sealed for.
    reach: Option<Reach>,
    /// It drains, since that is not enough any more.
    seal_anew: bool,
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
    /// With the revision that asked for it.
    wanted: (u64, SinkConfig),
    /// What was found good last.
    running: Option<(u64, SinkConfig)>,
    /// Not wanted any more; it delivers what waits.
    leaves: bool,
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

impl Memory {
    /// `saved` is what an earlier agent wrote down of its sinks.
    pub(super) fn new(wants: Wants, saved: Saved) -> Self {
        let memory = Self {
            inner: Mutex::new(Inner {
                saved,
                ..Inner::default()
            }),
            offered: Notify::new(),
            changed: Notify::new(),
        };
        memory.want(wants);
        memory
    }

    /// From here on this is wanted. Sinks that are as they were are not touched, unless the plugins may
    /// be others now.
    pub(super) fn want(&self, wants: Wants) {
        let mut inner = self.inner();
        let revision = inner.revision + 1;
        let look_again =
            wants.look_again || inner.dirs != wants.dirs || inner.ceiling != wants.ceiling;
        let Inner {
            sinks, pid, saved, ..
        } = &mut *inner;
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
                    let sink = Sink::new(&config, revision, saved.of(&config));
                    sinks.insert(config.name.clone(), sink);
                }
            }
        }
        inner.order = names;
        (inner.revision, inner.dirs) = (revision, wants.dirs);
        (inner.secrets, inner.ceiling, inner.user) = (wants.secrets, wants.ceiling, wants.user);
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

    /// What a plugin process is to run, and goes on from: what is wanted, or `first` what ran. All of one
    /// moment, so that nobody departs between a base and the first window.
    pub(super) fn orders(&self, first: bool) -> Orders {
        let mut inner = self.inner();
        let wanted: Vec<Wanted> = inner.staying().map(|sink| sink.wanted(first)).collect();
        if first {
            let configs: Vec<SinkConfig> =
                wanted.iter().cloned().flat_map(Wanted::configs).collect();
            inner.reach = Some(Reach::of(&configs));
        }
        let settled = inner.staying().all(|sink| !first || sink.is_settled());
        let last = inner.recent.back().filter(|_| !first);
        let samples = inner
            .staying()
            .filter(|sink| !sink.is_current())
            .filter_map(|sink| {
                let view = view(&sink.wanted.1, &inner.ceiling);
                Some((sink.status.name.clone(), view.cut(last?)))
            })
            .collect();
        let (bases, windows) = inner.start(first);
        let resume = inner.sinks.iter();
        Orders {
            revision: if settled { inner.revision } else { 0 },
            samples,
            bases,
            windows,
            configure: Configure {
                sinks: serde_json::to_string(&wanted).unwrap_or_else(|_| {
                    unreachable!("a sink's configuration has string keys only")
                }),
                ceiling: serde_json::to_string(&inner.ceiling)
                    .unwrap_or_else(|_| unreachable!("a ceiling has string keys only")),
                user: inner.user,
                secrets: inner.secrets.clone(),
                first: inner.first,
                resume: resume
                    .map(|(name, sink)| (name.clone(), sink.resume()))
                    .collect(),
            },
        }
    }

    /// Whether the plugin process has to be started anew for what is wanted: it was sealed for less. Then
    /// it is to be drained.
    pub(super) fn seal_anew(&self) -> bool {
        let mut inner = self.inner();
        let wanted = Reach::of(&inner.configs());
        inner.seal_anew = inner
            .reach
            .as_ref()
            .is_some_and(|sealed| !sealed.covers(&wanted));
        inner.seal_anew
    }

    /// Whether the plugin process ended for that.
    pub(super) fn is_to_be_sealed_anew(&self) -> bool {
        std::mem::take(&mut self.inner().seal_anew)
    }

    /// What each sink may see, as what runs of it is configured.
    pub(super) fn views(&self) -> Views {
        self.inner().views()
    }

    /// All that runs or may run.
    pub(super) fn configs(&self) -> Vec<SinkConfig> {
        self.inner().configs()
    }

    pub(super) fn dirs(&self) -> Vec<PathBuf> {
        self.inner().dirs.clone()
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

    /// In the order of the configuration; those that leave come last.
    pub(super) fn status(&self) -> Vec<SinkStatus> {
        let inner = self.inner();
        inner.all().map(|sink| sink.status.clone()).collect()
    }

    /// How it stands with every sink, as JSON; none where no sink shows it.
    pub(super) fn standing(&self) -> Option<String> {
        let inner = self.inner();
        let shows =
            |endpoint: &Endpoint| matches!(endpoint, Endpoint::Serve(serve) if serve.plugins);
        let sinks = inner.sinks.values();
        let mut configs = sinks.flat_map(|sink| sink.running.iter().chain([&sink.wanted]));
        if !configs.any(|(_, config)| config.endpoints.values().any(shows)) {
            return None;
        }
        let all: Vec<Standing<'_>> = inner.all().map(|sink| (&sink.status).into()).collect();
        // Text and numbers: it cannot fail.
        Some(serde_json::to_string(&all).unwrap_or_default())
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
        inner.reach = None;
        inner.sinks.retain(|_, sink| !sink.leaves);
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
        if report.revision == sink.wanted.0 {
            sink.running = Some(sink.wanted.clone());
            sink.plugins = plugins(&sink.wanted.1);
        }
        sink.status = report.status;
        sink.settle();
        cut(&mut sink.status.reason);
        cut(&mut sink.status.last_error);
        cut(&mut sink.status.last_denial);
        if let Some(refused) = &mut sink.status.refused {
            cut(&mut refused.reason);
        }
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
    /// In the order of the configuration.
    fn staying(&self) -> impl Iterator<Item = &Sink> {
        self.order.iter().filter_map(|name| self.sinks.get(name))
    }

    /// Those, then what leaves.
    fn all(&self) -> impl Iterator<Item = &Sink> {
        let leaving = self.sinks.values().filter(|sink| sink.leaves);
        self.staying().chain(leaving)
    }

    fn views(&self) -> Views {
        // What leaves gets what was offered before it is told so.
        let configs: Vec<SinkConfig> = self
            .all()
            .filter(|sink| sink.wanted.1.enabled)
            .map(|sink| sink.running.as_ref().unwrap_or(&sink.wanted).1.clone())
            .collect();
        Views::of(&configs, &self.ceiling)
    }

    fn configs(&self) -> Vec<SinkConfig> {
        let enabled = self.sinks.values().filter(|sink| sink.wanted.1.enabled);
        let all = enabled.flat_map(|sink| sink.running.iter().chain([&sink.wanted]));
        all.map(|(_, config)| config.clone()).collect()
    }

    /// What sinks go on from: `first` all of them, else those that are new.
    fn start(&mut self, first: bool) -> (Vec<Base>, Vec<Arc<Snapshot>>) {
        let forgotten = if first {
            std::mem::take(&mut self.departed.forgotten)
        } else {
            self.departed.forgotten
        };
        let until = { self.recent.front() }.map_or(0, |oldest| oldest.window.sequence);
        let new = |sink: &Sink| sink.is_delta() && (first || sink.running.is_none());
        let delta = self.sinks.iter().filter(|(_, sink)| new(sink));
        let base = |(name, sink): (&String, &Sink)| Base {
            sink: name.clone(),
            acknowledged: sink.base.clone(),
            departed: self.departed.from(sink.from()),
            until,
            forgotten,
        };
        let views = self.views();
        let bases = delta
            .map(base)
            .filter_map(|base| views.cut_base(base))
            .collect();
        if !first {
            return (bases, Vec::new());
        }
        let on_their_way: BTreeMap<u64, &Arc<Snapshot>> = { self.sinks.values() }
            .filter_map(|sink| {
                Some((
                    sink.attempting.as_ref()?.0.sequence,
                    &sink.attempting.as_ref()?.1,
                ))
            })
            .filter(|(sequence, _)| *sequence < until)
            .collect();
        let windows = on_their_way.into_values().chain(&self.recent);
        let windows = windows.cloned().collect();
        (bases, windows)
    }

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
    fn new(config: &SinkConfig, revision: u64, saved: Option<&SavedSink>) -> Self {
        let mut status = SinkStatus::starting(config);
        if let Some(saved) = saved {
            status.counters = saved.counters;
            status.last_error.clone_from(&saved.last_error);
        }
        Self {
            status,
            wanted: (revision, config.clone()),
            running: None,
            leaves: false,
            plugins: plugins(config),
            acknowledged: None,
            earlier_end: saved.and_then(|saved| saved.end),
            states: saved.map(|saved| saved.states.clone()).unwrap_or_default(),
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
            self.running = None;
        }
    }

    /// What it shall run as: what is wanted, or `first` what ran.
    fn wanted(&self, first: bool) -> Wanted {
        let ran = self
            .running
            .as_ref()
            .filter(|_| first && self.wanted.1.enabled);
        let (revision, config) = ran.unwrap_or(&self.wanted).clone();
        let next = (ran.is_some() && config != self.wanted.1).then(|| self.wanted.1.clone());
        Wanted {
            revision,
            config,
            ran: ran.is_some(),
            next,
        }
    }

    /// Whether what is wanted runs.
    fn is_current(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.0 == self.wanted.0)
    }

    /// Whether nothing else than what is wanted could run.
    fn is_settled(&self) -> bool {
        !self.wanted.1.enabled || self.running.is_none() || self.is_current()
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
            last_success_unix_ns: self.status.last_success_unix_ns,
            last_error_unix_ns: self.status.last_error_unix_ns,
            generation: self.status.generation,
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
