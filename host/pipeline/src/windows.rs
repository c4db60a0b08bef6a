use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use owlk8s_model::{Snapshot, TargetSnapshot, Temporality, UnixNanos, Window};
use serde::{Deserialize, Serialize};

use crate::delta::Delta;

/// Which windows a sink gets when it is slower than the agent, or its endpoint was away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Cumulative counts of the newest window; older ones are dropped and counted.
    #[default]
    Latest,
    /// The counts since the last acknowledged window. An outage loses resolution, never counts.
    Delta,
    /// Cumulative counts of every window in order, from a bounded queue that drops the oldest, counted.
    EveryWindow,
}

/// How far a sink has come: what a new plugin process goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Sequence of the last window that was delivered.
    pub sequence: u64,
    /// Its end.
    pub end: UnixNanos,
}

/// One window on its way to the sink.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The counts, in the temporality of the sink's mode.
    pub snapshot: Arc<Snapshot>,
    /// The interval since the last acknowledged window, with the number of intervals in it.
    pub window: Window,
    /// How long before the window's start nothing was counted for the sink: since the last window that
    /// an earlier agent delivered. None where the window goes on from the one before, or is the first ever.
    pub gap: Option<Duration>,
    /// What `snapshot` was made from.
    cumulative: Arc<Snapshot>,
}

impl Attempt {
    /// How many windows before this one are part of it; in `delta` only, elsewhere they were dropped.
    pub fn merged(&self) -> u64 {
        match self.snapshot.temporality {
            Temporality::Delta => u64::from(self.window.merged.saturating_sub(1)),
            Temporality::Cumulative => 0,
        }
    }

    /// A window as a sink of `mode` would get it, to try a plugin on. It is never acknowledged; in
    /// `delta` its counts are all that there are.
    pub fn rehearsal(mode: Mode, cumulative: Arc<Snapshot>) -> Self {
        let snapshot = match mode {
            Mode::Delta => Arc::new(Snapshot {
                temporality: Temporality::Delta,
                ..Snapshot::clone(&cumulative)
            }),
            Mode::Latest | Mode::EveryWindow => Arc::clone(&cumulative),
        };
        Self {
            snapshot,
            window: cumulative.window,
            gap: None,
            cumulative,
        }
    }
}

/// The mailbox of one sink.
#[derive(Debug)]
pub struct Windows {
    mode: Mode,
    capacity: usize,
    queue: VecDeque<Arc<Snapshot>>,
    newest: Option<Arc<Snapshot>>,
    last_offered: Option<u64>,
    acknowledged: Option<Acknowledged>,
    /// Where an earlier agent's counts ended, until a window of this one is acknowledged.
    earlier_end: Option<UnixNanos>,
    /// The first of the agent's life: until one is acknowledged, counts begin with it.
    first: Option<Window>,
    /// Targets that departed before this window are remembered already.
    departed_until: u64,
    /// A window that an earlier process had on its way: it comes before all others, as it was.
    again: Again,
    delta: Delta,
    dropped: u64,
}

#[derive(Debug, Default)]
enum Again {
    #[default]
    Nothing,
    /// It has not been offered yet.
    Awaited(u64),
    Here(Arc<Snapshot>),
}

impl Windows {
    /// An empty one; `capacity` bounds the queue of `every-window`, the others need one place.
    pub fn new(mode: Mode, capacity: usize) -> Self {
        Self {
            mode,
            capacity: places(mode, capacity),
            queue: VecDeque::new(),
            newest: None,
            last_offered: None,
            acknowledged: None,
            earlier_end: None,
            first: None,
            departed_until: 0,
            again: Again::Nothing,
            delta: Delta::default(),
            dropped: 0,
        }
    }

    /// An earlier agent's last window for this sink ended at `end`. Its counts died with it: the first
    /// window of this one has a gap before it.
    pub fn after_agent(&mut self, end: UnixNanos) {
        self.earlier_end = Some(end);
    }

    /// The first window of the agent's life, where it was offered to an earlier process.
    pub fn first(&mut self, first: Window) {
        self.first = Some(first);
    }

    /// Targets that departed before the window `until` and after the acknowledged one, each with the last
    /// window that held it, in order; and how many more there were.
    pub fn departed(&mut self, targets: Vec<(u64, TargetSnapshot)>, until: u64, forgotten: u64) {
        if self.mode == Mode::Delta {
            self.delta.remember(targets, forgotten);
            self.departed_until = until;
        }
    }

    /// An earlier process had the window `sequence` on its way when it ended, and may have delivered it.
    /// Once it is offered it is given again before any other, with the same counts: a sink that knows
    /// windows by their end takes it once.
    pub fn again(&mut self, sequence: u64) {
        self.again = Again::Awaited(sequence);
    }

    /// Go on after `acknowledged`; `base` is the cumulative snapshot of that window, for `delta`.
    pub fn resume(&mut self, acknowledged: Acknowledged, base: Option<Arc<Snapshot>>) {
        self.acknowledged = Some(acknowledged);
        self.last_offered = Some(acknowledged.sequence);
        if let Some(base) = base.filter(|base| base.window.sequence == acknowledged.sequence) {
            self.newest = Some(Arc::clone(&base));
            self.delta.resume(base);
        }
    }

