//! One TCP connection to the pod, as its segments: each call makes the next one and moves the sequence numbers on.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};

use super::segment::{ACK, FIN, PSH, RST, SYN, Segment};

/// So that each flow of a process is a connection of its own.
static NEXT_PORT: AtomicU16 = AtomicU16::new(20_000);

/// A connection between a peer and the pod. It starts established; [`Flow::syn`] and [`Flow::syn_ack`] are there for
/// those who want them. Sequence numbers start shortly before they wrap, so that long flows try that, too.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Who asks.
    pub peer: SocketAddr,
    /// Who answers.
    pub pod: SocketAddr,
    /// Sequence number of the peer's next byte.
    pub peer_seq: u32,
    /// Sequence number of the pod's next byte.
    pub pod_seq: u32,
}

impl Flow {
    /// 10.0.0.1 asks 10.0.0.2:80.
    pub fn v4() -> Self {
        Self::between(
            ([10, 0, 0, 1], next_port()).into(),
            ([10, 0, 0, 2], 80).into(),
        )
    }

    /// fd00::1 asks [fd00::2]:80.
    pub fn v6() -> Self {
        let address = |last| [0xfd00, 0, 0, 0, 0, 0, 0, last];
        Self::between((address(1), next_port()).into(), (address(2), 80).into())
    }

    /// A connection between these two.
    pub fn between(peer: SocketAddr, pod: SocketAddr) -> Self {
        Self {
            peer,
            pod,
            peer_seq: u32::MAX - 99,
            pod_seq: u32::MAX - 49,
        }
    }

    /// The next segment to the pod, empty: to be changed at will. Does not move the flow on.
    pub fn next_ask(&self) -> Segment {
        Segment::new(self.peer, self.pod)
            .seq(self.peer_seq)
            .ack(self.pod_seq)
    }

    /// The next segment from the pod, empty: to be changed at will. Does not move the flow on.
    pub fn next_answer(&self) -> Segment {
        Segment::new(self.pod, self.peer)
            .seq(self.pod_seq)
            .ack(self.peer_seq)
    }

    /// Bytes to the pod, in one segment.
    pub fn ask(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.asked(self.next_ask().flags(PSH | ACK).payload(bytes))
    }

    /// Bytes from the pod, in one segment.
    pub fn answer(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.answered(self.next_answer().flags(PSH | ACK).payload(bytes))
    }

    /// Bytes to the pod, in segments of at most `size` bytes.
    pub fn ask_in(&mut self, size: usize, bytes: &[u8]) -> Vec<Vec<u8>> {
        bytes.chunks(size).map(|part| self.ask(part)).collect()
    }

    /// Bytes from the pod, in segments of at most `size` bytes.
    pub fn answer_in(&mut self, size: usize, bytes: &[u8]) -> Vec<Vec<u8>> {
        bytes.chunks(size).map(|part| self.answer(part)).collect()
    }

    /// A pure ACK to the pod.
    pub fn ack_to_pod(&self) -> Vec<u8> {
        self.next_ask().packet()
    }

    /// A pure ACK from the pod.
    pub fn ack_from_pod(&self) -> Vec<u8> {
        self.next_answer().packet()
    }

    /// The peer begins.
    pub fn syn(&mut self) -> Vec<u8> {
        self.asked(self.next_ask().flags(SYN).ack(0))
    }

    /// The pod takes it.
    pub fn syn_ack(&mut self) -> Vec<u8> {
        self.answered(self.next_answer().flags(SYN | ACK))
    }

    /// The peer ends.
    pub fn fin_by_peer(&mut self) -> Vec<u8> {
        self.asked(self.next_ask().flags(FIN | ACK))
    }

    /// The pod ends.
    pub fn fin_by_pod(&mut self) -> Vec<u8> {
        self.answered(self.next_answer().flags(FIN | ACK))
    }

    /// The peer breaks off.
    pub fn reset_by_peer(&self) -> Vec<u8> {
        self.next_ask().flags(RST).ack(0).packet()
    }

    /// The pod breaks off.
    pub fn reset_by_pod(&self) -> Vec<u8> {
        self.next_answer().flags(RST | ACK).packet()
    }

    /// Moves the flow on by a segment to the pod that was made by hand; its packet.
    pub fn asked(&mut self, segment: Segment) -> Vec<u8> {
        self.peer_seq = self.peer_seq.wrapping_add(segment.takes());
        segment.packet()
    }

    /// Moves the flow on by a segment from the pod that was made by hand; its packet.
    pub fn answered(&mut self, segment: Segment) -> Vec<u8> {
        self.pod_seq = self.pod_seq.wrapping_add(segment.takes());
        segment.packet()
    }
}

fn next_port() -> u16 {
    NEXT_PORT.fetch_add(1, Ordering::Relaxed)
}
