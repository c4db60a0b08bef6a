//! TCP and IP on crafted packets: what is sent twice, late, in another order, in fragments, behind options, or again on
//! the same ports.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use owlk8s_probe::testrun::{ACK, FIN, Flow, PSH, SYN, Seen, Segment, Wire};

const GET: &[u8] = b"GET /cart HTTP/1.1\r\nHost: shop\r\n\r\n";
const POST: &[u8] = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const LATER: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

/// One program for all: to load it takes the kernel half a second.
static WIRE: LazyLock<Mutex<Wire>> = LazyLock::new(|| Mutex::new(Wire::new()));

fn wire() -> MutexGuard<'static, Wire> {
    let mut wire = WIRE.lock().unwrap_or_else(PoisonError::into_inner);
    wire.clear();
    wire
}

fn both() -> [Flow; 2] {
    [Flow::v4(), Flow::v6()]
}

/// A connection whose handshake was seen.
fn opened(wire: &Wire, mut flow: Flow) -> Flow {
    wire.to_pod(flow.syn());
    wire.from_pod(flow.syn_ack());
    wire.to_pod(flow.ack_to_pod());
    flow
}

/// Answered, aborted, in flight.
fn sums(seen: &Seen) -> (u64, u64, u64) {
    assert!(seen.counters.losses.values().all(|n| *n == 0), "{seen:?}");
    (seen.requests(), seen.counters.aborted, seen.in_flight())
}

#[test]
fn what_is_sent_again_counts_once() {
    for mut flow in both() {
        let mut wire = wire();
        let (request, answer) = (flow.ask(GET), flow.answer(OK));
        for packet in [&request, &request] {
            wire.to_pod(packet);
        }
        wire.from_pod(&answer);
        wire.to_pod(&request);
        wire.from_pod(&answer);
        assert_eq!(sums(&wire.seen()), (1, 0, 0));
        wire.to_pod(flow.ask(GET));
        wire.from_pod(&answer);
        wire.from_pod(flow.answer(LATER));
        assert_eq!(sums(&wire.seen()), (2, 0, 0));
    }
}

#[test]
fn retransmission_joined_with_what_is_new_counts_the_new() {
    let mut wire = wire();
    let mut flow = opened(&wire, Flow::v4());
    let first = flow.next_ask();
    wire.to_pod(flow.ask(GET));
    wire.from_pod(flow.answer(OK));
    flow.ask(POST);
    wire.to_pod(first.payload(&[GET, POST].concat()).flags(PSH | ACK));
    wire.from_pod(flow.answer(LATER));
    let seen = wire.seen();
    assert_eq!((seen.method("GET", 200), seen.method("POST", 404)), (1, 1));
}

#[test]
fn segments_that_overlap_by_any_number_of_bytes_are_read_once() {
    let mut wire = wire();
    let stream = [GET, POST, GET].concat();
    for overlap in 0..GET.len() {
        let mut flow = opened(&wire, Flow::v4());
        let (start, cut) = (flow.next_ask(), GET.len() + 20);
        let behind = start
            .clone()
            .seq(flow.peer_seq.wrapping_add((cut - overlap) as u32));
        // The later one first: it is kept, and then read from its middle.
        wire.to_pod(behind.payload(&stream[cut - overlap..]));
        wire.to_pod(start.payload(&stream[..cut]));
        flow.ask(&stream);
        wire.from_pod(flow.answer(&[OK, LATER, OK].concat()));
        wire.to_pod(flow.reset_by_peer());
        let rounds = overlap as u64 + 1;
        let seen = wire.seen();
        assert_eq!(sums(&seen), (3 * rounds, 0, 0), "overlap of {overlap}");
        assert_eq!(seen.method("POST", 404), rounds, "overlap of {overlap}");
    }
}

