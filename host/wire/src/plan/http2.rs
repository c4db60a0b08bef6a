//! HTTP/2 conversations with prior knowledge.

use std::collections::VecDeque;

use fastrand::Rng;
use httlib_hpack::Encoder;

use super::{End, Run, Talk};

const METHODS: [&str; 10] = [
    "GET",
    "GET",
    "GET",
    "POST",
    "POST",
    "HEAD",
    "PUT",
    "PROPFIND",
    "BREW",
    "A-METHOD-OF-22-LETTERS",
];
const STATUSES: [u16; 12] = [200, 200, 200, 201, 204, 206, 304, 400, 404, 418, 500, 503];
const AGENTS: [&str; 4] = [
    "curl/8.0",
    "kube-probe/1.30",
    "kube-probe/1.30 grpc-go/1.58.3",
    "not-a-kube-probe/1.30",
];

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// One request and what becomes of it.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    method: &'static str,
    agent: &'static str,
    /// Bytes of each DATA frame of the request.
    upload: Vec<usize>,
    request_trailers: bool,
    interim: bool,
    /// None: it is never answered.
    status: Option<u16>,
    download: Vec<usize>,
    /// `grpc-status`, in trailers or where there is no body in the only block.
    grpc: Option<u16>,
    /// The pod sends along what was not asked for (RFC 9113, 8.4).
    push: bool,
    /// RST_STREAM: by the peer or by the pod; before the answer or behind its first block.
    reset: Option<(bool, bool)>,
}

enum Op {
    Headers {
        to_pod: bool,
        fields: Vec<(String, String)>,
        end: bool,
    },
    Data {
        to_pod: bool,
        len: usize,
        end: bool,
    },
    Reset {
        to_pod: bool,
    },
    Push,
}

/// A conversation, and how it ends.
pub(super) fn talk(rng: &mut Rng) -> (Talk, End) {
    let streams = (0..rng.usize(0..14)).map(|_| Stream::random(rng)).collect();
    let ends = [
        End::Open,
        End::PeerFirst,
        End::PodFirst,
        End::ResetByPeer,
        End::ResetByPod,
    ];
    (
        Talk::Http2 {
            streams,
            server_first: rng.u8(..5) == 0,
        },
        ends[rng.usize(..ends.len())],
    )
}

impl Stream {
    fn random(rng: &mut Rng) -> Self {
        let grpc = (rng.u8(..3) == 0).then(|| rng.u16(..=16));
        let sizes = |rng: &mut Rng| {
            (0..rng.usize(0..4))
                .map(|_| [0, 5, 100, 1000][rng.usize(..4)])
                .collect::<Vec<_>>()
        };
        Self {
            method: if grpc.is_some() {
                "POST"
            } else {
                METHODS[rng.usize(..METHODS.len())]
            },
            agent: AGENTS[rng.usize(..AGENTS.len())],
            upload: if rng.bool() { sizes(rng) } else { Vec::new() },
            request_trailers: rng.u8(..10) == 0,
            interim: rng.u8(..8) == 0,
            status: match grpc {
                _ if rng.u8(..10) == 0 => None,
                Some(_) => Some(200),
                None => Some(STATUSES[rng.usize(..STATUSES.len())]),
            },
            download: sizes(rng),
            grpc,
            push: rng.u8(..10) == 0,
            reset: (rng.u8(..8) == 0).then(|| (rng.bool(), rng.bool())),
        }
    }

