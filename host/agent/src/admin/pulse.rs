//! Whether windows are closed as they should be.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Beyond three intervals: a node that is out of processor time is slow, and no restart helps it.
const SLACK: Duration = Duration::from_secs(30);

/// Beats with each window.
pub(crate) struct Pulse(Mutex<(Instant, Duration)>);

impl Pulse {
    pub(crate) fn new(interval: Duration) -> Self {
        Self(Mutex::new((Instant::now(), interval)))
    }

    /// A window was closed; the next one is due after `interval`.
    pub(crate) fn beat(&self, interval: Duration) {
        *self.lock() = (Instant::now(), interval);
    }

    /// How long none was, where that is too long.
    pub(super) fn stopped_for(&self) -> Option<Duration> {
        let (last, interval) = *self.lock();
        too_long(last.elapsed(), interval)
    }

    fn lock(&self) -> MutexGuard<'_, (Instant, Duration)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn too_long(silent: Duration, interval: Duration) -> Option<Duration> {
    let seconds = Duration::from_secs(silent.as_secs());
    (silent > interval * 3 + SLACK).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_intervals_and_half_a_minute_without_a_window_are_too_long() {
        let ten = Duration::from_secs(10);
        assert_eq!(too_long(Duration::from_secs(59), ten), None);
        assert_eq!(
            too_long(Duration::from_millis(61_500), ten),
            Some(Duration::from_secs(61))
        );
        let hour = Duration::from_secs(3600);
        assert_eq!(too_long(hour * 3, hour), None);
    }
}
