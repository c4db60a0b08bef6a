//! One row of counters: consistent though the kernel adds to it, and wider than the kernel's buckets.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use owlk8s_ebpf_abi::{BUCKETS, LINE_BUCKETS, METHODS, ROW_PROBE, RowKey, RowLine};
use owlk8s_model::{Direction, FIRST_BUCKET, Histogram, Method, Protocol, Row};

use crate::sys::Words;

/// The kernel's buckets have 32 bits. From half of that on, what they held is carried on here.
const WIDEN_FROM: u64 = 1 << 31;

/// 64-bit buckets of the rows that need them: none, until a row has counted [`WIDEN_FROM`] requests.
#[derive(Default)]
pub(super) struct Widened(HashMap<u32, Box<[u64; BUCKETS]>>);

impl Widened {
    pub(super) fn forget(&mut self, row: u32) {
        self.0.remove(&row);
    }

    /// The row's buckets, whether they fit into 32 bits or not.
    fn latency(&mut self, row: u32, kernel: &Kernel) -> Histogram {
        if kernel.total < WIDEN_FROM && !self.0.contains_key(&row) {
            return kernel.latency();
        }
        Histogram::trimmed(FIRST_BUCKET, self.carry(row, kernel))
    }

    /// Carries buckets that went past 2^32 since the last read, which is at most 2^31 requests ago.
    fn carry(&mut self, row: u32, kernel: &Kernel) -> &[u64; BUCKETS] {
        let wide = self.0.entry(row).or_insert_with(|| Box::new([0; BUCKETS]));
        for (wide, now) in wide.iter_mut().zip(kernel.buckets(0, BUCKETS / 2 - 1)) {
            *wide += u64::from((now as u32).wrapping_sub(*wide as u32));
        }
        wide
    }
}

/// How often the row was counted.
pub(super) fn count(words: Words<'_>, index: u32, widened: &mut Widened) -> u64 {
    widened.latency(index, &Kernel::of(words)).count()
}

/// The row's values under the names of its key; None before its first request, and for a protocol that is not known.
pub(super) fn read(
    key: RowKey,
    direction: Direction,
    words: Words<'_>,
    index: u32,
    widened: &mut Widened,
) -> Option<Row> {
    let protocol = match key.protocol & !ROW_PROBE {
        10 => Protocol::Http10,
        11 => Protocol::Http11,
        20 => Protocol::Http2,
        _ => return None,
    };
    let kernel = Kernel::of(words);
    let latency = widened.latency(index, &kernel);
    let method = METHODS
        .get(usize::from(key.method))
        .copied()
        .unwrap_or(METHODS[0]);
    let count = latency.count();
    (count > 0).then_some(Row {
        direction,
        protocol,
        method: Method(Cow::Borrowed(method)),
        status: key.status,
        probe: key.protocol & ROW_PROBE != 0,
        count,
        duration_sum_ns: kernel.duration_sum_ns,
        latency,
    })
}

/// Two buckets of 32 bits in each word, the first in the lower half.
type Pairs = [u64; PAIRS];
const PAIRS: usize = BUCKETS.div_ceil(LINE_BUCKETS) * LINE_BUCKETS / 2;
/// The first bucket of a pair.
const LOWER: u64 = u32::MAX as u64;

/// A row as the kernel keeps it.
struct Kernel {
    duration_sum_ns: u64,
    /// Sum of the buckets.
    total: u64,
    /// Those of `pairs` that are not in it are zero: most requests of a row take about as long as each other.
    used: Range<usize>,
    pairs: Pairs,
}

/// Words of a [`RowLine`].
const LINE: usize = size_of::<RowLine>() / 8;

impl Kernel {
    /// Each line's sum before its buckets: a request that is counted meanwhile is in the next reading's sum.
    fn of(words: Words<'_>) -> Self {
        let mut kernel = Self {
            duration_sum_ns: 0,
            total: 0,
            used: 0..0,
            pairs: [0; PAIRS],
        };
        for (line, [sum, pairs @ ..]) in words.lines::<LINE>().enumerate() {
            kernel.duration_sum_ns += sum;
            let total: u64 = pairs.iter().map(|pair| (pair & LOWER) + (pair >> 32)).sum();
            if total == 0 {
                continue;
            }
            let first = line * pairs.len();
            let start = if kernel.total == 0 {
                first
            } else {
                kernel.used.start
            };
            kernel.used = start..first + pairs.len();
            kernel.total += total;
            kernel.pairs[first..kernel.used.end].copy_from_slice(&pairs);
        }
        kernel
    }

    /// All buckets from pair `first` to pair `last`.
    fn buckets(&self, first: usize, last: usize) -> impl Iterator<Item = u64> + '_ {
        self.pairs[first..=last]
            .iter()
            .flat_map(|pair| [pair & LOWER, pair >> 32])
    }

    /// As [`Histogram::trimmed`], without a look at what is zero.
    fn latency(&self) -> Histogram {
        let used = &self.pairs[self.used.clone()];
        let filled = |&pair: &u64| pair != 0;
        let (Some(first), Some(last)) =
            (used.iter().position(filled), used.iter().rposition(filled))
        else {
            return Histogram::default();
        };
        let (first, last) = (self.used.start + first, self.used.start + last);
        let before = usize::from(self.pairs[first] & LOWER == 0);
        let after = usize::from(self.pairs[last] >> 32 == 0);
        let mut counts = Vec::with_capacity((last - first + 1) * 2);
        counts.extend(self.buckets(first, last).skip(before));
        counts.truncate(counts.len() - after);
        Histogram {
            offset: FIRST_BUCKET + (first * 2 + before) as i32,
            counts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(buckets: &[(usize, u32)]) -> Kernel {
        let mut kernel = Kernel {
            duration_sum_ns: 0,
            total: buckets.iter().map(|&(_, count)| u64::from(count)).sum(),
            used: 0..PAIRS,
            pairs: [0; PAIRS],
        };
        for &(bucket, count) in buckets {
            kernel.pairs[bucket / 2] |= u64::from(count) << (32 * (bucket % 2));
        }
        kernel
    }

    #[test]
    fn histogram_is_the_buckets_trimmed_wherever_they_lie() {
        for (a, b) in [
            (0, 0),
            (0, 207),
            (1, 1),
            (1, 2),
            (2, 3),
            (3, 6),
            (206, 206),
            (207, 207),
            (100, 101),
        ] {
            let kernel = kernel(&[(a, 4), (b, 8)]);
            let all: Vec<u64> = kernel.buckets(0, BUCKETS / 2 - 1).collect();
            assert_eq!(
                kernel.latency(),
                Histogram::trimmed(FIRST_BUCKET, &all),
                "{a} {b}"
            );
        }
        assert_eq!(kernel(&[]).latency(), Histogram::default());
    }

    #[test]
    fn bucket_that_runs_over_32_bits_goes_on() {
        let mut widened = Widened::default();
        let read = |widened: &mut Widened, count| widened.carry(3, &kernel(&[(7, count)]))[7];
        assert_eq!(read(&mut widened, 1 << 31), 1 << 31);
        assert_eq!(read(&mut widened, u32::MAX), u64::from(u32::MAX));
        assert_eq!(read(&mut widened, 4), (1 << 32) + 4);
        assert_eq!(read(&mut widened, 5), (1 << 32) + 5);
        widened.forget(3);
        assert_eq!(read(&mut widened, 1 << 31), 1 << 31);
    }
}
