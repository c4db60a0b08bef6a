//! HTTP/2 and gRPC on crafted packets: streams, header blocks, the dynamic table, resets, upgrades, late joins.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

#[path = "kernel/h2.rs"]
mod h2;

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use h2::{CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, WHOLE, frame, headers};
use owlk8s_model::Protocol;
use owlk8s_probe::testrun::{Flow, Seen, Wire};

/// One program for all: to load it takes the kernel half a second.
static WIRE: LazyLock<Mutex<Wire>> = LazyLock::new(|| Mutex::new(Wire::new()));

fn wire() -> MutexGuard<'static, Wire> {
    let mut wire = WIRE.lock().unwrap_or_else(PoisonError::into_inner);
    wire.clear();
    wire
}

/// A connection on which both have said who they are.
fn greeted(wire: &Wire) -> Flow {
    let mut flow = Flow::v4();
    wire.to_pod(flow.ask(&h2::preface()));
    wire.from_pod(flow.answer(&h2::settings()));
    flow
}

/// Answered, aborted, in flight; nothing lost.
#[track_caller]
fn sums(seen: &Seen) -> (u64, u64, u64) {
    assert!(seen.counters.losses.values().all(|n| *n == 0), "{seen:?}");
    (seen.requests(), seen.counters.aborted, seen.in_flight())
}

#[test]
fn stream_counts_when_its_answer_begins() {
    let mut wire = wire();
    let mut flow = greeted(&wire);
    wire.to_pod(flow.ask(&headers(1, WHOLE, h2::GET)));
    assert_eq!(sums(&wire.seen()), (0, 0, 1));
    wire.from_pod(flow.answer(&headers(1, END_HEADERS, h2::NOT_FOUND)));
    let seen = wire.seen();
    assert_eq!((sums(&seen), seen.method("GET", 404)), ((1, 0, 0), 1));
    assert_eq!(seen.rows[0].protocol, Protocol::Http2);
    wire.from_pod(flow.answer(&frame(DATA, END_STREAM, 1, b"HTTP/1.1 500 Oops\r\n\r\n")));
    assert_eq!(sums(&wire.seen()), (1, 0, 0));
}

#[test]
fn streams_are_answered_in_any_order() {
    let mut wire = wire();
    let mut flow = greeted(&wire);
    let asks: Vec<u8> = (0..8)
        .flat_map(|n| {
            headers(
                2 * n + 1,
                WHOLE,
                if n % 2 == 0 { h2::GET } else { h2::POST },
            )
        })
        .collect();
    wire.to_pod(flow.ask(&asks));
    for n in (0..8).rev() {
        wire.from_pod(flow.answer(&headers(
            2 * n + 1,
            WHOLE,
            if n < 4 { h2::OK } else { h2::NOT_FOUND },
        )));
    }
    let seen = wire.seen();
    assert_eq!(sums(&seen), (8, 0, 0));
    for (method, status) in [("GET", 200), ("POST", 200), ("GET", 404), ("POST", 404)] {
        assert_eq!(seen.method(method, status), 2, "{method} {status}");
    }
}

#[test]
fn conversation_counts_wherever_it_is_cut() {
    let ask = [
        h2::preface(),
        frame(
            HEADERS,
            0x8 | 0x20 | END_STREAM,
            1,
            &[&[2][..], &[0, 0, 0, 0, 15], h2::POST, &[0, 0]].concat(),
        ),
        frame(
            CONTINUATION,
            0,
            1,
            &h2::inserted("user-agent", "kube-probe/1.30")[..14],
        ),
        frame(
            CONTINUATION,
            END_HEADERS,
            1,
            &h2::inserted("user-agent", "kube-probe/1.30")[14..],
        ),
        headers(3, WHOLE, &[h2::POST, &[0xbe]].concat()),
    ]
    .concat();
    let answer = [
        h2::settings(),
        headers(1, WHOLE, &h2::inserted(":status", "418")),
        headers(3, WHOLE, &[0xbe]),
    ]
    .concat();
    let mut wire = wire();
    for cut in 1..ask.len() {
        let mut flow = Flow::v4();
        wire.to_pod(flow.ask(&ask[..cut]));
        wire.to_pod(flow.ask(&ask[cut..]));
        for part in answer.chunks(cut) {
            wire.from_pod(flow.answer(part));
        }
        wire.to_pod(flow.reset_by_peer());
        let seen = wire.seen();
        assert_eq!(sums(&seen), (2 * cut as u64, 0, 0), "cut at {cut}");
        assert_eq!(
            (seen.method("POST", 418), seen.probes()),
            (2 * cut as u64, 2 * cut as u64)
        );
    }
}

