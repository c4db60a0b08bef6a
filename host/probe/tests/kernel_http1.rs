//! HTTP/1 on crafted packets: framing, pipelining, interim and early answers, tunnels, versions, look-alikes.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::sync::{LazyLock, Mutex, PoisonError};

use owlk8s_model::Protocol;
use owlk8s_probe::testrun::{Flow, Seen, Wire};

const GET: &[u8] = b"GET /cart HTTP/1.1\r\nHost: shop\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const LATER: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

/// One program for all that only talk: to load it takes the kernel half a second.
static WIRE: LazyLock<Mutex<Wire>> = LazyLock::new(|| Mutex::new(Wire::new()));

/// What is counted of these messages: to the pod (`true`) or from it, in this order, each in one segment.
fn talk(messages: &[(bool, &[u8])]) -> Seen {
    let mut wire = WIRE.lock().unwrap_or_else(PoisonError::into_inner);
    wire.clear();
    let mut flow = Flow::v4();
    for (to_pod, bytes) in messages {
        if *to_pod {
            wire.to_pod(flow.ask(bytes));
        } else {
            wire.from_pod(flow.answer(bytes));
        }
    }
    wire.seen()
}

/// Requests by status, and that nothing else was seen.
#[track_caller]
fn assert_counts(seen: &Seen, statuses: &[(u16, u64)]) {
    for (status, count) in statuses {
        assert_eq!(seen.status(*status), *count, "{status}: {seen:?}");
    }
    let sum: u64 = statuses.iter().map(|(_, count)| count).sum();
    assert_eq!((seen.requests(), seen.in_flight()), (sum, 0), "{seen:?}");
    assert_eq!(
        (seen.counters.aborted, seen.counters.losses.values().sum()),
        (0, 0_u64)
    );
}

#[test]
fn requests_and_answers_count_wherever_they_are_cut() {
    let ask = b"POST /cart HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nGET \r\n0\r\nA: b\r\n\r\n";
    let answer = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 201 Made\r\nX: y\r\nContent-Length: 4\r\n\r\nHTTP";
    let mut wire = Wire::new();
    let mut count = 0;
    for cut in 1..ask.len().max(answer.len()) {
        let mut flow = Flow::v4();
        for part in [&ask[..cut.min(ask.len())], &ask[cut.min(ask.len())..]] {
            wire.to_pod(flow.ask(part));
        }
        for part in [
            &answer[..cut.min(answer.len())],
            &answer[cut.min(answer.len())..],
        ] {
            wire.from_pod(flow.answer(part));
        }
        wire.to_pod(flow.ask(GET));
        wire.from_pod(flow.answer(LATER));
        wire.to_pod(flow.reset_by_peer());
        count += 1;
        assert_eq!(
            (
                wire.seen().method("POST", 201),
                wire.seen().method("GET", 404)
            ),
            (count, count),
            "cut at {cut}"
        );
    }
}

#[test]
fn bytes_that_come_one_by_one_count_once() {
    let mut wire = Wire::new();
    let mut flow = Flow::v6();
    for _ in 0..3 {
        for packet in flow.ask_in(1, GET) {
            wire.to_pod(packet);
        }
        for packet in flow.answer_in(1, LATER) {
            wire.from_pod(packet);
        }
    }
    assert_counts(&wire.seen(), &[(404, 3)]);
}

#[test]
fn pipelined_requests_count_each_far_beyond_what_is_remembered_one_by_one() {
    for count in [2, 32, 33, 200] {
        let mut wire = Wire::new();
        let mut flow = Flow::v4();
        for packet in flow.ask_in(1400, &GET.repeat(count)) {
            wire.to_pod(packet);
        }
        assert_eq!(wire.seen().in_flight(), count as u64);
        for packet in flow.answer_in(1400, &OK.repeat(count)) {
            wire.from_pod(packet);
        }
        assert_counts(&wire.seen(), &[(200, count as u64)]);
    }
}

#[test]
fn pipelined_requests_keep_their_methods() {
    let asks = b"GET / HTTP/1.1\r\n\r\nHEAD / HTTP/1.1\r\n\r\nPUT / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiPURGE / HTTP/1.1\r\n\r\n";
    let answers = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHTTP/1.1 201 Made\r\nContent-Length: 0\r\n\r\nHTTP/1.1 202 Ok\r\nContent-Length: 0\r\n\r\n";
    let seen = talk(&[(true, asks), (false, answers)]);
    assert_counts(&seen, &[(200, 2), (201, 1), (202, 1)]);
    for (method, status) in [("GET", 200), ("HEAD", 200), ("PUT", 201), ("PURGE", 202)] {
        assert_eq!(seen.method(method, status), 1, "{method}: {seen:?}");
    }
}

