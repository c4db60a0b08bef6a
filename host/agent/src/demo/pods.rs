//! The three pods: how they behave, and what is asked of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One pod of the demo.
pub(super) struct Pod {
    /// As in the configuration.
    pub(super) name: &'static str,
    /// Port of the node's bridge.
    pub(super) port: &'static str,
    /// Last part of its addresses.
    pub(super) last: u8,
    pub(super) manner: Manner,
    pub(super) load: Load,
}

/// How a pod answers.
pub(super) struct Manner {
    /// Time to first byte, microseconds: at least, and that much more at most.
    pub(super) slow_us: (u64, u64),
    /// Each so-many-th request fails, with this status; the first that fits decides.
    pub(super) failures: &'static [(u64, u16)],
    /// Of the body of a good answer.
    pub(super) bytes: usize,
    /// Sends it in chunks, without telling the length first.
    pub(super) chunked: bool,
}

/// What clients do.
pub(super) struct Load {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// Clients with a lasting connection.
    pub(super) lasting: u32,
    /// Clients with a connection for each request.
    pub(super) brief: u32,
    /// Of each client.
    pub(super) per_second: u32,
}

pub(super) const PODS: [Pod; 3] = [
    Pod {
        name: "cart-6d5f9c8b4-x2x7p",
        port: "vh-cart",
        last: 11,
        manner: Manner {
            slow_us: (150, 700),
            failures: &[],
            bytes: 420,
            chunked: false,
        },
        load: Load {
            method: "GET",
            path: "/cart/items",
            lasting: 4,
            brief: 1,
            per_second: 30,
        },
    },
    Pod {
        name: "checkout-0",
        port: "vh-checkout",
        last: 12,
        // 3 % fail, every fifth of these as a gateway's timeout.
        manner: Manner {
            slow_us: (12_000, 45_000),
            failures: &[(165, 504), (33, 503)],
            bytes: 90,
            chunked: false,
        },
        load: Load {
            method: "POST",
            path: "/checkout",
            lasting: 2,
            brief: 2,
            per_second: 8,
        },
    },
    Pod {
        name: "search-7c4d9-kq5zl",
        port: "vh-search",
        last: 13,
        manner: Manner {
            slow_us: (2_000, 9_000),
            failures: &[(9, 404), (70, 500)],
            bytes: 9_000,
            chunked: true,
        },
        load: Load {
            method: "GET",
            path: "/search?q=owl",
            lasting: 3,
            brief: 0,
            per_second: 20,
        },
    },
];

impl Pod {
    pub(super) fn ipv4(&self) -> IpAddr {
        Ipv4Addr::new(10, 77, 0, self.last).into()
    }

    pub(super) fn ipv6(&self) -> IpAddr {
        Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, self.last.into()).into()
    }
}

impl Manner {
    /// Status of the `n`-th answer, counted from 1.
    pub(super) fn status(&self, n: u64) -> u16 {
        self.failures
            .iter()
            .find(|(every, _)| n.is_multiple_of(*every))
            .map_or(200, |(_, status)| *status)
    }

    /// Spread evenly, and the same in each run.
    pub(super) fn delay_us(&self, n: u64) -> u64 {
        let (least, spread) = self.slow_us;
        // Knuth's multiplicative hash.
        least + (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) % (spread + 1)
    }
}
