//! The two text formats. They differ in what a family is called, in the form of `le`, and in the last line.

use std::io::Write;

use owlk8s_plugin::semconv::Durations;

use crate::negotiate::Format;

use super::{Buckets, Kind, Labels, Value};

/// HELP and TYPE of version 0.0.4. It has no info: one is a gauge there.
pub(super) fn begin(page: &mut Vec<u8>, name: &str, kind: Kind, help: &str) {
    let kind = match kind {
        Kind::Counter => "counter",
        Kind::Gauge | Kind::Info => "gauge",
        Kind::Histogram => "histogram",
    };
    // A Vec takes everything, here and below.
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// HELP, TYPE and UNIT of OpenMetrics: families are called without the suffix of their samples.
pub(super) fn begin_open_metrics(page: &mut Vec<u8>, name: &str, kind: Kind, help: &str) {
    let (suffix, kind) = match kind {
        Kind::Counter => ("_total", "counter"),
        Kind::Gauge => ("", "gauge"),
        Kind::Info => ("_info", "info"),
        Kind::Histogram => ("", "histogram"),
    };
    let family = name.strip_suffix(suffix).unwrap_or(name);
    let _ = writeln!(page, "# TYPE {family} {kind}");
    if let Some(unit) = ["seconds", "ratio"]
        .into_iter()
        .find(|unit| family.ends_with(unit))
    {
        let _ = writeln!(page, "# UNIT {family} {unit}");
    }
    let _ = writeln!(page, "# HELP {family} {help}");
}

/// What the lines of one family begin with.
pub(super) struct Starts {
    line: Padded<64>,
    bucket: Padded<64>,
    sum: Padded<64>,
    count: Padded<64>,
}

impl Starts {
    pub(super) fn of(name: &str) -> Self {
        let start = |suffix| Padded::of(format!("{name}{suffix}{{"));
        Self {
            line: start(""),
            bucket: start("_bucket"),
            sum: start("_sum"),
            count: start("_count"),
        }
    }
}

/// One sample.
pub(super) fn line(page: &mut Vec<u8>, starts: &Starts, labels: &Labels, value: Value) {
    one(page, &starts.line, labels, value);
}

/// What a bucket's line says of its upper bound: `0.005"} `. A number of OpenMetrics has a point: `1.0`.
pub(super) fn le(format: Format, seconds: f64) -> Padded<24> {
    Padded::of(match format {
        _ if seconds.is_infinite() => "+Inf\"} ".to_owned(),
        Format::OpenMetrics => format!("{seconds:?}\"}} "),
        _ => format!("{seconds}\"}} "),
    })
}

/// All lines of one histogram.
///
/// The kernel counts a request and its bucket in two steps, so a reading between them can hold one bucket
/// too many: no bucket may exceed the count.
pub(super) fn histogram(
    page: &mut Vec<u8>,
    starts: &Starts,
    labels: &Labels,
    buckets: &Buckets,
    durations: &Durations,
) {
    // Most of a page: what a bucket's line begins with is put together once, and repeated for the next.
    let start = page.len();
    starts.bucket.append_to(page);
    if !labels.bytes().is_empty() {
        page.extend_from_slice(labels.bytes());
        page.push(b',');
    }
    page.extend_from_slice(b"le=\"");
    let start = start..page.len();
    let below = durations.latency.cumulative(&buckets.bounds);
    let mut end = End::of(0);
    for (le, count) in buckets.le.iter().zip(below) {
        le.append_to(page);
        end.set(count.min(durations.count));
        end.append_to(page);
        page.extend_from_within(start.clone());
    }
    buckets.infinite.append_to(page);
    end.set(durations.count);
    end.append_to(page);
    one(
        page,
        &starts.sum,
        labels,
        Value::Nanoseconds(durations.sum_ns),
    );
    one(page, &starts.count, labels, Value::Integer(durations.count));
}

fn one(page: &mut Vec<u8>, start: &Padded<64>, labels: &Labels, value: Value) {
    start.append_to(page);
    match labels.bytes() {
        [] => {
            // Without its brace.
            page.pop();
            page.push(b' ');
        }
        bytes => {
            page.extend_from_slice(bytes);
            page.extend_from_slice(b"} ");
        }
    }
    match value {
        Value::Integer(value) => return End::of(value).append_to(page),
        // A Vec takes everything.
        Value::Float(value) => drop(write!(page, "{value}")),
        Value::Nanoseconds(value) => seconds(page, value),
    }
    page.push(b'\n');
}

/// An integer and the end of its line. Buckets one after the other often have the same.
struct End {
    value: u64,
    /// The first byte is the lowest. None where they are more than eight.
    bytes: Option<u64>,
    len: usize,
}

impl End {
    fn of(value: u64) -> Self {
        let (mut bytes, mut len) = (u64::from(b'\n'), 1);
        let small = u32::try_from(value)
            .ok()
            .filter(|&small| small < 10_000_000);
        let mut left = small.unwrap_or_default();
        loop {
            bytes = (bytes << 8) | (u64::from(b'0') + u64::from(left % 10));
            left /= 10;
            len += 1;
            if left == 0 {
                break;
            }
        }
        Self {
            value,
            bytes: small.map(|_| bytes),
            len,
        }
    }

    fn set(&mut self, value: u64) {
        if value != self.value {
            *self = Self::of(value);
        }
    }

    fn append_to(&self, page: &mut Vec<u8>) {
        let Some(bytes) = self.bytes else {
            integer(page, self.value);
            return page.push(b'\n');
        };
        let end = page.len() + self.len;
        page.extend_from_slice(&bytes.to_le_bytes());
        page.truncate(end);
    }
}

fn integer(page: &mut Vec<u8>, value: u64) {
    page.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// A text that is appended as one piece of `N` bytes and cut to its length: without a call or a loop, both of which cost a guest
/// more than the bytes do.
pub(super) struct Padded<const N: usize> {
    text: String,
    /// Its beginning.
    bytes: [u8; N],
}

impl<const N: usize> Padded<N> {
    fn of(text: String) -> Self {
        let mut bytes = [0; N];
        for (byte, of_text) in bytes.iter_mut().zip(text.bytes()) {
            *byte = of_text;
        }
        Self { text, bytes }
    }

    fn append_to(&self, page: &mut Vec<u8>) {
        if self.text.len() > N {
            return page.extend_from_slice(self.text.as_bytes());
        }
        let end = page.len() + self.text.len();
        page.extend_from_slice(&self.bytes);
        page.truncate(end);
    }
}

/// Nanoseconds as seconds, exact: `4.259` for 4,259,000,000.
fn seconds(page: &mut Vec<u8>, nanoseconds: u64) {
    let (whole, part) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    integer(page, whole);
    if part > 0 {
        // With a 1 before it, all nine digits are written.
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(1_000_000_000 + part)[1..].trim_end_matches('0');
        page.push(b'.');
        page.extend_from_slice(digits.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::{End, Padded, seconds};

    #[test]
    fn an_integer_ends_its_line_however_long_it_is() {
        let values = [
            0,
            9,
            10,
            1_234_567,
            9_999_999,
            10_000_000,
            1 << 32,
            u64::MAX,
        ];
        for value in values {
            let (mut page, mut end) = (b"x ".to_vec(), End::of(1));
            end.set(value);
            end.append_to(&mut page);
            end.append_to(&mut page);
            assert_eq!(
                String::from_utf8(page).unwrap(),
                format!("x {value}\n{value}\n")
            );
        }
    }

    #[test]
    fn a_text_that_is_longer_than_its_piece_is_whole() {
        for text in ["", "abc", "abcd", "abcdefghi"] {
            let mut page = b"x".to_vec();
            Padded::<4>::of(text.to_owned()).append_to(&mut page);
            assert_eq!(page, format!("x{text}").as_bytes());
        }
    }

    #[test]
    fn seconds_lose_no_nanosecond() {
        let shown = [0, 1, 1_000_000_000, 4_259_000_000, u64::MAX].map(|nanoseconds| {
            let mut page = Vec::new();
            seconds(&mut page, nanoseconds);
            String::from_utf8(page).unwrap()
        });
        assert_eq!(
            shown,
            ["0", "0.000000001", "1", "4.259", "18446744073.709551615"]
        );
    }
}
