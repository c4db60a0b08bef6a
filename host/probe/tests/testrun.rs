//! The harness itself: packets reach the program with their direction, and counters come back.

use owlk8s_probe::testrun::{Flow, Way, Wire};

const GET: &[u8] = b"GET /cart HTTP/1.1\r\nHost: shop\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn answered_request_is_one_row_and_nothing_in_flight() {
    for mut flow in [Flow::v4(), Flow::v6()] {
        let mut wire = Wire::new();
        wire.to_pod(flow.ask(GET));
        assert_eq!((wire.seen().requests(), wire.seen().in_flight()), (0, 1));
        wire.from_pod(flow.answer(OK));
        let seen = wire.seen();
        assert_eq!(
            (seen.requests(), seen.method("GET", 200), seen.in_flight()),
            (1, 1, 0),
            "{seen:?}"
        );
        assert_eq!(
            (
                seen.counters.segments_to_pod,
                seen.counters.segments_from_pod
            ),
            (1, 1)
        );
        assert_eq!(seen.rows[0].latency.count(), 1);
    }
}

#[test]
fn cleared_wire_has_counted_nothing() {
    let mut wire = Wire::new();
    let mut flow = Flow::v4();
    for _ in 0..3 {
        wire.to_pod(flow.ask(GET));
        wire.from_pod(flow.answer(OK));
    }
    assert_eq!(wire.seen().requests(), 3);
    wire.clear();
    assert_eq!(wire.seen(), owlk8s_probe::testrun::Seen::default());
    // All 64 rows are free again, for one pod after another.
    for _ in 0..100 {
        let mut flow = Flow::v4();
        wire.to_pod(flow.ask(GET));
        wire.from_pod(flow.answer(OK));
        assert_eq!(
            (wire.seen().requests(), wire.seen().loss("rows-full")),
            (1, 0)
        );
        wire.clear();
    }
}

#[test]
fn cost_of_a_pure_ack_is_measured() {
    let wire = Wire::new();
    let cost = wire.cost(Way::ToPod, Flow::v4().ack_to_pod(), 10_000);
    eprintln!("pure ACK: {cost:?}");
    assert!(cost.as_micros() < 100, "{cost:?}");
}
