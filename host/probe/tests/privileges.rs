//! What the kernel refuses without a capability is named, with the remedy. Capabilities belong to a thread: each test
//! gives some up on a thread of its own. (CAP_BPF has a process of its own: `without_cap_bpf.rs`.)

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

#[path = "veth/lab.rs"]
mod lab;

use std::collections::HashSet;
use std::thread;

use caps::{CapSet, Capability};
use lab::{Pod, alone, get, on_a_node};
use owlk8s_model::{TargetId, TargetReading, UnixNanos};
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
fn two_capabilities_are_all_it_needs_to_count() {
    let _alone = alone();
    on_a_node(|| {
        let pod = Pod::start(1);
        let interface = Interface::named(&pod.interface).unwrap();
        let kept = [Capability::CAP_BPF, Capability::CAP_NET_RAW];
        let server = pod.servers[0];
        let reading = with(kept, move || {
            let mut probe = Probe::load_with(small()).unwrap();
            probe.attach("pod".into(), interface).unwrap();
            get(server, [200, 404, 200]);
            let reading = probe.read(UnixNanos(1)).unwrap();
            probe.sweep().unwrap();
            probe.detach(&"pod".into()).unwrap();
            reading
        });
        let Some(TargetReading::Active { counters, rows, .. }) = reading.of(&TargetId::from("pod"))
        else {
            panic!("{reading:?}");
        };
        let mut seen: Vec<_> = rows.iter().map(|row| (row.status, row.count)).collect();
        seen.sort_unstable();
        assert_eq!(seen, [(200, 2), (404, 1)]);
        assert_eq!((counters.started, counters.losses.len()), (3, 0));
    });
}

#[test]
fn cap_perfmon_is_taken_where_it_is_granted() {
    let kept = [
        Capability::CAP_BPF,
        Capability::CAP_PERFMON,
        Capability::CAP_NET_RAW,
    ];
    let attached = with(kept, || {
        let mut probe = Probe::load_with(small())?;
        probe.attach("a".into(), Interface::named("lo")?)
    });
    assert!(attached.is_ok(), "{}", attached.unwrap_err());
}