    fn ops(&self, rng: &mut Rng) -> VecDeque<Op> {
        let mut ops = VecDeque::new();
        let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut fields: Vec<_> = [
            (":method", self.method),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "shop"),
        ]
        .map(pair)
        .into();
        fields.push(pair(("user-agent", self.agent)));
        fields.extend(extras(rng));
        ops.push_back(Op::Headers {
            to_pod: true,
            fields,
            end: self.upload.is_empty() && !self.request_trailers,
        });
        push_data(&mut ops, true, &self.upload, !self.request_trailers);
        if self.request_trailers {
            ops.push_back(Op::Headers {
                to_pod: true,
                fields: vec![pair(("x-sum", "1"))],
                end: true,
            });
        }
        if self.interim {
            let fields = vec![pair((":status", "103")), pair(("link", "</a>"))];
            ops.push_back(Op::Headers {
                to_pod: false,
                fields,
                end: false,
            });
        }
        if let Some((by_peer, true)) = self.reset {
            ops.push_back(Op::Reset { to_pod: by_peer });
            return ops;
        }
        let Some(status) = self.status else {
            return ops;
        };
        let mut fields = vec![(":status".to_owned(), status.to_string())];
        fields.extend(extras(rng));
        let grpc = self
            .grpc
            .map(|status| ("grpc-status".to_owned(), status.to_string()));
        let trailers: Vec<_> = grpc.into_iter().collect();
        if self.push {
            ops.push_back(Op::Push);
        }
        if self.download.is_empty() && self.reset.is_none() {
            fields.extend(trailers);
            ops.push_back(Op::Headers {
                to_pod: false,
                fields,
                end: true,
            });
            return ops;
        }
        ops.push_back(Op::Headers {
            to_pod: false,
            fields,
            end: false,
        });
        if let Some((by_peer, false)) = self.reset {
            ops.push_back(Op::Reset { to_pod: by_peer });
            return ops;
        }
        push_data(&mut ops, false, &self.download, trailers.is_empty());
        if !trailers.is_empty() {
            ops.push_back(Op::Headers {
                to_pod: false,
                fields: trailers,
                end: true,
            });
        }
        ops
    }
}

fn push_data(ops: &mut VecDeque<Op>, to_pod: bool, sizes: &[usize], end: bool) {
    for (index, len) in sizes.iter().enumerate() {
        ops.push_back(Op::Data {
            to_pod,
            len: *len,
            end: end && index + 1 == sizes.len(),
        });
    }
}

fn extras(rng: &mut Rng) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    for _ in 0..rng.usize(0..6) {
        let field = match rng.u8(..6) {
            0 => ("x-status".to_owned(), "500".to_owned()),
            1 => (format!("x-{}", rng.u8(..)), "v".repeat(rng.usize(0..200))),
            2 => ("grpc-statu".to_owned(), "1".to_owned()),
            3 => ("content-type".to_owned(), "application/grpc".to_owned()),
            4 => ("cookie".to_owned(), format!("id={}", rng.u32(..))),
            _ => ("x-method".to_owned(), "DELETE".to_owned()),
        };
        fields.push(field);
    }
    fields
}

/// Frames of both directions, as they are written.
struct Writer {
    rng: Rng,
    encoders: [Encoder<'static>; 2],
    runs: Vec<Run>,
    /// A kind of frame that nobody knows. Where the server's first frames pass before the connection is known, only
    /// frames that are known are believed.
    unknown: u8,
}

/// The bytes of a conversation.
pub(super) fn runs(streams: &[Stream], server_first: bool, seed: u64) -> Vec<Run> {
    let rng = Rng::with_seed(seed ^ 0x2);
    let mut writer = Writer {
        rng,
        encoders: [Encoder::default(), Encoder::default()],
        runs: Vec::new(),
        unknown: if server_first { 0x10 } else { 0xfe },
    };
    if server_first {
        writer.frame(false, 4, 0, 0, &[0, 3, 0, 0, 0, 100]);
    }
    writer.runs.push(Run {
        to_pod: true,
        bytes: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
    });
    writer.frame(true, 4, 0, 0, &[0, 2, 0, 0, 0, 0]);
    if !server_first {
        writer.frame(false, 4, 0, 0, &[]);
    }
    let mut waiting: VecDeque<_> = streams
        .iter()
        .map(|stream| stream.ops(&mut writer.rng))
        .collect();
    let mut open: Vec<(u32, VecDeque<Op>)> = Vec::new();
    let mut next = 1;
    while !waiting.is_empty() || !open.is_empty() {
        writer.noise();
        if (open.is_empty() || writer.rng.u8(..3) == 0)
            && let Some(ops) = waiting.pop_front()
        {
            open.push((next, ops));
            // An identifier may be left out (RFC 9113, 5.1.1).
            next += 2 * writer.rng.u32(1..=2);
            let at = open.len() - 1;
            writer.one(&mut open[at]);
            continue;
        }
        if open.is_empty() {
            break;
        }
        let at = writer.rng.usize(..open.len());
        if !writer.one(&mut open[at]) {
            open.swap_remove(at);
        }
    }
    if writer.rng.u8(..5) == 0 {
        let to_pod = writer.rng.bool();
        writer.frame(to_pod, 7, 0, 0, &[0, 0, 0, 9, 0, 0, 0, 0]);
    }
    writer.runs
}

impl Writer {
    /// The stream's next operation; false when there is none.
    fn one(&mut self, stream: &mut (u32, VecDeque<Op>)) -> bool {
        let Some(op) = stream.1.pop_front() else {
            return false;
        };
        match op {
            Op::Headers {
                to_pod,
                fields,
                end,
            } => self.headers(to_pod, stream.0, &fields, end),
            Op::Data { to_pod, len, end } => {
                let mut payload = super::http1::content(&mut self.rng, len);
                let padded = self.pad(&mut payload, 0);
                self.frame(
                    to_pod,
                    0,
                    padded | if end { END_STREAM } else { 0 },
                    stream.0,
                    &payload,
                );
            }
            Op::Reset { to_pod } => self.frame(to_pod, 3, 0, stream.0, &[0, 0, 0, 8]),
            Op::Push => self.pushed(stream.0),
        }
        true
    }

