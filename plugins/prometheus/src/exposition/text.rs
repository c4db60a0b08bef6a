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

/// One sample.
pub(super) fn line(page: &mut Vec<u8>, name: &str, labels: &Labels, value: Value) {
    suffixed(page, name, "", labels, value);
}

/// A bucket's upper bound. A number of OpenMetrics has a point: `1.0`.
pub(super) fn bound(format: Format, seconds: f64) -> String {
    match format {
        Format::OpenMetrics => format!("{seconds:?}"),
        _ => seconds.to_string(),
    }
}

/// All lines of one histogram.
///
/// The kernel counts a request and its bucket in two steps, so a reading between them can hold one bucket
/// too many: no bucket may exceed the count.
pub(super) fn histogram(
    page: &mut Vec<u8>,
    name: &str,
    labels: &Labels,
    buckets: &Buckets,
    durations: &Durations,
) {
    // Most of a page: what a bucket's line begins with is put together once.
    let mut start = Vec::with_capacity(name.len() + labels.bytes().len() + 16);
    start.extend_from_slice(name.as_bytes());
    start.extend_from_slice(b"_bucket{");
    start.extend_from_slice(labels.bytes());
    if !labels.bytes().is_empty() {
        start.push(b',');
    }
    start.extend_from_slice(b"le=\"");
    let mut bucket = |le: &str, count: u64| {
        page.extend_from_slice(&start);
        short(page, le.as_bytes());
        short(page, b"\"} ");
        integer(page, count);
        page.push(b'\n');
    };
    let below = durations.latency.cumulative(&buckets.bounds);
    for (le, count) in buckets.le.iter().zip(below) {
        bucket(le, count.min(durations.count));
    }
    bucket("+Inf", durations.count);
    let sum = Value::Nanoseconds(durations.sum_ns);
    suffixed(page, name, "_sum", labels, sum);
    suffixed(
        page,
        name,
        "_count",
        labels,
        Value::Integer(durations.count),
    );
}

fn suffixed(page: &mut Vec<u8>, name: &str, suffix: &str, labels: &Labels, value: Value) {
    page.extend_from_slice(name.as_bytes());
    short(page, suffix.as_bytes());
    if !labels.bytes().is_empty() {
        page.push(b'{');
        page.extend_from_slice(labels.bytes());
        page.push(b'}');
    }
    page.push(b' ');
    match value {
        Value::Integer(value) => integer(page, value),
        // A Vec takes everything.
        Value::Float(value) => drop(write!(page, "{value}")),
        Value::Nanoseconds(value) => seconds(page, value),
    }
    page.push(b'\n');
}

fn integer(page: &mut Vec<u8>, value: u64) {
    short(page, itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a few bytes, one by one: a guest copies by a call out of its code, which costs more than they do.
fn short(page: &mut Vec<u8>, bytes: &[u8]) {
    bytes.iter().for_each(|&byte| page.push(byte));
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
    use super::seconds;

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
