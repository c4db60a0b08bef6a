//! Old connections leave the tables, and what was outstanding on them is counted as lost.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::time::{Duration, Instant};

use owlk8s_probe::testrun::{Flow, Wire};
use owlk8s_probe::{Options, Swept};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const MINUTE: Duration = Duration::from_secs(60);

/// As the kernel program sees the time.
fn now() -> Duration {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    Duration::from_secs_f64(uptime.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn connection_that_waits_for_nothing_goes_after_ten_minutes_and_is_known_again_later() {
    let mut wire = Wire::new();
    let mut flow = Flow::v4();
    wire.to_pod(flow.ask(GET));
    wire.from_pod(flow.answer(OK));
    assert_eq!(
        wire.probe().sweep_at(now() + 9 * MINUTE).unwrap(),
        Swept {
            connections: 1,
            ..Swept::default()
        }
    );
    assert_eq!(
        wire.probe().sweep_at(now() + 11 * MINUTE).unwrap(),
        Swept {
            idle: 1,
            ..Swept::default()
        }
    );
    assert_eq!(wire.probe().entries().unwrap().connections, 0);
    wire.to_pod(flow.ask(GET));
    wire.from_pod(flow.answer(OK));
    assert_eq!((wire.seen().status(200), wire.seen().counters.lost), (2, 0));
}

#[test]
fn requests_without_answer_are_lost_by_name_after_an_hour() {
    let mut wire = Wire::new();
    let mut flow = Flow::v6();
    for _ in 0..3 {
        wire.to_pod(flow.ask(GET));
    }
    assert_eq!(
        wire.probe().sweep_at(now() + 59 * MINUTE).unwrap(),
        Swept {
            connections: 1,
            ..Swept::default()
        }
    );
    assert_eq!(wire.seen().in_flight(), 3);
    let swept = wire.probe().sweep_at(now() + 61 * MINUTE).unwrap();
    assert_eq!(
        swept,
        Swept {
            given_up: 1,
            lost_requests: 3,
            ..Swept::default()
        }
    );
    let seen = wire.seen();
    assert_eq!(
        (seen.loss("idle"), seen.counters.lost, seen.in_flight()),
        (3, 3, 0)
    );
}

#[test]
fn segments_kept_for_a_connection_go_with_it() {
    let mut wire = Wire::new();
    let mut flow = Flow::v4();
    wire.to_pod(flow.ask(GET));
    let _lost_on_the_way = flow.ask(b"GET /lost HTTP/1.1\r\n");
    wire.to_pod(flow.ask(b"Host: a\r\n\r\n"));
    let entries = wire.probe().entries().unwrap();
    assert_eq!((entries.connections, entries.stash), (1, 1), "{entries:?}");
    wire.probe().sweep().unwrap();
    assert_eq!(wire.probe().entries().unwrap(), entries);
    wire.probe().sweep_at(now() + 61 * MINUTE).unwrap();
    let entries = wire.probe().entries().unwrap();
    assert_eq!((entries.connections, entries.stash), (0, 0), "{entries:?}");
}

#[test]
fn sweep_of_a_young_table_removes_nothing() {
    let mut wire = Wire::new();
    for _ in 0..20 {
        let mut flow = Flow::v4();
        wire.to_pod(flow.ask(GET));
        wire.from_pod(flow.answer(OK));
        wire.to_pod(flow.ask(GET));
    }
    assert_eq!(
        wire.probe().sweep().unwrap(),
        Swept {
            connections: 20,
            ..Swept::default()
        }
    );
}

#[test]
fn full_table_is_swept_in_little_time() {
    let mut wire = Wire::with(Options {
        connections: 65_536,
        ..Options::default()
    });
    for i in 0..65_536_u32 {
        let peer = ([10, 1, (i >> 8) as u8, i as u8], 40_000);
        let mut flow = Flow::between(peer.into(), ([10, 0, 0, 2], 80).into());
        wire.to_pod(flow.ask(GET));
        wire.from_pod(flow.answer(OK));
    }
    let start = Instant::now();
    assert_eq!(
        wire.probe().sweep().unwrap(),
        Swept {
            connections: 65_536,
            ..Swept::default()
        }
    );
    let kept = start.elapsed();
    let start = Instant::now();
    assert_eq!(
        wire.probe().sweep_at(now() + 11 * MINUTE).unwrap(),
        Swept {
            idle: 65_536,
            ..Swept::default()
        }
    );
    eprintln!(
        "65,536 connections: looked at in {kept:?}, removed in {:?}",
        start.elapsed()
    );
    assert_eq!(wire.seen().status(200), 65_536);
}
