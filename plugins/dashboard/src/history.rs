//! The windows that the page asked for, in the sink's state, for a page that is opened later.
//!
//! A target is a place in each window's list, so a window of 250 targets is some 800 bytes. Bounded: the oldest
//! windows go where there are more than [`WINDOWS_MAX`], or more than fits the default state.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use owlk8s_plugin::{Histogram, Snapshot, log, state};
use serde::{Deserialize, Serialize};

/// Ten minutes of the usual interval.
const WINDOWS_MAX: usize = 60;
/// Of the default 64 KiB.
const BYTES_MAX: usize = 60_000;

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct History {
    /// Of the last window: its sequence, end, and what all targets had counted by then.
    sequence: u64,
    end_ms: u64,
    latency: (i32, Vec<u64>),
    /// Where a target stands, by [`key`].
    places: BTreeMap<u64, u32>,
    /// Requests and 5xx by place.
    totals: Vec<[u64; 2]>,
    windows: VecDeque<Window>,
}

/// Counts of one window.
#[derive(Serialize, Deserialize)]
pub(crate) struct Window {
    pub(crate) end_ms: u64,
    /// How long it is.
    pub(crate) ms: u32,
    pub(crate) offset: i32,
    pub(crate) buckets: Vec<u64>,
    /// By place; shorter where targets came later.
    targets: Vec<[u64; 2]>,
}

/// The history with this snapshot's window, which is remembered where it is new.
pub(crate) fn follow(snapshot: &Snapshot<'_>) -> History {
    let mut history: History = postcard::from_bytes(&state::get()).unwrap_or_default();
    if history.add(snapshot)
        && let Err(problem) = history.save()
    {
        log::debug(format!("the page has no past: {problem}"));
    }
    history
}

/// Of a target's id.
pub(crate) fn key(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

impl History {
    pub(crate) fn windows(&self) -> impl Iterator<Item = &Window> {
        self.windows.iter()
    }

    /// None where the target was not there yet.
    pub(crate) fn counts(&self, window: &Window, key: u64) -> Option<[u64; 2]> {
        window
            .targets
            .get(*self.places.get(&key)? as usize)
            .copied()
    }

    /// Whether the window is a new one.
    fn add(&mut self, snapshot: &Snapshot<'_>) -> bool {
        let window = snapshot.window();
        if window.sequence < self.sequence {
            // Another life of the agent, whose counts begin at 0.
            *self = Self::default();
        }
        if window.sequence == self.sequence {
            return false;
        }
        let first = self.sequence == 0;
        let mut latency = Histogram::default();
        let mut targets = vec![[0; 2]; self.totals.len()];
        let mut present = Vec::new();
        for target in snapshot.targets() {
            latency.add(&target.latency());
            let total = target.total();
            let (key, now) = (key(target.id()), [total.requests, total.err5]);
            let place = match self.places.get(&key) {
                Some(place) => *place as usize,
                None => {
                    self.places.insert(key, self.totals.len() as u32);
                    self.totals.push([0; 2]);
                    targets.push([0; 2]);
                    self.totals.len() - 1
                }
            };
            let before = std::mem::replace(&mut self.totals[place], now);
            targets[place] = [0, 1].map(|at| now[at].saturating_sub(before[at]));
            present.push(key);
        }
        let end_ms = window.end_unix_ms();
        let before = std::mem::replace(&mut self.latency, (latency.offset, latency.counts.clone()));
        if !first {
            let (offset, buckets) = difference(&latency, &before);
            self.windows.push_back(Window {
                end_ms,
                ms: u32::try_from(end_ms.saturating_sub(self.end_ms)).unwrap_or(u32::MAX),
                offset,
                buckets,
                targets,
            });
        }
        (self.sequence, self.end_ms) = (window.sequence, end_ms);
        if self.totals.len() > 2 * present.len() + 16 {
            self.forget(&present);
        }
        while self.windows.len() > WINDOWS_MAX {
            self.windows.pop_front();
        }
        true
    }

    /// Gives the places of targets that are gone to those that are left.
    fn forget(&mut self, present: &[u64]) {
        let kept: Vec<(u64, usize)> = present
            .iter()
            .filter_map(|key| Some((*key, *self.places.get(key)? as usize)))
            .collect();
        let moved = |old: &[[u64; 2]]| {
            let at = |(_, place): &(u64, usize)| old.get(*place).copied().unwrap_or_default();
            kept.iter().map(at).collect::<Vec<_>>()
        };
        self.totals = moved(&self.totals);
        for window in &mut self.windows {
            window.targets = moved(&window.targets);
        }
        self.places = (0..)
            .zip(&kept)
            .map(|(place, (key, _))| (*key, place))
            .collect();
    }

    fn save(&mut self) -> Result<(), String> {
        loop {
            let bytes = postcard::to_allocvec(self).map_err(|error| error.to_string())?;
            if bytes.len() <= BYTES_MAX || self.windows.is_empty() {
                return state::set(&bytes);
            }
            // Some at once: each turn writes all anew.
            let surplus = self.windows.len().div_ceil(8);
            self.windows.drain(..surplus);
        }
    }
}

/// What `now` has and `before` had not, without the empty buckets at its ends. Counts of a target that is gone are
/// missed in `now`: a bucket with fewer than before has none.
fn difference(now: &Histogram, before: &(i32, Vec<u64>)) -> (i32, Vec<u64>) {
    let then = |index: i32| {
        usize::try_from(index - before.0)
            .ok()
            .and_then(|at| before.1.get(at))
            .copied()
            .unwrap_or(0)
    };
    let counts: Vec<u64> = (now.offset..)
        .zip(&now.counts)
        .map(|(index, count)| count.saturating_sub(then(index)))
        .collect();
    let Some(first) = counts.iter().position(|count| *count > 0) else {
        return (0, Vec::new());
    };
    let last = counts.iter().rposition(|count| *count > 0).unwrap_or(first);
    (now.offset + first as i32, counts[first..=last].to_vec())
}