    fn headers(&mut self, to_pod: bool, stream: u32, fields: &[(String, String)], end: bool) {
        let mut parts = vec![self.block(to_pod, fields)];
        while self.rng.u8(..4) == 0 {
            if let Some(last) = parts.pop() {
                let (now, later) = last.split_at(self.rng.usize(0..=last.len()));
                parts.extend([now.to_vec(), later.to_vec()]);
            }
        }
        let last = parts.len() - 1;
        for (index, mut part) in parts.into_iter().enumerate() {
            let mut flags = if index == last { END_HEADERS } else { 0 };
            if index > 0 {
                self.frame(to_pod, 9, flags, stream, &part);
                continue;
            }
            flags |= if end { END_STREAM } else { 0 };
            if to_pod && self.rng.u8(..6) == 0 {
                part.splice(0..0, [0, 0, 0, 0, 15]);
                flags |= PRIORITY;
            }
            flags |= self.pad(&mut part, 0);
            self.frame(to_pod, 1, flags, stream, &part);
        }
    }

    /// A promise, and what was promised, on a stream that nobody asked on.
    fn pushed(&mut self, stream: u32) {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let promised = stream + 1;
        let mut promise = promised.to_be_bytes().to_vec();
        promise.extend(self.block(
            false,
            &[pair(":method", "GET"), pair(":path", "/style.css")],
        ));
        let padded = self.pad(&mut promise, 0);
        self.frame(false, 5, END_HEADERS | padded, stream, &promise);
        self.headers(false, promised, &[pair(":status", "200")], false);
        self.frame(false, 0, END_STREAM, promised, b"a{}");
    }

    /// A header block of any form.
    fn block(&mut self, to_pod: bool, fields: &[(String, String)]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in fields {
            let flags = [0x00, 0x04, 0x04, 0x04, 0x08][self.rng.usize(..5)]
                | if self.rng.u8(..5) == 0 { 0 } else { 0x10 }
                | self.rng.u8(..4);
            let field = (name.clone().into_bytes(), value.clone().into_bytes(), flags);
            let done = self.encoders[usize::from(to_pod)].encode(field, &mut block);
            assert!(done.is_ok(), "{name}: {done:?}");
        }
        block
    }

    /// Pads a payload at times; the flag.
    fn pad(&mut self, payload: &mut Vec<u8>, with: u8) -> u8 {
        if self.rng.u8(..6) != 0 {
            return 0;
        }
        let padding = self.rng.u8(0..40);
        payload.insert(0, padding);
        payload.extend(vec![with; usize::from(padding)]);
        PADDED
    }

    /// Frames that change nothing; one of them is of a kind that nobody knows.
    fn noise(&mut self) {
        let to_pod = self.rng.bool();
        match self.rng.u8(..16) {
            0 => self.frame(to_pod, 4, 1, 0, &[]),
            1 => self.frame(to_pod, 6, 0, 0, b"HTTP/1.1"),
            2 => self.frame(to_pod, 8, 0, 0, &[0, 0, 255, 255]),
            3 => self.frame(to_pod, self.unknown, 0xff, 0, b"GET / HTTP/1.1\r\n\r\n"),
            4 => self.frame(true, 2, 0, 1, &[0, 0, 0, 0, 7]),
            _ => {}
        }
    }

    fn frame(&mut self, to_pod: bool, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        self.runs.push(Run { to_pod, bytes });
    }
}
