//! Discovery against the kernel, on nodes of network namespaces made here. Needs root and iproute2.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use owlk8s_discover::{DiscoveryConfig, Interfaces, ResolveError, Surroundings, discover};
use owlk8s_model::{Target, TargetId, TargetSet};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use tokio::sync::watch;
use tokio::time::timeout;

use node::{Node, ip, on_a_node};

#[path = "namespaces/node.rs"]
mod node;

/// Longer than any step takes on a busy machine; only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(20);

fn target(ips: &[&str]) -> Target {
    Target {
        id: TargetId::from("shop/cart"),
        pod: "cart".to_owned(),
        uid: String::new(),
        namespace: "shop".to_owned(),
        workload: None,
        services: Vec::new(),
        ips: ips
            .iter()
            .map(|ip| ip.parse().expect("an address"))
            .collect(),
        interface: None,
        labels: BTreeMap::new(),
    }
}

async fn interface_of(ips: &[&str]) -> Result<String, ResolveError> {
    let interfaces = Interfaces::new().expect("a netlink socket");
    let interface = interfaces.resolve(&target(ips)).await?;
    assert_ne!(interface.index, 0);
    Ok(interface.name)
}

async fn refusal(ips: &[&str]) -> String {
    interface_of(ips)
        .await
        .expect_err("no interface")
        .to_string()
}

#[test]
fn bridge_ports_are_found_by_either_address_without_earlier_traffic() {
    on_a_node(|node| async move {
        let node = node.with_bridge();
        node.bridged_pod("cart", 11);
        node.bridged_pod("search", 12);
        for (address, expected) in [
            ("10.77.0.12", "vh-search"),
            ("fd77::11", "vh-cart"),
            ("10.77.0.11", "vh-cart"),
            ("fd77::12", "vh-search"),
        ] {
            assert_eq!(
                interface_of(&[address]).await.expect(address),
                expected,
                "{address}"
            );
        }
    });
}

#[test]
fn many_targets_can_be_looked_up_at_once() {
    on_a_node(|node| async move {
        let node = node.with_bridge();
        for last in 11..19 {
            node.bridged_pod(&format!("pod{last}"), last);
        }
        let interfaces = Arc::new(Interfaces::new().expect("a netlink socket"));
        let mut asked = tokio::task::JoinSet::new();
        for last in (11..19).cycle().take(64) {
            let interfaces = Arc::clone(&interfaces);
            asked.spawn(async move {
                let found = interfaces
                    .resolve(&target(&[&format!("10.77.0.{last}")]))
                    .await;
                assert_eq!(found.expect("found").name, format!("vh-pod{last}"));
            });
        }
        while let Some(done) = asked.join_next().await {
            done.expect("each has its own");
        }
    });
}

#[test]
fn a_port_that_the_bridge_has_forgotten_is_learned_again() {
    on_a_node(|node| async move {
        let node = node.with_bridge();
        node.bridged_pod("cart", 11);
        interface_of(&["10.77.0.11"]).await.expect("found at first");
        ip("link set vh-cart type bridge_slave fdb_flush");
        assert_eq!(
            interface_of(&["10.77.0.11"]).await.expect("found again"),
            "vh-cart"
        );
    });
}

#[test]
fn a_pod_that_is_down_says_so_and_is_found_once_it_is_up() {
    on_a_node(|node| async move {
        let node = node.with_bridge();
        node.bridged_pod("cart", 11);
        ip("-n cart link set eth0 down");
        let error = interface_of(&["10.77.0.12"])
            .await
            .expect_err("nobody there");
        assert!(
            error
                .to_string()
                .contains("10.77.0.12 does not answer on bridge br0"),
            "{error}"
        );
        assert!(!error.is_permanent());
        ip("-n cart link set eth0 up");
        assert_eq!(interface_of(&["10.77.0.11"]).await.expect("up"), "vh-cart");
    });
}

#[test]
fn routed_veths_are_found_by_either_address() {
    on_a_node(|node| async move {
        node.routed_pod("cart", 11);
        node.routed_pod("search", 12);
        for (address, expected) in [
            ("10.88.0.12", "vh-search"),
            ("fd88::12", "vh-search"),
            ("10.88.0.11", "vh-cart"),
            ("fd88::11", "vh-cart"),
        ] {
            assert_eq!(
                interface_of(&[address]).await.expect(address),
                expected,
                "{address}"
            );
        }
    });
}

