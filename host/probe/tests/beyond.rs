//! Places beyond the node's end of a veth, on a data path that bypasses it (`bpf_redirect_peer`): such a place is told
//! from a quiet pod, never counted as zero, and left for a better one where that is permitted.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

#[path = "beyond/bypass.rs"]
mod bypass;
#[path = "veth/lab.rs"]
mod lab;
#[path = "beyond/redirect.rs"]
mod redirect;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{self, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use bypass::{bypass, index, peer};
use caps::{CapSet, Capability};
use lab::{Pod, alone, get, ip, on_a_node};
use owlk8s_model::{Counters, Hook, TargetId, TargetReading, UnixNanos};
use owlk8s_probe::testrun::Entries;
use owlk8s_probe::{Beyond, Cgroup, Inside, Interface, Options, Place, Probe, Wanted};

fn small() -> Options {
    Options {
        targets: 4,
        rows: 64,
        connections: 256,
        count_client: false,
    }
}

/// Two pods that reach each other past the node, and the node's probe.
fn bypassed_pods() -> ([Pod; 2], Probe) {
    let pods = [Pod::start(1), Pod::start(2)];
    bypass([&pods[0], &pods[1]]);
    (pods, Probe::load_with(small()).unwrap())
}

fn inside(pod: &Pod) -> Beyond {
    let name = peer(pod);
    Beyond::Inside(Inside {
        interface: Interface {
            index: pod.within(|| index(&name)),
            name: name.into(),
        },
        path: pod.namespace.clone(),
        inode: fs::metadata(&pod.namespace).unwrap().ino(),
    })
}

/// The pod as target "pod", on its veth.
fn wanted(pod: &Pod, beyond: Vec<Result<Beyond, String>>) -> Vec<Wanted> {
    vec![Wanted {
        target: "pod".into(),
        place: Place::On(Interface::named(&pod.interface).unwrap()),
        beyond,
    }]
}

/// Runs `work` on a thread of this node that has not these capabilities.
fn without<T: Send>(capabilities: &[Capability], work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let limited = scope.spawn(move || {
            let held = caps::read(None, CapSet::Effective).unwrap();
            let given_up: HashSet<Capability> = capabilities.iter().copied().collect();
            let kept = held.difference(&given_up).copied().collect();
            caps::set(None, CapSet::Effective, &kept).expect("these tests need root");
            work()
        });
        limited
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

struct Seen {
    hook: Hook,
    hook_reason: String,
    blind: Option<String>,
    counters: Counters,
    statuses: BTreeMap<u16, u64>,
}

fn see(probe: &mut Probe) -> Seen {
    let reading = probe.read(UnixNanos(1)).unwrap();
    match reading.of(&TargetId::from("pod")).cloned() {
        Some(TargetReading::Active {
            hook,
            hook_reason,
            blind,
            counters,
            rows,
            ..
        }) => Seen {
            hook,
            hook_reason,
            blind,
            counters,
            statuses: rows.iter().map(|row| (row.status, row.count)).collect(),
        },
        other => panic!("the pod is not active: {other:?}"),
    }
}

/// Connections of `from` to `to`, each with one request.
fn connect(from: &Pod, to: &Pod, times: usize) {
    from.within(|| (0..times).for_each(|_| get(to.servers[0], [200])));
}

#[test]
fn without_the_capability_the_target_is_blind_with_the_remedy() {
    let _alone = alone();
    on_a_node(|| {
        let (pods, mut probe) = bypassed_pods();
        let wanted = wanted(&pods[1], vec![Ok(inside(&pods[1]))]);
        probe.reconcile(wanted.clone()).unwrap();
        // What the node itself asks passes, as a kubelet's probes do.
        get(pods[1].servers[0], [204; 2]);
        assert_eq!(see(&mut probe).blind, None);
        connect(&pods[0], &pods[1], 5);
        assert!(see(&mut probe).blind.is_some());
        let changes = without(&[Capability::CAP_SYS_ADMIN], || {
            probe.reconcile(wanted.clone()).unwrap()
        });
        assert_eq!(
            (changes.refused.len(), changes.moved.len()),
            (1, 0),
            "{changes:?}"
        );
        let seen = see(&mut probe);
        let blind = seen.blind.unwrap();
        for part in [
            "veth2 is bypassed (5 of 6 connections were opened by packets that did not pass it)",
            "cannot enter the network namespace",
            "CAP_SYS_ADMIN is missing",
        ] {
            assert!(blind.contains(part), "{blind}");
        }
        assert_eq!(seen.hook, Hook::HostVeth);
        assert_eq!(seen.statuses, BTreeMap::from([(204, 2)]));
        let again = without(&[Capability::CAP_SYS_ADMIN], || {
            probe.reconcile(wanted.clone()).unwrap()
        });
        assert!(again.is_empty(), "the same refusal is told once: {again:?}");
    });
}

#[test]
fn with_the_capability_it_moves_into_the_pod_and_counts_exactly() {
    let _alone = alone();
    on_a_node(|| {
        let (pods, mut probe) = bypassed_pods();
        let wanted = wanted(&pods[1], vec![Ok(inside(&pods[1]))]);
        probe.reconcile(wanted.clone()).unwrap();
        get(pods[1].servers[0], [204; 2]);
        connect(&pods[0], &pods[1], 3);
        assert!(see(&mut probe).blind.is_some());
        let changes = probe.reconcile(wanted.clone()).unwrap();
        assert_eq!(changes.moved.len(), 1, "{changes:?}");

        let server = pods[1].servers[0];
        pods[0].within(|| {
            thread::scope(|scope| {
                for _ in 0..8 {
                    scope
                        .spawn(|| get(server, [200, 404, 200, 500].into_iter().cycle().take(2000)));
                }
            });
        });
        get(pods[1].servers[1], [204; 3]);
        let seen = see(&mut probe);
        assert_eq!((seen.hook, &seen.blind), (Hook::PodNamespace, &None));
        assert!(
            seen.hook_reason
                .starts_with("veth2 is bypassed: 3 of 4 connections"),
            "{}",
            seen.hook_reason
        );
        // What it had counted before is still there.
        let exact = BTreeMap::from([(200, 8000), (204, 2 + 3), (404, 4000), (500, 4000)]);
        assert_eq!(seen.statuses, exact);
        assert_eq!(
            (seen.counters.started, seen.counters.losses.len()),
            (16_005, 0),
            "{:?}",
            seen.counters
        );
        assert!(probe.reconcile(wanted).unwrap().is_empty());
        probe.reconcile(Vec::new()).unwrap();
        assert_eq!(probe.entries().unwrap(), Entries::default());
        assert_eq!(pods[1].within(packet_sockets), 0);
    });
}

#[test]
fn two_pods_with_the_same_index_inside_are_told_apart() {
    let _alone = alone();
    on_a_node(|| {
        let (pods, mut probe) = bypassed_pods();
        let indexes = [0, 1].map(|i: usize| pods[i].within(|| index(&peer(&pods[i]))));
        assert_eq!(indexes[0], indexes[1]);
        let of = |pod: &Pod| Wanted {
            target: pod.interface.as_str().into(),
            place: Place::Waiting("no interface".to_owned()),
            beyond: vec![Ok(inside(pod))],
        };
        probe.reconcile(pods.iter().map(of).collect()).unwrap();
        pods[0].within(|| get(pods[1].servers[0], [201; 7]));
        pods[1].within(|| get(pods[0].servers[0], [202; 9]));
        let reading = probe.read(UnixNanos(1)).unwrap();
        let counted = |target: &str| match reading.of(&TargetId::from(target)).unwrap() {
            TargetReading::Active {
                rows, hook_reason, ..
            } => {
                assert_eq!(hook_reason, "no interface");
                rows.iter().map(|row| (row.status, row.count)).collect()
            }
            other => panic!("{target} is not active: {other:?}"),
        };
        let counted: [Vec<_>; 2] = [counted("veth1"), counted("veth2")];
        assert_eq!(counted, [vec![(202, 9)], vec![(201, 7)]]);
    });
}

#[test]
fn what_comes_later_on_a_bypassed_node_is_counted_from_its_first_request() {
    let _alone = alone();
    on_a_node(|| {
        let (pods, mut probe) = bypassed_pods();
        let mut all = wanted(&pods[1], vec![Ok(inside(&pods[1]))]);
        probe.reconcile(all.clone()).unwrap();
        connect(&pods[0], &pods[1], 3);
        see(&mut probe);
        probe.reconcile(all.clone()).unwrap();
        all.extend(wanted(&pods[0], vec![Ok(inside(&pods[0]))]));
        all[1].target = "later".into();
        probe.reconcile(all).unwrap();
        connect(&pods[1], &pods[0], 1);
        let reading = probe.read(UnixNanos(1)).unwrap();
        match reading.of(&TargetId::from("later")).unwrap() {
            TargetReading::Active { hook, rows, .. } => {
                assert_eq!((*hook, rows[0].count), (Hook::PodNamespace, 1));
            }
            other => panic!("not active: {other:?}"),
        }
    });
}

#[test]
fn pod_that_only_sends_on_an_open_path_is_not_blind() {
    let _alone = alone();
    on_a_node(|| {
        let pod = Pod::start(1);
        let mut probe = Probe::load_with(small()).unwrap();
        probe.reconcile(wanted(&pod, Vec::new())).unwrap();
        let collector = TcpListener::bind("10.9.1.1:514").unwrap();
        let drained = thread::spawn(move || {
            let (mut stream, _) = collector.accept().unwrap();
            io::copy(&mut stream, &mut io::sink()).unwrap()
        });
        pod.within(|| {
            let mut stream = TcpStream::connect("10.9.1.1:514").unwrap();
            stream.set_nodelay(true).unwrap();
            for _ in 0..3 {
                (0..500).for_each(|_| stream.write_all(&[b'x'; 900]).unwrap());
                let seen = see(&mut probe);
                assert_eq!(seen.blind, None, "{:?}", seen.counters);
            }
        });
        assert_eq!(drained.join().unwrap(), 1500 * 900);
        let counters = see(&mut probe).counters;
        assert!(
            counters.segments_from_pod >= 300 && counters.segments_to_pod == 0,
            "the test sends one way: {counters:?}"
        );
    });
}

#[test]
fn namespace_of_an_ended_pod_is_let_go() {
    let _alone = alone();
    on_a_node(|| {
        let (end, ended) = channel::<()>();
        let (told, tid) = channel();
        let pod = thread::spawn(move || {
            lab::enter_new_namespace();
            // SAFETY: no pointer is passed.
            told.send(unsafe { libc::gettid() }).unwrap();
            let _ = ended.recv();
        });
        let tid = tid.recv().unwrap();
        ip(&format!(
            "link add peer7 index 77 type veth peer name veth7\nlink set peer7 netns {tid}\n"
        ));
        let path = PathBuf::from(format!("/proc/self/task/{tid}/ns/net"));
        let place = Inside {
            interface: Interface {
                name: "peer7".into(),
                index: 77,
            },
            inode: fs::metadata(&path).unwrap().ino(),
            path,
        };
        let wanted = || {
            vec![Wanted {
                target: "pod".into(),
                place: Place::Waiting("no interface".to_owned()),
                beyond: vec![Ok(Beyond::Inside(place.clone()))],
            }]
        };
        let mut probe = Probe::load_with(small()).unwrap();
        probe.reconcile(wanted()).unwrap();
        assert_eq!(see(&mut probe).hook, Hook::PodNamespace);
        drop(end);
        pod.join().unwrap();
        // A thread that was joined may still be on its way out.
        let deadline = Instant::now() + Duration::from_secs(10);
        while place.path.exists() {
            assert!(Instant::now() < deadline, "the thread is still there");
            thread::yield_now();
        }
        let changes = probe.reconcile(wanted()).unwrap();
        assert!(changes.refused[0].1.contains("it has ended"), "{changes:?}");
        // Nothing holds the namespace any more: the kernel removes it, and both ends of the veth with it.
        let deadline = Instant::now() + Duration::from_secs(10);
        while Interface::named("veth7").is_ok() {
            assert!(Instant::now() < deadline, "the namespace is still held");
            thread::yield_now();
        }
    });
}

/// A cgroup of this test, whose sockets are those that were made inside.
struct TestCgroup(PathBuf);

impl TestCgroup {
    /// Runs `work` with this process in a cgroup of its own, for a while: sockets belong to that in which they were
    /// opened, and those accepted to that of their listener.
    fn around<T>(work: impl FnOnce() -> T) -> (Self, T) {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let root = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(1).zip(line.split(' ').nth(2)))
            .find_map(|(path, kind)| (kind == "cgroup2").then_some(path))
            .expect("this test needs cgroups of version 2 (mount -t cgroup2 none /sys/fs/cgroup)");
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own
            .lines()
            .find_map(|line| line.strip_prefix("0::"))
            .unwrap();
        let cgroup = PathBuf::from(format!("{root}/owlk8s-test-{}", std::process::id()));
        fs::create_dir(&cgroup).unwrap();
        let enter = |directory: &Path| {
            fs::write(
                directory.join("cgroup.procs"),
                std::process::id().to_string(),
            )
            .unwrap();
        };
        enter(&cgroup);
        let made = work();
        enter(Path::new(&format!("{root}{own}")));
        (Self(cgroup), made)
    }
}

impl Drop for TestCgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// What comes in by this interface is worked on by the processor that its addresses choose, which is interrupted for it.
fn spread(interface: &str) {
    let all = (1u64 << thread::available_parallelism().unwrap().get().min(32)) - 1;
    let script = format!(
        "mount -t sysfs none /sys && echo {all:x} > /sys/class/net/{interface}/queues/rx-0/rps_cpus"
    );
    let status = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .status()
        .expect("this test needs `unshare` (apt install util-linux)");
    assert!(status.success(), "{script}: {status}");
}

#[test]
fn packet_that_interrupts_another_one_s_counting_is_counted_like_it() {
    let _alone = alone();
    on_a_node(|| {
        let (cgroup, server) = TestCgroup::around(|| Pod::start(2));
        let (client, open) = (Pod::start(1), Pod::start(3));
        for pod in [&client, &server, &open] {
            spread(&pod.interface);
            pod.within(|| spread(&peer(pod)));
        }
        bypass([&client, &server]);
        let on_cgroup = Beyond::Cgroup(Cgroup {
            path: cgroup.0.clone(),
        });
        let mut targets = wanted(&open, Vec::new());
        targets.push(Wanted {
            target: "in its cgroup".into(),
            place: Place::Waiting("no interface".to_owned()),
            beyond: vec![Ok(on_cgroup)],
        });
        let mut probe = Probe::load_with(small()).unwrap();
        probe.reconcile(targets).unwrap();
        let many = || [200, 404].into_iter().cycle().take(20_000);
        thread::scope(|scope| {
            (0..4).for_each(|_| drop(scope.spawn(|| get(open.servers[0], many()))));
            client.within(|| {
                thread::scope(|scope| {
                    (0..16).for_each(|_| drop(scope.spawn(|| get(server.servers[0], many()))));
                });
            });
        });
        let reading = probe.read(UnixNanos(1)).unwrap();
        for (target, place, each) in [
            ("pod", Hook::HostVeth, 40_000),
            ("in its cgroup", Hook::CgroupSkb, 160_000),
        ] {
            match reading.of(&TargetId::from(target)).unwrap() {
                TargetReading::Active {
                    hook,
                    counters,
                    rows,
                    ..
                } => {
                    assert_eq!(*hook, place);
                    let counts: BTreeMap<_, _> =
                        rows.iter().map(|row| (row.status, row.count)).collect();
                    let exact = BTreeMap::from([(200, each), (404, each)]);
                    assert_eq!(counts, exact, "{target}: {counters:?}");
                    assert_eq!(counters.losses.len(), 0, "{target}: {counters:?}");
                }
                other => panic!("{target} is not active: {other:?}"),
            }
        }
    });
}

#[test]
fn where_only_the_cgroup_is_permitted_counts_there_are_exact() {
    let _alone = alone();
    on_a_node(|| {
        let (cgroup, server) = TestCgroup::around(|| Pod::start(2));
        let pods = [Pod::start(1), server];
        bypass([&pods[0], &pods[1]]);
        let mut probe = Probe::load_with(small()).unwrap();
        let on_cgroup = Beyond::Cgroup(Cgroup {
            path: cgroup.0.clone(),
        });
        let wanted = wanted(&pods[1], vec![Ok(inside(&pods[1])), Ok(on_cgroup)]);
        probe.reconcile(wanted.clone()).unwrap();
        connect(&pods[0], &pods[1], 3);
        see(&mut probe);
        let neither = [Capability::CAP_SYS_ADMIN, Capability::CAP_NET_ADMIN];
        without(&neither, || probe.reconcile(wanted.clone()).unwrap());
        let blind = see(&mut probe).blind.unwrap();
        for capability in neither {
            assert!(
                blind.contains(&format!("{capability} is missing")),
                "{blind}"
            );
        }

        let changes = without(&neither[..1], || probe.reconcile(wanted.clone()).unwrap());
        assert_eq!(changes.moved.len(), 1, "{changes:?}");
        let server = pods[1].servers;
        pods[0].within(|| {
            thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        get(
                            server[0],
                            [200, 404, 200, 500].into_iter().cycle().take(2000),
                        )
                    });
                }
            });
        });
        get(server[1], [204; 3]);
        // What the pod tells itself is not counted at the other places either.
        pods[1].within(|| get(server[0], [201; 4]));
        let seen = see(&mut probe);
        assert_eq!((seen.hook, &seen.blind), (Hook::CgroupSkb, &None));
        for part in ["veth2 is bypassed", "CAP_SYS_ADMIN is missing"] {
            assert!(seen.hook_reason.contains(part), "{}", seen.hook_reason);
        }
        let exact = BTreeMap::from([(200, 8000), (204, 3), (404, 4000), (500, 4000)]);
        assert_eq!(seen.statuses, exact, "{:?}", seen.counters);
        assert_eq!(
            (seen.counters.started, seen.counters.losses.len()),
            (16_003, 0),
            "{:?}",
            seen.counters
        );
        probe.reconcile(Vec::new()).unwrap();
        get(server[1], [204]);
        assert_eq!(probe.entries().unwrap(), Entries::default());
    });
}

/// Of the namespace that this thread is in.
fn packet_sockets() -> usize {
    fs::read_to_string("/proc/thread-self/net/packet")
        .unwrap()
        .lines()
        .count()
        - 1
}
