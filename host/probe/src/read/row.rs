//! One row of counters: consistent though the kernel adds to it, and wider than the kernel's buckets.

use std::borrow::Cow;
use std::collections::HashMap;
use std::mem::offset_of;

use owlk8s_ebpf_abi::{BUCKETS, METHODS, ROW_PROBE, Row as Layout, RowKey};
use owlk8s_model::{Direction, FIRST_BUCKET, Histogram, Method, Protocol, Row};

use crate::sys::Words;

/// A request is added to count, sum and bucket one after the other; reading again this often meets a row at rest.
const ATTEMPTS: usize = 4;
/// The kernel's buckets have 32 bits. From half of that on, what they held is carried on here.
const WIDEN_FROM: u64 = 1 << 31;

/// 64-bit buckets of the rows that need them: none, until a row has counted [`WIDEN_FROM`] requests.
#[derive(Default)]
pub(super) struct Widened(HashMap<u32, Box<[u64; BUCKETS]>>);

impl Widened {
    pub(super) fn forget(&mut self, row: u32) {
        self.0.remove(&row);
    }

    /// Carries buckets that went past 2^32 since the last read, which is at most 2^31 requests ago.
    fn widen(&mut self, row: u32, buckets: &mut [u64; BUCKETS]) {
        let wide = self.0.entry(row).or_insert_with(|| Box::new(*buckets));
        for (wide, now) in wide.iter_mut().zip(buckets) {
            *wide += u64::from((*now as u32).wrapping_sub(*wide as u32));
            *now = *wide;
        }
    }
}

/// How often the row was counted.
pub(super) fn count(row: Words<'_>) -> u64 {
    row.get(offset_of!(Layout, count))
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
    let mut buckets = [0; BUCKETS];
    let (count, duration_sum_ns) = consistent(words, &mut buckets);
    if count >= WIDEN_FROM {
        widened.widen(index, &mut buckets);
    }
    let method = METHODS
        .get(usize::from(key.method))
        .copied()
        .unwrap_or(METHODS[0]);
    (count > 0).then(|| Row {
        direction,
        protocol,
        method: Method(Cow::Borrowed(method)),
        status: key.status,
        probe: key.protocol & ROW_PROBE != 0,
        count,
        duration_sum_ns,
        latency: Histogram::trimmed(FIRST_BUCKET, &buckets),
    })
}

/// Count and sum, with the buckets that belong to them as far as the row rests for a moment.
fn consistent(words: Words<'_>, buckets: &mut [u64; BUCKETS]) -> (u64, u64) {
    let mut values = (0, 0);
    for _ in 0..ATTEMPTS {
        values = (count(words), words.get(offset_of!(Layout, duration_sum_ns)));
        let mut total = 0_u64;
        for (pair, word) in buckets
            .chunks_exact_mut(2)
            .zip(words.from(offset_of!(Layout, buckets)))
        {
            pair[0] = word & u64::from(u32::MAX);
            pair[1] = word >> 32;
            total += pair[0] + pair[1];
        }
        if total == values.0 || values.0 >= WIDEN_FROM {
            break;
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_that_runs_over_32_bits_goes_on() {
        let mut widened = Widened::default();
        let read = |widened: &mut Widened, kernel: u32| {
            let mut buckets = [0; BUCKETS];
            buckets[7] = u64::from(kernel);
            widened.widen(3, &mut buckets);
            buckets[7]
        };
        assert_eq!(read(&mut widened, 1 << 31), 1 << 31);
        assert_eq!(read(&mut widened, u32::MAX), u64::from(u32::MAX));
        assert_eq!(read(&mut widened, 4), (1 << 32) + 4);
        assert_eq!(read(&mut widened, 5), (1 << 32) + 5);
        widened.forget(3);
        assert_eq!(read(&mut widened, 1 << 31), 1 << 31);
    }
}
