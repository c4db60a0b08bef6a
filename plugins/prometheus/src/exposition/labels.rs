use crate::negotiate::Format;

use super::protobuf;

/// Labels in the form of their page: `a="b",c="d"` with the values escaped, or protobuf's `LabelPair`s. So a
/// target's labels are written once, and copied into its series.
#[derive(Clone, Debug)]
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

    /// No labels any more.
    pub(crate) fn clear(&mut self) -> &mut Self {
        self.bytes.clear();
        self
    }

    /// The labels of a target and no more: a series of it begins with them.
    pub(crate) fn begin(&mut self, target: &Self) -> &mut Self {
        self.bytes.clone_from(&target.bytes);
        self
    }

    /// One more; an empty value is the same as no label, and left out.
    pub(crate) fn push(&mut self, name: &str, value: &str) -> &mut Self {
        if value.is_empty() {
            return self;
        }
        match self.format {
            Format::Text | Format::OpenMetrics => self.push_text(name, value),
            Format::Protobuf => protobuf::label(&mut self.bytes, name, value),
        }
        self
    }

    /// A status code.
    pub(crate) fn push_code(&mut self, name: &str, code: u16) -> &mut Self {
        self.push(name, itoa::Buffer::new().format(code))
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

/// Appends what stands between the quotes of a label's value.
fn escape(to: &mut Vec<u8>, value: &[u8]) {
    let mut rest = value;
    while let Some(at) = memchr::memchr3(b'\\', b'"', b'\n', rest) {
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
        let mut labels = Labels::new(Format::Text);
        labels
            .push("a", "x\"y\\z\n-ü")
            .push("none", "")
            .push_code("b", 7);
        assert_eq!(labels.bytes, r#"a="x\"y\\z\n-ü",b="7""#.as_bytes());
    }
}
