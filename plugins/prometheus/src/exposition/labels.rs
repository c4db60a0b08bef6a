use crate::negotiate::Format;

use super::protobuf;

/// Labels in the form of their page: `a="b",c="d"` with the values escaped, or protobuf's `LabelPair`s. So a
/// target's labels are written once, and copied into its series.
#[derive(Debug)]
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
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        if value.is_empty() {
            return self;
        }
        match self.format {
            Format::Text | Format::OpenMetrics => self.push_text(name, value),
            Format::Protobuf => protobuf::label(&mut self.bytes, name, value),
        }
        self
    }

    /// With a status code as one more.
    #[must_use]
    pub(crate) fn with_code(self, name: &str, code: u16) -> Self {
        self.with(name, itoa::Buffer::new().format(code))
    }

    fn push_text(&mut self, name: &str, value: &str) {
        if !self.bytes.is_empty() {
            self.bytes.push(b',');
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b"=\"");
        escape(&mut self.bytes, value.as_bytes());
        self.bytes.push(b'"');
    }

    /// As they stand on the page.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A series' labels begin with its target's, and room for them is made once.
impl Clone for Labels {
    fn clone(&self) -> Self {
        let mut bytes = Vec::with_capacity(self.bytes.len() + FURTHER);
        bytes.extend_from_slice(&self.bytes);
        Self {
            format: self.format,
            bytes,
        }
    }
}

/// Bytes of what a series adds to its target's labels, mostly.
const FURTHER: usize = 128;

/// Appends what stands between the quotes of a label's value.
fn escape(to: &mut Vec<u8>, value: &[u8]) {
    let special = |byte: &u8| matches!(byte, b'\\' | b'"' | b'\n');
    let mut rest = value;
    while let Some(at) = rest.iter().position(special) {
        let escaped = if rest[at] == b'\n' { b'n' } else { rest[at] };
        to.extend_from_slice(&rest[..at]);
        to.extend_from_slice(&[b'\\', escaped]);
        rest = &rest[at + 1..];
    }
    to.extend_from_slice(rest);
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
            .with_code("b", 7);
        assert_eq!(labels.bytes, r#"a="x\"y\\z\n-ü",b="7""#.as_bytes());
    }
}
