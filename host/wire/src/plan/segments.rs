//! From what is said to packets: cut, acknowledged, sent again, overtaken.

use fastrand::Rng;

use super::{Conversation, Cut, Effects, End, Join};
use crate::case::Line;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// What a test run takes in one packet, options and fragments included.
const LARGEST: usize = 3_400;
/// Segments that overtake each other; together with what is sent again fewer than the kernel keeps.
const WINDOW: usize = 6;
/// A longer one is not kept whole beyond a hole.
const OVERTAKEN: usize = 2_000;

/// One direction as its sender and its receiver see it.
struct Side {
    /// Sequence number of the first byte.
    start: u32,
    sent: Vec<u8>,
    /// Ranges that came beyond the first hole.
    beyond: Vec<(usize, usize)>,
    /// Bytes that came without a hole.
    received: usize,
    fin: bool,
}

struct Wire<'a> {
    rng: Rng,
    effects: &'a Effects,
    v6: bool,
    connection: usize,
    sides: [Side; 2],
    lines: Vec<Line>,
}

/// The packets of one connection.
pub(super) fn lines(conversation: &Conversation, connection: usize, v6: bool) -> Vec<Line> {
    let side = |start: u32| Side {
        start,
        sent: Vec::new(),
        beyond: Vec::new(),
        received: 0,
        fin: false,
    };
    let mut wire = Wire {
        rng: Rng::with_seed(conversation.seed),
        effects: &conversation.effects,
        v6,
        connection,
        sides: [
            side(conversation.isn[1].wrapping_add(1)),
            side(conversation.isn[0].wrapping_add(1)),
        ],
        lines: Vec::new(),
    };
    let runs = conversation.runs();
    let mut first = 0;
    // Where a stream begins is known by the handshake, or by what comes first.
    let mut overtaken = [conversation.join == Join::Handshake; 2];
    match conversation.join {
        Join::Late => {}
        Join::Handshake => wire.handshake(&[]),
        Join::FastOpen => {
            let head = runs
                .first()
                .filter(|run| run.to_pod)
                .map(|run| run.bytes.clone())
                .unwrap_or_default();
            first = wire.rng.usize(0..=head.len().min(1400));
            wire.handshake(&head[..first]);
        }
    }
    let last = runs.len().checked_sub(1);
    for (index, run) in runs.iter().enumerate() {
        let bytes = if index == 0 && run.to_pod {
            &run.bytes[first..]
        } else {
            &run.bytes
        };
        if Some(index) == last && conversation.end == End::HalfClosed && !run.to_pod {
            wire.fin(true);
        }
        let side = usize::from(run.to_pod);
        wire.run(run.to_pod, bytes, overtaken[side]);
        // What passes before the first request is not seen.
        overtaken[side] = run.to_pod || overtaken[1];
    }
    wire.end(conversation.end);
    wire.lines
}

