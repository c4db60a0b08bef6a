//! The reference model: what a case must count, read slowly and plainly from the RFCs.
//!
//! [`lives`] puts each connection's byte streams together (RFC 9293), with the moment at which each byte could be read;
//! [`http1`] and [`http2`] read them. It shares with the kernel program the list of method names and nothing else.

mod http1;
mod http2;
mod lives;

use owlk8s_ebpf_abi::METHODS;

use crate::case::Case;
use crate::counts::Counts;
use lives::Life;

/// What the case's packets must count.
pub fn expected(case: &Case) -> Counts {
    let mut counts = Counts::default();
    for life in lives::of(case) {
        let mut life = life;
        skip_proxy_header(&mut life.requests);
        if life.requests.bytes.starts_with(http2::PREFACE) {
            http2::count(&life, &mut counts);
        } else {
            http1::count(&life, &mut counts);
        }
    }
    counts
}

/// The PROXY protocol's header, versions 1 and 2.
fn skip_proxy_header(stream: &mut lives::Stream) {
    const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    let bytes = &stream.bytes;
    let header = if bytes.starts_with(b"PROXY ") {
        bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .map(|at| at + 1)
    } else if bytes.starts_with(V2) && bytes.len() >= 16 {
        Some(16 + usize::from(u16::from_be_bytes([bytes[14], bytes[15]])))
    } else {
        None
    };
    let end = header.unwrap_or(0).min(bytes.len());
    stream.bytes.drain(..end);
    stream.times.drain(..end);
}

/// The name that a method is counted by.
fn method_name(token: &str) -> String {
    let known = METHODS.iter().skip(1).any(|method| *method == token);
    if known {
        token.to_owned()
    } else {
        "_OTHER".to_owned()
    }
}

/// How requests that nobody answered are counted.
fn unanswered(life: &Life, probe: bool, counts: &mut Counts) {
    if life.closed.is_some() {
        counts.aborted += 1;
        counts.probe_aborted += u64::from(probe);
    } else {
        counts.in_flight += 1;
    }
}
