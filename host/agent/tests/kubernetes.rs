//! The agent on a node of a cluster: an API server that speaks the real protocol, pods that the real network plugins
//! wired, and traffic whose truth the pods' own servers count.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test panics where it fails, and says what it measured"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::{Agent, Cni, CniPod, Lab, within};
use owlk8s_apiserver::{ApiServer, Settings, deployment, node, service};
use serde_json::{Value, json};

/// A node `n1` of a cluster.
struct Node {
    lab: Lab,
    server: ApiServer,
}

impl Node {
    /// With the service `cart` over `app: cart` in namespace `shop`.
    fn new() -> Self {
        // On the node's own loopback, where its agent asks.
        Self::with(Lab::bare(), "node", Settings::default())
    }

    /// With an API server that listens as `settings` say on the host `at`.
    fn with(lab: Lab, at: &str, settings: Settings) -> Self {
        let server = lab.inside(at, || settings.start().unwrap()).unwrap();
        let cluster = server.cluster();
        cluster.add(node("n1"));
        cluster.add(service("shop", "cart").selecting([("app", "cart")]));
        Self { lab, server }
    }

    fn config(&self) -> String {
        let kubeconfig = self.lab.dir.path().join("kubeconfig");
        self.server.kubeconfig(&kubeconfig).unwrap();
        format!(
            "node = \"n1\"\ninterval = \"200ms\"\n[discovery.kubernetes]\nkubeconfig = {kubeconfig:?}\n"
        )
    }

    /// A pod of the Deployment `cart`, as the scheduler and the kubelet would make one: its object and its wires.
    fn pod(&self, cni: Cni, dual_stack: bool) -> CniPod<'_> {
        let cluster = self.server.cluster();
        let born = deployment("shop", "cart")
            .on("n1")
            .each(|pod| pod.phase("Pending"));
        let name = cluster.add(born).remove(0);
        let pod = CniPod::start(&self.lab, cni, &name, dual_stack);
        let object = cluster.pod("shop", &name);
        let ips: Vec<String> = pod.ips.iter().map(ToString::to_string).collect();
        match &ips[..] {
            [one] => object.set_ips([one]),
            [one, other] => object.set_ips([one, other]),
            none => panic!("{none:?}"),
        };
        object.set_phase("Running");
        pod
    }
}

/// Waits until the agent has attached to it.
fn attached(agent: &Agent<'_>, pod: &CniPod<'_>) -> Value {
    within(Duration::from_secs(5), "the pod is attached", || {
        let snapshot = agent.snapshot();
        let targets = snapshot["targets"].as_array().unwrap();
        let target = targets.iter().find(|target| target["pod"] == *pod.name);
        match target {
            Some(target) if !target["hook"].is_null() => Ok(target.clone()),
            other => Err(format!("{other:?}\n{}", agent.log())),
        }
    })
}

fn counts_are_exact(cni: Cni, dual_stack: bool) {
    let node = Node::new();
    let agent = Agent::start(&node.lab, &node.config());
    let pods: Vec<_> = (0..3).map(|_| node.pod(cni, dual_stack)).collect();
    let born = Instant::now();
    for pod in &pods {
        let target = attached(&agent, pod);
        assert_eq!(target["namespace"], "shop");
        assert_eq!(
            target["workload"],
            json!({"kind": "Deployment", "name": "cart"})
        );
        assert_eq!(target["services"], json!(["cart"]));
        assert_eq!(
            target["totals"]["requests"], 0,
            "a series from discovery on: {target}"
        );
    }
    println!(
        "{cni:?}: 3 pods attached {:?} after the last one's wires",
        born.elapsed()
    );
    assert!(born.elapsed() < Duration::from_secs(2));
    for (at, pod) in pods.iter().enumerate() {
        for ip in &pod.ips {
            pod.ask(*ip, 50 * (at as u64 + 1));
        }
    }
    for pod in &pods {
        within(Duration::from_secs(3), "all requests are counted", || {
            let target = agent.pod(&pod.name);
            let totals = &target["totals"];
            if totals["requests"] == pod.answered() && totals["seen"] == totals["requests"] {
                Ok(())
            } else {
                Err(format!("{} answered, {target}", pod.answered()))
            }
        });
    }
}