impl Wire<'_> {
    fn handshake(&mut self, data: &[u8]) {
        let (peer, pod) = (
            self.sides[1].start.wrapping_sub(1),
            self.sides[0].start.wrapping_sub(1),
        );
        self.sides[1].sent.extend(data);
        for _ in 0..self.rng.usize(1..=8).saturating_sub(6).max(1) {
            self.push(true, SYN, peer, 0, data.to_vec());
        }
        self.sides[1].receive(0, data.len());
        let ack = self.sides[1].next();
        self.push(false, SYN | ACK, pod, ack, Vec::new());
        self.empty(true);
    }

    fn run(&mut self, to_pod: bool, bytes: &[u8], may_overtake: bool) {
        let side = usize::from(to_pod);
        let start = self.sides[side].sent.len();
        let mut parts = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let len = self.length(bytes.len()).min(bytes.len() - at);
            parts.push((start + at, len));
            at += len;
        }
        self.sides[side].sent.extend(bytes);
        if self.effects.reorder && may_overtake && parts.iter().all(|(_, len)| *len <= OVERTAKEN) {
            parts
                .chunks_mut(WINDOW)
                .for_each(|window| self.rng.shuffle(window));
        }
        for (at, len) in parts {
            self.data(to_pod, at, len);
            if self.percent(self.effects.again) {
                self.again(to_pod);
            }
            if self.percent(self.effects.acks) {
                self.empty(!to_pod);
            }
        }
        self.sides[side].received = self.sides[side].sent.len();
        self.sides[side].beyond.clear();
        if self.effects.acks != 0 && self.rng.bool() {
            self.empty(!to_pod);
        }
        if self.percent(self.effects.again / 4) {
            let to_pod = self.rng.bool();
            self.keep_alive(to_pod);
        }
    }

    fn length(&mut self, whole: usize) -> usize {
        let mut cut = self.effects.cut;
        if cut == Cut::Mixed {
            cut = [Cut::Large, Cut::Mss, Cut::Small, Cut::Tiny][self.rng.usize(..4)];
        }
        match cut {
            Cut::Tiny if whole < 400 => 1,
            Cut::Tiny | Cut::Small if whole < 1500 => self.rng.usize(1..60),
            Cut::Tiny | Cut::Small | Cut::Mss => self.rng.usize(1000..=1448),
            Cut::Large | Cut::Mixed => LARGEST,
        }
    }

    /// A range that was sent before: any part of it, joined with what followed it.
    fn again(&mut self, to_pod: bool) {
        let sent = self.sides[usize::from(to_pod)].sent.len();
        let reach = if self.effects.reorder {
            OVERTAKEN
        } else {
            LARGEST
        };
        let start = self.rng.usize(sent.saturating_sub(2 * reach)..sent);
        let len = self.rng.usize(1..=(sent - start).min(reach));
        if self.sides[usize::from(to_pod)].received >= start {
            self.data(to_pod, start, len);
        }
    }

    fn data(&mut self, to_pod: bool, at: usize, len: usize) {
        let side = &mut self.sides[usize::from(to_pod)];
        let (seq, payload) = (
            side.start.wrapping_add(at as u32),
            side.sent[at..at + len].to_vec(),
        );
        side.receive(at, len);
        let ack = self.sides[usize::from(!to_pod)].next();
        let push = if self.rng.bool() { PSH } else { 0 };
        self.push(to_pod, ACK | push, seq, ack, payload);
    }

    /// An acknowledgement and nothing else.
    fn empty(&mut self, to_pod: bool) {
        let (seq, ack) = (
            self.sides[usize::from(to_pod)].sent_next(),
            self.sides[usize::from(!to_pod)].next(),
        );
        self.push(to_pod, ACK, seq, ack, Vec::new());
    }

    /// A probe of a silent connection: an old sequence number, with or without a byte (RFC 9293, 3.8.4).
    fn keep_alive(&mut self, to_pod: bool) {
        let side = &self.sides[usize::from(to_pod)];
        if side.sent.is_empty() || side.fin {
            return;
        }
        let (seq, ack) = (
            side.sent_next().wrapping_sub(1),
            self.sides[usize::from(!to_pod)].next(),
        );
        let garbage = vec![0; self.rng.usize(0..2)];
        self.push(to_pod, ACK, seq, ack, garbage);
        self.empty(!to_pod);
    }

    fn fin(&mut self, to_pod: bool) {
        let side = &mut self.sides[usize::from(to_pod)];
        side.fin = true;
        let with = if self.effects.fin_with_data {
            side.sent.len().min(50)
        } else {
            0
        };
        let at = side.sent.len() - with;
        let (seq, payload) = (side.start.wrapping_add(at as u32), side.sent[at..].to_vec());
        let ack = self.sides[usize::from(!to_pod)].next();
        self.push(to_pod, ACK | FIN, seq, ack, payload.clone());
        if self.percent(self.effects.again) {
            self.push(to_pod, ACK | FIN, seq, ack, payload);
        }
    }

    fn reset(&mut self, to_pod: bool) {
        let (seq, ack) = (
            self.sides[usize::from(to_pod)].sent_next(),
            self.sides[usize::from(!to_pod)].next(),
        );
        self.push(to_pod, RST | ACK, seq, ack, Vec::new());
    }

    fn end(&mut self, end: End) {
        match end {
            End::Open => return,
            End::PeerFirst | End::PodFirst => {
                self.fin(end == End::PeerFirst);
                self.empty(end != End::PeerFirst);
                self.fin(end != End::PeerFirst);
                self.empty(end == End::PeerFirst);
            }
            End::HalfClosed => {
                if !self.sides[1].fin {
                    self.fin(true);
                }
                self.fin(false);
                self.empty(true);
            }
            End::ResetByPeer | End::ResetByPod => self.reset(end == End::ResetByPeer),
        }
        // Late copies that were on their way.
        for to_pod in [true, false] {
            if self.percent(self.effects.again) && !self.sides[usize::from(to_pod)].sent.is_empty()
            {
                self.again(to_pod);
            }
        }
    }

    fn percent(&mut self, of: u8) -> bool {
        self.rng.u8(..100) < of
    }

    fn push(&mut self, to_pod: bool, flags: u8, seq: u32, ack: u32, payload: Vec<u8>) {
        let mut form = self.effects.form;
        if self.v6 && form.ip_options != 0 {
            // With its two bytes a multiple of eight.
            form.ip_options = form.ip_options.next_multiple_of(8) - 2;
        }
        let fragmented =
            !self.effects.reorder && self.percent(self.effects.fragments) && payload.len() > 8;
        if fragmented {
            form.fragment = self.rng.u16(8..60) * 8;
            form.padding = 0;
        }
        self.lines.push(Line {
            connection: self.connection,
            to_pod,
            flags,
            seq,
            ack,
            form,
            payload,
        });
    }
}

impl Side {
    fn receive(&mut self, at: usize, len: usize) {
        self.beyond.push((at, at + len));
        while let Some(&(_, end)) = self
            .beyond
            .iter()
            .find(|(start, end)| *start <= self.received && *end > self.received)
        {
            self.received = end;
        }
        let received = self.received;
        self.beyond.retain(|(_, end)| *end > received);
    }

    /// What its receiver acknowledges.
    fn next(&self) -> u32 {
        self.start
            .wrapping_add(self.received as u32)
            .wrapping_add(u32::from(self.fin))
    }

    /// Where its sender stands.
    fn sent_next(&self) -> u32 {
        self.start
            .wrapping_add(self.sent.len() as u32)
            .wrapping_add(u32::from(self.fin))
    }
}
