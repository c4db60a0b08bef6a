//! One TCP segment in an IP packet, any field at will. Checksums are zero: the program reads none.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

/// TCP flag.
pub const FIN: u8 = 0x01;
/// TCP flag.
pub const SYN: u8 = 0x02;
/// TCP flag.
pub const RST: u8 = 0x04;
/// TCP flag.
pub const PSH: u8 = 0x08;
/// TCP flag.
pub const ACK: u8 = 0x10;
/// TCP flag.
pub const URG: u8 = 0x20;
/// TCP flag.
pub const ECE: u8 = 0x40;
/// TCP flag.
pub const CWR: u8 = 0x80;

const TCP: u8 = 6;
const FRAGMENT: u8 = 44;

/// A segment under construction; [`Segment::packet`] is the packet from its IP header on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    from: SocketAddr,
    to: SocketAddr,
    seq: u32,
    ack: u32,
    flags: u8,
    options: Vec<u8>,
    payload: Vec<u8>,
    /// IPv4 options, or IPv6 extension headers as (type, body with its length byte).
    ip_options: Vec<u8>,
    extensions: Vec<(u8, Vec<u8>)>,
    id: u16,
    padding: usize,
}

impl Segment {
    /// An empty ACK. Panics when the addresses are of two families.
    #[track_caller]
    pub fn new(from: SocketAddr, to: SocketAddr) -> Self {
        assert_eq!(from.is_ipv4(), to.is_ipv4(), "both addresses of one family");
        Self {
            from,
            to,
            seq: 0,
            ack: 0,
            flags: ACK,
            options: Vec::new(),
            payload: Vec::new(),
            ip_options: Vec::new(),
            extensions: Vec::new(),
            id: 0,
            padding: 0,
        }
    }

    /// Sequence number of the first byte.
    #[must_use]
    pub fn seq(mut self, seq: u32) -> Self {
        self.seq = seq;
        self
    }

    /// Acknowledgement number.
    #[must_use]
    pub fn ack(mut self, ack: u32) -> Self {
        self.ack = ack;
        self
    }

    /// [`SYN`], [`ACK`], ...
    #[must_use]
    pub fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    /// TCP options, filled up with zeros to a multiple of 4; at most 40 bytes.
    #[must_use]
    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = padded(options, 4);
        self
    }

    /// What it carries.
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// IPv4 options, filled up with zeros to a multiple of 4; at most 40 bytes.
    #[must_use]
    #[track_caller]
    pub fn ip_options(mut self, options: &[u8]) -> Self {
        assert!(self.from.is_ipv4(), "IPv6 has extension headers");
        self.ip_options = padded(options, 4);
        self
    }

    /// An IPv6 extension header of `kind` (0 hop-by-hop, 43 routing, 60 destination options), after those before it:
    /// `body` is what follows the length byte, filled up to a multiple of 8.
    #[must_use]
    #[track_caller]
    pub fn extension(mut self, kind: u8, body: &[u8]) -> Self {
        assert!(!self.from.is_ipv4(), "IPv4 has options");
        let mut header = vec![0, 0];
        header.extend(body);
        let mut header = padded(&header, 8);
        header[1] = (header.len() / 8 - 1) as u8;
        self.extensions.push((kind, header));
        self
    }

    /// Identification, for [`Segment::fragments`].
    #[must_use]
    pub fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    /// Bytes after the end of the IP packet, as Ethernet pads short frames.
    #[must_use]
    pub fn trailing(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    /// The packet, from its IP header on.
    pub fn packet(&self) -> Vec<u8> {
        let tcp = self.tcp();
        let mut packet = self.ip(tcp.len(), None);
        packet.extend(tcp);
        packet.extend(vec![0xEE; self.padding]);
        packet
    }

    /// The packet in IP fragments of `bytes` (a multiple of 8) of TCP each, in order.
    #[track_caller]
    pub fn fragments(&self, bytes: usize) -> Vec<Vec<u8>> {
        assert!(
            bytes > 0 && bytes.is_multiple_of(8),
            "fragments come in multiples of 8 bytes"
        );
        let tcp = self.tcp();
        let last = tcp.len().div_ceil(bytes) - 1;
        let fragment = |(i, part): (usize, &[u8])| {
            let mut packet = self.ip(part.len(), Some(((i * bytes) as u16, i != last)));
            packet.extend(part);
            packet
        };
        tcp.chunks(bytes).enumerate().map(fragment).collect()
    }

    fn tcp(&self) -> Vec<u8> {
        let mut tcp = Vec::with_capacity(20 + self.options.len() + self.payload.len());
        tcp.extend(self.from.port().to_be_bytes());
        tcp.extend(self.to.port().to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.push((((20 + self.options.len()) / 4) as u8) << 4);
        tcp.push(self.flags);
        // Window, checksum, urgent pointer.
        tcp.extend([0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend(&self.options);
        tcp.extend(&self.payload);
        tcp
    }

    /// The header of a packet with `len` bytes after it; a fragment has an offset in bytes, and maybe more after it.
    fn ip(&self, len: usize, fragment: Option<(u16, bool)>) -> Vec<u8> {
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let header = 20 + self.ip_options.len();
                let (offset, more) = fragment.unwrap_or_default();
                let dont_fragment = if fragment.is_none() { 0x4000 } else { 0 };
                let mut ip = vec![0x40 | (header / 4) as u8, 0];
                ip.extend(((header + len) as u16).to_be_bytes());
                ip.extend(self.id.to_be_bytes());
                ip.extend(
                    (dont_fragment | (offset / 8) | if more { 0x2000 } else { 0 }).to_be_bytes(),
                );
                ip.extend([64, TCP, 0, 0]);
                ip.extend(from.octets());
                ip.extend(to.octets());
                ip.extend(&self.ip_options);
                ip
            }
            (from, to) => {
                let mut headers = self.extensions.clone();
                if let Some((offset, more)) = fragment {
                    let mut header = vec![0, 0];
                    header.extend((offset | u16::from(more)).to_be_bytes());
                    header.extend(u32::from(self.id).to_be_bytes());
                    headers.push((FRAGMENT, header));
                }
                let kinds: Vec<u8> = headers.iter().map(|(kind, _)| *kind).chain([TCP]).collect();
                let extra: usize = headers.iter().map(|(_, header)| header.len()).sum();
                let mut ip = vec![0x60, 0, 0, 0];
                ip.extend(((extra + len) as u16).to_be_bytes());
                ip.extend([kinds[0], 64]);
                for address in [from, to] {
                    if let IpAddr::V6(address) = address {
                        ip.extend(address.octets());
                    }
                }
                for ((_, mut header), next) in headers.into_iter().zip(&kinds[1..]) {
                    header[0] = *next;
                    ip.extend(header);
                }
                ip
            }
        }
    }
}

impl Segment {
    /// Bytes of sequence space that it takes.
    pub(super) fn takes(&self) -> u32 {
        self.payload.len() as u32
            + u32::from(self.flags & SYN != 0)
            + u32::from(self.flags & FIN != 0)
    }
}

/// What a [`super::Wire`] takes: bytes from the IP header on, or a segment that makes them.
pub trait Packet {
    /// From the IP header on.
    fn bytes(&self) -> Cow<'_, [u8]>;
}

impl Packet for Segment {
    fn bytes(&self) -> Cow<'_, [u8]> {
        self.packet().into()
    }
}

