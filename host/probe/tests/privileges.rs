//! What the kernel refuses without a capability is named, with the remedy. Capabilities belong to a thread: each test
//! gives some up on a thread of its own. (CAP_BPF has a process of its own: `without_cap_bpf.rs`.)

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::collections::HashSet;
use std::thread;

use caps::{CapSet, Capability};
use owlk8s_model::UnixNanos;
use owlk8s_probe::{Interface, Options, Probe, ProbeError};

fn small() -> Options {
    Options {
        targets: 2,
        rows: 16,
        connections: 16,
        count_client: false,
    }
}

/// Runs `test` with these capabilities and no others.
fn with<T: Send + 'static>(
    capabilities: impl IntoIterator<Item = Capability>,
    test: impl FnOnce() -> T + Send + 'static,
) -> T {
    let kept: HashSet<Capability> = capabilities.into_iter().collect();
    let limited = thread::spawn(move || {
        caps::set(None, CapSet::Effective, &kept).expect("these tests need root");
        test()
    });
    limited.join().unwrap()
}

#[test]
fn without_cap_net_raw_it_is_named_with_the_interface() {
    let error = with([Capability::CAP_BPF, Capability::CAP_PERFMON], || {
        let mut probe = Probe::load_with(small()).unwrap();
        probe
            .attach("a".into(), Interface::named("lo").unwrap())
            .unwrap_err()
    });
    assert!(matches!(error, ProbeError::OpenSocket { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("lo") && text.contains("CAP_NET_RAW is missing"),
        "{text}"
    );
    assert!(!error.is_transient());
}

#[test]
fn without_cap_perfmon_it_is_named() {
    let kept = [Capability::CAP_BPF, Capability::CAP_NET_RAW];
    let text = with(kept, || Probe::load_with(small()).err().unwrap()).to_string();
    assert!(text.contains("CAP_PERFMON is missing"), "{text}");
    assert!(
        text.lines().count() < 20,
        "the verifier's whole log is no help: {text}"
    );
}

#[test]
fn three_capabilities_are_all_it_needs() {
    let kept = [
        Capability::CAP_BPF,
        Capability::CAP_PERFMON,
        Capability::CAP_NET_RAW,
    ];
    let attached = with(kept, || {
        let mut probe = Probe::load_with(small())?;
        probe.attach("a".into(), Interface::named("lo")?)?;
        probe.read(UnixNanos(0))?;
        probe.sweep()?;
        probe.detach(&"a".into())
    });
    assert!(attached.is_ok(), "{}", attached.unwrap_err());
}
