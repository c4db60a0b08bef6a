use serde::{Deserialize, Serialize};

/// OpenTelemetry exponential histogram scale (Prometheus native schema): base 2^(1/8).
pub const SCALE: i32 = 3;
/// Index of the lowest bucket: (2^-20 s, 2^(-20+1/8) s], about 1 µs. What is shorter is in it too.
pub const FIRST_BUCKET: i32 = -160;

/// Durations in seconds, in OpenTelemetry's exponential form: bucket `i` of `counts` holds those in
/// `(2^((offset+i)/8), 2^((offset+i+1)/8)]` seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// Index of the first entry of `counts`.
    pub offset: i32,
    /// Trimmed on both sides: empty, or with neither first nor last entry zero.
    pub counts: Vec<u64>,
}

impl Histogram {
    /// From one count a bucket, the first at index `first`.
    pub fn trimmed(first: i32, counts: &[u64]) -> Self {
        let Some(start) = counts.iter().position(|&c| c != 0) else {
            return Self::default();
        };
        let end = counts
            .iter()
            .rposition(|&c| c != 0)
            .map_or(start, |last| last + 1);
        Self {
            offset: first + start as i32,
            counts: counts[start..end].to_vec(),
        }
    }

    /// How many durations it holds.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Both together.
    pub fn plus(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    /// This one less an earlier reading of the same.
    pub fn minus(&self, earlier: &Self) -> Self {
        self.zip(earlier, u64::saturating_sub)
    }

    fn zip(&self, other: &Self, op: impl Fn(u64, u64) -> u64) -> Self {
        let ends = |h: &Self| (h.offset, h.offset + h.counts.len() as i32);
        let (first, last) = match (self.counts.is_empty(), other.counts.is_empty()) {
            (true, true) => return Self::default(),
            (true, false) => ends(other),
            (false, true) => ends(self),
            (false, false) => {
                let ((a0, a1), (b0, b1)) = (ends(self), ends(other));
                (a0.min(b0), a1.max(b1))
            }
        };
        let at = |h: &Self, i: i32| {
            usize::try_from(i - h.offset)
                .ok()
                .and_then(|i| h.counts.get(i))
                .copied()
                .unwrap_or(0)
        };
        let merged: Vec<u64> = (first..last)
            .map(|i| op(at(self, i), at(other, i)))
            .collect();
        Self::trimmed(first, &merged)
    }
}