#[test]
fn pipelined_requests_keep_their_methods_however_many_wait() {
    // Two rounds, the second across the places of the first; more than a connection holds by itself in each.
    let mut wire = Wire::new();
    let mut flow = Flow::v4();
    for count in [100u64, 150] {
        wire.clear();
        let (mut asks, mut answers) = (Vec::new(), Vec::new());
        for n in 0..count {
            let method = ["GET", "HEAD", "PURGE"][n as usize % 3];
            asks.extend(format!("{method} /{n} HTTP/1.1\r\n\r\n").bytes());
            // What HEAD asks for has no body, whatever its length says.
            let (length, body) = if method == "HEAD" { (9, "") } else { (1, "x") };
            let status = 200 + n % 3;
            answers.extend(
                format!("HTTP/1.1 {status} OK\r\nContent-Length: {length}\r\n\r\n{body}").bytes(),
            );
        }
        for packet in flow.ask_in(1400, &asks) {
            wire.to_pod(packet);
        }
        for packet in flow.answer_in(900, &answers) {
            wire.from_pod(packet);
        }
        let seen = wire.seen();
        assert_eq!((seen.requests(), seen.in_flight()), (count, 0), "{seen:?}");
        for (n, method) in (0u64..).zip(["GET", "HEAD", "PURGE"]) {
            let want = (count - n).div_ceil(3);
            assert_eq!(
                seen.method(method, 200 + n as u16),
                want,
                "{method} of {count}"
            );
        }
    }
    assert_eq!(wire.probe().entries().unwrap().streams, 0);
}

#[test]
fn pipelined_requests_without_an_answer_are_aborted_however_many_wait() {
    let mut wire = Wire::new();
    let mut flow = Flow::v4();
    for packet in flow.ask_in(1400, &GET.repeat(100)) {
        wire.to_pod(packet);
    }
    wire.from_pod(flow.answer(&OK.repeat(10)));
    wire.to_pod(flow.reset_by_peer());
    let seen = wire.seen();
    assert_eq!(
        (seen.requests(), seen.counters.aborted, seen.in_flight()),
        (10, 90, 0)
    );
}

#[test]
fn methods_that_nobody_registered_count_as_other() {
    let mut wire = Wire::new();
    let mut flow = Flow::v4();
    for method in [
        "M-SEARCH",
        "get",
        "X",
        "A-METHOD-OF-22-LETTERS",
        "VERSION-CONTROL",
        "A-METHOD-OF-TWENTY-SEVEN-LETTERS-AND-MORE",
    ] {
        wire.to_pod(flow.ask(format!("{method} / HTTP/1.1\r\n\r\n").as_bytes()));
        wire.from_pod(flow.answer(OK));
    }
    let seen = wire.seen();
    assert_eq!(
        (
            seen.method("_OTHER", 200),
            seen.method("VERSION-CONTROL", 200)
        ),
        (5, 1)
    );
}

#[test]
fn answers_without_a_body_are_followed_by_the_next_at_once() {
    for head in [
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let seen = talk(&[
            (true, GET),
            (false, head.as_bytes()),
            (true, GET),
            (false, LATER),
        ]);
        assert_eq!((seen.requests(), seen.status(404)), (2, 1), "{head}");
    }
}

#[test]
fn bodies_that_look_like_messages_fool_nobody() {
    let alike = [GET, b"HTTP/1.1 500 Oops\r\n\r\n"].concat();
    let length = alike.len();
    let ask = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    // The bodies in segments of their own.
    let seen = talk(&[
        (true, ask.as_bytes()),
        (true, &alike),
        (false, answer.as_bytes()),
        (false, &alike),
        (true, GET),
        (false, LATER),
    ]);
    assert_counts(&seen, &[(200, 1), (404, 1)]);
}

#[test]
fn body_until_close_is_no_message() {
    let mut wire = Wire::new();
    let mut flow = Flow::v4();
    wire.to_pod(flow.ask(GET));
    wire.from_pod(flow.answer(b"HTTP/1.1 200 OK\r\n\r\n"));
    wire.from_pod(flow.answer(b"HTTP/1.1 500 Oops\r\n\r\n"));
    wire.from_pod(flow.fin_by_pod());
    wire.to_pod(flow.fin_by_peer());
    assert_counts(&wire.seen(), &[(200, 1)]);
}

