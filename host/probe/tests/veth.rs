//! The whole probe on real interfaces: veths, network namespaces and an HTTP server behind them.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

#[path = "veth/lab.rs"]
mod lab;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lab::{Pod, alone, ask_and_go, get, ip, on_a_node};
use owlk8s_model::{Counters, Row, TargetId, TargetReading, UnixNanos};
use owlk8s_probe::testrun::Entries;
use owlk8s_probe::{Interface, Options, Place, Probe, ProbeError, Wanted};

const MIX: [u16; 4] = [200, 404, 200, 500];

fn small() -> Options {
    Options {
        targets: 8,
        rows: 64,
        connections: 256,
        count_client: false,
    }
}

/// A pod, watched as the target "pod".
fn watched_pod() -> (Pod, Probe) {
    let pod = Pod::start(1);
    let mut probe = Probe::load_with(small()).unwrap();
    probe
        .attach("pod".into(), Interface::named(&pod.interface).unwrap())
        .unwrap();
    (pod, probe)
}

fn wanted(target: &str, interface: &str) -> Wanted {
    Wanted {
        target: target.into(),
        place: Place::On(Interface::named(interface).unwrap()),
        beyond: Vec::new(),
    }
}

fn read(probe: &mut Probe, target: &str) -> (Counters, Vec<Row>) {
    let reading = probe.read(UnixNanos(1)).unwrap();
    match reading.of(&TargetId::from(target)).cloned() {
        Some(TargetReading::Active { counters, rows, .. }) => (counters, rows),
        other => panic!("{target} is not active: {other:?}"),
    }
}

fn by_status(rows: &[Row]) -> BTreeMap<u16, u64> {
    rows.iter().map(|row| (row.status, row.count)).collect()
}

#[test]
fn counts_over_a_veth_are_those_of_the_client_by_ipv4_and_ipv6() {
    let _alone = alone();
    on_a_node(|| {
        let pods = [Pod::start(1), Pod::start(2)];
        let mut probe = Probe::load_with(small()).unwrap();
        for pod in &pods {
            let interface = Interface::named(&pod.interface).unwrap();
            probe
                .attach(pod.interface.as_str().into(), interface)
                .unwrap();
        }
        for server in pods[0].servers {
            get(server, MIX.into_iter().cycle().take(400));
        }
        get(pods[1].servers[0], [204; 7]);
        let (counters, rows) = read(&mut probe, "veth1");
        assert_eq!(
            by_status(&rows),
            BTreeMap::from([(200, 400), (404, 200), (500, 200)])
        );
        assert_eq!(
            (counters.started, counters.losses.len()),
            (800, 0),
            "{counters:?}"
        );
        assert!(
            counters.segments_to_pod >= 800 && counters.segments_from_pod >= 800,
            "{counters:?}"
        );
        assert_eq!(
            by_status(&read(&mut probe, "veth2").1),
            BTreeMap::from([(204, 7)])
        );
    });
}

/// As before Linux 6.8, where 20 KiB is what a socket may hold of programs and the like.
#[test]
fn where_sockets_take_small_programs_only_counts_are_the_same() {
    let _alone = alone();
    on_a_node(|| {
        // Of this network namespace; older kernels have one for all, which is as low by itself.
        let room = "/proc/sys/net/core/optmem_max";
        if fs::exists(room).unwrap() {
            fs::write(room, "20480").unwrap();
        }
        let (pod, mut probe) = watched_pod();
        for server in pod.servers {
            get(server, MIX.into_iter().cycle().take(40));
        }
        let (counters, rows) = read(&mut probe, "pod");
        assert_eq!(
            by_status(&rows),
            BTreeMap::from([(200, 40), (404, 20), (500, 20)])
        );
        assert_eq!(
            (counters.started, counters.losses.len()),
            (80, 0),
            "{counters:?}"
        );
    });
}

