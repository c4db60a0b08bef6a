//! HTTP/2: RFC 9113, with the header compression of RFC 7541 from a library.

use std::collections::BTreeMap;

use httlib_hpack::Decoder;

use super::lives::{Life, Stream};
use super::{method_name, unanswered};
use crate::counts::Counts;

/// What a connection begins with (RFC 9113, 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

#[derive(Clone)]
struct Frame {
    /// Packet with which its last byte came.
    time: usize,
    to_pod: bool,
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

#[derive(Default)]
struct Open {
    method: String,
    probe: bool,
    answered: bool,
}

/// Counts a connection that speaks HTTP/2.
pub(super) fn count(life: &Life, counts: &mut Counts) {
    let mut frames = frames(&life.requests, PREFACE.len(), true);
    frames.extend(self::frames(&life.answers, 0, false));
    frames.sort_by_key(|frame| frame.time);
    let mut decoders = [Decoder::default(), Decoder::default()];
    let mut blocks: [Vec<u8>; 2] = Default::default();
    let mut firsts: [Option<Frame>; 2] = [None, None];
    let mut streams = Streams::default();
    for frame in frames {
        let side = usize::from(frame.to_pod);
        match frame.kind {
            HEADERS | PUSH_PROMISE | CONTINUATION => {
                blocks[side].extend(fragment(&frame));
                let ended = frame.flags & END_HEADERS != 0;
                let first = firsts[side].get_or_insert(frame);
                if !ended {
                    continue;
                }
                let mut fields = Vec::new();
                let whole =
                    decoders[side].decode(&mut std::mem::take(&mut blocks[side]), &mut fields);
                assert!(
                    whole.is_ok(),
                    "the generator made no HPACK block: {whole:?}"
                );
                let fields: Vec<_> = fields
                    .into_iter()
                    .map(|(name, value, _)| (text(name), text(value)))
                    .collect();
                // A promise is nobody's request.
                if first.kind == HEADERS {
                    streams.headers(first, &fields, counts);
                }
                firsts[side] = None;
            }
            DATA if frame.flags & END_STREAM != 0 && !frame.to_pod => streams.end(frame.stream),
            RST_STREAM => streams.reset(frame.stream, counts),
            _ => {}
        }
    }
    for open in streams.open.values().filter(|open| !open.answered) {
        unanswered(life, open.probe, counts);
    }
}

#[derive(Default)]
struct Streams {
    open: BTreeMap<u32, Open>,
    last: u32,
}

impl Streams {
    fn headers(&mut self, first: &Frame, fields: &[(String, String)], counts: &mut Counts) {
        let value = |name: &str| {
            fields
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.as_str())
        };
        if first.to_pod {
            // A block on a stream that was opened before is its trailers.
            if first.stream > self.last {
                self.last = first.stream;
                let probe =
                    value("user-agent").is_some_and(|agent| agent.starts_with("kube-probe/"));
                let method = method_name(value(":method").unwrap_or_default());
                self.open.insert(
                    first.stream,
                    Open {
                        method,
                        probe,
                        answered: false,
                    },
                );
                counts.started += 1;
                counts.probe_started += u64::from(probe);
            }
            return;
        }
        let Some(open) = self.open.get_mut(&first.stream) else {
            return;
        };
        let status = value(":status")
            .and_then(|status| status.parse().ok())
            .unwrap_or(0);
        if status >= 200 {
            open.answered = true;
            counts.answer(("2", open.method.clone(), status, open.probe));
        }
        if let Some(Ok(status)) = value("grpc-status").map(str::parse) {
            *counts.grpc.entry(status).or_default() += 1;
        }
        if first.flags & END_STREAM != 0 {
            self.end(first.stream);
        }
    }

    fn end(&mut self, stream: u32) {
        self.open.remove(&stream);
    }

    fn reset(&mut self, stream: u32, counts: &mut Counts) {
        if let Some(open) = self.open.remove(&stream)
            && !open.answered
        {
            counts.aborted += 1;
            counts.probe_aborted += u64::from(open.probe);
        }
    }
}

fn frames(stream: &Stream, start: usize, to_pod: bool) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut rest = stream.bytes.get(start..).unwrap_or_default();
    while rest.len() >= 9 {
        let len = usize::from(rest[0]) << 16 | usize::from(rest[1]) << 8 | usize::from(rest[2]);
        if rest.len() < 9 + len {
            break;
        }
        let end = stream.bytes.len() - rest.len() + 9 + len;
        frames.push(Frame {
            time: stream.times[end - 1],
            to_pod,
            kind: rest[3],
            flags: rest[4],
            stream: u32::from_be_bytes([rest[5] & 0x7f, rest[6], rest[7], rest[8]]),
            payload: rest[9..9 + len].to_vec(),
        });
        rest = &rest[9 + len..];
    }
    frames
}

/// The frame's part of a header block, without padding and priority.
fn fragment(frame: &Frame) -> Vec<u8> {
    let mut payload = frame.payload.clone();
    if frame.kind != CONTINUATION && frame.flags & PADDED != 0 {
        let padding = usize::from(payload.remove(0));
        payload.truncate(payload.len() - padding);
    }
    if frame.kind == HEADERS && frame.flags & PRIORITY != 0 {
        payload.drain(..5);
    }
    if frame.kind == PUSH_PROMISE {
        payload.drain(..4);
    }
    payload
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}