#[test]
fn an_address_without_a_route_is_found_in_the_namespace_that_owns_it() {
    on_a_node(|node| async move {
        node.unrouted_pod("cart", 11);
        node.unrouted_pod("search", 12);
        node.unrouted_pod("checkout", 13);
        assert_eq!(
            interface_of(&["10.88.0.12"]).await.expect("found"),
            "vh-search"
        );
        assert_eq!(
            interface_of(&["fd88::13"]).await.expect("found"),
            "vh-checkout"
        );
        assert!(
            refusal(&["10.88.0.14"])
                .await
                .contains("no route to 10.88.0.14")
        );
    });
}

#[test]
fn what_does_not_run_here_is_told_from_what_does() {
    on_a_node(|node| async move {
        let node = node.with_bridge();
        node.bridged_pod("router", 254);
        ip("link add lower0 type veth peer name lower1");
        ip("link set lower0 up");
        ip("link add link lower0 name wan0 type macvlan");
        ip("addr add 198.51.100.2/24 dev wan0");
        ip("link set wan0 up");
        ip("route add default via 198.51.100.1");
        ip("route add 10.99.0.0/16 via 10.77.0.254");
        assert!(
            refusal(&["192.0.2.9"])
                .await
                .contains("wan0 (gateway 198.51.100.1)")
        );
        assert!(refusal(&["198.51.100.9"]).await.contains("wan0 (macvlan)"));
        assert!(
            refusal(&["10.99.0.1"])
                .await
                .contains("br0 (gateway 10.77.0.254)")
        );
        assert!(
            refusal(&["10.77.0.1"])
                .await
                .contains("an address of this machine itself")
        );
    });
}

#[test]
fn a_blackholed_address_has_no_route() {
    on_a_node(|_| async {
        ip("route add blackhole 203.0.113.1/32");
        ip("route add unreachable 203.0.113.2/32");
        for address in ["203.0.113.1", "203.0.113.2", "203.0.113.3", "2001:db8::1"] {
            assert!(
                refusal(&[address])
                    .await
                    .contains(&format!("no route to {address}"))
            );
        }
    });
}

#[test]
fn a_named_interface_that_is_not_there_names_those_that_are() {
    on_a_node(|node| async move {
        node.routed_pod("cart", 11);
        let wanted = Target {
            interface: Some("vhp1".to_owned()),
            ..target(&["10.88.0.11"])
        };
        let error = Interfaces::new()
            .expect("a netlink socket")
            .resolve(&wanted)
            .await
            .expect_err("not there");
        assert!(
            error
                .to_string()
                .contains("interface vhp1 of target shop/cart does not exist"),
            "{error}"
        );
        assert!(error.to_string().contains("lo, vh-cart"), "{error}");
    });
}

fn host_only() -> DiscoveryConfig {
    // The interval plays no part: what changes is seen by its events.
    toml::from_str("[host]\nrescan = \"1h\"").expect("a configuration")
}

fn names(set: &TargetSet) -> Vec<&str> {
    let mut names: Vec<_> = set
        .targets
        .iter()
        .map(|target| target.pod.as_str())
        .collect();
    names.sort_unstable();
    names
}

async fn start(config: &DiscoveryConfig) -> watch::Receiver<Arc<TargetSet>> {
    let discovery = discover(config, &Surroundings::default()).await;
    discovery.expect("discovery starts").sets
}

async fn until(
    watched: &mut watch::Receiver<Arc<TargetSet>>,
    wanted: impl Fn(&TargetSet) -> bool,
) -> Arc<TargetSet> {
    let found = timeout(PATIENCE, watched.wait_for(|set| wanted(set))).await;
    let found = found.map(|set| Arc::clone(&set.expect("discovery goes on")));
    found.unwrap_or_else(|_| panic!("still {:?}", watched.borrow()))
}

fn find<'a>(set: &'a TargetSet, pod: &str) -> &'a Target {
    set.targets
        .iter()
        .find(|target| target.pod == pod)
        .unwrap_or_else(|| panic!("{pod} in {set:?}"))
}

