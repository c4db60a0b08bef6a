//! From packets to byte streams.

use crate::case::{Case, Line};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// One direction's bytes, in order and without holes.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) bytes: Vec<u8>,
    /// Of each byte the index of the packet with which all up to it had come.
    pub(super) times: Vec<usize>,
    /// Sequence number of the first byte, once known.
    start: Option<u32>,
    /// What came, by offset.
    came: Vec<Option<u8>>,
    /// Offset of the FIN.
    fin: Option<usize>,
    ended: Option<usize>,
}

/// A connection from its beginning to its end; a four-tuple may have several.
#[derive(Debug, Default)]
pub(super) struct Life {
    pub(super) requests: Stream,
    pub(super) answers: Stream,
    /// When nothing could be answered any more.
    pub(super) closed: Option<usize>,
    gone: bool,
}

/// All connections of the case.
pub(super) fn of(case: &Case) -> Vec<Life> {
    let mut all = Vec::new();
    for connection in 0..case.connections.len() {
        let mut lives = vec![Life::default()];
        for (time, line) in case
            .lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.connection == connection)
        {
            let current = lives.last_mut();
            let begins = line.to_pod && line.flags & (SYN | ACK) == SYN;
            let start = line.seq.wrapping_add(1);
            match current {
                Some(life) if begins && life.is_other(start) => {
                    // The four-tuple is used again: the old connection is no more.
                    life.closed.get_or_insert(time);
                    let mut next = Life::default();
                    next.see(line, time);
                    lives.push(next);
                }
                Some(life) => life.see(line, time),
                None => {}
            }
        }
        all.extend(lives);
    }
    all
}

impl Life {
    /// Whether a connection whose requests begin at `start` is another than this one.
    fn is_other(&self, start: u32) -> bool {
        match self.requests.start {
            Some(old) => old != start,
            None => self.answers.start.is_some(),
        }
    }

    fn see(&mut self, line: &Line, time: usize) {
        if self.gone {
            return;
        }
        let (here, there) = if line.to_pod {
            (&mut self.requests, &mut self.answers)
        } else {
            (&mut self.answers, &mut self.requests)
        };
        let mut seq = line.seq;
        if line.flags & SYN != 0 {
            seq = seq.wrapping_add(1);
            here.start.get_or_insert(seq);
        } else if !line.payload.is_empty() {
            // No SYN was seen: this is the first that we know.
            here.start.get_or_insert(seq);
            if line.to_pod {
                there.start.get_or_insert(line.ack);
            }
        }
        if line.flags & RST != 0 {
            if here.stands_at(seq) {
                self.closed.get_or_insert(time);
                self.gone = true;
            }
            return;
        }
        here.take(seq, &line.payload, line.flags & FIN != 0, time);
        if let Some(end) = self.answers.ended {
            self.closed.get_or_insert(end);
            self.gone = self.requests.ended.is_some();
        }
    }
}

impl Stream {
    fn take(&mut self, seq: u32, payload: &[u8], fin: bool, time: usize) {
        let Some(start) = self.start else { return };
        let at = i64::from(seq.wrapping_sub(start) as i32);
        for (offset, byte) in (at..).zip(payload) {
            let Ok(offset) = usize::try_from(offset) else {
                continue;
            };
            if self.came.len() <= offset {
                self.came.resize(offset + 1, None);
            }
            self.came[offset].get_or_insert(*byte);
        }
        while let Some(Some(byte)) = self.came.get(self.bytes.len()) {
            self.bytes.push(*byte);
            self.times.push(time);
        }
        if fin {
            self.fin = usize::try_from(at + payload.len() as i64).ok();
        }
        if self.fin == Some(self.bytes.len()) {
            self.ended.get_or_insert(time);
        }
    }

    /// Whether anything was ever sent.
    pub(super) fn any(&self) -> bool {
        !self.came.is_empty()
    }

    /// RFC 9293, 3.10.7.4: only an exact reset is believed.
    fn stands_at(&self, seq: u32) -> bool {
        let fin = u32::from(self.ended.is_some());
        let next = self.start.map(|start| {
            start
                .wrapping_add(self.bytes.len() as u32)
                .wrapping_add(fin)
        });
        next == Some(seq)
    }
}
