//! What is seen and cannot be counted is counted by name: each loss provoked.
//!
//! `contended` is not here: it takes two CPUs that work on the same direction of a connection for longer than a third of
//! a millisecond, and a test run has one.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

#[path = "kernel/h2.rs"]
mod h2;

use std::time::Duration;

use owlk8s_probe::Options;
use owlk8s_probe::testrun::{Flow, RST, Seen, Wire};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

fn wire(connections: u32, rows: u32) -> Wire {
    Wire::with(Options {
        targets: 4,
        rows,
        connections,
        count_client: false,
    })
}

/// Answered, lost under this name, all losses.
fn sums(seen: &Seen, name: &str) -> (u64, u64, u64) {
    let all = seen.counters.losses.values().sum();
    (seen.requests(), seen.loss(name), all)
}

#[test]
fn full_connection_table_lets_the_oldest_go_and_counts_what_waited_on_it() {
    let mut wire = wire(4, 64);
    for _ in 0..100 {
        wire.to_pod(Flow::v4().ask(GET));
    }
    let seen = wire.seen();
    assert_eq!(seen.counters.started, 100, "none went unseen");
    assert_eq!(
        (seen.loss("evicted"), seen.loss("table-full")),
        (96, 0),
        "{seen:?}"
    );
    assert_eq!((seen.counters.lost, seen.in_flight()), (96, 4));
}

#[test]
fn requests_count_while_the_connection_table_is_full() {
    let mut wire = wire(4, 64);
    for _ in 0..50 {
        wire.to_pod(Flow::v4().ask(GET));
    }
    for _ in 0..20 {
        let mut flow = Flow::v6();
        wire.to_pod(flow.ask(GET));
        wire.from_pod(flow.answer(OK));
    }
    let seen = wire.seen();
    assert_eq!((seen.status(200), seen.counters.started), (20, 70));
    assert_eq!(
        seen.loss("evicted"),
        50,
        "each of those that wait went for one of the later"
    );
}

#[test]
fn eviction_goes_past_connections_that_ended_by_themselves() {
    let mut wire = wire(4, 64);
    for _ in 0..20 {
        let mut flow = Flow::v4();
        wire.to_pod(flow.ask(GET));
        wire.from_pod(flow.answer(OK));
        wire.from_pod(flow.reset_by_pod());
    }
    for _ in 0..6 {
        wire.to_pod(Flow::v4().ask(GET));
    }
    let seen = wire.seen();
    assert_eq!((seen.requests(), seen.in_flight()), (20, 4));
    assert_eq!((seen.loss("evicted"), seen.loss("table-full")), (2, 0));
}

#[test]
fn table_full_of_connections_that_are_too_old_to_be_found_is_counted() {
    /// So many of the latest connections are remembered for eviction.
    const REMEMBERED: u32 = 65_536;
    let mut wire = wire(2, 64);
    let mut oldest = Flow::v4();
    wire.to_pod(oldest.ask(GET));
    let request = Flow::v4().next_ask().payload(GET);
    for seq in 0..=REMEMBERED {
        // Each comes later in the sequence space, or it would be a copy of the one before.
        let next = request.clone().seq(seq * 1000);
        wire.to_pod(next.packet());
        wire.to_pod(
            next.seq(seq * 1000 + GET.len() as u32)
                .flags(RST)
                .payload(b""),
        );
    }
    let mut younger = Flow::v6();
    wire.to_pod(younger.ask(GET));
    let before = wire.seen();
    assert_eq!((before.in_flight(), before.loss("table-full")), (2, 0));
    wire.to_pod(Flow::v6().ask(GET));
    let seen = wire.seen();
    assert_eq!(seen.loss("table-full") + seen.loss("evicted"), 1);
    assert_eq!(seen.loss("table-full"), 1, "{seen:?}");
    wire.from_pod(oldest.answer(OK));
    wire.from_pod(younger.answer(OK));
    assert_eq!(wire.seen().status(200), 2, "those inside count on");
}

