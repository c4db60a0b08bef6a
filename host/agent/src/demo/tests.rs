use std::net::IpAddr;
use std::sync::Arc;

use owlk8s_discover::StaticTarget;
use owlk8s_discover::lab::Room;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::pods::Pod;
use super::tally::{Counts, Tally};
use super::*;

fn config() -> Config {
    Config::parse("demo", CONFIG, &|_| None).unwrap()
}

fn targets() -> Vec<StaticTarget> {
    config().discovery.fixed.unwrap().targets
}

#[test]
fn the_configuration_is_valid_and_means_the_pods_that_are_made() {
    config().discovery.validate().unwrap();
    let targets = targets();
    assert_eq!(targets.len(), PODS.len());
    for (target, pod) in targets.iter().zip(&PODS) {
        assert_eq!(target.pod, pod.name);
        let ips: Vec<IpAddr> = target.ips.iter().map(|ip| ip.parse().unwrap()).collect();
        assert_eq!(ips, [pod.ipv4(), pod.ipv6()]);
        assert!(
            target.interface.iter().all(|name| name == pod.port),
            "one is found by its address"
        );
    }
}

#[test]
fn the_ports_that_are_announced_are_those_of_the_configuration() {
    assert_eq!(config().admin.listen.port(), ADMIN_PORT);
    assert!(CONFIG.contains(&format!("127.0.0.1:{METRICS_PORT}")));
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let greeting = greeting(
        Some(Duration::from_secs(30)),
        at(ADMIN_PORT),
        at(METRICS_PORT),
    );
    assert!(
        greeting.contains("http://127.0.0.1:9466/metrics")
            && greeting.contains("30s, or with Ctrl-C"),
        "{greeting}"
    );
}

#[test]
fn checkout_fails_three_times_in_a_hundred_and_search_misses_nine_in_eighty_one() {
    let count = |pod: &Pod, requests: u64, status: u16| {
        (1..=requests)
            .filter(|n| pod.manner.status(*n) == status)
            .count()
    };
    let [cart, checkout, search] = &PODS;
    assert_eq!(count(cart, 1000, 200), 1000);
    assert_eq!(
        (count(checkout, 3300, 503), count(checkout, 3300, 504)),
        (80, 20)
    );
    assert_eq!(count(search, 81, 404), 9);
    assert_eq!(count(search, 70, 500), 1);
}

#[test]
fn delays_stay_in_their_range_and_differ() {
    for pod in &PODS {
        let (least, spread) = pod.manner.slow_us;
        let delays: std::collections::BTreeSet<u64> =
            (1..200).map(|n| pod.manner.delay_us(n)).collect();
        assert!(delays.len() > 50 && delays.iter().all(|d| (least..=least + spread).contains(d)));
    }
}

fn snapshot(totals: [(u64, u64, u64); 3]) -> truth::Snapshot {
    let target = |(pod, (requests, err4, err5)): (&Pod, (u64, u64, u64))| {
        serde_json::json!({"pod": pod.name, "status": "active",
            "totals": {"requests": requests, "err4": err4, "err5": err5, "aborted": 0}})
    };
    let targets: Vec<_> = PODS.iter().zip(totals).map(target).collect();
    serde_json::from_value(serde_json::json!({ "targets": targets, "window": {} })).unwrap()
}

fn counts((requests, err4, err5): (u64, u64, u64)) -> Counts {
    Counts {
        requests,
        err4,
        err5,
    }
}

#[test]
fn equal_means_that_all_three_agree_on_every_number() {
    let told = [(10, 1, 0), (20, 0, 2), (30, 3, 0)];
    let truth = told.map(counts);
    let same = truth::compare(&PODS, &truth, &truth, &snapshot(told));
    assert!(same.equal && verdict(&same).is_ok(), "{}", same.text);
    assert_eq!(same.text.matches("  equal").count(), 3);
    for wrong in [
        [(11, 1, 0), told[1], told[2]],
        [(10, 0, 0), told[1], told[2]],
        [(10, 1, 1), told[1], told[2]],
    ] {
        let differs = truth::compare(&PODS, &truth, &truth, &snapshot(wrong));
        assert!(
            !differs.equal && differs.text.contains("NOT EQUAL"),
            "{}",
            differs.text
        );
        assert!(verdict(&differs).is_err());
    }
    let mut fewer = truth;
    fewer[2].requests -= 1;
    assert!(!truth::compare(&PODS, &truth, &fewer, &snapshot(told)).equal);
}

#[test]
fn nothing_counted_is_not_equal() {
    let none = [Counts::default(); 3];
    assert!(!truth::compare(&PODS, &none, &none, &snapshot([(0, 0, 0); 3])).equal);
}

#[test]
fn a_tally_sorts_by_hundreds() {
    let tally = Tally::default();
    for status in [200, 204, 404, 499, 500, 503, 599] {
        tally.add(status);
    }
    assert_eq!(
        tally.counts(),
        Counts {
            requests: 7,
            err4: 2,
            err5: 3
        }
    );
}

/// Needs root, as all that makes network namespaces.
#[tokio::test]
async fn servers_and_clients_of_the_lab_agree_with_each_other() {
    let lab = Lab::up().await.unwrap();
    let traffic = lab.traffic();
    // Until there is something of each kind: a failure, a miss, an answer in chunks.
    let enough =
        |served: &[Counts]| served[0].requests > 50 && served[1].err5 > 0 && served[2].err4 > 0;
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while !enough(&lab.served()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited
        .await
        .unwrap_or_else(|_| panic!("too little traffic: {:?}", lab.served()));
    assert_eq!(traffic.stop().await.unwrap(), lab.served());
}

#[tokio::test]
async fn a_door_whose_port_is_taken_opens_on_another_and_says_where() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let door = Door::open(port).await.unwrap();
    let address = door.address().unwrap();
    assert_ne!(address.port(), port);
    assert!(greeting(None, address, address).contains(&format!("http://{address}/snapshot")));
}

/// Needs root, as all that makes network namespaces.
#[tokio::test]
async fn a_door_leads_to_the_same_port_of_the_namespace() {
    let node = Arc::new(Room::open("test-node").await.unwrap());
    let listening = TcpListener::bind(("127.0.0.1", ADMIN_PORT));
    let inside = node.run(listening).await.unwrap().unwrap();
    let answered = node.run(async move {
        let (mut visitor, _) = inside.accept().await.unwrap();
        visitor.write_all(b"from inside").await.unwrap();
    });
    let door = Door::open(ADMIN_PORT).await.unwrap();
    let address = door.address().unwrap();
    let _open = door.lead_to(&node);
    let visited = async {
        let mut bytes = Vec::new();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.read_to_end(&mut bytes).await.unwrap();
        bytes
    };
    let (answered, bytes) = tokio::join!(answered, visited);
    answered.unwrap();
    assert_eq!(bytes, b"from inside");
}
