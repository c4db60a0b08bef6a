use std::time::Duration;

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
}
