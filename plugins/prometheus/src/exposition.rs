//! The text format, version 0.0.4: families with HELP and TYPE, each sample on its line.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>
//!
//! A series is some 290 bytes a line and 17 lines, nearly all of it repeated: 10,000 series are 50 MB of
//! text and 1 MB of gzip. So the page is compressed as it grows and is never whole in memory, where
//! the scraper takes that, as Prometheus does.

use std::fmt::{Display, Write};
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

/// What `Content-Type` says of it.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How much text waits for the compressor.
const CHUNK: usize = 64 << 10;

/// A page of metrics.
#[derive(Default)]
pub(crate) struct Exposition {
    text: String,
    gzip: Option<GzEncoder<Vec<u8>>>,
}

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
    page: &'e mut Exposition,
    name: &'static str,
}

impl Exposition {
    pub(crate) fn compressed() -> Self {
        Self {
            gzip: Some(GzEncoder::new(Vec::new(), Compression::fast())),
            ..Self::default()
        }
    }

    /// Begins a family; a name may begin only once.
    pub(crate) fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { page: self, name }
    }

    /// The page's bytes.
    pub(crate) fn finish(mut self) -> std::io::Result<Vec<u8>> {
        let Some(mut gzip) = self.gzip.take() else {
            return Ok(self.text.into_bytes());
        };
        gzip.write_all(self.text.as_bytes())?;
        gzip.finish()
    }

    /// Called after each line.
    fn spill(&mut self) {
        if let Some(gzip) = self.gzip.as_mut().filter(|_| self.text.len() >= CHUNK) {
            // What the encoder writes to is a Vec, which takes everything.
            let _ = gzip.write_all(self.text.as_bytes());
            self.text.clear();
        }
    }
}

impl Family<'_> {
    pub(crate) fn sample(&mut self, labels: &Labels, value: impl Display) {
        self.line("", labels, None, value);
    }

    /// A sample of `NAME` with `suffix`, such as `_sum`.
    pub(crate) fn suffixed(&mut self, suffix: &str, labels: &Labels, value: impl Display) {
        self.line(suffix, labels, None, value);
    }

    /// The bucket up to `bound`.
    pub(crate) fn bucket(&mut self, labels: &Labels, bound: &str, count: u64) {
        self.line("_bucket", labels, Some(bound), count);
    }

    fn line(
        &mut self,
        suffix: &str,
        Labels(labels): &Labels,
        le: Option<&str>,
        value: impl Display,
    ) {
        let text = &mut self.page.text;
        text.push_str(self.name);
        text.push_str(suffix);
        if !labels.is_empty() || le.is_some() {
            text.push('{');
            text.push_str(labels);
            if let Some(bound) = le {
                text.push_str(if labels.is_empty() { "le=\"" } else { ",le=\"" });
                text.push_str(bound);
                text.push('"');
            }
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
        self.page.spill();
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