#[test]
fn segments_in_any_order_count_as_in_order() {
    const ORDERS: [[usize; 4]; 5] = [
        [1, 0, 3, 2],
        [3, 2, 1, 0],
        [2, 3, 0, 1],
        [1, 2, 3, 0],
        [0, 3, 2, 1],
    ];
    let mut wire = wire();
    for (round, order) in (1..).zip(ORDERS) {
        let mut flow = opened(&wire, Flow::v6());
        let (asks, answers) = ([GET, POST, GET].concat(), [OK, LATER, OK].concat());
        let asks = flow.ask_in(asks.len().div_ceil(4), &asks);
        let answers = flow.answer_in(answers.len().div_ceil(4), &answers);
        assert_eq!((asks.len(), answers.len()), (4, 4));
        order.iter().for_each(|at| wire.to_pod(&asks[*at]));
        order.iter().for_each(|at| wire.from_pod(&answers[*at]));
        assert_eq!(sums(&wire.seen()), (3 * round, 0, 0), "{order:?}");
    }
}

#[test]
fn messages_in_the_wrong_order_count_each_whatever_is_acknowledged() {
    for ack in [None, Some(0), Some(1 << 31)] {
        let acknowledging = |segment: Segment| match ack {
            Some(nonsense) => segment.ack(nonsense),
            None => segment,
        };
        for mut flow in both() {
            let mut wire = wire();
            flow.pod_seq = 0xd000_0000;
            wire.to_pod(flow.syn());
            let accepts = acknowledging(flow.next_answer().flags(SYN | ACK));
            wire.from_pod(flow.answered(accepts));
            let [first, second] = [GET, POST].map(|request| {
                let asks = acknowledging(flow.next_ask().flags(PSH | ACK).payload(request));
                flow.asked(asks)
            });
            wire.to_pod(second);
            wire.to_pod(first);
            let (first, second) = (flow.answer(LATER), flow.answer(OK));
            wire.from_pod(second);
            wire.from_pod(first);
            wire.to_pod(flow.fin_by_peer());
            wire.from_pod(flow.fin_by_pod());
            let seen = wire.seen();
            let counted = (seen.method("GET", 404), seen.method("POST", 200));
            assert_eq!((counted, sums(&seen)), ((1, 1), (2, 0, 0)), "{seen:?}");
        }
    }
}

#[test]
fn segment_that_comes_often_beyond_a_hole_takes_one_place() {
    let mut wire = wire();
    let mut flow = opened(&wire, Flow::v4());
    let (first, second, third) = (flow.ask(GET), flow.ask(POST), flow.ask(GET));
    for _ in 0..40 {
        wire.to_pod(&second);
    }
    wire.to_pod(&third);
    wire.to_pod(&first);
    wire.from_pod(flow.answer(&[OK, LATER, OK].concat()));
    assert_eq!(sums(&wire.seen()), (3, 0, 0));
    assert_eq!(wire.probe().entries().unwrap().stash, 0);
}

#[test]
fn connection_older_than_we_is_joined_in_whatever_order_its_segments_come() {
    for cut in 1..GET.len() {
        for mut flow in both() {
            let mut wire = wire();
            let (first, second) = (flow.ask(&GET[..cut]), flow.ask(&GET[cut..]));
            wire.to_pod(&second);
            wire.to_pod(&first);
            wire.from_pod(flow.answer(OK));
            wire.to_pod(flow.ask(POST));
            wire.from_pod(flow.answer(LATER));
            // Where the later part cannot be of a request it is not kept: what it held is a hole, and the method not known.
            let seen = wire.seen();
            let counted = (seen.status(200), seen.method("POST", 404), seen.in_flight());
            assert_eq!(counted, (1, 1, 0), "cut at {cut}: {seen:?}");
        }
    }
}

#[test]
fn connection_older_than_we_is_joined_amid_many_small_segments() {
    let mut wire = wire();
    let mut flow = Flow::v4();
    // A text that is no request, and no acknowledgement for long.
    for packet in flow.ask_in(1, b"plain text of an upload") {
        wire.to_pod(packet);
    }
    wire.to_pod(flow.ask(GET));
    wire.from_pod(flow.answer(OK));
    assert_eq!((wire.seen().status(200), wire.seen().in_flight()), (1, 0));
}

