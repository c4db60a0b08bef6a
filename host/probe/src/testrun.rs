//! The kernel program on crafted packets, by `BPF_PROG_TEST_RUN`: the real program in the real kernel, and no network.
//!
//! [`Wire`] loads the program of the embedded object and feeds it packets one at a time, on this thread, so that each
//! test is deterministic. [`Flow`] makes the segments of one TCP connection with right sequence numbers; [`Segment`]
//! makes any segment. Needs root; a test that has none panics with what is missing.
//!
//! ```no_run
//! use owlk8s_probe::testrun::{Flow, Wire};
//!
//! let mut wire = Wire::new();
//! let mut flow = Flow::v4();
//! wire.to_pod(flow.ask(b"GET /cart HTTP/1.1\r\nHost: shop\r\n\r\n"));
//! wire.from_pod(flow.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
//! assert_eq!(wire.seen().status(200), 1);
//! assert_eq!(wire.seen().in_flight(), 0);
//! ```
//!
//! Segments that come late, twice, split or not at all are made first and fed as the test likes:
//!
//! ```no_run
//! # use owlk8s_probe::testrun::{ACK, Flow, PSH, Segment, Wire};
//! # let mut wire = Wire::new();
//! let mut flow = Flow::v6();
//! let (first, second) = (flow.ask(b"GET / HT"), flow.ask(b"TP/1.1\r\n\r\n"));
//! wire.to_pod(&second);
//! wire.to_pod(&first);
//! wire.from_pod(flow.reset_by_pod());
//! // What no flow makes: start from a segment of it.
//! wire.to_pod(flow.next_ask().flags(PSH | ACK).options(&[1, 1, 1, 1]).payload(b"GET /").seq(7));
//! ```

mod entries;
mod flow;
mod seen;
mod segment;

use std::time::Duration;

use aya::programs::{TestRun as _, TestRunOptions};
use owlk8s_model::{TargetId, TargetReading, UnixNanos};

use crate::error::text;
use crate::{Interface, Options, Probe};

pub use entries::Entries;
pub use flow::Flow;
pub use seen::Seen;
pub use segment::{ACK, CWR, ECE, FIN, PSH, Packet, RST, SYN, Segment, URG};

/// The program's entry for test runs: like `red`, but with the direction in `cb[0]` (1: to the pod), since a test run
/// cannot set `pkt_type`, and with the interface in `cb[1]`.
const PROGRAM: &str = "red_test";
/// No real interface: the program takes the index from `cb[1]`.
const INTERFACE: u32 = 1;
/// `struct __sk_buff` up to the end of `cb`: what comes after it is taken as zero.
const CONTEXT_BYTES: usize = 68;
/// Of `cb[0]` in it.
const CB: usize = 48;
/// A test run takes an Ethernet header off the packet before the program sees it.
const ETHERNET_BYTES: usize = 14;

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the watched pod.
    ToPod,
    /// From the watched pod.
    FromPod,
}

/// A loaded kernel program that watches one pod, and gets its packets from the test.
pub struct Wire {
    probe: Probe,
    target: TargetId,
}

impl Wire {
    /// With little room: 64 rows and 64 connections. Panics where the program cannot be loaded.
    #[track_caller]
    #[expect(
        clippy::new_without_default,
        reason = "it loads a program into the kernel"
    )]
    pub fn new() -> Self {
        Self::with(Options {
            targets: 4,
            rows: 64,
            connections: 64,
            count_client: true,
        })
    }

    /// With the room that `options` say.
    #[track_caller]
    pub fn with(options: Options) -> Self {
        let target = TargetId::from("wire");
        let load = || {
            let mut probe = Probe::load_with(options)?;
            probe.load_program(PROGRAM)?;
            probe.attach_without_socket(
                &target,
                Interface {
                    name: "lo".into(),
                    index: INTERFACE,
                },
            )?;
            Ok::<_, crate::ProbeError>(probe)
        };
        match load() {
            Ok(probe) => Self { probe, target },
            Err(error) => panic!(
                "the tests of the kernel program need root, and a program that loads: {}",
                text(&error)
            ),
        }
    }

    /// Feeds one IP packet on its way to the pod.
    #[track_caller]
    pub fn to_pod(&self, packet: impl Packet) {
        self.run(Way::ToPod, &packet.bytes(), 1);
    }

    /// Feeds one IP packet that comes from the pod.
    #[track_caller]
    pub fn from_pod(&self, packet: impl Packet) {
        self.run(Way::FromPod, &packet.bytes(), 1);
    }

    /// Feeds the same packet `times` times; how long one run takes in the mean.
    #[track_caller]
    pub fn cost(&self, way: Way, packet: impl Packet, times: u32) -> Duration {
        self.run(way, &packet.bytes(), times)
    }

    /// What has been counted so far.
    #[track_caller]
    pub fn seen(&mut self) -> Seen {
        match self.reading() {
            TargetReading::Active {
                counters,
                rows,
                grpc,
                ..
            } => Seen {
                counters,
                rows,
                grpc,
            },
            other => panic!("the wire is not attached: {other:?}"),
        }
    }

    /// The same as the probe reads it.
    #[track_caller]
    pub fn reading(&mut self) -> TargetReading {
        let reading = self
            .probe
            .read(UnixNanos(0))
            .unwrap_or_else(|error| panic!("{}", text(&error)));
        reading
            .of(&self.target)
            .cloned()
            .unwrap_or_else(|| panic!("no reading of {}", self.target))
    }

    /// The probe below, to sweep or to look into.
    pub fn probe(&mut self) -> &mut Probe {
        &mut self.probe
    }

    /// Lets the pod go and watches it again: every trace of what came before is gone.
    #[track_caller]
    pub fn clear(&mut self) {
        let again = self.probe.detach(&self.target).and_then(|()| {
            self.probe.attach_without_socket(
                &self.target,
                Interface {
                    name: "lo".into(),
                    index: INTERFACE,
                },
            )
        });
        again.unwrap_or_else(|error| panic!("{}", text(&error)));
    }

    #[track_caller]
    fn run(&self, way: Way, packet: &[u8], times: u32) -> Duration {
        let mut context = [0_u8; CONTEXT_BYTES];
        context[CB..CB + 4].copy_from_slice(&u32::from(way == Way::ToPod).to_ne_bytes());
        context[CB + 4..CB + 8].copy_from_slice(&INTERFACE.to_ne_bytes());
        let frame = ethernet(packet);
        let options = TestRunOptions {
            data_in: Some(&frame),
            ctx_in: Some(&context),
            repeat: times,
            ..TestRunOptions::default()
        };
        let program = self
            .probe
            .program(PROGRAM)
            .unwrap_or_else(|error| panic!("{error}"));
        match program.test_run(options) {
            Ok(result) => {
                assert_eq!(result.return_value, 0, "the filter keeps no packet");
                result.duration
            }
            Err(error) => panic!(
                "the kernel refuses a packet of {} bytes: {error:?}",
                packet.len()
            ),
        }
    }
}

fn ethernet(packet: &[u8]) -> Vec<u8> {
    let ethertype: [u8; 2] = match packet.first().map(|first| first >> 4) {
        Some(4) => [0x08, 0x00],
        Some(6) => [0x86, 0xdd],
        // Experimental: what is neither shall reach the program, too.
        _ => [0x88, 0xb5],
    };
    let mut frame = vec![0; ETHERNET_BYTES - 2];
    frame.extend(ethertype);
    frame.extend(packet);
    frame
}
