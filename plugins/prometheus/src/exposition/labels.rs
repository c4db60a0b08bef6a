use std::fmt::{Display, Write};

use crate::negotiate::Format;

use super::protobuf;

/// Labels in the form of their page: `a="b",c="d"` with the values escaped, or protobuf's `LabelPair`s. So a
/// target's labels are written once, and copied into its series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Labels {
    format: Format,
    bytes: Vec<u8>,
}

impl Labels {
    pub(crate) fn new(format: Format) -> Self {
        Self {
            format,
            bytes: Vec::new(),
        }
    }

    /// With one more; an empty value is the same as no label, and left out.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Display) -> Self {
        match self.format {
            Format::Text | Format::OpenMetrics => self.push_text(name, value),
            Format::Protobuf => {
                let value = value.to_string();
                if !value.is_empty() {
                    protobuf::label(&mut self.bytes, name, value);
                }
            }
        }
        self
    }

    fn push_text(&mut self, name: &str, value: impl Display) {
        let before = self.bytes.len();
        if before > 0 {
            self.bytes.push(b',');
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b"=\"");
        let start = self.bytes.len();
        // A Vec takes everything.
        let _ = write!(Escaped(&mut self.bytes), "{value}");
        match self.bytes.len() == start {
            true => self.bytes.truncate(before),
            false => self.bytes.push(b'"'),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Writes what stands between the quotes of a label's value.
struct Escaped<'b>(&'b mut Vec<u8>);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let special = |byte: &u8| matches!(byte, b'\\' | b'"' | b'\n');
        for part in text.as_bytes().split_inclusive(special) {
            match part {
                [plain @ .., last] if special(last) => {
                    let last = if *last == b'\n' { b'n' } else { *last };
                    self.0.extend_from_slice(plain);
                    self.0.extend_from_slice(&[b'\\', last]);
                }
                plain => self.0.extend_from_slice(plain),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Labels;
    use crate::negotiate::Format;

    #[test]
    fn label_values_are_escaped_and_never_rewritten() {
        let labels = Labels::new(Format::Text)
            .with("a", "x\"y\\z\n-ü")
            .with("none", "")
            .with("b", 7);
        assert_eq!(labels.bytes, r#"a="x\"y\\z\n-ü",b="7""#.as_bytes());
    }
}
