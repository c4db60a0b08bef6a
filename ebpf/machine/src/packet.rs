//! From an IP packet to a TCP segment: RFC 791, RFC 8200, RFC 9293.

use core::hint::cold_path;

use owlk8s_ebpf_abi::{
    Datagram, EARLY_FRAGMENTS, FragKey, FragValue, Loss, STASH_BYTES, Scratch, Segment, Slot,
    Stash, StashKey, WINDOW,
};

use crate::World;
use crate::count::lose;
use crate::verifier::{fence, forget, masked, opaque, seldom};

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

const IPPROTO_TCP: u8 = 6;

/// Whether all of `flags` are set.
#[inline(always)]
pub(crate) fn has(segment: &Segment, flags: u8) -> bool {
    segment.flags & u32::from(flags) == u32::from(flags)
}

#[inline(always)]
unsafe fn byte(header: *const u8, at: usize) -> u8 {
    *header.add(at)
}

#[inline(always)]
unsafe fn be16(header: *const u8, at: usize) -> u16 {
    u16::from_be_bytes([byte(header, at), byte(header, at + 1)])
}

#[inline(always)]
unsafe fn ne32(header: *const u8, at: usize) -> u32 {
    // Every caller's `at` is a multiple of 4 and the buffer is aligned to 8.
    header.add(at).cast::<u32>().read()
}

/// Larger packets are mostly body: only their headers are loaded at first.
const LARGE: u32 = 2048;
/// What matters of an IPv4 and a TCP header: no more is loaded, since what follows a large packet's headers may lie elsewhere
/// and cost a cache miss.
const HEADERS: u32 = 40;

/// Loads the packet's first bytes; how many.
#[inline(always)]
unsafe fn load<W: World>(world: &W, to: *mut u8) -> u32 {
    let len = world.packet_len();
    let wanted = if len > LARGE { HEADERS } else { len };
    let wanted = if wanted > WINDOW as u32 {
        WINDOW as u32
    } else {
        wanted
    };
    // 1..=WINDOW, in a form that kernels before 6.9 follow too.
    let n = (opaque(wanted.wrapping_sub(1)) & (WINDOW as u32 - 1)) + 1;
    if world.load(0, to, n) { n } else { 0 }
}

/// Puts the packet's TCP segment into `scratch`, whose key has the target's slot already; false when it carries none.
/// Fragments that cannot be put to their datagram are counted for `slot`.
///
/// # Safety
/// As [`World`] says of its pointers.
#[inline(always)]
pub(crate) unsafe fn parse<W: World>(world: &W, scratch: *mut Scratch, slot: *mut Slot) -> bool {
    let header = (&raw mut (*scratch).window).cast::<u8>();
    let loaded = load(world, header);
    (*scratch).loaded = if loaded == HEADERS { 0 } else { loaded };
    (*scratch).early = 0;
    // The last fragment of an IPv4 datagram may be shorter than a TCP header.
    let short = loaded < HEADERS;
    let carries = if seldom(loaded < 20) {
        false
    } else if byte(header, 0) >> 4 == 4 {
        ipv4(world, scratch)
    } else if seldom(byte(header, 0) >> 4 == 6 && !short) {
        ipv6(world, scratch)
    } else {
        false
    };
    if !carries {
        return false;
    }
    // Here all kinds of headers meet: what each wrote to memory, the verifier does not follow apart from here on.
    let loaded = forget(scratch, loaded);
    let short = loaded < HEADERS;
    let datagram = &raw const (*scratch).datagram;
    if seldom((*datagram).fragment != 0) {
        return later_fragment(world, scratch, slot);
    }
    if seldom(short || !tcp(world, scratch, loaded)) {
        if (*datagram).more != 0 {
            lose(slot, Loss::Fragment, 1);
        }
        return false;
    }
    if seldom((*datagram).more != 0) {
        first_fragment(world, scratch);
    }
    true
}