#[test]
fn what_a_pod_is_answered_is_no_request_to_it() {
    for (handshake, mut flow) in [true, false].into_iter().zip(both()) {
        let mut wire = wire();
        // The flow's peer is the pod here: it opens the connection and asks.
        if handshake {
            wire.from_pod(flow.syn());
            wire.to_pod(flow.syn_ack());
        }
        for _ in 0..3 {
            wire.from_pod(flow.ask(GET));
            wire.to_pod(flow.answer(b"HTTP/1.1 200 HTTP/1.1\r\nContent-Length: 34\r\n\r\n"));
            // A body that begins like a request fools nobody who saw the connection begin.
            let body = if handshake { GET } else { &[b'.'; 34] };
            wire.to_pod(flow.answer(body));
        }
        let seen = wire.seen();
        assert_eq!((seen.counters.started, sums(&seen)), (0, (0, 0, 0)));
        assert_eq!(seen.asked(), 3);
    }
}

#[test]
fn what_a_pod_asks_counts_wherever_it_is_cut_once_it_is_known_to_ask() {
    let mut wire = wire();
    for cut in 1..GET.len() {
        let mut flow = Flow::v4();
        wire.from_pod(flow.syn());
        wire.to_pod(flow.syn_ack());
        wire.from_pod(flow.ask(&GET[..cut]));
        wire.from_pod(flow.ask(&GET[cut..]));
        wire.to_pod(flow.answer(OK));
        assert_eq!(wire.seen().asked(), cut as u64);
    }
}

#[test]
fn connection_that_was_idle_for_long_goes_on_wherever_its_numbers_are() {
    for more in [0, 1 << 10, 1 << 17, 1 << 30, 3 << 30, u32::MAX - 70_000] {
        for mut flow in both() {
            let mut wire = wire();
            flow = opened(&wire, flow);
            wire.to_pod(flow.ask(GET));
            wire.from_pod(flow.answer(OK));
            assert_eq!(
                wire.probe()
                    .sweep_at(Duration::from_secs(1 << 32))
                    .unwrap()
                    .idle,
                1
            );
            // Much was said that nobody saw, as far as this test goes.
            (flow.peer_seq, flow.pod_seq) = (
                flow.peer_seq.wrapping_add(more / 9),
                flow.pod_seq.wrapping_add(more),
            );
            for _ in 0..2 {
                wire.to_pod(flow.ask(GET));
                wire.from_pod(flow.answer(LATER));
                wire.to_pod(flow.ack_to_pod());
            }
            assert_eq!(sums(&wire.seen()), (3, 0, 0), "{more} bytes later");
        }
    }
}

#[test]
fn reset_at_the_end_of_what_came_beyond_a_hole_ends_the_connection() {
    let mut wire = wire();
    let mut flow = opened(&wire, Flow::v4());
    wire.to_pod(flow.ask(GET));
    let _lost_on_the_way = flow.ask(b"GET /lost HTTP/1.1\r\n");
    wire.to_pod(flow.ask(b"Host: a\r\n\r\n"));
    wire.to_pod(flow.reset_by_peer());
    let seen = wire.seen();
    assert_eq!((seen.counters.aborted, seen.in_flight()), (1, 0));
    assert_eq!(wire.probe().entries().unwrap().connections, 0);
}

#[test]
fn sequence_numbers_wrap_within_any_message() {
    let mut wire = wire();
    for before in 0..GET.len() as u32 + 2 {
        let mut flow = Flow::v4();
        (flow.peer_seq, flow.pod_seq) = (0u32.wrapping_sub(before), 0u32.wrapping_sub(before));
        let mut flow = opened(&wire, flow);
        wire.to_pod(flow.ask(GET));
        wire.from_pod(flow.answer(OK));
        wire.to_pod(flow.ask(GET));
        wire.from_pod(flow.answer(OK));
        assert_eq!(
            sums(&wire.seen()).0,
            2 * (u64::from(before) + 1),
            "{before}"
        );
    }
}

#[test]
fn request_in_the_syn_counts() {
    for mut flow in both() {
        let mut wire = wire();
        let (now, later) = GET.split_at(10);
        wire.to_pod(flow.asked(flow.next_ask().flags(SYN).ack(0).payload(now)));
        wire.from_pod(flow.syn_ack());
        wire.to_pod(flow.ask(later));
        wire.from_pod(flow.answer(OK));
        assert_eq!(sums(&wire.seen()), (1, 0, 0));
    }
}