    /// Go on in another mode, or with another capacity. What waits goes on waiting, as far as there is
    /// room; a mode that becomes `delta` counts from the last acknowledged window.
    pub fn change(&mut self, mode: Mode, capacity: usize) {
        self.mode = mode;
        self.capacity = places(mode, capacity);
        self.trim();
    }

    /// A new window; one that is not newer than the last is ignored.
    pub fn offer(&mut self, snapshot: Arc<Snapshot>) {
        let sequence = snapshot.window.sequence;
        if self.last_offered.is_some_and(|last| sequence <= last) {
            return;
        }
        let missed = self.last_offered.map_or(0, |last| sequence - last - 1);
        self.last_offered = Some(sequence);
        self.drop_windows(missed);
        if let Some(before) = self.newest.replace(Arc::clone(&snapshot))
            && self.mode == Mode::Delta
            && sequence > self.departed_until
        {
            self.delta.follow(&before, &snapshot);
        }
        self.first.get_or_insert(snapshot.window);
        match self.again {
            Again::Awaited(awaited) if awaited == sequence => {
                // What waits is older, and in `delta` a part of it.
                if self.mode != Mode::EveryWindow {
                    let waiting = self.queue.len() as u64;
                    self.drop_windows(waiting);
                    self.queue.clear();
                }
                if self.queue.is_empty() {
                    self.again = Again::Here(snapshot);
                    return;
                }
                self.again = Again::Nothing;
            }
            // It is nowhere any more.
            Again::Awaited(awaited) if awaited < sequence => self.again = Again::Nothing,
            _ => {}
        }
        self.queue.push_back(snapshot);
        self.trim();
    }

    fn trim(&mut self) {
        while self.queue.len() > self.capacity {
            self.queue.pop_front();
            self.drop_windows(1);
        }
    }

    /// The next window to deliver; none when all were taken. It ends by [`Self::acknowledge`] or
    /// [`Self::abandon`] or [`Self::put_back`], and may be delivered again until then.
    pub fn take(&mut self) -> Option<Attempt> {
        let cumulative = match std::mem::take(&mut self.again) {
            Again::Here(snapshot) => snapshot,
            Again::Awaited(sequence) => {
                self.again = Again::Awaited(sequence);
                return None;
            }
            Again::Nothing => self.queue.pop_front()?,
        };
        let snapshot = match self.mode {
            Mode::Delta => Arc::new(self.delta.up_to(&cumulative)),
            Mode::Latest | Mode::EveryWindow => Arc::clone(&cumulative),
        };
        let mut window = cumulative.window;
        let merged = |before: u64| u32::try_from(window.sequence - before).unwrap_or(u32::MAX);
        match (self.acknowledged, self.first) {
            (Some(before), _) => {
                window.merged = merged(before.sequence);
                window.start = before.end;
            }
            // Where nothing arrived yet, it covers all that was offered.
            (None, Some(first)) => {
                window.merged = merged(first.sequence.saturating_sub(1));
                window.start = first.start;
            }
            (None, None) => {}
        }
        Some(Attempt {
            snapshot,
            gap: self.earlier_end.map(|end| gap(end, window.start)),
            window,
            cumulative,
        })
    }

    /// The sink has it.
    pub fn acknowledge(&mut self, attempt: &Attempt) -> Acknowledged {
        let acknowledged = Acknowledged {
            sequence: attempt.window.sequence,
            end: attempt.window.end,
        };
        self.acknowledged = Some(acknowledged);
        self.earlier_end = None;
        // In every mode: it may become `delta`.
        self.delta.acknowledge(&attempt.cumulative);
        acknowledged
    }

    /// It will not be delivered. In `delta` its counts are part of the next one.
    pub fn abandon(&mut self, _attempt: Attempt) {
        self.drop_windows(1);
    }

    /// Not delivered, and to be taken again before all that came later.
    pub fn put_back(&mut self, attempt: Attempt) {
        self.queue.push_front(attempt.cumulative);
        self.trim();
    }

    /// Whether an attempt that failed has been overtaken: only `latest` lets go of it for a newer one.
    pub fn overtaken(&self) -> bool {
        self.mode == Mode::Latest && !self.queue.is_empty()
    }

    /// Whether a window waits to be taken.
    pub fn is_waiting(&self) -> bool {
        match self.again {
            Again::Nothing => !self.queue.is_empty(),
            Again::Awaited(_) => false,
            Again::Here(_) => true,
        }
    }

    /// How far the sink has come.
    pub fn acknowledged(&self) -> Option<Acknowledged> {
        self.acknowledged
    }

    /// Windows that never reached the sink; in `delta`, departed targets whose last counts did not.
    pub fn dropped(&self) -> u64 {
        self.dropped + self.delta.forgotten()
    }

    fn drop_windows(&mut self, count: u64) {
        if self.mode != Mode::Delta {
            self.dropped += count;
        }
    }
}

/// Of a clock that was set back, the least.
fn gap(end: UnixNanos, start: UnixNanos) -> Duration {
    Duration::from_nanos(start.0.saturating_sub(end.0).max(1))
}

/// Only `every-window` has a queue.
fn places(mode: Mode, capacity: usize) -> usize {
    if mode == Mode::EveryWindow {
        capacity.max(1)
    } else {
        1
    }
}

#[cfg(test)]
mod tests;
