//! A case on the real program.

use std::net::SocketAddr;

use owlk8s_probe::Options;
use owlk8s_probe::testrun::{Seen, Segment, Wire};

use crate::case::{Case, Line};
use crate::counts::Counts;

/// Cases after which the tables are emptied: what is left open in each stays in them.
const CASES: u32 = 64;

/// A loaded kernel program, used for one case after another.
pub struct Kernel {
    wire: Wire,
    before: Seen,
    cases: u32,
    port: u16,
}

impl Kernel {
    /// Loads it; panics with what is missing where it cannot be loaded.
    #[track_caller]
    #[expect(
        clippy::new_without_default,
        reason = "it loads a program into the kernel"
    )]
    pub fn new() -> Self {
        let room = Options {
            targets: 4,
            rows: 8192,
            connections: 8192,
            count_client: false,
        };
        Self {
            wire: Wire::with(room),
            before: Seen::default(),
            cases: 0,
            port: 1024,
        }
    }

    /// What the kernel counts of the case's packets.
    #[track_caller]
    pub fn run(&mut self, case: &Case) -> Counts {
        let first_port = self.next_ports(case.connections.len() as u16);
        for (id, line) in case.lines.iter().enumerate() {
            let port = first_port + line.connection as u16;
            for packet in packets(line, case.connections[line.connection], port, id as u16) {
                if line.to_pod {
                    self.wire.to_pod(packet);
                } else {
                    self.wire.from_pod(packet);
                }
            }
        }
        let seen = self.wire.seen();
        let counts = Counts::between(&self.before, &seen);
        self.before = seen;
        counts
    }

    fn next_ports(&mut self, n: u16) -> u16 {
        self.cases += 1;
        if self.cases.is_multiple_of(CASES) || self.port > 60_000 {
            self.wire.clear();
            self.before = Seen::default();
        }
        if self.port > 60_000 {
            self.port = 1024;
        }
        self.port += n;
        self.port - n
    }
}

/// The packet, or its fragments.
fn packets(line: &Line, v6: bool, port: u16, id: u16) -> Vec<Vec<u8>> {
    let address = |last: u16| -> std::net::IpAddr {
        if v6 {
            [0xfd00, 0, 0, 0, 0, 0, 0, last].into()
        } else {
            [10, 0, 0, last as u8].into()
        }
    };
    let (peer, pod) = (
        SocketAddr::new(address(1), port),
        SocketAddr::new(address(2), 80),
    );
    let (from, to) = if line.to_pod {
        (peer, pod)
    } else {
        (pod, peer)
    };
    let form = line.form;
    let mut segment = Segment::new(from, to)
        .seq(line.seq)
        .ack(line.ack)
        .flags(line.flags)
        .options(&vec![1; usize::from(form.tcp_options)])
        .payload(&line.payload)
        .id(id)
        .trailing(usize::from(form.padding));
    if form.ip_options != 0 && v6 {
        // Hop-by-hop and destination options, filled with PadN.
        let body = |n: u8| [vec![1, n - 2], vec![0; usize::from(n) - 2]].concat();
        segment = segment
            .extension(0, &body(form.ip_options))
            .extension(60, &body(6));
    } else if form.ip_options != 0 {
        segment = segment.ip_options(&vec![1; usize::from(form.ip_options)]);
    }
    if form.fragment == 0 {
        vec![segment.packet()]
    } else {
        segment.fragments(usize::from(form.fragment))
    }
}
