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
        let value = value.to_string();
        if value.is_empty() {
            return self;
        }
        match self.format {
            Format::Text | Format::OpenMetrics => self.push_text(name, &value),
            Format::Protobuf => protobuf::label(&mut self.bytes, name, value),
        }
        self
    }

    fn push_text(&mut self, name: &str, value: &str) {
        let mut text = String::with_capacity(name.len() + value.len() + 4);
        if !self.bytes.is_empty() {
            text.push(',');
        }
        let _ = write!(text, "{name}=\"");
        for c in value.chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                c => text.push(c),
            }
        }
        text.push('"');
        self.bytes.extend_from_slice(text.as_bytes());
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
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