#[test]
fn many_connections_at_once_are_counted_to_the_last_request() {
    let _alone = alone();
    on_a_node(|| {
        let (pod, mut probe) = watched_pod();
        let servers = pod.servers;
        let start = Instant::now();
        let clients: Vec<_> = (0..16)
            .map(|i| thread::spawn(move || get(servers[i % 2], MIX.into_iter().cycle().take(4000))))
            .collect();
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
        eprintln!("64,000 requests in {:?}", start.elapsed());
        let (counters, rows) = read(&mut probe, "pod");
        assert_eq!(
            by_status(&rows),
            BTreeMap::from([(200, 32_000), (404, 16_000), (500, 16_000)])
        );
        assert_eq!(
            (counters.started, counters.aborted, counters.losses.len()),
            (64_000, 0, 0),
            "{counters:?}"
        );
    });
}

#[test]
fn answers_that_cross_their_clients_reset_are_not_counted_twice() {
    let _alone = alone();
    on_a_node(|| {
        let (pod, mut probe) = watched_pod();
        let server = pod.servers[0];
        let clients: Vec<_> = (0..4)
            .map(|_| thread::spawn(move || (0..500).for_each(|_| ask_and_go(server, 40))))
            .collect();
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
        // A client that has gone answers what still comes for it with a reset.
        let end = Instant::now() + Duration::from_secs(10);
        let (counters, answered) = loop {
            let (counters, rows) = read(&mut probe, "pod");
            let answered: u64 = rows.iter().map(|row| row.count).sum();
            if answered + counters.aborted >= 80_000 || Instant::now() > end {
                break (counters, answered);
            }
            thread::sleep(Duration::from_millis(10));
        };
        assert!(counters.aborted > 0, "no reset came in time: {counters:?}");
        assert_eq!(
            (counters.started, counters.losses.len()),
            (80_000, 0),
            "{counters:?}"
        );
        assert_eq!(answered + counters.aborted, 80_000);
    });
}

#[test]
fn reading_never_goes_down_and_never_below_nothing_in_flight() {
    let _alone = alone();
    on_a_node(|| {
        let (pod, mut probe) = watched_pod();
        let done = Arc::new(AtomicBool::new(false));
        let server = pod.servers[0];
        let asked = done.clone();
        // On the node's namespace, which a new thread inherits.
        let client = thread::spawn(move || {
            let mut rounds = 0;
            while !asked.load(Ordering::Relaxed) {
                get(server, MIX.into_iter().cycle().take(100));
                rounds += 1;
            }
            rounds
        });
        let mut before = BTreeMap::new();
        let end = Instant::now() + Duration::from_secs(2);
        let mut reads = 0;
        while Instant::now() < end {
            let (counters, rows) = read(&mut probe, "pod");
            let answered: u64 = rows.iter().map(|row| row.count).sum();
            assert!(
                counters.started >= answered + counters.aborted + counters.lost,
                "{counters:?} {rows:?}"
            );
            for row in &rows {
                assert_eq!(
                    row.latency.count(),
                    row.count,
                    "a row agrees with its buckets while it grows"
                );
                assert!(
                    before
                        .insert(row.status, row.count)
                        .is_none_or(|then| then <= row.count)
                );
            }
            reads += 1;
        }
        done.store(true, Ordering::Relaxed);
        let rounds = client.join().unwrap();
        let (_, rows) = read(&mut probe, "pod");
        assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), rounds * 100);
        assert!(reads > 100, "{reads} reads");
    });
}

