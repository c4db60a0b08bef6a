//! One row of counters: consistent though the kernel adds to it, and wider than the kernel's buckets.

use std::borrow::Cow;
use std::collections::HashMap;

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
    fn latency(&mut self, row: u32, kernel: Kernel) -> Histogram {
        if kernel.total < WIDEN_FROM && !self.0.contains_key(&row) {
            return kernel.latency;
        }
        Histogram::trimmed(FIRST_BUCKET, self.carry(row, &kernel))
    }

    /// Carries buckets that went past 2^32 since the last read, which is at most 2^31 requests ago.
    fn carry(&mut self, row: u32, kernel: &Kernel) -> &[u64; BUCKETS] {
        let wide = self.0.entry(row).or_insert_with(|| Box::new([0; BUCKETS]));
        for (index, wide) in (FIRST_BUCKET..).zip(wide.iter_mut()) {
            *wide += u64::from((kernel.bucket(index) as u32).wrapping_sub(*wide as u32));
        }
        wide
    }
}

/// How often the row was counted.
pub(super) fn count(words: Words<'_>, index: u32, widened: &mut Widened) -> u64 {
    let kernel = Kernel::of(words.lines(), Vec::new());
    widened.latency(index, kernel).count()
}

/// The row's values under the names of its key, with the histogram in `memory`; None before its first request, and for a
/// protocol that is not known.
pub(super) fn read(
    key: RowKey,
    direction: Direction,
    words: Words<'_>,
    index: u32,
    widened: &mut Widened,
    memory: Vec<u64>,
) -> Option<Row> {
    let protocol = match key.protocol & !ROW_PROBE {
        10 => Protocol::Http10,
        11 => Protocol::Http11,
        20 => Protocol::Http2,
        _ => return None,
    };
    let kernel = Kernel::of(words.lines(), memory);
    let duration_sum_ns = kernel.duration_sum_ns;
    let latency = widened.latency(index, kernel);
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
        duration_sum_ns,
        latency,
    })
}

/// A row as the kernel keeps it.
struct Kernel {
    duration_sum_ns: u64,
    /// Sum of the buckets.
    total: u64,
    /// As [`Histogram::trimmed`] makes it.
    latency: Histogram,
}

/// Words of a [`RowLine`]: the sum of its durations, then two buckets of 32 bits in each, the first in the lower half.
const WORDS: usize = size_of::<RowLine>() / 8;

impl Kernel {
    /// From the row's lines. Each line's sum is read before its buckets: a request that is counted meanwhile is in the next
    /// reading's sum. Most lines are empty, since most requests of a row take about as long as each other.
    fn of(lines: impl Iterator<Item = [u64; WORDS]>, memory: Vec<u64>) -> Self {
        let mut kernel = Self {
            duration_sum_ns: 0,
            total: 0,
            latency: Histogram {
                offset: 0,
                counts: memory,
            },
        };
        let Histogram { offset, counts } = &mut kernel.latency;
        counts.clear();
        for (line, [sum, pairs @ ..]) in lines.enumerate() {
            kernel.duration_sum_ns += sum;
            if pairs.iter().fold(0, |all, pair| all | pair) == 0 {
                continue;
            }
            let mut buckets = [0; LINE_BUCKETS];
            for (two, pair) in buckets.as_chunks_mut().0.iter_mut().zip(pairs) {
                *two = [pair & u64::from(u32::MAX), pair >> 32];
            }
            kernel.total += buckets.iter().sum::<u64>();
            let index = FIRST_BUCKET + (line * LINE_BUCKETS) as i32;
            if counts.is_empty() {
                let empty = buckets.iter().take_while(|&&count| count == 0).count();
                *offset = index + empty as i32;
                counts.extend_from_slice(&buckets[empty..]);
            } else {
                counts.resize((index - *offset) as usize, 0);
                counts.extend_from_slice(&buckets);
            }
        }
        let filled = counts.iter().rposition(|&count| count > 0);
        counts.truncate(filled.map_or(0, |last| last + 1));
        kernel
    }

    /// Bucket of this index.
    fn bucket(&self, index: i32) -> u64 {
        let place = usize::try_from(index - self.latency.offset);
        let count = place.map(|place| self.latency.counts.get(place));
        count.ok().flatten().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: usize = BUCKETS.div_ceil(LINE_BUCKETS);

    /// As the kernel keeps a row with these buckets, and a sum of 1 ns in each line.
    fn kernel(buckets: &[(usize, u32)]) -> Kernel {
        let mut lines = [[0; WORDS]; LINES];
        for &(bucket, count) in buckets {
            let place = bucket % LINE_BUCKETS;
            lines[bucket / LINE_BUCKETS][1 + place / 2] |= u64::from(count) << (32 * (place % 2));
        }
        for line in &mut lines {
            line[0] = 1;
        }
        Kernel::of(lines.into_iter(), vec![7; 3])
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
            (13, 14),
            (14, 27),
            (13, 42),
            (206, 206),
            (207, 207),
            (100, 101),
        ] {
            let kernel = kernel(&[(a, 4), (b, 8)]);
            let mut all = [0; BUCKETS];
            all[a] |= 4;
            all[b] |= 8;
            let expected = Histogram::trimmed(FIRST_BUCKET, &all);
            assert_eq!(kernel.total, expected.count());
            assert_eq!(kernel.latency, expected, "{a} {b}");
            assert_eq!(kernel.duration_sum_ns, LINES as u64);
        }
        assert_eq!(kernel(&[]).latency, Histogram::default());
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