impl Packet for Vec<u8> {
    fn bytes(&self) -> Cow<'_, [u8]> {
        self.into()
    }
}

impl Packet for [u8] {
    fn bytes(&self) -> Cow<'_, [u8]> {
        self.into()
    }
}

impl<P: Packet + ?Sized> Packet for &P {
    fn bytes(&self) -> Cow<'_, [u8]> {
        (**self).bytes()
    }
}

fn padded(bytes: &[u8], to: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(to), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(from: &str, to: &str) -> Segment {
        Segment::new(from.parse().unwrap(), to.parse().unwrap())
    }

    #[test]
    fn ipv4_segment_lies_as_rfc_791_and_9293_say() {
        let packet = ends("10.0.0.1:40000", "10.0.0.2:80")
            .seq(1)
            .ack(2)
            .flags(PSH | ACK)
            .payload(b"hey")
            .packet();
        assert_eq!(packet[..4], [0x45, 0, 0, 43]);
        assert_eq!(
            (packet[9], &packet[12..20]),
            (6, &[10, 0, 0, 1, 10, 0, 0, 2][..])
        );
        assert_eq!(
            packet[20..34],
            [0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18]
        );
        assert_eq!(&packet[40..], b"hey");
    }

    #[test]
    fn options_move_what_follows_them() {
        let packet = ends("10.0.0.1:1", "10.0.0.2:2")
            .ip_options(&[7, 3, 4])
            .options(&[1; 12])
            .payload(b"x")
            .packet();
        assert_eq!((packet[0], packet[24 + 12] >> 4), (0x46, 8));
        assert_eq!(packet[24 + 32..], *b"x");
    }

    #[test]
    fn ipv6_extension_headers_are_chained() {
        let packet = ends("[fd00::1]:1", "[fd00::2]:2")
            .extension(0, &[1, 4])
            .extension(60, &[0; 10])
            .payload(b"x")
            .packet();
        assert_eq!((packet[6], packet[40], packet[41]), (0, 60, 0));
        assert_eq!((packet[48], packet[49]), (TCP, 1));
        assert_eq!(
            u16::from_be_bytes([packet[4], packet[5]]) as usize,
            packet.len() - 40
        );
        assert_eq!(packet[40 + 8 + 16 + 20..], *b"x");
    }

    #[test]
    fn fragments_put_together_are_the_packet() {
        for segment in [
            ends("10.0.0.1:1", "10.0.0.2:2"),
            ends("[fd00::1]:1", "[fd00::2]:2"),
        ] {
            let segment = segment.id(9).payload(&[7; 50]);
            let header = if segment.from.is_ipv4() { 20 } else { 48 };
            let parts: Vec<Vec<u8>> = segment
                .fragments(24)
                .iter()
                .map(|part| part[header..].to_vec())
                .collect();
            assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [24, 24, 22]);
            assert_eq!(parts.concat(), segment.tcp());
        }
    }
}