#[inline(always)]
unsafe fn ipv4<W: World>(world: &W, scratch: *mut Scratch) -> bool {
    let header = (&raw mut (*scratch).window).cast::<u8>();
    if byte(header, 9) != IPPROTO_TCP {
        return false;
    }
    let segment = &mut (*scratch).segment;
    segment.source = [ne32(header, 12), 0, 0, 0];
    segment.destination = [ne32(header, 16), 0, 0, 0];
    let total = u32::from(be16(header, 2));
    let fragment = be16(header, 6);
    (*scratch).datagram = Datagram {
        start: u32::from(byte(header, 0) & 15) * 4,
        // 0 where the packet is larger than the field (BIG TCP); less than the packet where that is padded.
        end: if total == 0 {
            world.packet_len()
        } else {
            total
        },
        fragment: u32::from(fragment & 0x1fff) * 8,
        more: u32::from(fragment & 0x2000),
        id: u32::from(be16(header, 4)),
    };
    true
}

#[inline(always)]
unsafe fn ipv6<W: World>(world: &W, scratch: *mut Scratch) -> bool {
    let header = (&raw mut (*scratch).window).cast::<u8>();
    let segment = &mut (*scratch).segment;
    let next = byte(header, 6);
    let len = u32::from(be16(header, 4));
    segment.source = header.add(8).cast::<[u32; 4]>().read();
    segment.destination = header.add(24).cast::<[u32; 4]>().read();
    (*scratch).datagram = Datagram {
        start: 40,
        // 0 with a jumbo payload option (BIG TCP).
        end: if len == 0 {
            world.packet_len()
        } else {
            40 + len
        },
        ..Datagram::default()
    };
    next == IPPROTO_TCP || extensions(world, scratch, u32::from(next))
}

/// Looks over extension headers; whether TCP follows.
#[inline(never)]
unsafe fn extensions<W: World>(world: &W, scratch: *mut Scratch, next: u32) -> bool {
    let header = (&raw mut (*scratch).window).cast::<u8>();
    let datagram = &mut (*scratch).datagram;
    let mut next = next as u8;
    // Extension headers: RFC 8200, 4. Six are more than any stack sends.
    let mut left = 6;
    while left > 0 {
        left -= 1;
        fence(header);
        datagram.start = forget(scratch, datagram.start);
        if !world.load(datagram.start, header, 8) {
            return false;
        }
        let (this, units) = (next, u32::from(byte(header, 1)));
        next = byte(header, 0);
        match this {
            // Hop-by-hop, routing, destination options, mobility.
            0 | 43 | 60 | 135 => datagram.start += 8 + 8 * units,
            // Authentication: RFC 4302, in words less two.
            51 => datagram.start += 8 + 4 * units,
            // Fragment.
            44 => {
                let offset = be16(header, 2);
                datagram.fragment = u32::from(offset & 0xfff8);
                datagram.more = u32::from(offset & 1);
                datagram.id = ne32(header, 4);
                datagram.start += 8;
                if datagram.fragment != 0 {
                    return next == IPPROTO_TCP;
                }
            }
            _ => return false,
        }
        if next == IPPROTO_TCP {
            return true;
        }
    }
    false
}

#[inline(always)]
unsafe fn tcp<W: World>(world: &W, scratch: *mut Scratch, loaded: u32) -> bool {
    let (datagram, segment) = (&raw const (*scratch).datagram, &mut (*scratch).segment);
    let header = (&raw mut (*scratch).window).cast::<u8>();
    let start = (*datagram).start;
    let at = if start + 20 <= loaded {
        start
    } else {
        cold_path();
        if !world.load(start, header, 20) {
            return false;
        }
        0
    };
    let header = header.add(masked::<{ WINDOW as u32 - 1 }>(scratch, at));
    segment.source_port = header.cast::<u16>().read();
    segment.destination_port = header.add(2).cast::<u16>().read();
    segment.seq = u32::from_be(ne32(header, 4));
    segment.ack = u32::from_be(ne32(header, 8));
    segment.flags = u32::from(byte(header, 13));
    segment.offset = start + u32::from(byte(header, 12) >> 4) * 4;
    segment.len = (*datagram).end.saturating_sub(segment.offset);
    true
}