#[test]
fn methods_and_statuses_are_read_in_every_form() {
    let mut wire = wire();
    let mut flow = greeted(&wire);
    // PROPFIND and 418: plain, compressed, inserted and indexed.
    let propfind = [
        &[0x42, 0x87][..],
        &[0xd7, 0xb7, 0x56, 0xbc, 0x39, 0x34, 0xdf],
    ]
    .concat();
    let asks = [h2::literal(":method", "PROPFIND"), propfind, vec![0xbe]];
    // "418" compressed: 011010 00001 011110 and padding.
    let teapot = [0x48, 0x83, 0b0110_1000, 0b0010_1111, 0b0111_1111];
    let answers = [h2::literal(":status", "418"), teapot.to_vec(), vec![0xbe]];
    for (n, (ask, answer)) in (0..).zip(asks.iter().zip(answers)) {
        wire.to_pod(flow.ask(&headers(2 * n + 1, WHOLE, ask)));
        wire.from_pod(flow.answer(&headers(2 * n + 1, WHOLE, &answer)));
    }
    let seen = wire.seen();
    assert_eq!(
        (sums(&seen), seen.method("PROPFIND", 418)),
        ((3, 0, 0), 3),
        "{seen:?}"
    );
}

#[test]
fn interim_answers_and_trailers_are_not_the_answer() {
    let mut wire = wire();
    let mut flow = greeted(&wire);
    wire.to_pod(flow.ask(&headers(1, END_HEADERS, h2::POST)));
    wire.to_pod(flow.ask(&frame(DATA, 0, 1, b"GET / HTTP/1.1\r\n\r\n")));
    wire.to_pod(flow.ask(&headers(1, WHOLE, &h2::literal("x-sum", "1"))));
    wire.from_pod(flow.answer(&headers(1, END_HEADERS, &h2::literal(":status", "103"))));
    assert_eq!(sums(&wire.seen()), (0, 0, 1));
    wire.from_pod(flow.answer(&headers(1, END_HEADERS, h2::OK)));
    wire.from_pod(flow.answer(&frame(DATA, 0, 1, b"x")));
    wire.from_pod(flow.answer(&headers(1, WHOLE, &h2::literal("x-sum", "1"))));
    assert_eq!(sums(&wire.seen()), (1, 0, 0));
}

#[test]
fn grpc_calls_count_by_the_status_in_their_trailers() {
    let mut wire = wire();
    let mut flow = greeted(&wire);
    for (n, status) in [(0, "0"), (1, "14"), (2, "0")] {
        let stream = 2 * n + 1;
        wire.to_pod(flow.ask(&headers(stream, END_HEADERS, h2::POST)));
        wire.to_pod(flow.ask(&frame(DATA, END_STREAM, stream, b"\0\0\0\0\0")));
        wire.from_pod(flow.answer(&headers(stream, END_HEADERS, h2::OK)));
        wire.from_pod(flow.answer(&frame(DATA, 0, stream, b"\0\0\0\0\0")));
        wire.from_pod(flow.answer(&headers(
            stream,
            WHOLE,
            &h2::inserted("grpc-status", status),
        )));
    }
    // Only trailers, and the status from the dynamic table: the last insertion is at 62, the one before at 63.
    wire.to_pod(flow.ask(&headers(7, WHOLE, h2::POST)));
    wire.from_pod(flow.answer(&headers(7, WHOLE, &[h2::OK, &[0xbf]].concat())));
    let seen = wire.seen();
    assert_eq!((sums(&seen), seen.method("POST", 200)), ((4, 0, 0), 4));
    assert_eq!((seen.grpc(0), seen.grpc(14)), (2, 2), "{seen:?}");
}