#[test]
fn chunked_bodies_end_where_their_last_chunk_ends() {
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding:gzip, Chunked \r\n\r\n00A;q=\"0\"\r\n0\r\n\r\nHTTP/\r\n000\r\nX: HTTP/1.1 500\r\nContent-Length: 9\r\n\r\n";
    let seen = talk(&[
        (true, GET),
        (true, GET),
        (false, &[chunked.as_slice(), LATER].concat()),
    ]);
    assert_counts(&seen, &[(200, 1), (404, 1)]);
}

#[test]
fn fields_that_only_look_like_framing_frame_nothing() {
    let ask = b"GET / HTTP/1.1\r\nX-Content-Length: 50\r\nContent-Lengths: 50\r\nTransfer-Encodings: chunked\r\nX: Content-Length: 50\r\n\r\n";
    let seen = talk(&[(true, ask), (true, GET), (false, OK), (false, LATER)]);
    assert_counts(&seen, &[(200, 1), (404, 1)]);
}

/// An answer with a coding and a length, then another.
fn coded(value: &str) -> Seen {
    let answer =
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding:{value}\r\nContent-Length: 5\r\n\r\nHTTP/");
    talk(&[
        (true, GET),
        (false, answer.as_bytes()),
        (true, GET),
        (false, LATER),
    ])
}

#[test]
fn coding_that_is_none_leaves_the_length_to_frame() {
    for value in [
        " identity",
        "Identity \t",
        "\r\n identity",
        " \t\r\n\tidentity ",
        "\r\n \r\n identity",
        "",
        " ",
    ] {
        let seen = coded(value);
        assert_counts(&seen, &[(200, 1), (404, 1)]);
    }
}

#[test]
fn coding_that_is_not_chunked_is_read_until_close_on_one_line_or_more() {
    for value in [" gzip", "\r\n gzip", " gzip,\r\n identity"] {
        let seen = coded(value);
        // What follows is of the body.
        assert_eq!((seen.requests(), seen.in_flight()), (1, 1), "{value:?}");
    }
}

#[test]
fn framing_fields_may_be_folded() {
    let ask =
        b"POST / HTTP/1.1\r\nContent-Length:\r\n 5\r\nX: y\r\n Content-Length: 7\r\n\r\nGET /";
    let answer =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip,\r\n\tchunked\r\n\r\n5\r\nHTTP/\r\n0\r\n\r\n";
    let seen = talk(&[(true, ask), (false, answer), (true, GET), (false, LATER)]);
    assert_counts(&seen, &[(200, 1), (404, 1)]);
}

