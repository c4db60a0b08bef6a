//! What is drawn from a seed: connections, their messages, and what TCP does to them. A plan can be made smaller and
//! rendered again, which a list of packets cannot.

mod http1;
mod http2;
mod segments;

use fastrand::Rng;

use crate::case::{Case, Form};

pub(crate) use http2::Stream;

/// Conversations on several four-tuples, at the same time.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Order in which the connections' packets pass.
    pub(crate) seed: u64,
    pub(crate) connections: Vec<Connection>,
}

/// One four-tuple, and the connections that use it one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) v6: bool,
    pub(crate) lives: Vec<Conversation>,
}

/// One TCP connection.
#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    /// Of everything that is drawn when it is rendered.
    pub(crate) seed: u64,
    pub(crate) join: Join,
    /// First sequence numbers, of the peer and of the pod.
    pub(crate) isn: [u32; 2],
    pub(crate) talk: Talk,
    pub(crate) end: End,
    pub(crate) effects: Effects,
}

/// What is said.
#[derive(Clone, Debug)]
pub(crate) enum Talk {
    Http1(Vec<Unit>),
    Http2 {
        streams: Vec<Stream>,
        server_first: bool,
    },
}

/// Bytes that belong together, in the order in which they are sent.
pub(crate) type Unit = Vec<Run>;

/// Bytes of one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) to_pod: bool,
    pub(crate) bytes: Vec<u8>,
}

/// How the observer comes to know the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    Handshake,
    /// Data in the SYN (RFC 7413).
    FastOpen,
    /// The connection is older than the observer.
    Late,
}

/// How the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Open,
    /// The peer ends, then the pod.
    PeerFirst,
    /// The pod ends, then the peer.
    PodFirst,
    /// The peer ends before the last answer.
    HalfClosed,
    ResetByPeer,
    ResetByPod,
}

/// What TCP and IP do to the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Effects {
    pub(crate) cut: Cut,
    /// Per cent of segments after which something is sent again.
    pub(crate) again: u8,
    /// Segments overtake each other.
    pub(crate) reorder: bool,
    /// Per cent of segments that are acknowledged by an empty one at once.
    pub(crate) acks: u8,
    /// Per cent of packets that are fragmented.
    pub(crate) fragments: u8,
    /// The last segment carries the FIN.
    pub(crate) fin_with_data: bool,
    pub(crate) form: Form,
}

/// Lengths of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    Large,
    Mss,
    Small,
    Tiny,
    Mixed,
}

impl Effects {
    /// Nothing happens.
    pub(crate) const NONE: Self = Self {
        cut: Cut::Large,
        again: 0,
        reorder: false,
        acks: 0,
        fragments: 0,
        fin_with_data: false,
        form: Form {
            tcp_options: 0,
            ip_options: 0,
            padding: 0,
            fragment: 0,
        },
    };

    fn random(rng: &mut Rng) -> Self {
        let cuts = [
            Cut::Large,
            Cut::Mss,
            Cut::Small,
            Cut::Tiny,
            Cut::Mixed,
            Cut::Mixed,
        ];
        Self {
            cut: cuts[rng.usize(..cuts.len())],
            again: if rng.bool() { rng.u8(0..50) } else { 0 },
            reorder: rng.u8(..3) == 0,
            acks: rng.u8(0..60),
            fragments: if rng.u8(..12) == 0 {
                rng.u8(10..100)
            } else {
                0
            },
            fin_with_data: rng.bool(),
            form: Form {
                tcp_options: if rng.bool() { rng.u8(0..=10) * 4 } else { 0 },
                ip_options: if rng.u8(..6) == 0 {
                    rng.u8(1..=10) * 4
                } else {
                    0
                },
                padding: if rng.u8(..6) == 0 { rng.u8(1..20) } else { 0 },
                fragment: 0,
            },
        }
    }
}

impl Plan {
    /// The plan of a seed; the same seed gives the same plan.
    pub fn random(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let connections = (0..rng.usize(1..=3))
            .map(|_| Connection::random(&mut rng))
            .collect();
        Self {
            seed: rng.u64(..),
            connections,
        }
    }

    /// Its packets.
    pub fn case(&self) -> Case {
        let mut rng = Rng::with_seed(self.seed);
        let mut queues: Vec<_> = self
            .connections
            .iter()
            .enumerate()
            .map(|(index, c)| c.lines(index).into_iter())
            .collect();
        let mut case = Case {
            connections: self.connections.iter().map(|c| c.v6).collect(),
            lines: Vec::new(),
        };
        while queues.iter().any(|queue| queue.len() != 0) {
            let queue = rng.usize(..queues.len());
            let burst = rng.usize(1..8);
            case.lines.extend(queues[queue].by_ref().take(burst));
        }
        case
    }
}

impl Connection {
    fn random(rng: &mut Rng) -> Self {
        let lives = if rng.u8(..5) == 0 {
            rng.usize(2..=3)
        } else {
            1
        };
        let lives: Vec<_> = (0..lives)
            .map(|life| Conversation::random(rng, life == 0))
            .collect();
        Self {
            v6: rng.bool(),
            lives,
        }
    }

    fn lines(&self, index: usize) -> Vec<crate::case::Line> {
        self.lives
            .iter()
            .flat_map(|life| segments::lines(life, index, self.v6))
            .collect()
    }
}

impl Conversation {
    fn random(rng: &mut Rng, first: bool) -> Self {
        let join = match rng.u8(..10) {
            0..2 if first => Join::Late,
            2 if first => Join::FastOpen,
            _ => Join::Handshake,
        };
        // A later connection's numbers are new, or the pod would not have taken it (RFC 9293, 3.4.2).
        let isn = [(); 2].map(|()| {
            if first && rng.bool() {
                u32::MAX - rng.u32(..6000)
            } else {
                rng.u32(..)
            }
        });
        let (talk, end) = if rng.u8(..3) == 0 {
            http2::talk(rng)
        } else {
            http1::talk(rng, join == Join::Late)
        };
        let mut this = Self {
            seed: rng.u64(..),
            join,
            isn,
            talk,
            end,
            effects: Effects::random(rng),
        };
        if join == Join::Late && !this.begins_plainly() {
            this.join = Join::Handshake;
        }
        this
    }

    /// Whether the first request can be told where its place in the stream is not known. Not drawn is a late connection that
    /// begins with any other: a method that is not frequent and may be cut, whose rest may be one, too, and is counted as
    /// `_OTHER`; and `CONNECT`, whose target looks like nothing that follows a method.
    fn begins_plainly(&self) -> bool {
        const FREQUENT: [&[u8]; 7] = [
            b"GET ",
            b"POST ",
            b"PUT ",
            b"HEAD ",
            b"PATCH ",
            b"DELETE ",
            b"OPTIONS ",
        ];
        let runs = self.runs();
        matches!(self.talk, Talk::Http2 { .. })
            || runs
                .first()
                .is_some_and(|run| FREQUENT.iter().any(|method| run.bytes.starts_with(method)))
    }

    /// Everything that is said, in order.
    pub(crate) fn runs(&self) -> Vec<Run> {
        let runs = match &self.talk {
            Talk::Http1(units) => units.concat(),
            Talk::Http2 {
                streams,
                server_first,
            } => http2::runs(streams, *server_first, self.seed),
        };
        let mut joined: Vec<Run> = Vec::new();
        for run in runs.into_iter().filter(|run| !run.bytes.is_empty()) {
            match joined.last_mut() {
                Some(last) if last.to_pod == run.to_pod => last.bytes.extend(run.bytes),
                _ => joined.push(run),
            }
        }
        joined
    }
}
