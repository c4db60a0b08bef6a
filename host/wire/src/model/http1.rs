//! HTTP/1.0 and 1.1: RFC 9112.

use super::lives::Life;
use super::{method_name, unanswered};
use crate::counts::{Counts, RowName};

/// Of a message: its first line and its fields, as far as they came.
struct Head {
    first: String,
    fields: Vec<(String, String)>,
    complete: bool,
}

/// A byte stream, and how far it has been read.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

struct Request {
    method: String,
    version: &'static str,
    probe: bool,
    /// The head, where a body may follow it.
    head: Option<Head>,
}

struct Answer {
    status: u16,
    /// Packet with which its head was complete.
    time: Option<usize>,
    /// A `100 Continue` came before it.
    went_on: bool,
}

enum Next {
    Request(Request),
    /// An unfinished request line, and its method where that is complete; or what is no request line.
    Begun(Option<String>),
    Nothing,
}

/// Counts a connection that speaks HTTP/1.
pub(super) fn count(life: &Life, counts: &mut Counts) {
    let mut requests = Reader {
        bytes: &life.requests.bytes,
        at: 0,
    };
    let mut answers = Reader {
        bytes: &life.answers.bytes,
        at: 0,
    };
    loop {
        let (request, started) = match requests.request() {
            Next::Request(request) => (request, true),
            // It counts where it is answered before it is complete.
            Next::Begun(method) => (
                Request {
                    method: method.unwrap_or_default(),
                    version: "1.1",
                    probe: false,
                    head: None,
                },
                false,
            ),
            Next::Nothing => {
                // A connection is known from its first request's first byte on.
                while life.requests.any() && answers.answer("GET", &[]).is_some() {
                    *counts
                        .losses
                        .entry("unsolicited-answer".to_owned())
                        .or_default() += 1;
                }
                return;
            }
        };
        let answer = answers.answer(&request.method, &life.answers.times);
        if !started && answer.is_none() {
            return;
        }
        if let Some(head) = &request.head
            && !declined(head, answer.as_ref(), &requests, &life.requests.times)
        {
            requests.body(head, false);
        }
        counts.started += 1;
        counts.probe_started += u64::from(request.probe);
        let Some(status) = answer.map(|answer| answer.status) else {
            unanswered(life, request.probe, counts);
            continue;
        };
        let row: RowName = (
            request.version,
            method_name(&request.method),
            status,
            request.probe,
        );
        counts.answer(row);
        // What follows is a tunnel's (RFC 9110, 7.8 and 9.3.6).
        if status == 101 || request.method == "CONNECT" && (200..300).contains(&status) {
            return;
        }
    }
}

/// Whether a body that was announced with `Expect: 100-continue` never comes: it was refused first, and what follows the
/// head is the next request (RFC 9110, 10.1.1).
fn declined(head: &Head, answer: Option<&Answer>, requests: &Reader<'_>, times: &[usize]) -> bool {
    let Some(answer) = answer.filter(|answer| !answer.went_on) else {
        return false;
    };
    let next = &requests.bytes[requests.at.min(requests.bytes.len())..];
    head.value("expect") == Some("100-continue")
        && times.get(requests.at) > answer.time.as_ref()
        && next.starts_with(b"DELETE /next ")
}