#[test]
fn streams_that_are_reset_or_cut_off_are_aborted() {
    let mut wire = wire();
    let mut flow = greeted(&wire);
    let asks: Vec<u8> = (0..5)
        .flat_map(|n| headers(2 * n + 1, WHOLE, h2::GET))
        .collect();
    wire.to_pod(flow.ask(&asks));
    let cancel = |stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
    wire.to_pod(flow.ask(&cancel(1)));
    wire.from_pod(flow.answer(&cancel(3)));
    wire.from_pod(flow.answer(&headers(5, END_HEADERS, h2::OK)));
    wire.to_pod(flow.ask(&cancel(5)));
    assert_eq!(
        sums(&wire.seen()),
        (1, 2, 2),
        "an answered one is not aborted"
    );
    wire.from_pod(flow.answer(&frame(7, 0, 0, &[0, 0, 0, 5, 0, 0, 0, 0])));
    wire.from_pod(flow.fin_by_pod());
    assert_eq!(sums(&wire.seen()), (1, 4, 0));
}

#[test]
fn grpc_probes_are_kubelet_probes_answered_or_not() {
    let mut wire = wire();
    let mut flow = greeted(&wire);
    let probe = [
        h2::POST,
        &h2::literal("user-agent", "kube-probe/1.30 grpc-go/1.58.3"),
    ]
    .concat();
    wire.to_pod(flow.ask(&headers(1, WHOLE, &probe)));
    wire.from_pod(flow.answer(&headers(1, WHOLE, h2::OK)));
    wire.to_pod(flow.ask(&headers(3, WHOLE, &probe)));
    wire.to_pod(flow.reset_by_peer());
    let seen = wire.seen();
    assert_eq!((sums(&seen), seen.probes()), ((1, 1, 0), 1));
    assert_eq!(
        (seen.counters.probe_started, seen.counters.probe_aborted),
        (2, 1)
    );
}

#[test]
fn upgraded_connection_goes_on_with_streams() {
    for upgrade in [
        "Upgrade: h2c",
        "upgrade:h2c",
        "UPGRADE: \tH2C ",
        "Upgrade: h2c, websocket",
    ] {
        upgraded(upgrade);
    }
}

fn upgraded(upgrade: &str) {
    let mut wire = wire();
    let mut flow = Flow::v4();
    wire.to_pod(flow.ask(b"GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"));
    let switch =
        format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n{upgrade}\r\n\r\n");
    wire.from_pod(flow.answer(switch.as_bytes()));
    wire.from_pod(flow.answer(&[h2::settings(), headers(1, WHOLE, h2::OK)].concat()));
    wire.to_pod(flow.ask(&h2::preface()));
    wire.to_pod(flow.ask(&headers(3, WHOLE, h2::GET)));
    wire.from_pod(flow.answer(&headers(3, WHOLE, h2::NOT_FOUND)));
    let seen = wire.seen();
    assert_eq!(
        (sums(&seen), seen.status(101), seen.status(404)),
        ((2, 0, 0), 1, 1)
    );
}

#[test]
fn server_that_spoke_before_the_client_heard_it_is_waited_for_no_longer() {
    let mut wire = wire();
    let mut flow = Flow::v4();
    wire.to_pod(flow.syn());
    wire.from_pod(flow.syn_ack());
    let request = [h2::preface(), headers(1, WHOLE, h2::GET)].concat();
    // Both were sent at the same time: neither acknowledges the other.
    let settings = flow.next_answer().payload(&h2::settings());
    let request = flow.next_ask().payload(&request);
    wire.from_pod(flow.answered(settings));
    wire.to_pod(flow.asked(request));
    wire.from_pod(flow.answer(&headers(1, WHOLE, h2::OK)));
    assert_eq!(sums(&wire.seen()), (1, 0, 0));
}

