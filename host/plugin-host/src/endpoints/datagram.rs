//! Cuts a payload into datagrams. Text is cut between lines: each datagram holds as many whole lines as
//! fit, without the last newline. Pure.

use std::future::Future;
use std::io;

use super::{Delivery, Progress, is_text};
use crate::bindings::types::Payload;

/// The next part of a payload.
#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    /// Send this; what follows begins at the index.
    Send(&'a [u8], usize),
    /// A line, or a whole that is no text, over the bound; what follows begins at the index.
    TooLong(usize),
}

/// The part of `body` that begins at `from`; none at its end.
fn part(body: &[u8], from: usize, max: usize, text: bool) -> Option<Part<'_>> {
    let rest = body.get(from..).filter(|rest| !rest.is_empty())?;
    if !text {
        let part = if rest.len() <= max {
            Part::Send(rest, body.len())
        } else {
            Part::TooLong(body.len())
        };
        return Some(part);
    }
    if rest.len() <= max {
        return Some(Part::Send(trimmed(rest), body.len()));
    }
    // The newline behind the last line that fits may itself lie beyond.
    let window = &rest[..=max];
    if let Some(end) = window.iter().rposition(|byte| *byte == b'\n') {
        return Some(Part::Send(trimmed(&rest[..end]), from + end + 1));
    }
    let end = rest.iter().position(|byte| *byte == b'\n');
    match end {
        None if trimmed(rest).len() <= max => Some(Part::Send(trimmed(rest), body.len())),
        end => Some(Part::TooLong(end.map_or(body.len(), |end| from + end + 1))),
    }
}

fn trimmed(lines: &[u8]) -> &[u8] {
    lines.strip_suffix(b"\n").unwrap_or(lines)
}

/// Sends all of `payload` from where the last try left off. `send` is told each datagram; its error
/// ends the try.
pub(super) async fn send_all<F: Future<Output = io::Result<()>>>(
    payload: &Payload,
    progress: &mut Progress,
    max: usize,
    mut send: impl FnMut(Vec<u8>) -> F,
) -> io::Result<Delivery> {
    let text = is_text(payload);
    while let Some(part) = part(&payload.body, progress.done, max, text) {
        match part {
            Part::Send(datagram, next) => {
                // A line that is empty is no message.
                if !datagram.is_empty() {
                    send(datagram.to_vec()).await?;
                }
                progress.done = next;
            }
            Part::TooLong(_) if !text => {
                return Ok(Delivery::Refused(format!(
                    "{} bytes of {} do not fit in a datagram of {max} (raise `datagram`)",
                    payload.body.len(),
                    crate::guest::printable(&payload.content_type, 100),
                )));
            }
            Part::TooLong(next) => {
                progress.left_out += 1;
                progress.done = next;
            }
        }
    }
    Ok(match progress.left_out {
        0 => Delivery::Arrived,
        lines => Delivery::ArrivedBut(
            lines,
            format!("{lines} lines longer than {max} bytes were left out (raise `datagram`)"),
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;

    use super::*;

    fn payload(content_type: &str, body: &[u8]) -> Payload {
        Payload {
            endpoint: "x".to_owned(),
            content_type: content_type.to_owned(),
            body: body.to_vec(),
        }
    }

    /// What is sent, and what becomes of it.
    fn sent(payload: &Payload, max: usize) -> (Vec<Vec<u8>>, Delivery) {
        let sent = RefCell::new(Vec::new());
        let mut progress = Progress::default();
        let all = send_all(payload, &mut progress, max, |datagram| {
            sent.borrow_mut().push(datagram);
            std::future::ready(Ok(()))
        });
        let runtime = tokio::runtime::Builder::new_current_thread();
        let delivery = { runtime }.build().unwrap().block_on(all).unwrap();
        (sent.into_inner(), delivery)
    }

    #[test]
    fn lines_are_packed_whole_and_without_the_last_newline() {
        for (body, datagrams) in [
            ("aaaa\nbbbb\ncccc\n", &["aaaa\nbbbb", "cccc"][..]),
            ("aaaa\nbbbb\n", &["aaaa\nbbbb"]),
            ("aaaa\nbbbb", &["aaaa\nbbbb"]),
            ("aaaaaaaaa\n", &["aaaaaaaaa"]),
            ("\n\n", &["\n"]),
            ("", &[]),
        ] {
            let (sent, delivery) = sent(&payload("text/plain", body.as_bytes()), 9);
            let texts: Vec<_> = sent
                .iter()
                .map(|d| String::from_utf8_lossy(d).into_owned())
                .collect();
            assert_eq!(texts, datagrams, "{body:?}");
            assert!(matches!(delivery, Delivery::Arrived));
        }
    }

    #[test]
    fn line_over_the_bound_is_left_out_and_counted_and_the_others_go() {
        let (sent, delivery) = sent(&payload("text/plain", b"aa\nbbbbbbbbbb\ncc\n"), 9);
        assert_eq!(sent, [b"aa".to_vec(), b"cc".to_vec()]);
        assert!(
            matches!(&delivery, Delivery::ArrivedBut(1, why) if why == "1 lines longer than 9 bytes were left out (raise `datagram`)"),
            "{delivery:?}"
        );
    }

    #[test]
    fn payload_that_is_no_text_is_one_datagram_or_refused() {
        let binary = "application/octet-stream";
        assert_eq!(sent(&payload(binary, b"a\nb\n"), 9).0, [b"a\nb\n".to_vec()]);
        let (none, delivery) = sent(&payload(binary, b"a\nb\nc\nd\ne\n"), 9);
        assert!(none.is_empty());
        assert!(
            matches!(&delivery, Delivery::Refused(why) if why.starts_with("10 bytes of application/octet-stream do not fit"))
        );
    }

    proptest! {
        /// However lines and bound lie: no datagram is over the bound, and each line that fits arrives
        /// once, in order.
        #[test]
        fn every_line_that_fits_arrives_once(lines in proptest::collection::vec("[a-z]{1,12}", 0..30), max in 1_usize..40) {
            let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let (sent, _) = sent(&payload("text/plain", body.as_bytes()), max);
            prop_assert!(sent.iter().all(|datagram| datagram.len() <= max && !datagram.is_empty()));
            let joined = sent.join(&b'\n');
            let arrived: Vec<String> = String::from_utf8(joined).unwrap().lines().map(str::to_owned).collect();
            let fit: Vec<String> = lines.into_iter().filter(|line| line.len() <= max).collect();
            prop_assert_eq!(arrived, fit);
        }
    }
}
