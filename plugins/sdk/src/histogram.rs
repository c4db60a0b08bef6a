//! Durations in OpenTelemetry's exponential form, and what backends want of them.

use std::time::Duration;

/// The host's: a histogram of another works, and takes longer.
const SCALE: i32 = 3;

/// Bucket `i` of `counts` holds durations in
/// `(2^((offset + i) / 2^scale), 2^((offset + i + 1) / 2^scale)]` seconds.
///
/// The host's scale is 3, so a bucket is 9 % wide; its lowest bucket (about 1 µs) holds what is
/// shorter too, its highest (59 s to 64 s) what is longer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Prometheus calls it the schema.
    pub scale: i32,
    /// Index of the first entry of `counts`.
    pub offset: i32,
    /// Requests in each bucket.
    pub counts: Vec<u64>,
}

impl Histogram {
    /// How many durations it holds.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds another histogram of the same scale.
    pub fn add(&mut self, other: &Self) {
        if other.counts.is_empty() {
            return;
        }
        if self.counts.is_empty() {
            self.clone_from(other);
            return;
        }
        let end = |h: &Self| h.offset + h.counts.len() as i32;
        let (first, last) = (self.offset.min(other.offset), end(self).max(end(other)));
        let mut counts = vec![0; (last - first) as usize];
        for histogram in [&*self, other] {
            let start = (histogram.offset - first) as usize;
            for (sum, count) in counts[start..].iter_mut().zip(&histogram.counts) {
                *sum += count;
            }
        }
        (self.offset, self.counts) = (first, counts);
    }

    /// The duration that the share `q` (0 to 1) of all did not exceed, interpolated inside its bucket
    /// by logarithm, as Prometheus does it; none where the histogram is empty.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = q.clamp(0.0, 1.0) * count as f64;
        let mut below = 0;
        for (index, in_bucket) in (self.offset..)
            .zip(&self.counts)
            .filter(|(_, count)| **count > 0)
        {
            if (below + in_bucket) as f64 >= rank {
                let inside = (rank - below as f64).max(0.0) / *in_bucket as f64;
                return Some(Duration::from_secs_f64(
                    self.bound(f64::from(index) + inside),
                ));
            }
            below += in_bucket;
        }
        None
    }

    /// The middle of each bucket that holds any, by logarithm, in seconds, with its count.
    pub fn middles(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        (self.offset..)
            .zip(&self.counts)
            .filter(|(_, count)| **count > 0)
            .map(|(index, count)| (self.bound(f64::from(index) + 0.5), *count))
    }

    /// For each bound how many durations are at most that long.
    ///
    /// A bucket is at most as long as its upper edge, so one that a bound cuts is counted above the
    /// bound: the result never claims that a request was faster than it was, and is at most one
    /// bucket (9 %) slow.
    pub fn cumulative(&self, bounds: &Bounds) -> Vec<u64> {
        let (mut sum, mut left) = (0, self.counts.as_slice());
        let mut first = self.offset;
        let mut up_to = |end: i32| {
            let below = end.saturating_sub(first).clamp(0, left.len() as i32);
            let (now, later) = left.split_at(below as usize);
            sum += now.iter().sum::<u64>();
            (first, left) = (first + below, later);
            sum
        };
        if self.scale == bounds.scale {
            return bounds.ends.iter().map(|&end| up_to(end)).collect();
        }
        let ends = bounds.seconds.iter().map(|&bound| self.end(bound));
        ends.map(up_to).collect()
    }

    /// The first bucket that holds what is longer than this.
    fn end(&self, bound: f64) -> i32 {
        // The logarithm is rounded, and the edge decides.
        let near = (bound.log2() * f64::from(self.scale).exp2()).floor() as i32;
        (near - 1..)
            .find(|&index| self.bound(f64::from(index + 1)) > bound)
            .unwrap_or(i32::MAX)
    }

    /// The edge of this index in seconds.
    fn bound(&self, index: f64) -> f64 {
        (index * f64::from(-self.scale).exp2()).exp2()
    }
}

/// Upper bounds of classic buckets, worked out once for many histograms.
#[derive(Clone, Debug)]
pub struct Bounds {
    seconds: Vec<f64>,
    scale: i32,
    /// Of that scale, the first bucket that lies above each.
    ends: Vec<i32>,
}

impl Bounds {
    /// Of these in seconds, rising.
    pub fn new(seconds: &[f64]) -> Self {
        let like = Histogram {
            scale: SCALE,
            ..Histogram::default()
        };
        Self {
            seconds: seconds.to_vec(),
            scale: SCALE,
            ends: seconds.iter().map(|&bound| like.end(bound)).collect(),
        }
    }

    /// In seconds, rising.
    pub fn seconds(&self) -> &[f64] {
        &self.seconds
    }
}

#[cfg(test)]
mod tests {
    use super::{Bounds, Histogram};

    fn histogram(offset: i32, counts: &[u64]) -> Histogram {
        Histogram {
            scale: 3,
            offset,
            counts: counts.to_vec(),
        }
    }

    #[test]
    fn a_quantile_lies_in_the_bucket_of_its_rank() {
        // Half in (0.5 s, 0.545 s], half in (1 s, 1.09 s].
        let h = histogram(-8, &[10, 0, 0, 0, 0, 0, 0, 0, 10]);
        let seconds = |q| h.quantile(q).map(|d| d.as_secs_f64()).unwrap_or_default();
        assert_eq!(seconds(0.0), 0.5);
        assert!(
            (seconds(0.25) - 0.5 * 2f64.powf(1.0 / 16.0)).abs() < 1e-9,
            "{}",
            seconds(0.25)
        );
        assert!((0.5..=0.546).contains(&seconds(0.5)));
        assert!((1.0..=1.091).contains(&seconds(0.51)));
        assert!((seconds(1.0) - 2f64.powf(1.0 / 8.0)).abs() < 1e-9);
    }

    #[test]
    fn an_empty_histogram_has_no_quantile() {
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    #[test]
    fn a_bound_on_a_bucket_edge_takes_the_bucket_and_a_bound_inside_leaves_it() {
        // (0.5, 0.545], (0.917, 1], (1, 1.09]
        let h = histogram(-8, &[1, 0, 0, 0, 0, 0, 0, 2, 4]);
        let bounds = Bounds::new(&[0.25, 0.5, 0.51, 0.55, 0.99, 1.0, 1.05, 2.0]);
        assert_eq!(h.cumulative(&bounds), [0, 0, 0, 1, 1, 3, 3, 7]);
    }

    #[test]
    fn bounds_fit_a_histogram_of_another_scale() {
        // (0.25, 0.5], (0.5, 1], (1, 2]
        let h = Histogram {
            scale: 0,
            offset: -2,
            counts: vec![1, 2, 4],
        };
        let bounds = Bounds::new(&[0.25, 0.5, 0.99, 1.0, 1.99, 2.0, 60.0]);
        assert_eq!(h.cumulative(&bounds), [0, 1, 1, 3, 3, 7, 7]);
    }

    #[test]
    fn adding_keeps_every_count_in_its_bucket() {
        let mut sum = Histogram::default();
        sum.add(&histogram(4, &[1, 2]));
        sum.add(&histogram(-2, &[5]));
        sum.add(&Histogram::default());
        sum.add(&histogram(5, &[1]));
        assert_eq!(sum, histogram(-2, &[5, 0, 0, 0, 0, 0, 1, 3]));
    }
}
