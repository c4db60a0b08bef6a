use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

/// What a guest's clocks show.
#[derive(Clone, Copy, Debug)]
pub(crate) enum GuestTime {
    /// Always this Unix time, nanoseconds: the end of the window, so that the same snapshot gives the
    /// same bytes whenever it is formatted.
    Frozen(u64),
    /// The node's clock: an exporter signs requests with it.
    Real,
}

impl HostWallClock for GuestTime {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        match self {
            Self::Frozen(unix_ns) => Duration::from_nanos(*unix_ns),
            Self::Real => std::time::UNIX_EPOCH.elapsed().unwrap_or_default(),
        }
    }
}

/// The monotonic clock of a guest whose time stands still: each look at it is a microsecond later, so that
/// what waits for it to move on goes on, the same way each time.
#[derive(Debug, Default)]
pub(crate) struct Looks(AtomicU64);

/// Nanoseconds between two looks.
const LOOK: u64 = 1_000;

impl HostMonotonicClock for Looks {
    fn resolution(&self) -> u64 {
        LOOK
    }

    fn now(&self) -> u64 {
        self.0.fetch_add(LOOK, Ordering::Relaxed)
    }
}
