//! What a plugin gives, as text that is read, compared and kept as a golden file.

use std::fmt::Write as _;

use owlk8s_model::Snapshot;
use owlk8s_plugin_host::Given;

/// Bytes on a line of a body that is no text.
const LINE: usize = 16;

/// All of it. Each part begins with a line `--- what it is`.
pub(super) fn text(given: &Given) -> String {
    let mut text = String::new();
    match given {
        Given::Payloads(payloads) => {
            for sent in payloads {
                head(
                    &mut text,
                    &format!("{} ({})", sent.endpoint, sent.content_type),
                );
                body(&mut text, &sent.body);
            }
            if payloads.is_empty() {
                head(&mut text, "no payload");
            }
        }
        Given::Response {
            status,
            headers,
            body: bytes,
        } => {
            head(&mut text, &format!("response {status}"));
            for (name, value) in headers {
                let _ = writeln!(text, "{name}: {value}");
            }
            text.push('\n');
            body(&mut text, bytes);
        }
        Given::Outcome(outcome) => head(&mut text, outcome),
        Given::Left(snapshot) => left(&mut text, snapshot),
    }
    text
}

pub(super) fn head(text: &mut String, what: &str) {
    let _ = writeln!(text, "--- {what}");
}

/// A target a line.
fn left(text: &mut String, snapshot: &Snapshot) {
    head(
        text,
        &format!("{} targets are left", snapshot.targets.len()),
    );
    for target in &snapshot.targets {
        let workload = target.workload.as_ref();
        let workload = workload.map_or(String::new(), |it| format!(" of {}/{}", it.kind, it.name));
        let requests: u64 = target.rows.iter().map(|row| row.count).sum();
        let _ = writeln!(
            text,
            "{:?}{workload}: {} requests, {} in {} rows",
            format!("{}/{}", target.namespace, target.pod),
            target.totals.requests,
            requests,
            target.rows.len()
        );
    }
}

pub(super) fn body(text: &mut String, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(utf8) => {
            text.push_str(utf8);
            if !utf8.is_empty() && !utf8.ends_with('\n') {
                text.push_str("\n(no newline at its end)\n");
            }
        }
        Err(_) => {
            for (at, line) in bytes.chunks(LINE).enumerate() {
                let _ = write!(text, "{:06x} ", at * LINE);
                for byte in line {
                    let _ = write!(text, " {byte:02x}");
                }
                text.push('\n');
            }
        }
    }
}
