//! The two text formats. They differ in what a family is called, in the form of `le`, and in the last line.

use std::io::Write;

use owlk8s_plugin::semconv::Durations;

use crate::negotiate::Format;

use super::{Kind, Labels, Value};

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

/// All lines of one histogram.
///
/// The kernel counts a request and its bucket in two steps, so a reading between them can hold one bucket
/// too many: no bucket may exceed the count.
pub(super) fn histogram(
    page: &mut Vec<u8>,
    format: Format,
    name: &str,
    labels: &Labels,
    bounds: &[f64],
    durations: &Durations,
) {
    let separator = if labels.bytes().is_empty() { "" } else { "," };
    let mut bucket = |bound: &dyn std::fmt::Display, count: u64| {
        let _ = write!(page, "{name}_bucket{{");
        page.extend_from_slice(labels.bytes());
        let _ = writeln!(page, "{separator}le=\"{bound}\"}} {count}");
    };
    for (bound, count) in bounds.iter().zip(durations.latency.cumulative(bounds)) {
        let count = count.min(durations.count);
        match format {
            // A number there has a point: `1.0`.
            Format::OpenMetrics => bucket(&format_args!("{bound:?}"), count),
            _ => bucket(bound, count),
        }
    }
    bucket(&"+Inf", durations.count);
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
    page.extend_from_slice(suffix.as_bytes());
    if !labels.bytes().is_empty() {
        page.push(b'{');
        page.extend_from_slice(labels.bytes());
        page.push(b'}');
    }
    let _ = match value {
        Value::Integer(value) => writeln!(page, " {value}"),
        Value::Float(value) => writeln!(page, " {value}"),
        Value::Nanoseconds(value) => writeln!(page, " {}", seconds(value)),
    };
}

/// Nanoseconds as seconds, exact: `4.259` for 4,259,000,000.
fn seconds(nanoseconds: u64) -> String {
    let (whole, part) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    match part {
        0 => whole.to_string(),
        _ => format!("{whole}.{part:09}")
            .trim_end_matches('0')
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn seconds_lose_no_nanosecond() {
        let shown = [0, 1, 1_000_000_000, 4_259_000_000, u64::MAX].map(seconds);
        assert_eq!(
            shown,
            ["0", "0.000000001", "1", "4.259", "18446744073.709551615"]
        );
    }
}
