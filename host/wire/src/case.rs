//! A case: packets, in a text that people can read, change and write.
//!
//! ```text
//! # Lines like this one are comments.
//! connection 0 v4
//! 0 > PA 100 500 "GET / HTTP/1.1\r\n\r\n"
//! 0 < PA 500 118 tcp=12 "HTTP/1.1 204 No Content\r\n\r\n"
//! ```
//!
//! Of each packet: its connection; `>` to the pod or `<` from it; flags of `SFRPA`; sequence and acknowledgement number;
//! its form where it is not plain (`tcp=` and `ip=` bytes of options, `pad=` bytes behind the packet, `frag=` bytes of
//! each fragment); and the payload, escaped as in Rust.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Flags by letter.
const FLAGS: [(char, u8); 5] = [
    ('S', 0x02),
    ('F', 0x01),
    ('R', 0x04),
    ('P', 0x08),
    ('A', 0x10),
];

/// Packets of one or more connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    /// Of each connection whether it is IPv6.
    pub connections: Vec<bool>,
    /// In the order in which they pass.
    pub lines: Vec<Line>,
}

/// One packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Index of its connection.
    pub connection: usize,
    /// To the pod or from it.
    pub to_pod: bool,
    /// TCP flags.
    pub flags: u8,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// How it is wrapped.
    pub form: Form,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// What lies around a segment's payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// Bytes of TCP options.
    pub tcp_options: u8,
    /// Bytes of IPv4 options, or of an IPv6 extension header's body.
    pub ip_options: u8,
    /// Bytes behind the packet.
    pub padding: u8,
    /// Bytes of each fragment; 0: not fragmented.
    pub fragment: u16,
}

/// A text that is no case.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("line {number}: {problem}: {text}")]
pub struct CaseError {
    /// Counted from 1.
    number: usize,
    problem: &'static str,
    text: String,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, v6) in self.connections.iter().enumerate() {
            writeln!(f, "connection {index} {}", if *v6 { "v6" } else { "v4" })?;
        }
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags: String = FLAGS
            .iter()
            .filter(|(_, bit)| self.flags & bit != 0)
            .map(|(letter, _)| letter)
            .collect();
        let flags = if flags.is_empty() { "-" } else { &flags };
        let way = if self.to_pod { '>' } else { '<' };
        write!(
            f,
            "{} {way} {flags} {} {}",
            self.connection, self.seq, self.ack
        )?;
        let form = &self.form;
        let parts = [
            ("tcp", form.tcp_options.into()),
            ("ip", form.ip_options.into()),
            ("pad", form.padding.into()),
            ("frag", form.fragment),
        ];
        for (name, value) in parts.into_iter().filter(|(_, value)| *value != 0_u16) {
            write!(f, " {name}={value}")?;
        }
        write!(f, " \"{}\"", self.payload.escape_ascii())
    }
}

impl FromStr for Case {
    type Err = CaseError;

    fn from_str(text: &str) -> Result<Self, CaseError> {
        let mut case = Self::default();
        for (at, line) in text.lines().enumerate() {
            let wrong = |problem| CaseError {
                number: at + 1,
                problem,
                text: line.to_owned(),
            };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(connection) = line.strip_prefix("connection ") {
                case.connections.push(connection.ends_with("v6"));
                continue;
            }
            let packet = Line::parse(line).ok_or_else(|| wrong("no packet"))?;
            if packet.connection >= case.connections.len() {
                return Err(wrong("its connection is not declared above"));
            }
            case.lines.push(packet);
        }
        Ok(case)
    }
}

impl Line {
    fn parse(text: &str) -> Option<Self> {
        let (head, payload) = text.split_once('"')?;
        let mut words = head.split_whitespace();
        let mut line = Self {
            connection: words.next()?.parse().ok()?,
            to_pod: match words.next()? {
                ">" => true,
                "<" => false,
                _ => return None,
            },
            ..Self::default()
        };
        for letter in words.next()?.chars().filter(|letter| *letter != '-') {
            line.flags |= FLAGS.iter().find(|(known, _)| *known == letter)?.1;
        }
        line.seq = words.next()?.parse().ok()?;
        line.ack = words.next()?.parse().ok()?;
        for word in words {
            let (name, value) = word.split_once('=')?;
            match name {
                "tcp" => line.form.tcp_options = value.parse().ok()?,
                "ip" => line.form.ip_options = value.parse().ok()?,
                "pad" => line.form.padding = value.parse().ok()?,
                "frag" => line.form.fragment = value.parse().ok()?,
                _ => return None,
            }
        }
        line.payload = unescape(payload.strip_suffix('"')?)?;
        Some(line)
    }
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next()? {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'x' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_case_reads_back_as_the_same() {
        let form = Form {
            tcp_options: 12,
            ip_options: 6,
            padding: 3,
            fragment: 24,
        };
        let payload: Vec<u8> = (0..=255).collect();
        let packet = Line {
            connection: 1,
            to_pod: true,
            flags: 0x18,
            seq: u32::MAX,
            ack: 7,
            form,
            payload,
        };
        let case = Case {
            connections: vec![false, true],
            lines: vec![Line::default(), packet],
        };
        assert_eq!(case.to_string().parse::<Case>().unwrap(), case);
    }

    #[test]
    fn wrong_line_is_named() {
        let error = "connection 0 v4\n0 ? A 1 1 \"\""
            .parse::<Case>()
            .unwrap_err();
        assert_eq!(error.to_string(), "line 2: no packet: 0 ? A 1 1 \"\"");
        assert!("3 > A 1 1 \"\"".parse::<Case>().is_err());
    }
}
