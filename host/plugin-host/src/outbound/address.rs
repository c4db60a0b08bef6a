//! Which addresses an exporter may connect to. A name is free to resolve to anything, so the address is
//! judged, after the resolution and for every connection; the one that was judged is the one that is
//! connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::authority::Grant;

/// What kind of place an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The internet.
    Public,
    /// RFC 1918, RFC 6598, RFC 4193.
    Private,
    /// RFC 1122, RFC 4291.
    Loopback,
    /// RFC 3927, RFC 4291.
    LinkLocal,
    /// A cloud's metadata service: it hands out the node's credentials.
    Metadata,
    /// Nobody in particular: unspecified, multicast, broadcast, reserved, for documentation.
    Nowhere,
}

/// The metadata services of AWS (EC2, ECS, EKS), Google, Azure, Oracle, Alibaba, and others at the same places.
const METADATA_V4: [Ipv4Addr; 7] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    Ipv4Addr::new(169, 254, 169, 253),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// Addresses beside public ones that a sink may reach.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reach {
    private: bool,
    loopback: bool,
    link_local: bool,
    translated: bool,
}

impl From<&Grant> for Reach {
    fn from(grant: &Grant) -> Self {
        Self {
            private: grant.private,
            loopback: grant.loopback,
            link_local: grant.link_local,
            translated: grant.translated,
        }
    }
}

impl Reach {
    /// May a connection go there? The error says what it is and what would allow it.
    pub(super) fn allows(self, address: IpAddr) -> Result<(), String> {
        let (place, translated) = place(address);
        let (what, key) = match place {
            Place::Metadata => {
                return Err(format!(
                    "{address} is a cloud's metadata service, which nothing allows"
                ));
            }
            Place::Nowhere => return Err(format!("{address} is no address of one host")),
            Place::Private if !self.private => ("a private address", "private"),
            Place::Loopback if !self.loopback => ("this node's loopback", "loopback"),
            Place::LinkLocal if !self.link_local => ("a link-local address", "link_local"),
            _ if translated && !self.translated => (
                "an address of IPv6 that stands for one of IPv4",
                "translated",
            ),
            _ => return Ok(()),
        };
        Err(format!(
            "{address} is {what}: if that is meant, set grant.{key} = true"
        ))
    }
}

/// What it is, and whether it is of IPv6 and stands for one of IPv4; then it is what that one is.
pub(super) fn place(address: IpAddr) -> (Place, bool) {
    match address {
        IpAddr::V4(v4) => (of_v4(v4), false),
        IpAddr::V6(v6) => match embedded(v6) {
            Some(v4) => (of_v4(v4), true),
            None => (of_v6(v6), false),
        },
    }
}

/// The address of IPv4 that one of IPv6 stands for.
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = v6.octets();
    let at = |start: usize| {
        Ipv4Addr::new(
            octets[start],
            octets[start + 1],
            octets[start + 2],
            octets[start + 3],
        )
    };
    match v6.segments() {
        // Unspecified and loopback are themselves.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // Compatible and mapped (RFC 4291), and translated (RFC 2765).
        [0, 0, 0, 0, 0, 0 | 0xffff, _, _] | [0, 0, 0, 0, 0xffff, 0, _, _] => Some(at(12)),
        // NAT64: the well-known prefix (RFC 6052) and the local one (RFC 8215).
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] | [0x64, 0xff9b, 1, ..] => Some(at(12)),
        // 6to4 (RFC 3056).
        [0x2002, ..] => Some(at(2)),
        // Teredo (RFC 4380): the client's address, inverted.
        [0x2001, 0, ..] => Some(Ipv4Addr::from(!u32::from(at(12)))),
        _ => None,
    }
}