#[test]
fn target_keeps_its_counts_when_its_veth_is_replaced() {
    let _alone = alone();
    on_a_node(|| {
        let mut probe = Probe::load_with(small()).unwrap();
        let first = Pod::start(1);
        probe.reconcile(vec![wanted("pod", "veth1")]).unwrap();
        get(first.servers[0], [200; 5]);
        drop(first);
        ip("link del veth1");
        let waiting = Wanted {
            target: "pod".into(),
            place: Place::Waiting("no interface yet".to_owned()),
            beyond: Vec::new(),
        };
        let changes = probe.reconcile(vec![waiting]).unwrap();
        assert_eq!(changes.refused.len(), 1, "{changes:?}");
        let reading = probe.read(UnixNanos(1)).unwrap();
        assert_eq!(
            reading.of(&"pod".into()),
            Some(&TargetReading::Waiting("no interface yet".to_owned()))
        );

        let second = Pod::start(2);
        let changes = probe.reconcile(vec![wanted("pod", "veth2")]).unwrap();
        assert_eq!(
            (changes.attached.len(), changes.detached.len()),
            (1, 0),
            "{changes:?}"
        );
        get(second.servers[0], [200; 3]);
        assert_eq!(
            by_status(&read(&mut probe, "pod").1),
            BTreeMap::from([(200, 8)])
        );
    });
}

#[test]
fn slot_of_a_gone_target_is_given_on_empty() {
    let _alone = alone();
    on_a_node(|| {
        let pods = [Pod::start(1), Pod::start(2)];
        let mut probe = Probe::load_with(Options {
            targets: 1,
            ..small()
        })
        .unwrap();
        for round in 0..3 {
            for pod in &pods {
                let changes = probe
                    .reconcile(vec![wanted(&format!("{round}"), &pod.interface)])
                    .unwrap();
                assert_eq!(changes.attached.len(), 1, "{changes:?}");
                get(pod.servers[0], MIX);
            }
            assert_eq!(
                by_status(&read(&mut probe, &format!("{round}")).1),
                BTreeMap::from([(200, 4), (404, 2), (500, 2)])
            );
        }
        let changes = probe
            .reconcile(vec![wanted("2", "veth2"), wanted("one too many", "veth1")])
            .unwrap();
        assert_eq!(changes.refused.len(), 1);
        assert!(
            changes.refused[0].1.contains("Options::targets"),
            "{changes:?}"
        );
    });
}

#[test]
fn detached_probe_leaves_no_descriptor_and_no_entry() {
    let _alone = alone();
    on_a_node(|| {
        let pod = Pod::start(1);
        assert_eq!((bpf_descriptors(), packet_sockets()), (0, 0));
        let mut probe = Probe::load_with(small()).unwrap();
        let loaded = bpf_descriptors();
        assert!(loaded > 0);
        for _ in 0..3 {
            probe
                .attach("pod".into(), Interface::named("veth1").unwrap())
                .unwrap();
            get(pod.servers[0], MIX);
            assert_eq!((bpf_descriptors(), packet_sockets()), (loaded, 1));
            let used = probe.entries().unwrap();
            assert_eq!((used.targets, used.rows), (1, 3));
            probe.detach(&"pod".into()).unwrap();
            assert_eq!((bpf_descriptors(), packet_sockets()), (loaded, 0));
            assert_eq!(probe.entries().unwrap(), Entries::default());
        }
        probe
            .attach("pod".into(), Interface::named("veth1").unwrap())
            .unwrap();
        drop(probe);
        assert_eq!((bpf_descriptors(), packet_sockets()), (0, 0));
    });
}

#[test]
fn refusals_name_the_interface_and_the_remedy() {
    let _alone = alone();
    on_a_node(|| {
        let mut probe = Probe::load_with(small()).unwrap();
        let error = Interface::named("eth7").unwrap_err();
        assert!(
            error.to_string().contains("eth7") && error.is_transient(),
            "{error}"
        );
        let gone = Interface {
            name: "veth9".into(),
            index: 999,
        };
        let error = probe.attach("a".into(), gone.clone()).unwrap_err();
        assert!(
            matches!(&error, ProbeError::BindInterface { index: 999, .. }) && error.is_transient(),
            "{error}"
        );
        let changes = probe
            .reconcile(vec![Wanted {
                target: "a".into(),
                place: Place::On(gone),
                beyond: Vec::new(),
            }])
            .unwrap();
        assert!(changes.refused[0].1.contains("veth9"), "{changes:?}");
        assert!(
            matches!(probe.read(UnixNanos(1)).unwrap().of(&"a".into()), Some(TargetReading::Waiting(why)) if why.contains("veth9"))
        );

        probe
            .attach("b".into(), Interface::named("lo").unwrap())
            .unwrap();
        let error = probe
            .attach("c".into(), Interface::named("lo").unwrap())
            .unwrap_err();
        assert!(
            matches!(&error, ProbeError::InterfaceTaken { owner, .. } if *owner == "b".into()),
            "{error}"
        );
    });
}