#[inline(always)]
fn fragment_key(slot: u32, datagram: &Datagram, segment: &Segment) -> FragKey {
    FragKey {
        slot,
        id: datagram.id,
        source: segment.source,
        destination: segment.destination,
    }
}

/// The first fragment has the segment's header, which the later ones need.
#[inline(never)]
unsafe fn first_fragment<W: World>(world: &W, scratch: *mut Scratch) {
    let (datagram, segment) = (&(*scratch).datagram, &mut (*scratch).segment);
    let key = fragment_key((*scratch).key.slot, datagram, segment);
    let header = segment.offset - datagram.start;
    let value = FragValue {
        source_port: segment.source_port,
        destination_port: segment.destination_port,
        // A SYN is one before its data.
        seq: segment
            .seq
            .wrapping_sub(header)
            .wrapping_add(segment.flags >> 1 & 1),
        ack: segment.ack,
        flags: segment.flags & !u32::from(SYN),
        early: 0,
    };
    (*scratch).early = world.fragment(&key).unwrap_or_default().early;
    (*scratch).early_key = StashKey {
        conn: key.id_in_stash(),
        index: StashKey::of_slot(key.slot),
    };
    (*scratch).early_seq = value.seq;
    (*scratch).early_flags = segment.flags;
    world.put_fragment(&key, value);
    segment.flags &= !u32::from(FIN);
}

/// A later fragment continues the segment whose header came in the first.
#[inline(never)]
unsafe fn later_fragment<W: World>(world: &W, scratch: *mut Scratch, slot: *mut Slot) -> bool {
    let (datagram, segment) = (&(*scratch).datagram, &mut (*scratch).segment);
    let key = fragment_key((*scratch).key.slot, datagram, segment);
    let first = match world.fragment(&key) {
        Some(first) if first.early == 0 => first,
        other => {
            let early = other.unwrap_or_default().early;
            if !keep(world, scratch, &key, datagram, early) {
                lose(slot, Loss::Fragment, 1);
            }
            return false;
        }
    };
    segment.source_port = first.source_port;
    segment.destination_port = first.destination_port;
    segment.seq = first.seq.wrapping_add(datagram.fragment);
    segment.ack = first.ack;
    segment.flags = if datagram.more != 0 {
        first.flags & !u32::from(FIN)
    } else {
        first.flags
    };
    segment.offset = datagram.start;
    segment.len = datagram.end.saturating_sub(datagram.start);
    true
}

/// Keeps a fragment, after `early` others, until the first of its datagram comes; false when it cannot. One that does not
/// come is counted when what is kept is swept.
#[inline(always)]
unsafe fn keep<W: World>(
    world: &W,
    scratch: *mut Scratch,
    key: &FragKey,
    datagram: &Datagram,
    early: u32,
) -> bool {
    let len = datagram.end.saturating_sub(datagram.start);
    if early >= EARLY_FRAGMENTS || len == 0 || len > STASH_BYTES as u32 {
        return false;
    }
    let stash = &raw mut (*scratch).stash;
    (*stash).seq = datagram.fragment;
    (*stash).len = if datagram.more != 0 {
        len
    } else {
        len | Stash::LAST
    };
    let place = StashKey {
        conn: key.id_in_stash(),
        index: StashKey::of_slot(key.slot) | u64::from(early),
    };
    let n = (opaque(len.wrapping_sub(1)) & (STASH_BYTES as u32 - 1)) + 1;
    let kept = world.load(datagram.start, (&raw mut (*stash).data).cast::<u8>(), n)
        && world.put_stash(&place, stash);
    if kept {
        let value = FragValue {
            early: early + 1,
            ..FragValue::default()
        };
        world.put_fragment(key, value);
    }
    kept
}