/// <https://www.iana.org/assignments/iana-ipv4-special-registry>
fn of_v4(v4: Ipv4Addr) -> Place {
    if METADATA_V4.contains(&v4) {
        return Place::Metadata;
    }
    match v4.octets() {
        [127, ..] => Place::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Place::Private,
        [169, 254, ..] => Place::LinkLocal,
        // This network, protocol assignments, documentation, 6to4 relays, benchmarks, multicast, reserved.
        [0, ..]
        | [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [224..=255, ..] => Place::Nowhere,
        _ => Place::Public,
    }
}

/// <https://www.iana.org/assignments/iana-ipv6-special-registry>: what is global is in 2000::/3.
fn of_v6(v6: Ipv6Addr) -> Place {
    if METADATA_V6.contains(&v6) {
        return Place::Metadata;
    }
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Place::Loopback,
        [0xfc00..=0xfdff, ..] => Place::Private,
        // Site-local (RFC 3879) is deprecated, and routed as private where it still is.
        [0xfec0..=0xfeff, ..] => Place::Private,
        [0xfe80..=0xfebf, ..] => Place::LinkLocal,
        // Protocol assignments and documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Place::Nowhere,
        [0x2000..=0x3fff, ..] => Place::Public,
        _ => Place::Nowhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_an_inner_address_is_that_address() {
        for (text, kind, translated) in [
            ("93.184.216.34", Place::Public, false),
            ("2606:4700::1111", Place::Public, false),
            ("10.0.0.1", Place::Private, false),
            ("172.16.0.1", Place::Private, false),
            ("172.32.0.1", Place::Public, false),
            ("192.168.1.1", Place::Private, false),
            ("100.64.0.1", Place::Private, false),
            ("100.128.0.1", Place::Public, false),
            ("fd12::1", Place::Private, false),
            ("fec0::1", Place::Private, false),
            ("127.0.0.1", Place::Loopback, false),
            ("127.255.255.254", Place::Loopback, false),
            ("::1", Place::Loopback, false),
            ("169.254.1.1", Place::LinkLocal, false),
            ("fe80::1", Place::LinkLocal, false),
            ("169.254.169.254", Place::Metadata, false),
            ("fd00:ec2::254", Place::Metadata, false),
            ("100.100.100.200", Place::Metadata, false),
            ("168.63.129.16", Place::Metadata, false),
            ("0.0.0.0", Place::Nowhere, false),
            ("0.1.2.3", Place::Nowhere, false),
            ("::", Place::Nowhere, false),
            ("224.0.0.1", Place::Nowhere, false),
            ("255.255.255.255", Place::Nowhere, false),
            ("ff02::1", Place::Nowhere, false),
            ("203.0.113.1", Place::Nowhere, false),
            ("2001:db8::1", Place::Nowhere, false),
            ("4000::1", Place::Nowhere, false),
            ("::ffff:127.0.0.1", Place::Loopback, true),
            ("::ffff:169.254.169.254", Place::Metadata, true),
            ("::ffff:93.184.216.34", Place::Public, true),
            ("::127.0.0.1", Place::Loopback, true),
            ("::ffff:0:10.0.0.1", Place::Private, true),
            ("64:ff9b::169.254.169.254", Place::Metadata, true),
            ("64:ff9b::93.184.216.34", Place::Public, true),
            ("64:ff9b:1::10.0.0.1", Place::Private, true),
            ("2002:7f00:1::", Place::Loopback, true),
            ("2002:a9fe:a9fe::1", Place::Metadata, true),
            ("2001::5601:5601", Place::Metadata, true),
        ] {
            assert_eq!(place(text.parse().unwrap()), (kind, translated), "{text}");
        }
    }

    #[test]
    fn grant_opens_what_it_names_and_metadata_never() {
        let all = Reach {
            private: true,
            loopback: true,
            link_local: true,
            translated: true,
        };
        let none = Reach::default();
        let private = Reach {
            private: true,
            ..none
        };
        for (reach, text, why) in [
            (none, "93.184.216.34", None),
            (
                none,
                "10.0.0.1",
                Some("a private address: if that is meant, set grant.private = true"),
            ),
            (
                none,
                "::1",
                Some("this node's loopback: if that is meant, set grant.loopback = true"),
            ),
            (none, "169.254.1.1", Some("set grant.link_local = true")),
            (
                none,
                "64:ff9b::93.184.216.34",
                Some("set grant.translated = true"),
            ),
            (private, "10.0.0.1", None),
            (private, "127.0.0.1", Some("set grant.loopback = true")),
            (
                private,
                "::ffff:10.0.0.1",
                Some("set grant.translated = true"),
            ),
            (all, "::ffff:10.0.0.1", None),
            (all, "::ffff:127.0.0.1", None),
            (all, "169.254.1.1", None),
            (
                all,
                "169.254.169.254",
                Some("metadata service, which nothing allows"),
            ),
            (
                all,
                "::ffff:169.254.169.254",
                Some("metadata service, which nothing allows"),
            ),
            (all, "64:ff9b::169.254.169.254", Some("metadata service")),
            (all, "0.0.0.0", Some("is no address of one host")),
            (all, "::ffff:0.0.0.0", Some("is no address of one host")),
        ] {
            match (reach.allows(text.parse().unwrap()), why) {
                (Ok(()), None) => {}
                (Err(error), Some(why)) => assert!(error.contains(why), "{text}: {error}"),
                (other, _) => panic!("{text}: {other:?}"),
            }
        }
    }
}