#[test]
fn pods_on_a_bridge_are_found_and_counted_exactly() {
    counts_are_exact(Cni::Bridge, false);
}

#[test]
fn dual_stack_pods_on_a_bridge_are_counted_over_both_addresses() {
    counts_are_exact(Cni::Bridge, true);
}

#[test]
fn routed_pods_are_found_and_counted_exactly() {
    counts_are_exact(Cni::Ptp, false);
}

#[test]
fn dual_stack_routed_pods_are_counted_over_both_addresses() {
    counts_are_exact(Cni::Ptp, true);
}

/// Packet sockets of the node.
fn sockets(lab: &Lab) -> usize {
    let lines = lab.inside("node", || {
        std::fs::read_to_string("/proc/thread-self/net/packet").unwrap()
    });
    lines.unwrap().lines().count() - 1
}

/// File descriptors of the agent.
fn descriptors(agent: &Agent<'_>) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", agent.pid()))
        .unwrap()
        .count()
}

/// What the agent has asked of the API server so far.
fn asked(agent: &Agent<'_>) -> u64 {
    let (_, metrics) = agent.get("/metrics").unwrap();
    let lines = metrics.lines();
    let of = lines.filter_map(|line| line.strip_prefix("owlk8s_kubernetes_requests_total{"));
    of.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

fn bpftool(arguments: &[&str]) -> Value {
    let output = Command::new("/usr/sbin/bpftool")
        .arg("--json")
        .args(arguments)
        .output()
        .expect("bpftool is missing: apt-get install bpftool");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// How many entries the agent's hash tables in the kernel have, by name.
fn entries(agent: &Agent<'_>) -> BTreeMap<String, usize> {
    let infos = std::fs::read_dir(format!("/proc/{}/fdinfo", agent.pid())).unwrap();
    // A descriptor may be gone meanwhile.
    let infos = infos.filter_map(|info| std::fs::read_to_string(info.unwrap().path()).ok());
    let ids: BTreeSet<String> = infos
        .filter_map(|info| {
            let id = info.lines().find_map(|line| line.strip_prefix("map_id:"))?;
            Some(id.trim().to_owned())
        })
        .collect();
    let tables = ids.iter().filter_map(|id| {
        let table = bpftool(&["map", "show", "id", id]);
        table["type"].as_str()?.ends_with("hash").then(|| {
            let all = bpftool(&["map", "dump", "id", id]);
            let name = table["name"].as_str().unwrap().to_owned();
            (name, all.as_array().unwrap().len())
        })
    });
    tables.collect()
}

/// Ten pods come, are asked on all their addresses at once, and go. What was counted of them.
fn ten_come_and_go(node: &Node, agent: &Agent<'_>, cni: Cni, dual_stack: bool) -> u64 {
    let pods: Vec<_> = (0..10).map(|_| node.pod(cni, dual_stack)).collect();
    for pod in &pods {
        attached(agent, pod);
    }
    std::thread::scope(|scope| {
        for pod in &pods {
            for &ip in &pod.ips {
                scope.spawn(move || pod.ask(ip, 200 / pod.ips.len() as u64));
            }
        }
    });
    let mut counted = 0;
    for pod in pods {
        let target = counted_exactly(agent, &pod);
        counted += target["totals"]["requests"].as_u64().unwrap();
        node.server.cluster().delete_pod("shop", &pod.name);
    }
    counted
}

/// Waits until all that the pod has answered is counted.
fn counted_exactly(agent: &Agent<'_>, pod: &CniPod<'_>) -> Value {
    let target = within(Duration::from_secs(3), "all requests are counted", || {
        let target = agent.pod(&pod.name);
        if target["totals"]["requests"] == pod.answered() {
            Ok(target)
        } else {
            Err(format!("{} answered, {target}", pod.answered()))
        }
    });
    assert_eq!(target["totals"]["losses"], json!({}), "{target}");
    target
}

/// A hundred pods come and go, twenty at a time, while another one that stays is under load.
fn churn(cni: Cni) {
    let node = Node::new();
    let agent = Agent::start(&node.lab, &node.config());
    agent.ready();
    let before = (sockets(&node.lab), descriptors(&agent));
    let empty = entries(&agent);
    within(
        Duration::from_secs(5),
        "five lists and five watches",
        || match asked(&agent) {
            10 => Ok(()),
            other => Err(other.to_string()),
        },
    );
    let stays = node.pod(cni, true);
    attached(&agent, &stays);
    let over = AtomicBool::new(false);
    let rounds = || -> u64 {
        let rounds = (0..5).map(|round| ten_come_and_go(&node, &agent, cni, round % 2 == 1));
        rounds.sum()
    };
    let counted = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                stays.ips.iter().for_each(|&ip| stays.ask(ip, 20));
                // Leaves the processors to the others.
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let both = [(); 2].map(|()| scope.spawn(rounds));
        let counted = both.map(ScopedJoinHandle::join);
        over.store(true, Ordering::Relaxed);
        counted.map(Result::unwrap).into_iter().sum::<u64>()
    });
    assert_eq!(counted, 100 * 200);
    let stayed = counted_exactly(&agent, &stays)["totals"]["requests"].clone();
    node.server.cluster().churn_elsewhere(1000);
    let pod = node.pod(cni, false);
    // What happened before is known when this is.
    attached(&agent, &pod);
    for pod in [stays, pod] {
        node.server.cluster().delete_pod("shop", &pod.name);
    }
    assert_eq!(
        asked(&agent),
        10,
        "no request for 102 pods here and 1,000 elsewhere"
    );
    within(
        Duration::from_secs(5),
        "what the pods took is given back",
        || {
            let now = (sockets(&node.lab), descriptors(&agent));
            let targets = agent.snapshot()["targets"].as_array().unwrap().len();
            let tables = entries(&agent);
            // One of those before may have been an answer on its way.
            if now.0 == before.0 && now.1 <= before.1 && targets == 0 && tables == empty {
                Ok(())
            } else {
                Err(format!(
                    "sockets and descriptors {before:?} before, {now:?} now, {targets} targets\n\
                     entries {empty:?} before, {tables:?} now\n{}",
                    agent.log()
                ))
            }
        },
    );
    println!(
        "{cni:?}: 100 pods came and went, {counted} of {counted} requests, and {stayed} of one that stayed; \
         sockets and descriptors {before:?} before and after, entries {empty:?} before and after"
    );
}