#[test]
fn request_in_a_syn_that_was_not_taken_and_came_again_counts_once() {
    let mut wire = wire();
    let mut flow = Flow::v4();
    wire.to_pod(flow.next_ask().flags(SYN).ack(0).payload(GET));
    flow.syn();
    wire.from_pod(flow.syn_ack());
    wire.to_pod(flow.ask(GET));
    wire.from_pod(flow.answer(OK));
    assert_eq!(sums(&wire.seen()), (1, 0, 0));
}

#[test]
fn connections_that_use_the_same_ports_one_after_the_other_count_each() {
    let mut wire = wire();
    let ends = Flow::v4();
    for round in 0..10_u32 {
        let mut flow = Flow::between(ends.peer, ends.pod);
        // Numbers in no order, as a peer that was started anew chooses them.
        (flow.peer_seq, flow.pod_seq) = (
            round.wrapping_mul(0x9e37_79b9),
            round.wrapping_mul(0x7f4a_7c15),
        );
        let mut flow = opened(&wire, flow);
        wire.to_pod(flow.ask(GET));
        match round % 3 {
            0 => wire.to_pod(flow.reset_by_peer()),
            // Nothing tells that it ended but its successor.
            1 => {}
            _ => wire.from_pod(flow.answer(OK)),
        }
    }
    let seen = wire.seen();
    assert_eq!((seen.counters.started, sums(&seen)), (10, (3, 7, 0)));
}

#[test]
fn copy_that_comes_after_the_end_brings_nothing_back() {
    let mut wire = wire();
    for by_reset in [true, false] {
        let mut flow = opened(&wire, Flow::v6());
        let (request, answer) = (flow.ask(GET), flow.answer(OK));
        wire.to_pod(&request);
        wire.from_pod(&answer);
        if by_reset {
            wire.from_pod(flow.reset_by_pod());
        } else {
            wire.to_pod(flow.fin_by_peer());
            wire.from_pod(flow.fin_by_pod());
        }
        wire.to_pod(&request);
        wire.from_pod(&answer);
    }
    assert_eq!(sums(&wire.seen()), (2, 0, 0));
    assert_eq!(wire.probe().entries().unwrap().connections, 0);
}

#[test]
fn request_without_an_answer_is_aborted_however_the_connection_ends() {
    type End = fn(&mut Flow) -> Vec<(bool, Vec<u8>)>;
    let ends: [End; 5] = [
        |flow| vec![(true, flow.reset_by_peer())],
        |flow| vec![(false, flow.reset_by_pod())],
        |flow| vec![(false, flow.fin_by_pod())],
        |flow| vec![(true, flow.fin_by_peer()), (false, flow.fin_by_pod())],
        |flow| vec![(false, flow.fin_by_pod()), (true, flow.fin_by_peer())],
    ];
    for (round, end) in (1..).zip(ends) {
        let mut wire = wire();
        for _ in 0..round {
            let mut flow = opened(&wire, Flow::v4());
            wire.to_pod(flow.ask(&[GET, GET].concat()));
            for (to_pod, packet) in end(&mut flow) {
                if to_pod {
                    wire.to_pod(packet);
                } else {
                    wire.from_pod(packet);
                }
            }
        }
        assert_eq!(sums(&wire.seen()), (0, 2 * round, 0));
    }
}

#[test]
fn peer_that_has_ended_still_gets_its_answer() {
    let mut wire = wire();
    let mut flow = Flow::v4();
    wire.to_pod(flow.asked(flow.next_ask().payload(GET).flags(FIN | ACK)));
    assert_eq!(sums(&wire.seen()), (0, 0, 1));
    wire.from_pod(flow.answered(flow.next_answer().payload(OK).flags(FIN | ACK)));
    assert_eq!(sums(&wire.seen()), (1, 0, 0));
}

#[test]
fn unfinished_request_line_is_no_request() {
    let mut wire = wire();
    let mut flow = Flow::v4();
    wire.to_pod(flow.ask(b"GET / HT"));
    wire.to_pod(flow.fin_by_peer());
    wire.from_pod(flow.fin_by_pod());
    assert_eq!(
        (wire.seen().counters.started, sums(&wire.seen())),
        (0, (0, 0, 0))
    );
}