#[test]
fn answer_without_a_request_is_unsolicited() {
    let mut wire = Wire::new();
    let mut flow = Flow::v4();
    wire.to_pod(flow.ask(GET));
    wire.from_pod(flow.answer(OK));
    wire.from_pod(flow.answer(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"));
    let seen = wire.seen();
    assert_eq!(sums(&seen, "unsolicited-answer"), (1, 1, 1));
    assert_eq!((seen.counters.lost, seen.in_flight()), (0, 0));
}

#[test]
fn answer_that_is_no_http_loses_its_request() {
    for garbage in [&b"SSH-2.0-OpenSSH_9.2\r\n"[..], b"HTTP/1.1 2x0 Odd\r\n\r\n"] {
        let mut wire = Wire::new();
        let mut flow = Flow::v4();
        wire.to_pod(flow.ask(GET));
        wire.from_pod(flow.answer(OK));
        wire.to_pod(flow.ask(GET));
        wire.from_pod(flow.answer(garbage));
        let seen = wire.seen();
        assert_eq!(sums(&seen, "unparsable-answer"), (1, 1, 1));
        assert_eq!((seen.counters.lost, seen.in_flight()), (1, 0));
    }
}

#[test]
fn later_fragment_without_the_first_is_a_lost_fragment() {
    for mut flow in [Flow::v4(), Flow::v6()] {
        let mut wire = Wire::new();
        let segment = flow.next_ask().payload(GET).id(7);
        let parts = segment.fragments(24);
        wire.to_pod(&parts[1]);
        // It may still come.
        assert_eq!(wire.seen().loss("fragment"), 0);
        wire.probe().sweep().unwrap();
        assert_eq!(sums(&wire.seen(), "fragment"), (0, 1, 1));
        assert_eq!(wire.probe().entries().unwrap().stash, 0);
        flow.asked(segment);
        wire.to_pod(flow.ask(GET));
        wire.from_pod(flow.answer(OK));
        assert_eq!(wire.seen().status(200), 1, "what follows counts");
    }
}

#[test]
fn more_fragments_before_the_first_than_are_kept_are_lost_by_name() {
    let mut wire = Wire::new();
    let segment = Flow::v4().next_ask().payload(&GET.repeat(10)).id(7);
    let parts = segment.fragments(24);
    assert!(parts.len() > 12, "{} fragments", parts.len());
    for part in parts[1..].iter().rev() {
        wire.to_pod(part);
    }
    assert_eq!(wire.seen().loss("fragment"), parts.len() as u64 - 9);
}

#[test]
fn first_fragment_that_ends_within_the_tcp_header_is_a_lost_fragment() {
    let mut wire = Wire::new();
    let segment = Flow::v4().next_ask().payload(GET).id(7);
    wire.to_pod(&segment.fragments(16)[0]);
    assert_eq!(wire.seen().loss("fragment"), 1);
}

#[test]
fn answer_without_room_for_its_row_is_lost_and_known_rows_count_on() {
    let mut wire = wire(64, 2);
    let mut flow = Flow::v4();
    for status in [200, 404, 500, 200, 501, 404] {
        wire.to_pod(flow.ask(GET));
        let answer = format!("HTTP/1.1 {status} Odd\r\nContent-Length: 0\r\n\r\n");
        wire.from_pod(flow.answer(answer.as_bytes()));
    }
    let seen = wire.seen();
    assert_eq!((seen.status(200), seen.status(404)), (2, 2));
    assert_eq!(sums(&seen, "rows-full"), (4, 2, 2));
    assert_eq!((seen.counters.lost, seen.in_flight()), (2, 0));
}

#[test]
fn stream_without_room_is_lost_by_name_and_counted_as_nothing_else() {
    /// Of the table of streams.
    const ROOM: u32 = 65_536;
    let mut wire = Wire::new();
    let mut flow = Flow::v4();
    wire.to_pod(flow.ask(&h2::preface()));
    wire.from_pod(flow.answer(&h2::settings()));
    let requests = (0..ROOM + 10).flat_map(|n| h2::headers(2 * n + 1, h2::WHOLE, h2::GET));
    let requests: Vec<u8> = requests.collect();
    for segment in flow.ask_in(3_000, &requests) {
        wire.to_pod(segment);
    }
    let seen = wire.seen();
    assert_eq!(sums(&seen, "streams-full"), (0, 10, 10));
    assert_eq!(
        (seen.counters.started, seen.in_flight()),
        (ROOM.into(), ROOM.into())
    );
    wire.from_pod(flow.answer(&h2::headers(1, h2::WHOLE, h2::OK)));
    wire.to_pod(flow.ask(&h2::headers(2 * ROOM + 101, h2::WHOLE, h2::GET)));
    assert_eq!(
        (wire.seen().status(200), wire.seen().in_flight()),
        (1, ROOM.into()),
        "the room of one that was answered is used again"
    );
}

#[test]
fn status_that_was_indexed_before_our_time_is_unknown_and_not_guessed() {
    let mut wire = Wire::new();
    let mut flow = Flow::v4();
    wire.to_pod(flow.ask(&h2::headers(9, h2::WHOLE, h2::GET)));
    wire.from_pod(flow.answer(&h2::headers(9, h2::WHOLE, &[0xbe])));
    let seen = wire.seen();
    assert_eq!(sums(&seen, "h2-unknown"), (0, 1, 1));
    assert_eq!((seen.counters.lost, seen.in_flight()), (1, 0));
    wire.to_pod(flow.ask(&h2::headers(11, h2::WHOLE, h2::GET)));
    wire.from_pod(flow.answer(&h2::headers(11, h2::WHOLE, h2::OK)));
    assert_eq!(wire.seen().status(200), 1);
}

#[test]
fn header_table_that_was_pushed_out_by_others_is_unknown_and_not_guessed() {
    /// More connections than the kernel remembers tables for.
    const OTHERS: usize = 6_000;
    let mut wire = wire(8192, 64);
    let mut first = Flow::v4();
    wire.to_pod(first.ask(&[h2::preface(), h2::headers(1, h2::WHOLE, h2::GET)].concat()));
    let insert = h2::headers(1, h2::WHOLE, &h2::inserted(":status", "418"));
    wire.from_pod(first.answer(&[h2::settings(), insert.clone()].concat()));
    for other in 0..OTHERS {
        let peer = ([10, 1, (other >> 8) as u8, other as u8], 999);
        let mut flow = Flow::between(peer.into(), ([10, 0, 0, 2], 80).into());
        wire.to_pod(flow.ask(&[h2::preface(), h2::headers(1, h2::WHOLE, h2::GET)].concat()));
        wire.from_pod(flow.answer(&[h2::settings(), insert.clone()].concat()));
    }
    assert_eq!(wire.seen().status(418), OTHERS as u64 + 1);
    wire.to_pod(first.ask(&h2::headers(3, h2::WHOLE, h2::GET)));
    wire.from_pod(first.answer(&h2::headers(3, h2::WHOLE, &[0xbe])));
    let seen = wire.seen();
    assert_eq!((seen.loss("h2-unknown"), seen.counters.lost), (1, 1));
    assert_eq!(seen.in_flight(), 0);
}

#[test]
fn hole_in_the_requests_that_the_pod_acknowledged_is_named_and_what_follows_counts() {
    let mut wire = Wire::new();
    let mut flow = Flow::v4();
    wire.to_pod(flow.ask(GET));
    wire.from_pod(flow.answer(OK));
    let _never_seen = flow.ask(GET);
    wire.to_pod(flow.ask(GET));
    assert_eq!(wire.seen().counters.started, 1, "it may still come");
    wire.from_pod(flow.ack_from_pod());
    let seen = wire.seen();
    assert_eq!((seen.loss("hole"), seen.in_flight()), (1, 1));
    wire.from_pod(flow.answer(&[OK, OK].concat()));
    let seen = wire.seen();
    assert_eq!((seen.requests(), seen.loss("unsolicited-answer")), (2, 1));
}

#[test]
fn answer_in_a_hole_desynchronises_and_loses_what_waited() {
    let mut wire = Wire::new();
    let mut flow = Flow::v4();
    wire.to_pod(flow.ask(GET));
    wire.from_pod(flow.answer(OK));
    wire.to_pod(flow.ask(&[GET, GET].concat()));
    let _never_seen = flow.answer(OK);
    wire.from_pod(flow.answer(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"));
    wire.to_pod(flow.ack_to_pod());
    let seen = wire.seen();
    assert_eq!((seen.loss("hole"), seen.loss("desync")), (1, 2), "{seen:?}");
    assert_eq!((seen.counters.lost, seen.in_flight()), (2, 0));
    wire.to_pod(flow.ask(GET));
    wire.from_pod(flow.answer(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"));
    let seen = wire.seen();
    assert_eq!(
        (seen.status(404), seen.in_flight()),
        (1, 0),
        "the next exchange counts"
    );
}

#[test]
fn hole_within_a_body_of_known_length_loses_nothing() {
    let mut wire = Wire::new();
    let mut flow = Flow::v4();
    wire.to_pod(flow.ask(GET));
    wire.from_pod(flow.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n"));
    let _never_seen = flow.answer(&[b'x'; 1000]);
    wire.from_pod(flow.answer(&[b'x'; 2000]));
    wire.to_pod(flow.ask(GET));
    wire.from_pod(flow.answer(OK));
    assert_eq!(sums(&wire.seen(), "hole"), (2, 0, 0));
}

#[test]
fn request_that_waits_for_an_hour_is_lost_as_idle() {
    let mut wire = Wire::new();
    wire.to_pod(Flow::v4().ask(GET));
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let now = Duration::from_secs_f64(uptime.split(' ').next().unwrap().parse().unwrap());
    wire.probe()
        .sweep_at(now + Duration::from_secs(3700))
        .unwrap();
    assert_eq!(sums(&wire.seen(), "idle"), (0, 1, 1));
    assert_eq!(wire.seen().in_flight(), 0);
}