#[test]
fn the_host_source_finds_what_lives_in_other_namespaces_with_name_and_addresses() {
    on_a_node(|node| async move {
        let node = node.with_bridge();
        node.bridged_pod("cart", 11);
        node.routed_pod("search", 12);
        ip("link add here0 type veth peer name here1");
        let watched = start(&host_only()).await;
        let set = Arc::clone(&watched.borrow());
        assert_eq!(
            names(&set),
            ["cart", "search"],
            "and no veth with both ends here"
        );
        let cart = find(&set, "cart");
        assert_eq!(cart.interface.as_deref(), Some("vh-cart"));
        let expected: Vec<IpAddr> = vec![
            "10.77.0.11".parse().expect("v4"),
            "fd77::11".parse().expect("v6"),
        ];
        assert_eq!(cart.ips, expected);
    });
}

#[test]
fn the_host_source_follows_what_comes_and_goes() {
    on_a_node(|node| async move {
        node.routed_pod("cart", 11);
        let mut watched = start(&host_only()).await;
        let first = Arc::clone(&watched.borrow());
        assert_eq!(names(&first), ["cart"]);

        node.routed_pod("search", 12);
        let second = until(&mut watched, |set| names(set) == ["cart", "search"]).await;
        assert!(second.confirmed_at > first.confirmed_at);
        assert_eq!(find(&second, "cart").id, find(&first, "cart").id);

        node.end("cart");
        until(&mut watched, |set| names(set) == ["search"]).await;

        node.routed_pod("cart", 11);
        let last = until(&mut watched, |set| names(set) == ["cart", "search"]).await;
        assert_ne!(
            find(&last, "cart").id,
            find(&first, "cart").id,
            "another one of the same name"
        );
    });
}

#[test]
fn addresses_that_come_late_are_seen_without_an_event_here() {
    on_a_node(|node| async move {
        node.routed_pod("cart", 11);
        let mut watched = start(&host_only()).await;
        node.routed_pod("search", 12);
        until(&mut watched, |set| names(set) == ["cart", "search"]).await;
        ip("-n search addr add 10.88.0.99/32 dev eth0");
        let late: IpAddr = "10.88.0.99".parse().expect("an address");
        until(&mut watched, |set| find(set, "search").ips.contains(&late)).await;
    });
}

#[test]
fn without_the_right_to_enter_addresses_come_from_this_sides_tables() {
    on_a_node(|node| async move {
        let node = node.with_bridge();
        node.routed_pod("search", 12);
        node.bridged_pod("cart", 11);
        interface_of(&["10.77.0.11"])
            .await
            .expect("the bridge learns");
        let mut held = capabilities(None).expect("capabilities");
        held.effective.remove(CapabilitySet::SYS_ADMIN);
        set_capabilities(None, held).expect("fewer capabilities");
        let watched = start(&host_only()).await;
        let set = Arc::clone(&watched.borrow());
        assert!(
            find(&set, "search")
                .ips
                .contains(&"10.88.0.12".parse().expect("v4")),
            "{set:?}"
        );
        assert!(
            find(&set, "cart")
                .ips
                .contains(&"10.77.0.11".parse().expect("v4")),
            "{set:?}"
        );
    });
}

#[test]
fn static_and_host_together_know_each_pod_once() {
    on_a_node(|node| async move {
        node.routed_pod("cart", 11);
        node.routed_pod("search", 12);
        let config: DiscoveryConfig = toml::from_str(
            "[host]\n[static]\ntargets = [{ pod = \"cart-0\", namespace = \"shop\", ips = [\"10.88.0.11\"] }]",
        )
        .expect("a configuration");
        let watched = start(&config).await;
        let set = Arc::clone(&watched.borrow());
        assert_eq!(names(&set), ["cart-0", "search"]);
        let interface = Interfaces::new()
            .expect("a netlink socket")
            .resolve(find(&set, "cart-0"))
            .await
            .expect("found");
        assert_eq!(interface.name, "vh-cart");
    });
}

#[test]
fn an_empty_machine_has_nothing_and_is_no_error() {
    on_a_node(|_: Node| async {
        let watched = start(&host_only()).await;
        assert!(watched.borrow().targets.is_empty());
    });
}
