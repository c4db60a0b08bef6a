use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use owlk8s_model::TargetId;

use super::*;
use crate::netlink::{Address, NamedNamespace};

/// A node, as far as the kernel would tell of it.
#[derive(Default)]
struct Node {
    links: Vec<Link>,
    routes: Vec<(IpAddr, Route)>,
    neighbours: Mutex<Vec<Neighbour>>,
    forwarding: Mutex<Vec<Forwarding>>,
    /// What the next datagram to an address teaches the kernel.
    lessons: Mutex<Vec<(IpAddr, Neighbour, Forwarding)>>,
    namespaces: Vec<NamedNamespace>,
    provoked: AtomicU32,
}

impl Netlink for Node {
    async fn links(&self) -> Result<Arc<[Link]>, NetlinkError> {
        Ok(self.links.clone().into())
    }
    async fn route(&self, ip: IpAddr) -> Result<Option<Route>, NetlinkError> {
        Ok(self
            .routes
            .iter()
            .find(|(to, _)| *to == ip)
            .map(|(_, route)| route.clone()))
    }
    async fn neighbours(&self) -> Result<Arc<[Neighbour]>, NetlinkError> {
        Ok(self.neighbours.lock().unwrap().clone().into())
    }
    async fn forwarding(&self) -> Result<Arc<[Forwarding]>, NetlinkError> {
        Ok(self.forwarding.lock().unwrap().clone().into())
    }
    async fn provoke(&self, ip: IpAddr) {
        self.provoked.fetch_add(1, Ordering::Relaxed);
        self.lessons
            .lock()
            .unwrap()
            .retain(|(of, neighbour, forwarding)| {
                if *of == ip {
                    self.neighbours.lock().unwrap().push(neighbour.clone());
                    self.forwarding.lock().unwrap().push(forwarding.clone());
                }
                *of != ip
            });
    }
    async fn named_namespaces(&self) -> Result<Arc<[NamedNamespace]>, NetlinkError> {
        Ok(self.namespaces.clone().into())
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn link(index: u32, name: &str, kind: LinkKind) -> Link {
    Link {
        index,
        name: name.to_owned(),
        kind,
        peer: None,
        controller: None,
    }
}

fn veth(index: u32, name: &str, nsid: i32) -> Link {
    let peer = Some(Peer {
        index: 2,
        nsid: Some(nsid),
    });
    Link {
        peer,
        ..link(index, name, LinkKind::Single("veth".to_owned()))
    }
}

fn port(index: u32, name: &str, nsid: i32) -> Link {
    Link {
        controller: Some(5),
        ..veth(index, name, nsid)
    }
}

fn target(ips: &[&str]) -> Target {
    Target {
        id: TargetId::from("shop/cart"),
        pod: "cart".to_owned(),
        uid: String::new(),
        namespace: "shop".to_owned(),
        workload: None,
        services: Vec::new(),
        ips: ips.iter().map(|text| ip(text)).collect(),
        interface: None,
        labels: std::collections::BTreeMap::new(),
    }
}

fn on_link(link: u32) -> Route {
    Route {
        local: false,
        link,
        gateway: None,
    }
}

fn mac(last: u8) -> Mac {
    Mac(vec![2, 0, 0, 0, 0, last])
}

/// Bridge 5 with the pods 10.0.0.11 on port 6 and 10.0.0.12 on port 7, and a way out through link 2.
fn bridged() -> Node {
    let teach = |last: u8, port: u32| {
        let ip = ip(&format!("10.0.0.{last}"));
        (
            ip,
            Neighbour {
                ip,
                link: 5,
                mac: mac(last),
            },
            Forwarding {
                mac: mac(last),
                port,
                bridge: 5,
            },
        )
    };
    Node {
        links: vec![
            link(1, "lo", LinkKind::Shared("physical".to_owned())),
            link(2, "eth0", LinkKind::Shared("physical".to_owned())),
            link(5, "cni0", LinkKind::Bridge),
            port(6, "veth6", 0),
            port(7, "veth7", 1),
        ],
        routes: vec![
            (ip("10.0.0.11"), on_link(5)),
            (ip("10.0.0.12"), on_link(5)),
            (ip("10.0.0.99"), on_link(5)),
            (
                ip("192.0.2.1"),
                Route {
                    gateway: Some(ip("198.51.100.1")),
                    ..on_link(2)
                },
            ),
            (ip("198.51.100.7"), on_link(2)),
            (
                ip("10.0.0.1"),
                Route {
                    local: true,
                    ..on_link(1)
                },
            ),
        ],
        lessons: Mutex::new(vec![teach(11, 6), teach(12, 7)]),
        ..Node::default()
    }
}

async fn found(node: &Node, ips: &[&str]) -> Interface {
    resolve(node, &target(ips)).await.unwrap()
}

async fn refused(node: &Node, ips: &[&str]) -> ResolveError {
    resolve(node, &target(ips)).await.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn a_bridge_port_is_found_after_one_provoked_answer() {
    let node = bridged();
    let interface = found(&node, &["10.0.0.12"]).await;
    assert_eq!(
        interface,
        Interface {
            name: "veth7".to_owned(),
            index: 7
        }
    );
    assert_eq!(node.provoked.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_kernel_knows_already_is_not_provoked() {
    let node = bridged();
    node.provoke(ip("10.0.0.11")).await;
    found(&node, &["10.0.0.11"]).await;
    assert_eq!(node.provoked.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_port_of_a_known_neighbour_is_provoked() {
    let node = bridged();
    node.provoke(ip("10.0.0.11")).await;
    let entry = node.forwarding.lock().unwrap().pop().unwrap();
    let neighbour = node.neighbours.lock().unwrap()[0].clone();
    node.lessons
        .lock()
        .unwrap()
        .push((ip("10.0.0.11"), neighbour, entry));
    assert_eq!(found(&node, &["10.0.0.11"]).await.index, 6);
    assert_eq!(node.provoked.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_silent_address_ends_after_bounded_attempts_and_may_be_tried_again() {
    let node = bridged();
    let error = refused(&node, &["10.0.0.99"]).await;
    assert!(
        error
            .to_string()
            .contains("10.0.0.99 does not answer on bridge cni0"),
        "{error}"
    );
    assert!(!error.is_permanent());
    assert_eq!(
        usize::try_from(node.provoked.load(Ordering::Relaxed)).unwrap(),
        WAITS_MS.len()
    );
}

#[tokio::test(start_paused = true)]
async fn a_forwarding_entry_of_another_bridge_is_not_the_answer() {
    let node = bridged();
    node.neighbours.lock().unwrap().push(Neighbour {
        ip: ip("10.0.0.99"),
        link: 5,
        mac: mac(99),
    });
    node.forwarding.lock().unwrap().push(Forwarding {
        mac: mac(99),
        port: 6,
        bridge: 50,
    });
    let error = refused(&node, &["10.0.0.99"]).await;
    assert!(
        error
            .to_string()
            .contains("has not learned the port of 10.0.0.99 (02:00:00:00:00:63)"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_bridge_port_that_many_share_is_not_the_answer() {
    let mut node = bridged();
    node.links[1].controller = Some(5);
    node.neighbours.lock().unwrap().push(Neighbour {
        ip: ip("10.0.0.99"),
        link: 5,
        mac: mac(99),
    });
    node.forwarding.lock().unwrap().push(Forwarding {
        mac: mac(99),
        port: 2,
        bridge: 5,
    });
    let error = refused(&node, &["10.0.0.99"]).await;
    assert!(
        error.to_string().contains("goes through eth0 (physical)"),
        "{error}"
    );
}

#[tokio::test]
async fn a_route_to_a_veth_is_the_answer() {
    let node = Node {
        links: vec![veth(9, "cali9", 3)],
        routes: vec![(ip("10.8.0.3"), on_link(9)), (ip("fd88::3"), on_link(9))],
        ..Node::default()
    };
    assert_eq!(found(&node, &["10.8.0.3"]).await.name, "cali9");
    assert_eq!(found(&node, &["fd88::3"]).await.name, "cali9");
}

#[tokio::test]
async fn a_gateway_or_a_shared_link_is_not_one_pods_own() {
    let node = bridged();
    let error = refused(&node, &["192.0.2.1"]).await;
    assert!(
        error.to_string().contains("eth0 (gateway 198.51.100.1)"),
        "{error}"
    );
    let error = refused(&node, &["198.51.100.7"]).await;
    assert!(error.to_string().contains("eth0 (physical)"), "{error}");
    assert!(
        error.to_string().contains("give `interface = \"eth0\"`"),
        "{error}"
    );
    assert!(!error.is_permanent(), "the pod may come");
}

#[tokio::test]
async fn the_machines_own_address_needs_a_person() {
    let error = refused(&bridged(), &["10.0.0.1"]).await;
    assert!(
        error
            .to_string()
            .contains("an address of this machine itself"),
        "{error}"
    );
    assert!(error.is_permanent());
}

#[tokio::test(start_paused = true)]
async fn a_second_address_serves_where_the_first_does_not() {
    assert_eq!(
        found(&bridged(), &["192.0.2.1", "10.0.0.11"]).await.index,
        6
    );
}

#[tokio::test]
async fn a_mounted_namespace_that_owns_the_address_is_matched_by_id_and_index() {
    let owner = |nsid, of: &str| NamedNamespace {
        nsid,
        addresses: vec![Address {
            link: 2,
            ip: ip(of),
        }],
    };
    let mut node = bridged();
    node.namespaces = vec![
        owner(Some(0), "10.5.0.1"),
        owner(Some(1), "10.5.0.2"),
        owner(None, "10.5.0.3"),
    ];
    assert_eq!(
        found(&node, &["10.5.0.2"]).await.name,
        "veth7",
        "not veth6, whose peer has index 2 as well"
    );
    let error = refused(&node, &["10.5.0.3"]).await;
    assert!(
        error.to_string().contains("there is no route to 10.5.0.3"),
        "{error}"
    );
}

#[tokio::test]
async fn a_name_is_taken_only_if_it_is_there() {
    let node = bridged();
    let mut wanted = target(&[]);
    wanted.interface = Some("veth6".to_owned());
    assert_eq!(
        resolve(&node, &wanted).await.unwrap(),
        Interface {
            name: "veth6".to_owned(),
            index: 6
        }
    );
    wanted.interface = Some("vhp1".to_owned());
    let error = resolve(&node, &wanted).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("interface vhp1 of target shop/cart does not exist"),
        "{error}"
    );
    assert!(
        error.to_string().contains("lo, eth0, cni0, veth6, veth7"),
        "{error}"
    );
    assert!(error.is_permanent());
}

#[tokio::test]
async fn without_name_and_address_there_is_nothing_to_go_by() {
    let error = refused(&bridged(), &[]).await;
    assert!(matches!(error, ResolveError::NoAddress { .. }) && error.is_permanent());
}
