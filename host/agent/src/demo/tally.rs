//! What servers and clients count by themselves: the truth that the agent's counts are held against.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;

/// Answered requests; shared by all who answer, or ask, for one pod.
#[derive(Debug, Default)]
pub(super) struct Tally {
    requests: AtomicU64,
    err4: AtomicU64,
    err5: AtomicU64,
}

/// A tally at rest; also the part of the agent's totals that can be compared with one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Counts {
    pub(super) requests: u64,
    pub(super) err4: u64,
    pub(super) err5: u64,
}

impl Tally {
    pub(super) fn add(&self, status: u16) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        match status {
            400..500 => self.err4.fetch_add(1, Ordering::Relaxed),
            500..600 => self.err5.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
    }

    pub(super) fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            requests: read(&self.requests),
            err4: read(&self.err4),
            err5: read(&self.err5),
        }
    }
}
