use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Backoff;

/// Keeps a plugin that faults again and again from being called. After so many faults in a row it opens
/// and waits; then one call is tried (half open), and a fault opens it again for twice as long. One
/// success closes it. After so many openings in a row it opens for good.
#[derive(Clone, Debug)]
pub struct Breaker {
    faults_max: u32,
    quarantine_after: Option<u32>,
    backoff: Backoff,
    faults: u32,
    openings: u32,
    open_until: Option<Instant>,
}

/// How it stands with a [`Breaker`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BreakerState {
    /// Calls are made.
    #[default]
    Closed,
    /// None is made until the wait is over.
    Open,
    /// One call is tried.
    HalfOpen,
    /// None is made any more.
    Quarantined,
}

/// What one more fault means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Borne {
    /// It is borne; the next call may be made.
    Yes,
    /// One too many: no call for so long.
    Opened(Duration),
    /// Opened too often in a row: no call any more.
    Quarantined,
}

impl Breaker {
    /// Closed; opens at `faults` in a row, and for good at the opening `quarantine_after` in a row.
    pub fn new(faults: u32, backoff: Backoff, quarantine_after: Option<u32>) -> Self {
        Self {
            faults_max: faults.max(1),
            quarantine_after,
            backoff,
            faults: 0,
            openings: 0,
            open_until: None,
        }
    }

    /// Go on after so many openings in a row: half open, or open for good.
    #[must_use]
    pub fn after(mut self, openings: u32) -> Self {
        self.openings = openings;
        if openings > 0 {
            self.faults = self.faults_max;
            for _ in 0..openings {
                let _ = self.backoff.next(0.0);
            }
        }
        self
    }

    /// One more fault at `now`; the wait is between half and the whole of the step, by `chance` of 0 to 1.
    pub fn fault(&mut self, now: Instant, chance: f64) -> Borne {
        self.faults = self.faults.saturating_add(1);
        if self.faults < self.faults_max {
            return Borne::Yes;
        }
        self.openings = self.openings.saturating_add(1);
        if self.is_quarantined() {
            return Borne::Quarantined;
        }
        let wait = self.backoff.next(chance);
        self.open_until = Some(now + wait);
        Borne::Opened(wait)
    }

    /// A call went well.
    pub fn success(&mut self) {
        self.faults = 0;
        self.openings = 0;
        self.backoff.reset();
        self.open_until = None;
    }

    /// How it stands at `now`.
    pub fn state(&self, now: Instant) -> BreakerState {
        if self.is_quarantined() {
            BreakerState::Quarantined
        } else if self.waits_until(now).is_some() {
            BreakerState::Open
        } else if self.openings > 0 {
            BreakerState::HalfOpen
        } else {
            BreakerState::Closed
        }
    }

    /// Whether it opened for good.
    pub fn is_quarantined(&self) -> bool {
        self.quarantine_after
            .is_some_and(|after| self.openings >= after)
    }

    /// Openings in a row.
    pub fn openings(&self) -> u32 {
        self.openings
    }

    /// Until when nothing may be called, while it is open.
    pub fn waits_until(&self, now: Instant) -> Option<Instant> {
        self.open_until.filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker(quarantine: Option<u32>) -> Breaker {
        let backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(600));
        Breaker::new(3, backoff, quarantine)
    }

    #[test]
    fn third_fault_in_a_row_opens_and_one_success_closes() {
        let now = Instant::now();
        let mut breaker = breaker(None);
        assert_eq!(breaker.fault(now, 1.0), Borne::Yes);
        assert_eq!(breaker.fault(now, 1.0), Borne::Yes);
        assert_eq!(breaker.state(now), BreakerState::Closed);
        let five = Duration::from_secs(5);
        assert_eq!(breaker.fault(now, 1.0), Borne::Opened(five));
        assert_eq!(breaker.waits_until(now), Some(now + five));
        assert_eq!(breaker.state(now), BreakerState::Open);
        let later = now + five;
        assert_eq!(breaker.state(later), BreakerState::HalfOpen);
        assert_eq!(
            breaker.fault(later, 1.0),
            Borne::Opened(2 * five),
            "one trial, then twice as long"
        );
        breaker.success();
        assert_eq!(breaker.state(later), BreakerState::Closed);
        assert_eq!(breaker.fault(later, 1.0), Borne::Yes);
    }

    #[test]
    fn faults_that_are_not_in_a_row_never_open_it() {
        let (now, mut breaker) = (Instant::now(), breaker(Some(1)));
        for _ in 0..100 {
            assert_eq!(breaker.fault(now, 1.0), Borne::Yes);
            assert_eq!(breaker.fault(now, 1.0), Borne::Yes);
            breaker.success();
        }
    }

    #[test]
    fn openings_in_a_row_end_in_quarantine_and_a_success_between_them_forgives() {
        let (mut now, mut breaker) = (Instant::now(), breaker(Some(3)));
        for _ in 0..2 {
            breaker.fault(now, 1.0);
            breaker.fault(now, 1.0);
            breaker.fault(now, 1.0);
            breaker.success();
        }
        let mut waits = Vec::new();
        loop {
            match breaker.fault(now, 1.0) {
                Borne::Yes => {}
                Borne::Opened(wait) => {
                    waits.push(wait.as_secs());
                    now += wait;
                }
                Borne::Quarantined => break,
            }
        }
        assert_eq!(waits, [5, 10]);
        assert_eq!(breaker.state(now), BreakerState::Quarantined);
        assert_eq!(
            breaker.state(now + Duration::from_secs(1 << 30)),
            BreakerState::Quarantined
        );
    }

    #[test]
    fn new_process_goes_on_where_the_old_one_was() {
        let now = Instant::now();
        let mut again = breaker(Some(4)).after(2);
        assert_eq!(again.state(now), BreakerState::HalfOpen);
        assert_eq!(
            again.fault(now, 1.0),
            Borne::Opened(Duration::from_secs(20)),
            "the third opening"
        );
        assert!(breaker(Some(4)).after(4).is_quarantined());
        assert_eq!(breaker(Some(4)).after(0).state(now), BreakerState::Closed);
    }
}
