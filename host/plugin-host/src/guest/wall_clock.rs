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
