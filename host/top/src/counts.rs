//! Sums that can be added and subtracted: of a target, of a group, of a window.

use owlk8s_model::{Direction, Histogram, SCALE, TargetSnapshot, Totals};

/// Counts of some targets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    pub(crate) err4: u64,
    pub(crate) err5: u64,
    pub(crate) aborted: u64,
    /// A gauge.
    pub(crate) in_flight: u64,
    pub(crate) seen: u64,
    pub(crate) lost: u64,
    /// Of what the pods answered, kubelet probes left out.
    pub(crate) latency: Histogram,
}

impl Counts {
    /// Since the target's discovery.
    pub(crate) fn of(target: &TargetSnapshot) -> Self {
        let totals = &target.totals;
        let answered = |row: &&owlk8s_model::Row| row.direction == Direction::Server && !row.probe;
        let latency = target.rows.iter().filter(answered);
        Self {
            requests: totals.requests,
            err4: totals.err4,
            err5: totals.err5,
            aborted: totals.aborted,
            in_flight: totals.in_flight,
            seen: totals.seen,
            lost: totals.losses.values().sum(),
            latency: latency.fold(Histogram::default(), |sum, row| sum.plus(&row.latency)),
        }
    }

    /// None where a counter fell: they began again.
    pub(crate) fn since(&self, earlier: &Self) -> Option<Self> {
        Some(Self {
            requests: self.requests.checked_sub(earlier.requests)?,
            err4: self.err4.checked_sub(earlier.err4)?,
            err5: self.err5.checked_sub(earlier.err5)?,
            aborted: self.aborted.checked_sub(earlier.aborted)?,
            in_flight: self.in_flight,
            seen: self.seen.checked_sub(earlier.seen)?,
            lost: self.lost.checked_sub(earlier.lost)?,
            latency: self.latency.minus(&earlier.latency),
        })
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.err4 += other.err4;
        self.err5 += other.err5;
        self.aborted += other.aborted;
        self.in_flight += other.in_flight;
        self.seen += other.seen;
        self.lost += other.lost;
        self.latency = self.latency.plus(&other.latency);
    }

    /// Of the answers; none without one.
    pub(crate) fn share(&self, part: u64) -> Option<f64> {
        (self.requests > 0).then(|| part as f64 / self.requests as f64)
    }

    /// Of what was seen.
    pub(crate) fn coverage(&self) -> f64 {
        Totals::coverage_of(self.seen, self.lost)
    }

    /// Seconds that the share `q` did not exceed, interpolated inside its bucket by logarithm; none without an answer.
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
        let wanted = q * self.latency.count() as f64;
        let mut below = 0.0;
        for (index, &count) in (self.latency.offset..).zip(&self.latency.counts) {
            let count = count as f64;
            if count > 0.0 && below + count >= wanted {
                let at = f64::from(index) + (wanted - below) / count;
                return Some((at / f64::from(1 << SCALE)).exp2());
            }
            below += count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(offset: i32, counts: &[u64]) -> Counts {
        Counts {
            latency: Histogram::trimmed(offset, counts),
            ..Counts::default()
        }
    }

    #[test]
    fn quantiles_are_inside_their_bucket() {
        // Bucket 0 is (1 s, 2^(1/8) s].
        let counts = latency(0, &[90, 0, 10]);
        let p50 = counts.quantile(0.5).unwrap();
        assert!((1.0..1.091).contains(&p50), "{p50}");
        let p99 = counts.quantile(0.99).unwrap();
        assert!((1.189..1.297).contains(&p99), "{p99}");
        assert_eq!(latency(0, &[]).quantile(0.5), None);
    }

    #[test]
    fn a_counter_that_fell_is_no_difference() {
        let counts = |requests, seen| Counts {
            requests,
            seen,
            ..Counts::default()
        };
        let grown = counts(9, 12).since(&counts(5, 6)).unwrap();
        assert_eq!((grown.requests, grown.seen), (4, 6));
        assert_eq!(counts(2, 12).since(&counts(5, 6)), None);
    }

    #[test]
    fn nothing_seen_is_covered_and_has_no_share() {
        let none = Counts::default();
        assert_eq!((none.coverage(), none.share(0)), (1.0, None));
    }
}