#[test]
fn five_hundred_interfaces_come_and_go() {
    let _alone = alone();
    on_a_node(|| {
        // As few descriptors as a shell gives: the probe makes room itself.
        let few = libc::rlimit {
            rlim_cur: 256,
            rlim_max: 4096,
        };
        // SAFETY: the struct outlives the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &few) }, 0);
        let links: String = (0..250)
            .map(|i| format!("link add a{i} up type veth peer name b{i}\n"))
            .collect();
        ip(&links);
        let mut probe = Probe::load_with(Options {
            targets: 500,
            ..small()
        })
        .unwrap();
        let wanted: Vec<Wanted> = (0..250)
            .flat_map(|i| [format!("a{i}"), format!("b{i}")])
            .map(|name| wanted(&name, &name))
            .collect();
        for _ in 0..3 {
            let start = Instant::now();
            assert_eq!(probe.reconcile(wanted.clone()).unwrap().attached.len(), 500);
            let attached = start.elapsed();
            let start = Instant::now();
            assert!(probe.reconcile(wanted.clone()).unwrap().is_empty());
            let unchanged = start.elapsed();
            let start = Instant::now();
            assert_eq!(probe.reconcile(Vec::new()).unwrap().detached.len(), 500);
            eprintln!(
                "500 targets: attach {attached:?}, nothing to do {unchanged:?}, detach {:?}",
                start.elapsed()
            );
        }
        assert_eq!(packet_sockets(), 0);
    });
}

/// What the kernel says that this process's maps and programs take, bytes.
fn kernel_memory() -> u64 {
    let of = |fd: fs::DirEntry| {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.file_name().display()));
        info.ok()?.lines().find_map(|line| {
            line.strip_prefix("memlock:")
                .and_then(|bytes| bytes.trim().parse::<u64>().ok())
        })
    };
    fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|fd| of(fd.ok()?))
        .sum()
}

#[test]
fn kernel_memory_is_fixed_but_for_a_little_of_each_target() {
    let _alone = alone();
    on_a_node(|| {
        let links: String = (0..500)
            .map(|i| format!("link add a{i} up type veth peer name b{i}\n"))
            .collect();
        ip(&links);
        let mut taken = Vec::new();
        for targets in [1, 100, 500] {
            let before = kernel_memory();
            let mut probe = Probe::load_with(Options {
                targets,
                ..Options::default()
            })
            .unwrap();
            for i in 0..targets {
                let name = format!("a{i}");
                let interface = Interface::named(&name).unwrap();
                probe.attach(name.as_str().into(), interface).unwrap();
            }
            taken.push(kernel_memory() - before);
            eprintln!("{targets} targets: {} bytes", kernel_memory() - before);
        }
        assert!(taken[0] <= 16 << 20, "{taken:?}");
        let each = (taken[2] - taken[0]) / 499;
        eprintln!("each: {each} bytes");
        assert!(each <= 8 << 10, "{taken:?}");
    });
}

/// Maps, programs and BTF that this process holds.
fn bpf_descriptors() -> usize {
    let held = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    held.filter(|to| {
        ["anon_inode:bpf", "anon_inode:btf"]
            .iter()
            .any(|kind| to.to_string_lossy().starts_with(kind))
    })
    .count()
}

/// Of the namespace that this thread is in.
fn packet_sockets() -> usize {
    fs::read_to_string("/proc/thread-self/net/packet")
        .unwrap()
        .lines()
        .count()
        - 1
}
