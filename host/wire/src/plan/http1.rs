//! HTTP/1 conversations.

mod message;

use fastrand::Rng;

use super::{End, Run, Talk, Unit};
use message::{Answer, Request};

pub(super) use message::content;

/// Most requests that wait at once and differ: the kernel remembers no more of them one by one.
const DIFFERENT: usize = 32;

/// A conversation, and how it ends.
pub(super) fn talk(rng: &mut Rng, late: bool) -> (Talk, End) {
    let mut units = Vec::new();
    // It is at a connection's beginning, which was not seen where that is older than the observer.
    if rng.u8(..12) == 0 && !late {
        units.push(vec![to_pod(message::proxy_header(rng))]);
    }
    for _ in 0..rng.usize(0..5) {
        units.push(if rng.u8(..3) == 0 {
            pipelined(rng)
        } else {
            exchange(rng)
        });
    }
    let (last, end) = ending(rng);
    units.push(last);
    (Talk::Http1(units), end)
}

fn to_pod(bytes: Vec<u8>) -> Run {
    Run {
        to_pod: true,
        bytes,
    }
}

fn from_pod(bytes: Vec<u8>) -> Run {
    Run {
        to_pod: false,
        bytes,
    }
}

/// One request and its answer.
fn exchange(rng: &mut Rng) -> Unit {
    let request = Request::random(rng);
    let answer = Answer::to(&request, rng).bytes;
    if request.body.is_empty() {
        return vec![to_pod(request.head), from_pod(answer)];
    }
    match rng.u8(..4) {
        // RFC 9110, 10.1.1.
        0 if !request.http10 && rng.bool() => {
            let request = request.with_expect();
            let go_on = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
            vec![
                to_pod(request.head),
                from_pod(go_on),
                to_pod(request.body),
                from_pod(answer),
            ]
        }
        // Refused before its body has come, which then never comes.
        0 => vec![
            to_pod(request.with_expect().head),
            from_pod(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n".to_vec()),
            to_pod(b"DELETE /next HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
            from_pod(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_vec()),
        ],
        // Answered before its body has come.
        1 => {
            let (now, later) = request.body.split_at(rng.usize(0..request.body.len()));
            vec![
                to_pod([&request.head, now].concat()),
                from_pod(answer),
                to_pod(later.to_vec()),
            ]
        }
        _ => vec![
            to_pod([request.head, request.body].concat()),
            from_pod(answer),
        ],
    }
}

/// Requests that are sent before those before them are answered.
fn pipelined(rng: &mut Rng) -> Unit {
    let many = rng.u8(..20) == 0;
    let count = if many {
        rng.usize(DIFFERENT..60)
    } else {
        rng.usize(2..12)
    };
    // Alike, and no probes: the kernel knows no more of those beyond than of the last one's first line.
    let mut first = Request::random(rng);
    while first.probe {
        first = Request::random(rng);
    }
    let requests: Vec<_> = (0..count)
        .map(|_| {
            if many {
                first.clone()
            } else {
                Request::random(rng)
            }
        })
        .collect();
    let answers: Vec<_> = requests
        .iter()
        .map(|request| Answer::to(request, rng).bytes)
        .collect();
    let bytes: Vec<u8> = requests
        .iter()
        .flat_map(|request| [request.head.clone(), request.body.clone()].concat())
        .collect();
    let (mut sent, mut whole) = (0, 0);
    let mut unit = Vec::new();
    for (request, answer) in requests.iter().zip(answers) {
        whole += request.head.len() + request.body.len();
        if sent < whole {
            // All of this request, and maybe a part of those behind it.
            let to = if rng.bool() {
                bytes.len()
            } else {
                rng.usize(whole..=bytes.len())
            };
            unit.push(to_pod(bytes[sent..to].to_vec()));
            sent = to;
        }
        unit.push(from_pod(answer));
    }
    unit
}

/// The last that is said, and what follows.
fn ending(rng: &mut Rng) -> (Unit, End) {
    let ends = [
        End::Open,
        End::PeerFirst,
        End::PodFirst,
        End::ResetByPeer,
        End::ResetByPod,
    ];
    let any = ends[rng.usize(..ends.len())];
    let by_pod = if rng.bool() {
        End::PodFirst
    } else {
        End::ResetByPod
    };
    match rng.u8(..12) {
        0 => {
            let request = Request::random(rng);
            let answer = Answer::until_close(&request, rng);
            (
                vec![
                    to_pod([request.head, request.body].concat()),
                    from_pod(answer),
                ],
                End::PodFirst,
            )
        }
        1 => {
            let request = Request::random(rng);
            (vec![to_pod([request.head, request.body].concat())], any)
        }
        2 => {
            let request = Request::random(rng);
            let mut bytes = [request.head, request.body].concat();
            bytes.truncate(rng.usize(0..bytes.len()));
            (vec![to_pod(bytes)], any)
        }
        3 => {
            let request = Request::random(rng);
            let mut answer = Answer::to(&request, rng).bytes;
            answer.truncate(rng.usize(0..answer.len()));
            (
                vec![
                    to_pod([request.head, request.body].concat()),
                    from_pod(answer),
                ],
                any,
            )
        }
        4 => (tunnel(rng), any),
        // A server that ends an idle connection (RFC 9110, 15.5.9).
        5 => (
            vec![from_pod(
                b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                    .to_vec(),
            )],
            by_pod,
        ),
        // A request line that is too long for the server.
        6 => {
            let line = format!("GET /{}", "a".repeat(rng.usize(60..3000)));
            let answer =
                b"HTTP/1.1 414 URI Too Long\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    .to_vec();
            (vec![to_pod(line.into_bytes()), from_pod(answer)], by_pod)
        }
        7 => (exchange(rng), End::HalfClosed),
        // What is no request, or of a version that the server does not know (RFC 9112, 3; RFC 9110, 15.6.6).
        8 => {
            let lines = ["GET /old", "NONSENSE", "GET / HTTP/1.1 x", "PUT / HTTP/3.0"];
            let line = lines[rng.usize(..lines.len())];
            let status = if line.ends_with("3.0") { 505 } else { 400 };
            let answer =
                format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let mut unit = exchange(rng);
            unit.push(to_pod(format!("{line}\r\n\r\n").into_bytes()));
            unit.push(from_pod(answer.into_bytes()));
            (unit, by_pod)
        }
        _ => (exchange(rng), any),
    }
}

/// CONNECT or an upgrade, and what goes through it.
fn tunnel(rng: &mut Rng) -> Unit {
    let (request, answer) = if rng.bool() {
        message::connect(rng)
    } else {
        (
            b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".to_vec(),
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".to_vec(),
        )
    };
    let mut unit = vec![to_pod(request), from_pod(answer)];
    for _ in 0..rng.usize(0..5) {
        let bytes = message::content(rng, 600);
        unit.push(if rng.bool() {
            to_pod(bytes)
        } else {
            from_pod(bytes)
        });
    }
    unit
}