#[test]
fn reset_that_no_peer_believes_ends_nothing() {
    let mut wire = wire();
    let mut flow = opened(&wire, Flow::v4());
    wire.to_pod(flow.ask(GET));
    let beside = flow.next_ask().seq(flow.peer_seq.wrapping_add(4000));
    wire.to_pod(beside.flags(owlk8s_probe::testrun::RST));
    wire.from_pod(flow.answer(OK));
    assert_eq!(sums(&wire.seen()), (1, 0, 0));
}

#[test]
fn keep_alive_probes_and_window_updates_are_no_messages() {
    let mut wire = wire();
    let mut flow = opened(&wire, Flow::v4());
    wire.to_pod(flow.ask(GET));
    for garbage in [&b""[..], b"\0"] {
        wire.to_pod(
            flow.next_ask()
                .seq(flow.peer_seq.wrapping_sub(1))
                .payload(garbage),
        );
        wire.from_pod(flow.ack_from_pod());
        wire.from_pod(
            flow.next_answer()
                .seq(flow.pod_seq.wrapping_sub(1))
                .payload(garbage),
        );
    }
    wire.from_pod(flow.answer(OK));
    assert_eq!(sums(&wire.seen()), (1, 0, 0));
}

#[test]
fn options_and_padding_are_no_payload() {
    let mut wire = wire();
    for bytes in [4, 20, 40] {
        let mut flow = Flow::v4();
        let ask = flow
            .next_ask()
            .options(&vec![1; bytes])
            .ip_options(&vec![1; bytes]);
        wire.to_pod(flow.asked(ask.trailing(7).payload(GET)));
        let answer = flow
            .next_answer()
            .options(&vec![1; bytes])
            .ip_options(&vec![1; bytes]);
        wire.from_pod(flow.answered(answer.trailing(7).payload(OK)));
        // An empty segment in a frame of 60 bytes.
        wire.to_pod(flow.next_ask().trailing(6));
        wire.to_pod(flow.ask(GET));
        wire.from_pod(flow.answer(OK));
    }
    assert_eq!(sums(&wire.seen()), (6, 0, 0));
}

#[test]
fn extension_headers_of_ipv6_are_passed() {
    let mut wire = wire();
    let mut flow = Flow::v6();
    let ask = flow.next_ask().extension(0, &[1, 4, 0, 0, 0, 0]);
    let ask = ask.extension(43, &[0; 22]).extension(60, &[1, 12]);
    wire.to_pod(flow.asked(ask.payload(GET)));
    let answer = flow.next_answer().extension(60, &[1, 4, 0, 0, 0, 0]);
    wire.from_pod(flow.answered(answer.payload(OK)));
    assert_eq!(sums(&wire.seen()), (1, 0, 0));
}

#[test]
fn fragments_of_any_size_are_one_segment() {
    let mut wire = wire();
    let (mut rounds, mut id) = (0, 0);
    for bytes in (24..100).step_by(8) {
        for mut flow in both() {
            rounds += 1;
            for (to_pod, payload) in [(true, GET), (true, POST), (false, OK), (false, LATER)] {
                id += 1;
                let segment = if to_pod {
                    flow.next_ask()
                } else {
                    flow.next_answer()
                };
                let segment = segment.payload(payload).id(id);
                for part in segment.fragments(bytes) {
                    if to_pod {
                        wire.to_pod(part);
                    } else {
                        wire.from_pod(part);
                    }
                }
                if to_pod {
                    flow.asked(segment);
                } else {
                    flow.answered(segment);
                }
            }
            let seen = wire.seen();
            assert_eq!(sums(&seen), (2 * rounds, 0, 0), "fragments of {bytes}");
            assert_eq!(seen.method("POST", 404), rounds);
        }
    }
}

