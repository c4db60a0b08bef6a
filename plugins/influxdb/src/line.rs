//! The line protocol: `measurement,tag=value field=1i time`, a point a line.
//! <https://docs.influxdata.com/influxdb/v1/write_protocols/line_protocol_reference/>

use std::fmt::Write;

/// Tags in the form that stands between measurement and fields, `,a=b,c=d`, sorted by key as servers
/// like them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tags(String);

impl Tags {
    /// A tag without a value does not exist in the protocol: it is left out.
    pub(crate) fn of<'t>(tags: impl IntoIterator<Item = (&'t str, &'t str)>) -> Self {
        let mut tags: Vec<_> = tags
            .into_iter()
            .map(|(key, value)| (escape(key), escape(value)))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        tags.sort();
        let mut text = String::new();
        for (key, value) in tags {
            let _ = write!(text, ",{key}={value}");
        }
        Self(text)
    }
}

/// Begins a line; fields follow, then [`end`].
pub(crate) fn begin(body: &mut String, measurement: &str, Tags(tags): &Tags) {
    body.push_str(&escape(measurement).replace("\\=", "="));
    body.push_str(tags);
}

/// Fields of one line.
pub(crate) struct Fields<'b> {
    body: &'b mut String,
    separator: char,
}

impl<'b> Fields<'b> {
    pub(crate) fn of(body: &'b mut String) -> Self {
        Self {
            body,
            separator: ' ',
        }
    }

    /// A signed 64-bit field: 1.x knows no unsigned ones.
    pub(crate) fn integer(&mut self, name: &str, value: u64) -> &mut Self {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        let _ = write!(self.body, "{}{name}={value}i", self.separator);
        self.separator = ',';
        self
    }

    pub(crate) fn float(&mut self, name: &str, value: f64) -> &mut Self {
        let _ = write!(self.body, "{}{name}={value}", self.separator);
        self.separator = ',';
        self
    }

    pub(crate) fn end(&mut self, time: u64) {
        let _ = writeln!(self.body, " {time}");
    }
}

/// Escapes what ends a name. What the protocol cannot hold is changed as little as may be: control
/// characters, a line break first of all, become `\n` and their like in letters, and backslashes at the
/// end, which would escape what follows, go.
fn escape(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.trim_end_matches('\\').chars() {
        match c {
            ',' | ' ' | '=' => text.extend(['\\', c]),
            c if c.is_control() => text.extend(c.escape_default()),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Fields, Tags, begin};

    #[test]
    fn names_are_escaped_and_tags_sorted() {
        let tags = Tags::of([
            ("pod", "a b,c=d"),
            ("empty", ""),
            ("odd\n", "two\nlines\\"),
            ("backslash", "\\"),
            ("namespace", "ns\\back"),
        ]);
        let mut body = String::new();
        begin(&mut body, "m easure,ment=x", &tags);
        Fields::of(&mut body)
            .integer("a", u64::MAX)
            .float("b", 0.5)
            .end(7);
        assert_eq!(
            body,
            "m\\ easure\\,ment=x,namespace=ns\\back,odd\\n=two\\nlines,pod=a\\ b\\,c\\=d a=9223372036854775807i,b=0.5 7\n"
        );
    }
}
