//! The text format, version 0.0.4: families with HELP and TYPE, each sample on its line.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::fmt::{Display, Write};

/// What `Content-Type` says of it.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page of metrics.
#[derive(Default)]
pub(crate) struct Exposition(String);

/// What a family's samples mean.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
}

/// Labels in the form that goes between the braces, values escaped: `a="b",c="d"`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Labels(String);

/// The samples of one family.
pub(crate) struct Family<'e> {
    page: &'e mut String,
    name: &'static str,
}

impl Exposition {
    /// Begins a family; a name may begin only once.
    pub(crate) fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family {
            page: &mut self.0,
            name,
        }
    }

    pub(crate) fn finish(self) -> String {
        self.0
    }
}

impl Family<'_> {
    pub(crate) fn sample(&mut self, labels: &Labels, value: impl Display) {
        self.suffixed("", labels, value);
    }

    /// A sample of `NAME` with `suffix`, such as `_sum`.
    pub(crate) fn suffixed(&mut self, suffix: &str, Labels(labels): &Labels, value: impl Display) {
        let (open, close) = if labels.is_empty() {
            ("", "")
        } else {
            ("{", "}")
        };
        let _ = writeln!(
            self.page,
            "{}{suffix}{open}{labels}{close} {value}",
            self.name
        );
    }
}

impl Labels {
    /// With one more; an empty value is the same as no label, and left out.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Display) -> Self {
        let value = value.to_string();
        if value.is_empty() {
            return self;
        }
        if !self.0.is_empty() {
            self.0.push(',');
        }
        let _ = write!(self.0, "{name}=\"");
        for c in value.chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                c => self.0.push(c),
            }
        }
        self.0.push('"');
        self
    }
}

/// Nanoseconds as seconds, exact: `4.259` for 4,259,000,000.
pub(crate) fn seconds(nanoseconds: u64) -> String {
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
    use super::{Labels, seconds};

    #[test]
    fn label_values_are_escaped_and_never_rewritten() {
        let labels = Labels::default()
            .with("a", "x\"y\\z\n-ü")
            .with("none", "")
            .with("b", 7);
        assert_eq!(labels.0, r#"a="x\"y\\z\n-ü",b="7""#);
    }

    #[test]
    fn seconds_lose_no_nanosecond() {
        let shown = [0, 1, 1_000_000_000, 4_259_000_000, u64::MAX].map(seconds);
        assert_eq!(
            shown,
            ["0", "0.000000001", "1", "4.259", "18446744073.709551615"]
        );
    }
}