impl Reader<'_> {
    fn line(&mut self) -> Option<Vec<u8>> {
        let rest = &self.bytes[self.at.min(self.bytes.len())..];
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        self.at += end + 1;
        Some(
            rest[..end]
                .strip_suffix(b"\r")
                .unwrap_or(&rest[..end])
                .to_vec(),
        )
    }

    fn text_line(&mut self) -> Option<String> {
        Some(String::from_utf8_lossy(&self.line()?).into_owned())
    }

    /// First line and fields; none when the first line is not complete.
    fn head(&mut self) -> Option<Head> {
        while matches!(self.bytes.get(self.at), Some(b'\r' | b'\n')) {
            self.at += 1;
        }
        let mut head = Head {
            first: self.text_line()?,
            fields: Vec::new(),
            complete: true,
        };
        loop {
            let line = self.text_line()?;
            if line.is_empty() {
                return Some(head);
            }
            if let Some((_, value)) = head.fields.last_mut()
                && line.starts_with([' ', '\t'])
            {
                *value = format!("{value} {}", line.trim()).trim().to_owned();
                continue;
            }
            if let Some((name, value)) = line.split_once(':') {
                head.fields
                    .push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
    }

    fn request(&mut self) -> Next {
        let start = self.at;
        let Some(head) = self.first_line_and_fields() else {
            self.at = start;
            while matches!(self.bytes.get(self.at), Some(b'\r' | b'\n')) {
                self.at += 1;
            }
            let open =
                String::from_utf8_lossy(&self.bytes[self.at.min(self.bytes.len())..]).into_owned();
            self.at = self.bytes.len();
            let method = open.split_once(' ').map(|(method, _)| method.to_owned());
            return if open.is_empty() {
                Next::Nothing
            } else {
                Next::Begun(method)
            };
        };
        let line = head.first.trim_end_matches([' ', '\t']);
        let Some((rest, version)) = line.rsplit_once(' ').filter(|(_, last)| is_version(last))
        else {
            // The connection makes no sense from here on.
            self.at = self.bytes.len();
            return Next::Begun(None);
        };
        let method = rest.split(' ').next().unwrap_or_default().to_owned();
        let version = if version == "HTTP/1.0" { "1.0" } else { "1.1" };
        let probe = head.value("user-agent").is_some_and(is_probe);
        if !head.complete {
            self.at = self.bytes.len();
        }
        let body_follows = head.complete && method != "CONNECT";
        Next::Request(Request {
            method,
            version,
            probe,
            head: body_follows.then_some(head),
        })
    }

    /// The next final answer to a request of `method`; `times` of the stream.
    fn answer(&mut self, method: &str, times: &[usize]) -> Option<Answer> {
        let mut went_on = false;
        loop {
            let Some(head) = self.first_line_and_fields() else {
                self.at = self.bytes.len();
                return None;
            };
            let status: u16 = head.first.split(' ').nth(1)?.parse().ok()?;
            if !head.complete {
                self.at = self.bytes.len();
                if status < 200 && status != 101 {
                    return None;
                }
                return Some(Answer {
                    status,
                    time: None,
                    went_on,
                });
            }
            if status < 200 && status != 101 {
                went_on |= status == 100;
                continue;
            }
            let time = times.get(self.at - 1).copied();
            let tunnel = status == 101 || method == "CONNECT" && (200..300).contains(&status);
            if !tunnel && method != "HEAD" && status != 204 && status != 304 {
                self.body(&head, true);
            }
            return Some(Answer {
                status,
                time,
                went_on,
            });
        }
    }

    /// A head; where the stream ends in it, what there is of it.
    fn first_line_and_fields(&mut self) -> Option<Head> {
        let start = self.at;
        if let Some(head) = self.head() {
            return Some(head);
        }
        // Cut: the same again, with an end that never came.
        self.at = start;
        let mut whole = self.bytes[start.min(self.bytes.len())..].to_vec();
        let skipped = whole
            .iter()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'))
            .count();
        if !whole[skipped..].contains(&b'\n') {
            return None;
        }
        whole.extend_from_slice(b"\n\n");
        let mut head = Reader {
            bytes: &whole,
            at: 0,
        }
        .head()?;
        head.complete = false;
        Some(head)
    }

    /// RFC 9112, 6.3.
    fn body(&mut self, head: &Head, answer: bool) {
        let codings = head
            .fields
            .iter()
            .rfind(|(name, _)| name == "transfer-encoding");
        if let Some((_, codings)) = codings {
            let codings = codings.to_ascii_lowercase();
            if codings.ends_with("chunked") {
                return self.chunks();
            }
            if !codings.is_empty() && codings != "identity" {
                self.at = self.bytes.len();
                return;
            }
        }
        if let Some(length) = head.value("content-length") {
            // A list of equal values is as one.
            let first = length.split(',').next().unwrap_or_default().trim();
            self.at += first.parse::<usize>().unwrap_or(0);
        } else if answer {
            self.at = self.bytes.len();
        }
    }

    fn chunks(&mut self) {
        while let Some(line) = self.text_line() {
            let size = line.split([';', ' ', '\t']).next().unwrap_or_default();
            match usize::from_str_radix(size, 16) {
                Ok(0) | Err(_) => break,
                Ok(size) => self.at += size,
            }
            // The line end behind the chunk.
            self.line();
        }
        // Trailers, and the empty line.
        while self.line().is_some_and(|line| !line.is_empty()) {}
    }
}

/// `HTTP/1.1`, or any other digits (RFC 9112, 2.3).
fn is_version(text: &str) -> bool {
    text.strip_prefix("HTTP/").is_some_and(|digits| {
        let digits = digits.as_bytes();
        digits.len() == 3
            && digits[0].is_ascii_digit()
            && digits[1] == b'.'
            && digits[2].is_ascii_digit()
    })
}

/// The kubelet's name and a part of its version.
fn is_probe(agent: &str) -> bool {
    agent
        .strip_prefix("kube-probe/")
        .is_some_and(|version| !version.is_empty())
}

impl Head {
    fn value(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}