#[test]
fn bare_line_feeds_and_empty_lines_before_a_request_are_taken() {
    let seen = talk(&[
        (true, b"GET / HTTP/1.1\nHost: a\n\n"),
        (false, b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
        (true, b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
        (false, LATER),
    ]);
    assert_counts(&seen, &[(200, 1), (404, 1)]);
}

#[test]
fn interim_answers_are_not_the_answer() {
    let ask = b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 34\r\n\r\n";
    let mut wire = Wire::new();
    let mut flow = Flow::v4();
    wire.to_pod(flow.ask(ask));
    wire.from_pod(flow.answer(b"HTTP/1.1 100 Continue\r\n\r\n"));
    // The body looks like a request, and is as long as this one.
    assert_eq!(GET.len(), 34);
    wire.to_pod(flow.ask(GET));
    wire.from_pod(
        flow.answer(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\n"),
    );
    assert_eq!((wire.seen().requests(), wire.seen().in_flight()), (0, 1));
    wire.from_pod(flow.answer(b"HTTP/1.1 201 Made\r\nContent-Length: 0\r\n\r\n"));
    assert_counts(&wire.seen(), &[(201, 1)]);
}

#[test]
fn declined_expectation_leaves_the_connection_to_the_next_request() {
    let ask = b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 500\r\n\r\n";
    let declined = b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n";
    let seen = talk(&[(true, ask), (false, declined), (true, GET), (false, LATER)]);
    assert_counts(&seen, &[(417, 1), (404, 1)]);
}

#[test]
fn declined_expectation_leaves_the_connection_wherever_the_next_request_is_cut() {
    let asks: [&[u8]; 2] = [
        b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 500\r\n\r\n",
        b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n",
    ];
    let declined = b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n";
    for (ask, method) in asks.into_iter().zip(["DELETE", "PROPFIND"]) {
        let next = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
        let first = if method == "DELETE" { 1 } else { 11 };
        for cut in first..next.len() {
            let (begin, end) = next.as_bytes().split_at(cut);
            let seen = talk(&[
                (true, ask),
                (false, declined),
                (true, begin),
                (true, end),
                (false, LATER),
            ]);
            assert_counts(&seen, &[(417, 1), (404, 1)]);
        }
    }
}

#[test]
fn declined_expectation_leaves_the_connection_to_a_request_whose_segments_are_reordered() {
    let ask = b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 23\r\n\r\n";
    let declined = b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n";
    let mut wire = Wire::new();
    let mut flow = Flow::v4();
    wire.to_pod(flow.ask(ask));
    wire.from_pod(flow.answer(declined));
    let (first, second) = (
        flow.ask(b"DELE"),
        flow.ask(b"TE /next HTTP/1.1\r\nHost: a\r\n\r\n"),
    );
    wire.to_pod(second);
    wire.to_pod(first);
    wire.from_pod(flow.answer(LATER));
    let seen = wire.seen();
    assert_counts(&seen, &[(417, 1), (404, 1)]);
    assert_eq!(seen.method("DELETE", 404), 1);
}

#[test]
fn body_that_comes_though_it_was_declined_is_a_body() {
    let sized = b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n";
    let chunked = b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n";
    let declined = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
    for (ask, body) in [
        (sized.as_slice(), b"some=body".as_slice()),
        (chunked, b"9\r\nsome=body\r\n0\r\n\r\n"),
    ] {
        let seen = talk(&[
            (true, ask),
            (false, declined),
            (true, body),
            (true, GET),
            (false, LATER),
        ]);
        assert_counts(&seen, &[(403, 1), (404, 1)]);
    }
}

#[test]
fn answer_before_the_upload_has_ended_counts_once() {
    let ask = b"POST / HTTP/1.1\r\nContent-Length: 68\r\n\r\n";
    let early = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n";
    let seen = talk(&[
        (true, ask),
        (false, early),
        (true, GET),
        (true, GET),
        (true, GET),
        (false, OK),
    ]);
    assert_counts(&seen, &[(413, 1), (200, 1)]);
}

#[test]
fn answer_before_the_request_line_has_ended_counts() {
    let long = [&b"GET /"[..], &[b'a'; 3000]].concat();
    let too_long = b"HTTP/1.1 414 URI Too Long\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let seen = talk(&[(true, &long), (false, too_long)]);
    assert_counts(&seen, &[(414, 1)]);
    assert_eq!(seen.method("GET", 414), 1);
    // Its end is not another request.
    let seen = talk(&[
        (true, &long),
        (false, too_long),
        (true, b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    ]);
    assert_counts(&seen, &[(414, 1)]);
}

#[test]
fn upgraded_connection_is_no_http_any_more() {
    let ask = b"GET /chat HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let yes =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let seen = talk(&[
        (true, ask),
        (false, yes),
        (true, GET),
        (false, OK),
        (true, GET),
    ]);
    assert_counts(&seen, &[(101, 1)]);
}

#[test]
fn connect_opens_a_tunnel_where_it_is_granted_and_only_there() {
    let ask = b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n";
    let granted = b"HTTP/1.1 200 Fine\r\nContent-Length: 50\r\n\r\n";
    let seen = talk(&[(true, ask), (false, granted), (true, GET), (false, LATER)]);
    assert_counts(&seen, &[(200, 1)]);
    let refused = b"HTTP/1.1 502 No\r\nContent-Length: 2\r\n\r\nno";
    let seen = talk(&[(true, ask), (false, refused), (true, GET), (false, LATER)]);
    assert_counts(&seen, &[(502, 1), (404, 1)]);
}

#[test]
fn version_is_the_request_s() {
    let seen = talk(&[
        (true, b"GET / HTTP/1.0\r\n\r\n"),
        (false, b"HTTP/1.1 200 OK\r\n\r\nhello"),
    ]);
    assert_counts(&seen, &[(200, 1)]);
    assert_eq!(seen.rows[0].protocol, Protocol::Http10);
}

#[test]
fn version_that_the_server_does_not_know_is_refused_and_counted() {
    let refused = b"HTTP/1.1 505 HTTP Version Not Supported\r\nContent-Length: 0\r\n\r\n";
    for version in ["HTTP/1.9", "HTTP/2.0", "HTTP/3.0"] {
        let ask = format!("PUT / {version}\r\nContent-Length: 0\r\n\r\n");
        let seen = talk(&[(true, ask.as_bytes()), (false, refused)]);
        assert_counts(&seen, &[(505, 1)]);
        assert_eq!(seen.method("PUT", 505), 1);
        assert_eq!(seen.rows[0].protocol, Protocol::Http11);
    }
}

#[test]
fn blanks_behind_and_within_a_request_line_are_taken() {
    for line in [
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.1 \t  ",
        "GET  /a b\tHTTP/1.1",
    ] {
        let ask = format!("{line}\r\nHost: a\r\n\r\n");
        let seen = talk(&[
            (true, ask.as_bytes()),
            (false, OK),
            (true, GET),
            (false, LATER),
        ]);
        assert_counts(&seen, &[(200, 1), (404, 1)]);
    }
}

#[test]
fn what_is_no_request_counts_where_the_server_answers_it() {
    let refused = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    for line in [
        "GET /",
        "NONSENSE",
        "GET / HTTX/1.1",
        "GET / HTTP/1.1x",
        "{\"a\": 1}",
    ] {
        let bad = format!("{line}\r\nHost: a\r\n\r\n");
        // Alone, and behind what is well.
        let seen = talk(&[
            (true, GET),
            (false, OK),
            (true, bad.as_bytes()),
            (false, refused),
        ]);
        assert_counts(&seen, &[(200, 1), (400, 1)]);
        assert_eq!(seen.method("_OTHER", 400), 1, "{line}");
        // Each once, and one that nobody answers never.
        let seen = talk(&[
            (true, GET),
            (false, OK),
            (true, bad.as_bytes()),
            (true, GET),
            (false, LATER),
        ]);
        assert_counts(&seen, &[(200, 1), (404, 1)]);
    }
}

#[test]
fn kubelet_probes_have_their_own_rows() {
    let probe = b"GET /live HTTP/1.1\r\nHost: a\r\nUser-Agent: kube-probe/1.30\r\n\r\n";
    let alike =
        b"GET /live HTTP/1.1\r\nX: kube-probe/1.30\r\nUser-Agent: curl kube-probe/1.30\r\n\r\n";
    let seen = talk(&[
        (true, probe),
        (false, OK),
        (true, alike),
        (false, OK),
        (true, probe),
    ]);
    assert_eq!(
        (seen.requests(), seen.probes(), seen.in_flight()),
        (2, 1, 1)
    );
    assert_eq!(seen.counters.probe_started, 2);
}

#[test]
fn probe_answered_before_its_name_is_no_probe_that_waits() {
    let seen = talk(&[
        (true, b"GET /live HTTP/1.1\r\n"),
        (false, OK),
        (true, b"User-Agent: kube-probe/1.30\r\n\r\n"),
    ]);
    assert_counts(&seen, &[(200, 1)]);
    assert_eq!((seen.probes(), seen.counters.probe_started), (0, 0));
}

#[test]
fn proxy_header_before_the_first_request_is_no_request() {
    let v1 = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 80\r\n".to_vec();
    let v2 =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x00\x50\x00\x50"
            .to_vec();
    for header in [v1, v2] {
        let seen = talk(&[(true, &header), (true, GET), (false, OK)]);
        assert_counts(&seen, &[(200, 1)]);
        let seen = talk(&[(true, &[&header, GET].concat()), (false, OK)]);
        assert_counts(&seen, &[(200, 1)]);
        let bytes = [header.as_slice(), GET].concat();
        let parts: Vec<(bool, &[u8])> = bytes
            .chunks(1)
            .map(|byte| (true, byte))
            .chain([(false, OK)])
            .collect();
        assert_counts(&talk(&parts), &[(200, 1)]);
    }
}

#[test]
fn protocols_that_look_like_http_are_not() {
    for line in [
        "OPTIONS * RTSP/1.0",
        "INVITE sip:a SIP/2.0",
        "GET /old",
        "GET / HTTP/11",
        "GET /a.HTTP/1.1",
    ] {
        let seen = talk(&[
            (true, format!("{line}\r\nCSeq: 1\r\n\r\n").as_bytes()),
            (false, b"RTSP/1.0 200 OK\r\n\r\n"),
        ]);
        assert_eq!(
            (seen.counters.started, seen.requests(), seen.counters.lost),
            (0, 0, 0),
            "{line}"
        );
    }
}

#[test]
fn connection_older_than_we_is_read_from_its_next_message_on() {
    // Amid an upload.
    let seen = talk(&[
        (true, b"\x01\x02binary upload"),
        (false, OK),
        (true, GET),
        (false, LATER),
    ]);
    assert_eq!(
        (seen.status(404), seen.requests(), seen.in_flight()),
        (1, 1, 0),
        "{seen:?}"
    );
    // Between a request and its answer.
    let seen = talk(&[
        (false, OK),
        (true, GET),
        (false, LATER),
        (true, GET),
        (false, LATER),
    ]);
    assert_counts(&seen, &[(404, 2)]);
}
