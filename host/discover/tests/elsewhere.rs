//! Where a pod can be read beside its link, against the kernel. Needs root and iproute2.

use std::collections::BTreeMap;

use owlk8s_discover::{Elsewhere, Interfaces};
use owlk8s_model::Target;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use node::on_a_node;

#[path = "namespaces/node.rs"]
#[expect(
    dead_code,
    reason = "shared with tests that have use for its other parts"
)]
mod node;

fn target(ip: &str) -> Target {
    Target {
        id: "shop/cart".into(),
        pod: "cart".to_owned(),
        uid: String::new(),
        namespace: "shop".to_owned(),
        workload: None,
        services: Vec::new(),
        ips: vec![ip.parse().expect("an address")],
        interface: None,
        labels: BTreeMap::new(),
    }
}

/// Where the target can be read inside a pod: file of the namespace, and link.
async fn inside(ip: &str, through: Option<&str>) -> Result<(String, u32, String), String> {
    let interfaces = Interfaces::new().expect("a netlink socket");
    let target = target(ip);
    let link = match through {
        None => None,
        Some(other) => Some(
            interfaces
                .resolve(&self::target(other))
                .await
                .expect("a link"),
        ),
    };
    let [inside, cgroup] = interfaces.elsewhere(&target, link.as_ref()).await;
    let why_not = cgroup.expect_err("it has no uid").to_string();
    assert!(
        why_not.contains("shop/cart") && why_not.contains("uid"),
        "{why_not}"
    );
    match inside {
        Ok(Elsewhere::Inside {
            interface,
            path,
            inode,
        }) => {
            assert_ne!(inode, 0);
            Ok((path.display().to_string(), interface.index, interface.name))
        }
        Ok(other) => panic!("not inside: {other:?}"),
        Err(why) => Err(why.to_string()),
    }
}

#[test]
fn namespace_of_a_pod_is_found_by_its_link_and_by_its_address() {
    on_a_node(|node| async move {
        node.routed_pod("cart", 11);
        node.routed_pod("search", 12);
        node.unrouted_pod("checkout", 13);
        for (address, through, name) in [
            ("10.88.0.12", Some("10.88.0.12"), "search"),
            ("10.88.0.11", None, "cart"),
            ("fd88::13", None, "checkout"),
            // The link is what packets pass, whatever addresses are there.
            ("192.0.2.1", Some("10.88.0.11"), "cart"),
        ] {
            let (path, index, link) = inside(address, through).await.expect(address);
            assert_eq!(
                (path, link.as_str()),
                (format!("/run/netns/{name}"), "eth0")
            );
            assert!(index > 1, "{index} is the loopback");
        }
        let why = inside("10.88.0.14", None).await.expect_err("nobody has it");
        assert!(
            why.contains("shop/cart") && why.contains("has its addresses"),
            "{why}"
        );
    });
}

#[test]
fn without_the_right_to_enter_the_namespace_is_still_found_by_its_link() {
    on_a_node(|node| async move {
        node.routed_pod("cart", 11);
        let mut held = capabilities(None).expect("capabilities");
        held.effective.remove(CapabilitySet::SYS_ADMIN);
        set_capabilities(None, held).expect("fewer capabilities");
        let (path, index, _) = inside("10.88.0.11", Some("10.88.0.11"))
            .await
            .expect("found");
        assert_eq!(path, "/run/netns/cart");
        assert!(index > 1, "{index} is the loopback");
        let why = inside("10.88.0.11", None)
            .await
            .expect_err("not to be known");
        assert!(why.contains("add CAP_SYS_ADMIN"), "{why}");
    });
}