#[test]
fn a_hundred_pods_come_and_go_on_a_bridge_and_nothing_is_lost_or_left() {
    churn(Cni::Bridge);
}

#[test]
fn a_hundred_routed_pods_come_and_go_and_nothing_is_lost_or_left() {
    churn(Cni::Ptp);
}

#[test]
fn a_pod_is_let_go_within_an_interval_when_it_is_ignored_and_taken_back_after() {
    let node = Node::new();
    let agent = Agent::start(&node.lab, &node.config());
    let pod = node.pod(Cni::Bridge, false);
    attached(&agent, &pod);
    let object = node.server.cluster().pod("shop", &pod.name);
    object.annotate("owlk8s/ignore", "true");
    within(Duration::from_secs(2), "the pod is let go", || {
        match (
            sockets(&node.lab),
            agent.snapshot()["targets"].as_array().unwrap().len(),
        ) {
            (0, 0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    object.unannotate("owlk8s/ignore");
    attached(&agent, &pod);
}

#[test]
fn counting_goes_on_while_the_api_server_is_away() {
    let node = Node::new();
    let agent = Agent::start(&node.lab, &node.config());
    let pod = node.pod(Cni::Ptp, false);
    attached(&agent, &pod);
    node.server.go_down();
    within(Duration::from_secs(20), "the agent says so once", || {
        let log = agent.log();
        match log.matches("API server does not answer").count() {
            1 => Ok(()),
            other => Err(format!("{other} times\n{log}")),
        }
    });
    pod.ask(pod.ips[0], 100);
    within(Duration::from_secs(3), "requests are counted", || {
        let target = agent.pod(&pod.name);
        if target["totals"]["requests"] == 100 {
            Ok(())
        } else {
            Err(target.to_string())
        }
    });
    node.server.come_back();
    within(
        Duration::from_secs(60),
        "the agent says that it is back",
        || {
            let log = agent.log();
            if log.contains("API server answers again") {
                Ok(())
            } else {
                Err(log)
            }
        },
    );
    assert_eq!(agent.log().matches("API server does not answer").count(), 1);
}

/// Sends what goes to the API server's machine nowhere: no answer, no reset, no unreachable.
fn lose(node: &Node, machine: &str) {
    let done = node
        .lab
        .command("node", "ip")
        .args(["neigh", "replace", machine, "lladdr", "02:00:00:00:00:99"])
        .args(["dev", "br0", "nud", "permanent"])
        .status();
    assert!(done.unwrap().success());
}

fn find(node: &Node, machine: &str) {
    let done = node
        .lab
        .command("node", "ip")
        .args(["neigh", "del", machine, "dev", "br0"])
        .status();
    assert!(done.unwrap().success());
}

#[test]
fn an_api_server_whose_machine_dies_without_a_word_is_missed() {
    let lab = Lab::new(0);
    let machine = lab.ip("c1");
    let settings = Settings {
        address: format!("{machine}:0").parse().unwrap(),
        ..Settings::default()
    };
    let node = Node::with(lab, "c1", settings);
    let agent = Agent::start(&node.lab, &node.config());
    let pod = node.pod(Cni::Ptp, false);
    attached(&agent, &pod);
    lose(&node, &machine);
    let died = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let missed = Instant::now();
    within(Duration::from_secs(90), "the agent says so", || {
        let log = agent.log();
        if log.contains("API server does not answer") {
            Ok(())
        } else {
            Err(log)
        }
    });
    println!("missed after {:?}", missed.elapsed());
    let confirmed = |agent: &Agent<'_>| {
        let at = agent.snapshot()["targets_confirmed_at"].as_u64().unwrap();
        Duration::from_nanos(at)
    };
    // What was confirmed before it was noticed is taken back.
    within(
        Duration::from_secs(5),
        "the targets are as old as that",
        || match confirmed(&agent).checked_sub(died) {
            Some(after) if after > Duration::from_secs(5) => Err(format!("{after:?} younger")),
            _ => Ok(()),
        },
    );
    pod.ask(pod.ips[0], 100);
    within(Duration::from_secs(3), "counting goes on", || {
        let target = agent.pod(&pod.name);
        if target["totals"]["requests"] == 100 {
            Ok(())
        } else {
            Err(target.to_string())
        }
    });
    find(&node, &machine);
    within(Duration::from_secs(120), "it is found again", || {
        let log = agent.log();
        if log.contains("API server answers again") && confirmed(&agent) > died {
            Ok(())
        } else {
            Err(log)
        }
    });
    assert_eq!(agent.log().matches("API server does not answer").count(), 1);
}

#[test]
fn a_pod_whose_sandbox_is_made_anew_is_counted_on_at_its_new_address() {
    for cni in [Cni::Bridge, Cni::Ptp] {
        let node = Node::new();
        let agent = Agent::start(&node.lab, &node.config());
        let mut pod = node.pod(cni, false);
        let before = attached(&agent, &pod);
        let old = pod.ips[0];
        pod.ask(old, 10);
        pod.wire_anew();
        let new = pod.ips[0];
        assert_ne!(new, old);
        let object = node.server.cluster().pod("shop", &pod.name);
        object.set_ips([new.to_string().as_str()]);
        within(
            Duration::from_secs(10),
            "it is read on its new link",
            || {
                let target = agent.pod(&pod.name);
                let moved =
                    target["ips"] == json!([new]) && target["interface"] != before["interface"];
                if moved && !target["hook"].is_null() {
                    Ok(())
                } else {
                    Err(format!("{target}\n{}", agent.log()))
                }
            },
        );
        pod.ask(new, 20);
        within(Duration::from_secs(3), "all requests are counted", || {
            let target = agent.pod(&pod.name);
            if target["totals"]["requests"] == 30 {
                Ok(())
            } else {
                Err(target.to_string())
            }
        });
    }
}

#[test]
fn own_metrics_count_what_is_asked_of_the_api_server() {
    let node = Node::new();
    let agent = Agent::start(&node.lab, &node.config());
    let pod = node.pod(Cni::Ptp, false);
    attached(&agent, &pod);
    let (_, metrics) = agent.get("/metrics").unwrap();
    for line in [
        "owlk8s_kubernetes_requests_total{verb=\"list\",resource=\"pods\",status=\"200\"} 1",
        "owlk8s_kubernetes_requests_total{verb=\"watch\",resource=\"pods\",status=\"200\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    common::agent::promtool(&metrics);
}

/// Kilobytes of a process: resident now, and at most so far.
fn resident(pid: u32) -> [u64; 2] {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    ["VmRSS:", "VmHWM:"].map(|key| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let number = line.unwrap().split_whitespace().next().unwrap();
        number.parse().unwrap()
    })
}

/// A cluster of 5,000 services and 100,000 pods, 250 of them here: what the agent takes, and what it asks the API server
/// for at its start, in `OWLK8S_MINUTES` (1) without change, and while 100 pods come and go here and 1,000 elsewhere.
#[test]
#[ignore = "a measurement"]
fn what_a_large_cluster_costs() {
    let minutes = std::env::var("OWLK8S_MINUTES").map_or(1, |minutes| minutes.parse().unwrap());
    let node = Node::new();
    let cluster = node.server.cluster();
    cluster.fill(400, 250, 5_000);
    let config = node.config().replace("\"n1\"", "\"node-0\"");
    let agent = Agent::start(&node.lab, &config);
    let targets = || agent.snapshot()["targets"].as_array().unwrap().len();
    let found = within(
        Duration::from_secs(60),
        "the pods are found",
        || match targets() {
            0 => Err("none".to_owned()),
            some => Ok(some),
        },
    );
    let asked = |when: &str| {
        let counts = node.server.counts();
        let sum: usize = counts.values().sum();
        println!("{when}: {sum} requests {counts:?}");
        node.server.forget_requests();
    };
    std::thread::sleep(Duration::from_secs(10));
    println!("{found} targets behind services of 250 pods here");
    asked("start");
    std::thread::sleep(Duration::from_secs(60 * minutes));
    asked(&format!("{minutes} minutes without change"));
    for index in 0..100 {
        let [name] = &cluster.add(deployment("shop", "cart").on("node-0"))[..] else {
            panic!("one pod each");
        };
        cluster
            .pod("shop", name)
            .set_ips([&*format!("10.126.0.{index}")]);
        cluster.churn_elsewhere(10);
        cluster.pod("shop", name).delete();
    }
    std::thread::sleep(Duration::from_secs(10));
    assert_eq!(targets(), found, "those that came are gone");
    asked("100 pods come and gone here, 1,000 elsewhere");
    println!(
        "agent: resident KiB now and at most {:?}",
        resident(agent.pid())
    );
    for child in agent.children() {
        println!("plugin process: {:?}", resident(child));
    }
}
