use std::time::{Duration, Instant};

/// Waits that double from `first` to `cap`, each with jitter so that nodes do not retry in step.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    steps: u32,
}

impl Backoff {
    /// The first wait is at most `first`, and none is over `cap`.
    pub const fn new(first: Duration, cap: Duration) -> Self {
        Self {
            first,
            cap,
            steps: 0,
        }
    }

    /// The next wait: between half and the whole of the step, by `chance` of 0 to 1.
    pub fn next(&mut self, chance: f64) -> Duration {
        let whole = self
            .first
            .saturating_mul(1_u32.checked_shl(self.steps).unwrap_or(u32::MAX))
            .min(self.cap);
        if whole < self.cap {
            self.steps += 1;
        }
        whole.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
    }

    /// Begin again at `first`.
    pub fn reset(&mut self) {
        self.steps = 0;
    }
}

/// Keeps a plugin that faults again and again from being called: after [`Breaker::FAULTS`] faults in a
/// row it waits 5 s, then after each further fault twice as long, up to 10 min. One success closes it.
#[derive(Clone, Debug)]
pub struct Breaker {
    faults: u32,
    backoff: Backoff,
    closed_until: Option<Instant>,
}

impl Default for Breaker {
    fn default() -> Self {
        let backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(600));
        Self {
            faults: 0,
            backoff,
            closed_until: None,
        }
    }
}

impl Breaker {
    /// Faults in a row that are borne.
    pub const FAULTS: u32 = 3;

    /// One more fault at `now`; how long to wait when that is one too many.
    pub fn fault(&mut self, now: Instant, chance: f64) -> Option<Duration> {
        self.faults = self.faults.saturating_add(1);
        if self.faults < Self::FAULTS {
            return None;
        }
        let wait = self.backoff.next(chance);
        self.closed_until = Some(now + wait);
        Some(wait)
    }

    /// A call went well.
    pub fn success(&mut self) {
        *self = Self::default();
    }

    /// Until when nothing may be called; none when a call may be made at `now`.
    pub fn waits_until(&self, now: Instant) -> Option<Instant> {
        self.closed_until.filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_with_jitter_up_to_the_cap() {
        let mut backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(60));
        let waits: Vec<u64> = (0..6).map(|_| backoff.next(1.0).as_secs()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
        assert_eq!(backoff.next(0.0), Duration::from_secs(30));
        backoff.reset();
        assert_eq!(backoff.next(0.0), Duration::from_millis(2500));
    }

    #[test]
    fn waits_never_overflow() {
        let mut backoff = Backoff::new(Duration::from_millis(1), Duration::MAX / 4);
        assert!((0..200).all(|_| backoff.next(0.5) <= Duration::MAX / 4));
    }

    #[test]
    fn third_fault_in_a_row_opens_and_one_success_closes() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        assert_eq!(breaker.fault(now, 1.0), None);
        assert_eq!(breaker.fault(now, 1.0), None);
        assert_eq!(breaker.waits_until(now), None);
        assert_eq!(breaker.fault(now, 1.0), Some(Duration::from_secs(5)));
        assert_eq!(breaker.waits_until(now), Some(now + Duration::from_secs(5)));
        let later = now + Duration::from_secs(5);
        assert_eq!(breaker.waits_until(later), None);
        assert_eq!(
            breaker.fault(later, 1.0),
            Some(Duration::from_secs(10)),
            "one trial, then twice as long"
        );
        breaker.success();
        assert_eq!(
            (breaker.waits_until(later), breaker.fault(later, 1.0)),
            (None, None)
        );
    }
}
