use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use wasmtime_wasi::HostWallClock;

/// What a guest's wall clock shows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum GuestTime {
    /// Always this Unix time, nanoseconds: the end of the window, so that the same snapshot gives the
    /// same bytes whenever it is formatted.
    Frozen(u64),
    /// The node's clock: an exporter signs requests with it.
    Real,
}

/// The clock of an instance, set for each call.
#[derive(Clone, Debug)]
pub(crate) struct GuestClock(Arc<AtomicU64>);

/// No window ends there: it is in the year 2554.
const REAL: u64 = u64::MAX;

impl GuestClock {
    pub(crate) fn new(time: GuestTime) -> Self {
        let clock = Self(Arc::default());
        clock.set(time);
        clock
    }

    pub(crate) fn set(&self, time: GuestTime) {
        let unix_ns = match time {
            GuestTime::Frozen(unix_ns) => unix_ns,
            GuestTime::Real => REAL,
        };
        self.0.store(unix_ns, Relaxed);
    }
}

impl HostWallClock for GuestClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        match self.0.load(Relaxed) {
            REAL => std::time::UNIX_EPOCH.elapsed().unwrap_or_default(),
            unix_ns => Duration::from_nanos(unix_ns),
        }
    }
}
