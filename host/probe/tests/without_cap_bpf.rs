//! A process without CAP_BPF is told so. Alone in its process, as aya asks the kernel for its features only once.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

use caps::{CapSet, Capability};
use owlk8s_probe::Probe;

#[test]
fn without_cap_bpf_it_is_named() {
    caps::set(None, CapSet::Effective, &[Capability::CAP_NET_RAW].into())
        .expect("this test needs root");
    let text = Probe::load().err().unwrap().to_string();
    assert!(
        text.contains("CAP_BPF is missing") && text.contains("securityContext.capabilities"),
        "{text}"
    );
}
