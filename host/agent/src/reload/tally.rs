use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// What became of reloads since the start.
#[derive(Debug)]
pub(crate) struct Tally {
    applied: AtomicU64,
    refused: AtomicU64,
    /// Whether the file as it is now is the one in effect.
    successful: AtomicBool,
    /// When a file was last taken, the start included; Unix seconds.
    succeeded_at: AtomicU64,
    /// Keys that wait for a restart.
    waiting: AtomicU64,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            applied: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            successful: AtomicBool::new(true),
            succeeded_at: AtomicU64::new(unix_now()),
            waiting: AtomicU64::new(0),
        }
    }

    /// With so many keys that wait for a restart.
    pub(crate) fn applied(&self, waiting: usize) {
        self.applied.fetch_add(1, Ordering::Relaxed);
        self.successful.store(true, Ordering::Relaxed);
        self.succeeded_at.store(unix_now(), Ordering::Relaxed);
        let waiting = u64::try_from(waiting).unwrap_or(u64::MAX);
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.successful.store(false, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> [(&'static str, u64); 2] {
        [
            ("applied", self.applied.load(Ordering::Relaxed)),
            ("refused", self.refused.load(Ordering::Relaxed)),
        ]
    }

    pub(crate) fn is_successful(&self) -> bool {
        self.successful.load(Ordering::Relaxed)
    }

    pub(crate) fn succeeded_at(&self) -> u64 {
        self.succeeded_at.load(Ordering::Relaxed)
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }
}

fn unix_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
