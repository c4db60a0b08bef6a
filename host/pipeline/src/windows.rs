use std::collections::VecDeque;
use std::sync::Arc;

use owlk8s_model::{Snapshot, Temporality, UnixNanos, Window};
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
    delta: Delta,
    dropped: u64,
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
            delta: Delta::default(),
            dropped: 0,
        }
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

    /// The cumulative snapshot of the acknowledged window, for `delta`; taken before the first window is offered.
    pub fn base(&mut self, base: Arc<Snapshot>) {
        if let Some(acknowledged) = self.acknowledged
            && self.last_offered == Some(acknowledged.sequence)
        {
            self.resume(acknowledged, Some(base));
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
        {
            self.delta.follow(&before, &snapshot);
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
        let cumulative = self.queue.pop_front()?;
        let snapshot = match self.mode {
            Mode::Delta => Arc::new(self.delta.up_to(&cumulative)),
            Mode::Latest | Mode::EveryWindow => Arc::clone(&cumulative),
        };
        let mut window = cumulative.window;
        if let Some(before) = self.acknowledged {
            window.start = before.end;
            window.merged = u32::try_from(window.sequence - before.sequence).unwrap_or(u32::MAX);
        }
        Some(Attempt {
            snapshot,
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
        !self.queue.is_empty()
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