#[test]
fn server_may_speak_first() {
    let mut wire = wire();
    let mut flow = Flow::v4();
    wire.to_pod(flow.syn());
    wire.from_pod(flow.syn_ack());
    wire.from_pod(flow.answer(&h2::settings()));
    wire.to_pod(flow.ask(&[h2::preface(), headers(1, WHOLE, h2::GET)].concat()));
    wire.from_pod(flow.answer(&headers(1, WHOLE, h2::OK)));
    assert_eq!(sums(&wire.seen()), (1, 0, 0));
}

#[test]
fn connection_older_than_we_is_joined_at_its_next_request() {
    let mut wire = wire();
    let mut flow = Flow::v6();
    wire.to_pod(flow.ask(&frame(DATA, END_STREAM, 41, b"the end of something")));
    wire.from_pod(flow.answer(&headers(41, WHOLE, h2::OK)));
    for stream in [43, 45] {
        wire.to_pod(flow.ask(&headers(stream, WHOLE, h2::GET)));
        wire.from_pod(flow.answer(&headers(stream, WHOLE, h2::NOT_FOUND)));
    }
    assert_eq!(
        (sums(&wire.seen()), wire.seen().method("GET", 404)),
        ((2, 0, 0), 2)
    );
}

#[test]
fn connection_older_than_we_is_joined_at_any_frame_that_tells_itself() {
    for first in [
        frame(6, 0, 0, b"GET / HT"),
        frame(6, 1, 0, &[0; 8]),
        frame(8, 0, 0, &[0, 1, 0, 0]),
        frame(4, 1, 0, b""),
        frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]),
        frame(RST_STREAM, 0, 41, &[0, 0, 0, 8]),
        frame(2, 0, 43, &[0, 0, 0, 0, 15]),
    ] {
        let mut wire = wire();
        let mut flow = Flow::v4();
        let ask = [first.clone(), headers(43, WHOLE, h2::GET)].concat();
        wire.to_pod(flow.ask(&ask));
        wire.from_pod(flow.answer(&headers(43, WHOLE, h2::NOT_FOUND)));
        assert_eq!(sums(&wire.seen()), (1, 0, 0), "{first:?}");
    }
}

#[test]
fn connection_that_was_idle_for_long_goes_on_with_streams() {
    let mut wire = wire();
    let mut flow = Flow::v4();
    wire.to_pod(flow.syn());
    wire.from_pod(flow.syn_ack());
    wire.to_pod(flow.ask(&[h2::preface(), headers(1, WHOLE, h2::GET)].concat()));
    wire.from_pod(flow.answer(&[h2::settings(), headers(1, WHOLE, h2::OK)].concat()));
    let much_later = Duration::from_secs(1 << 32);
    assert_eq!(wire.probe().sweep_at(much_later).unwrap().idle, 1);
    for stream in [3, 5] {
        wire.to_pod(flow.ask(&headers(stream, WHOLE, h2::GET)));
        wire.from_pod(flow.answer(&headers(stream, WHOLE, h2::NOT_FOUND)));
        wire.to_pod(flow.ack_to_pod());
    }
    assert_eq!(sums(&wire.seen()), (3, 0, 0));
}

#[test]
fn preface_that_an_http1_server_refuses_is_no_request() {
    let mut wire = wire();
    let mut flow = Flow::v4();
    wire.to_pod(flow.ask(&h2::preface()));
    wire.from_pod(
        flow.answer(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    );
    wire.from_pod(flow.fin_by_pod());
    wire.to_pod(flow.fin_by_peer());
    let seen = wire.seen();
    assert_eq!((seen.counters.started, sums(&seen)), (0, (0, 0, 0)));
}