#[test]
fn fragments_in_any_order_are_one_segment() {
    let mut wire = wire();
    let (mut rounds, mut id) = (0, 1000);
    let orders: [fn(&mut Vec<Vec<u8>>); 3] = [
        |parts| parts.reverse(),
        |parts| parts.rotate_left(1),
        |parts| {
            let middle = parts.len() / 2;
            parts.swap(0, middle);
        },
    ];
    for order in orders {
        for bytes in [24, 32, 64, 96] {
            for flow in both() {
                rounds += 1;
                let mut flow = opened(&wire, flow);
                for (to_pod, payload) in [(true, GET), (true, POST), (false, OK), (false, LATER)] {
                    id += 1;
                    let segment = if to_pod {
                        flow.next_ask()
                    } else {
                        flow.next_answer()
                    };
                    // The last fragment brings the FIN.
                    let fin = if payload == LATER { FIN } else { 0 };
                    let segment = segment.payload(payload).flags(ACK | fin).id(id);
                    let mut parts = segment.fragments(bytes);
                    order(&mut parts);
                    for part in parts {
                        if to_pod {
                            wire.to_pod(part);
                        } else {
                            wire.from_pod(part);
                        }
                    }
                    if to_pod {
                        flow.asked(segment);
                    } else {
                        flow.answered(segment);
                    }
                }
                wire.to_pod(flow.fin_by_peer());
                let seen = wire.seen();
                assert_eq!(sums(&seen), (2 * rounds, 0, 0), "fragments of {bytes}");
                assert_eq!(seen.method("POST", 404), rounds);
                let left = wire.probe().entries().unwrap();
                assert_eq!((left.stash, left.connections), (0, 0), "{left:?}");
            }
        }
    }
}

#[test]
fn bytes_that_are_no_tcp_are_nothing() {
    let wire_before = wire().seen();
    let mut wire = wire();
    let mut udp = Flow::v4().next_ask().payload(GET).packet();
    udp[9] = 17;
    wire.to_pod(udp);
    // Cut within the TCP header.
    for cut in 0..20 {
        wire.to_pod(&Flow::v4().next_ask().payload(GET).packet()[..20 + cut]);
        wire.to_pod(&Flow::v6().next_ask().payload(GET).packet()[..40 + cut]);
    }
    assert_eq!(wire.seen(), wire_before);
}

#[test]
fn fast_open_on_the_addresses_of_a_connection_that_never_ended_begins_a_new_one() {
    for flow in both() {
        let mut wire = wire();
        let mut old = opened(&wire, flow);
        wire.to_pod(old.ask(GET));
        let mut new = Flow::between(old.peer, old.pod);
        new.peer_seq = old.peer_seq.wrapping_add(1 << 24);
        new.pod_seq = old.pod_seq.wrapping_add(1 << 25);
        let opening = new.next_ask().flags(SYN).payload(GET);
        // Sent twice, as any SYN may be.
        for _ in 0..2 {
            wire.to_pod(opening.packet());
        }
        new.peer_seq = new.peer_seq.wrapping_add(1 + GET.len() as u32);
        wire.from_pod(new.syn_ack());
        wire.to_pod(new.ack_to_pod());
        wire.from_pod(new.answer(OK));
        wire.to_pod(new.ask(GET));
        wire.from_pod(new.answer(LATER));
        assert_eq!(sums(&wire.seen()), (2, 1, 0));
    }
}

#[test]
fn any_first_sequence_number_will_do() {
    // A generator with a fixed seed: xorshift64.
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let mut wire = wire();
    for round in 1..=5000 {
        let drawn = next();
        let mut flow = if round % 2 == 0 {
            Flow::v4()
        } else {
            Flow::v6()
        };
        (flow.peer_seq, flow.pod_seq) = (drawn as u32, (drawn >> 32) as u32);
        let mut flow = opened(&wire, flow);
        wire.to_pod(flow.ask(GET));
        let answer = flow.answer(OK);
        wire.from_pod(&answer);
        wire.to_pod(flow.ask(GET));
        wire.from_pod(&answer);
        wire.from_pod(flow.answer(LATER));
        wire.to_pod(flow.fin_by_peer());
        wire.from_pod(flow.fin_by_pod());
        assert_eq!(
            sums(&wire.seen()),
            (2 * round, 0, 0),
            "{:08x} {:08x}",
            drawn as u32,
            drawn >> 32
        );
    }
}

#[test]
fn acknowledgement_of_what_was_never_sent_is_not_believed() {
    for mut flow in both() {
        let mut wire = wire();
        flow.pod_seq = 0xff98_57aa;
        let mut flow = opened(&wire, flow);
        wire.to_pod(flow.asked(flow.next_ask().ack(0).payload(GET)));
        wire.from_pod(flow.answer(OK));
        assert_eq!(sums(&wire.seen()), (1, 0, 0));
    }
}
