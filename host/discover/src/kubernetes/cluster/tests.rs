use serde_json::{Value, json};

use super::super::objects::{PodObject, STATIC_POD_UID, ServiceObject, SliceObject};
use super::*;

/// A cluster with the services `cart` (`app: cart`) and `shop` (`tier: web`) in namespace `shop`.
fn cluster() -> Cluster {
    let mut cluster = Cluster::default();
    cluster.service("cart", json!({"selector": {"app": "cart"}}));
    cluster.service("shop", json!({"selector": {"tier": "web"}}));
    cluster
}

impl Cluster {
    fn service(&mut self, name: &str, spec: Value) {
        let object: ServiceObject = serde_json::from_value(json!({"spec": spec})).unwrap();
        self.services.take(Step::Applied(key(name), object.into()));
    }

    fn slice(&mut self, name: &str, service: &str, addresses: &[&str]) {
        let object: SliceObject = serde_json::from_value(json!({
            "metadata": {"labels": {"kubernetes.io/service-name": service}},
            "endpoints": [{"addresses": addresses}],
        }))
        .unwrap();
        self.slices.take(Step::Applied(key(name), object.into()));
    }

    /// A running pod, with what `change` says of it otherwise.
    fn pod(&mut self, name: &str, labels: Value, change: impl FnOnce(&mut Value)) {
        let mut object = json!({
            "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "labels": labels},
            "spec": {},
            "status": {"phase": "Running", "podIP": "10.0.0.7", "podIPs": [{"ip": "10.0.0.7"}]},
        });
        change(&mut object);
        let object: PodObject = serde_json::from_value(object).unwrap();
        self.pods.take(Step::Applied(key(name), object.into()));
    }

    fn found(&self) -> Vec<(String, Vec<String>)> {
        let findings = self.findings(Include::Services, &Workloads::default());
        let targets = findings.targets.iter();
        targets
            .map(|t| (t.pod.clone(), t.services.clone()))
            .collect()
    }
}

fn key(name: &str) -> Key {
    ("shop".into(), name.into())
}

fn as_is(_: &mut Value) {}

fn one(pod: &str, services: &[&str]) -> Vec<(String, Vec<String>)> {
    let services = services.iter().map(|&name| name.to_owned()).collect();
    vec![(pod.to_owned(), services)]
}

#[test]
fn a_pod_has_all_its_services_sorted() {
    let mut cluster = cluster();
    cluster.pod("cart-0", json!({"app": "cart", "tier": "web"}), as_is);
    assert_eq!(cluster.found(), one("cart-0", &["cart", "shop"]));
}

#[test]
fn a_pod_behind_no_service_is_watched_only_when_all_are_wanted() {
    let mut cluster = cluster();
    cluster.pod("batch", json!({"app": "batch"}), as_is);
    assert_eq!(cluster.found(), []);
    let all = cluster.findings(Include::All, &Workloads::default());
    assert_eq!(all.targets.len(), 1);
    assert_eq!(all.targets[0].services, Vec::<String>::new());
}

#[test]
fn a_service_of_another_namespace_does_not_select() {
    let mut cluster = Cluster::default();
    let object: ServiceObject =
        serde_json::from_value(json!({"spec": {"selector": {"app": "cart"}}})).unwrap();
    cluster.services.take(Step::Applied(
        ("other".into(), "cart".into()),
        object.into(),
    ));
    cluster.pod("cart-0", json!({"app": "cart"}), as_is);
    assert_eq!(cluster.found(), []);
}

#[test]
fn a_service_that_changes_its_selector_lets_go_of_the_pod() {
    let mut cluster = cluster();
    cluster.pod("cart-0", json!({"app": "cart"}), as_is);
    assert_eq!(cluster.found(), one("cart-0", &["cart"]));
    cluster.service("cart", json!({"selector": {"app": "cart", "version": "2"}}));
    assert_eq!(cluster.found(), []);
}

#[test]
fn headless_counts_and_external_name_does_not() {
    let mut cluster = Cluster::default();
    cluster.pod("cart-0", json!({"app": "cart"}), as_is);
    cluster.service(
        "headless",
        json!({"clusterIP": "None", "selector": {"app": "cart"}}),
    );
    cluster.service(
        "elsewhere",
        json!({"type": "ExternalName", "externalName": "example.org", "selector": {"app": "cart"}}),
    );
    assert_eq!(cluster.found(), one("cart-0", &["headless"]));
}

#[test]
fn a_service_without_selector_leads_by_its_slices_and_one_with_does_not() {
    let mut cluster = cluster();
    cluster.pod("legacy", json!({"app": "legacy"}), as_is);
    cluster.service("by-hand", json!({}));
    cluster.slice("by-hand-1", "by-hand", &["10.0.0.9"]);
    assert_eq!(cluster.found(), []);
    cluster.slice("by-hand-1", "by-hand", &["10.0.0.9", "10.0.0.7"]);
    cluster.slice("cart-x", "cart", &["10.0.0.7"]);
    assert_eq!(cluster.found(), one("legacy", &["by-hand"]));
}

#[test]
fn ignore_on_pod_namespace_and_node_takes_out_and_brings_back() {
    let mut cluster = cluster();
    let ignore = |object: &mut Value| {
        object["metadata"]["annotations"] = json!({"owlk8s/ignore": "true"});
    };
    cluster.pod("cart-0", json!({"app": "cart"}), ignore);
    assert_eq!(cluster.found(), []);
    cluster.pod("cart-0", json!({"app": "cart"}), |object| {
        object["metadata"]["annotations"] = json!({"owlk8s/ignore": "false"});
    });
    assert_eq!(cluster.found().len(), 1);
    let namespace: Key = ("".into(), "shop".into());
    cluster
        .namespaces
        .take(Step::Applied(namespace.clone(), true));
    assert_eq!(cluster.found(), []);
    cluster.namespaces.take(Step::Applied(namespace, false));
    assert_eq!(cluster.found().len(), 1);
    let node: Key = ("".into(), "n1".into());
    cluster.node.take(Step::Applied(node.clone(), true));
    assert_eq!(cluster.found(), []);
    cluster.node.take(Step::Deleted(node));
    assert_eq!(cluster.found().len(), 1);
}

#[test]
fn a_pod_that_has_ended_or_has_no_address_yet_is_no_target() {
    for status in [
        json!({"phase": "Succeeded", "podIP": "10.0.0.7"}),
        json!({"phase": "Failed", "podIP": "10.0.0.7"}),
        json!({"phase": "Pending"}),
    ] {
        let mut cluster = cluster();
        cluster.pod("cart-0", json!({"app": "cart"}), |object| {
            object["status"] = status
        });
        assert_eq!(cluster.found(), []);
    }
}

#[test]
fn an_ending_pod_and_one_that_is_not_ready_are_watched() {
    let mut cluster = cluster();
    cluster.pod("cart-0", json!({"app": "cart"}), |object| {
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        object["status"]["conditions"] = json!([{"type": "Ready", "status": "False"}]);
    });
    assert_eq!(cluster.found().len(), 1);
}

#[test]
fn a_pod_on_the_nodes_network_is_named_and_not_watched() {
    let mut cluster = cluster();
    cluster.pod("cart-0", json!({"app": "cart"}), |object| {
        object["spec"]["hostNetwork"] = json!(true);
    });
    let findings = cluster.findings(Include::Services, &Workloads::default());
    assert_eq!(findings.targets, []);
    assert_eq!(
        findings.host_network,
        BTreeSet::from(["shop/cart-0".to_owned()])
    );
}

#[test]
fn both_addresses_of_a_dual_stack_pod_are_kept_ipv4_first() {
    let mut cluster = cluster();
    cluster.pod("cart-0", json!({"app": "cart"}), |object| {
        object["status"]["podIP"] = json!("fd00::7");
        object["status"]["podIPs"] = json!([{"ip": "fd00::7"}, {"ip": "10.0.0.7"}]);
    });
    let findings = cluster.findings(Include::Services, &Workloads::default());
    let ips: Vec<String> = findings.targets[0]
        .ips
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(ips, ["10.0.0.7", "fd00::7"]);
}

#[test]
fn a_new_list_replaces_the_old_one_at_its_end_only() {
    let mut table = Table::default();
    assert!(table.take(Step::Applied(key("a"), 1)));
    assert!(!table.take(Step::Begin));
    assert!(!table.take(Step::Listed(key("b"), 2)));
    assert_eq!(table.len(), 1);
    assert!(!table.complete);
    assert!(table.take(Step::End));
    assert!(table.complete);
    assert_eq!(table.known.keys().collect::<Vec<_>>(), [&key("b")]);
    table.take(Step::Begin);
    table.take(Step::Listed(key("b"), 2));
    assert!(!table.take(Step::End), "nothing changed");
    assert!(!table.take(Step::Applied(key("b"), 2)), "nothing changed");
    assert!(table.take(Step::Deleted(key("b"))));
}

#[test]
fn a_pod_that_is_replaced_under_its_name_is_another_target() {
    let mut cluster = cluster();
    cluster.pod("cart-0", json!({"app": "cart"}), as_is);
    let first = cluster.findings(Include::Services, &Workloads::default());
    cluster.pod("cart-0", json!({"app": "cart"}), |object| {
        object["metadata"]["uid"] = json!("another")
    });
    let second = cluster.findings(Include::Services, &Workloads::default());
    assert_ne!(first.targets[0].id, second.targets[0].id);
    assert_eq!(second.targets.len(), 1);
}

fn created(at: &'static str) -> impl FnOnce(&mut Value) {
    move |pod| pod["metadata"]["creationTimestamp"] = json!(at)
}

#[test]
fn an_address_that_two_pods_have_is_that_of_the_later() {
    let mut cluster = cluster();
    cluster.pod(
        "old",
        json!({"app": "cart"}),
        created("2026-11-01T10:00:00Z"),
    );
    cluster.pod(
        "new",
        json!({"app": "cart"}),
        created("2026-11-01T11:00:00Z"),
    );
    assert_eq!(cluster.found(), one("new", &["cart"]));
}

#[test]
fn an_address_is_not_that_of_a_pod_that_is_ending_if_another_has_it() {
    let mut cluster = cluster();
    cluster.pod(
        "stays",
        json!({"app": "cart"}),
        created("2026-11-01T10:00:00Z"),
    );
    cluster.pod("ends", json!({"app": "cart"}), |pod| {
        created("2026-11-01T11:00:00Z")(pod);
        pod["metadata"]["deletionTimestamp"] = json!("2026-11-01T12:00:00Z");
    });
    assert_eq!(cluster.found(), one("stays", &["cart"]));
    cluster.pods.take(Step::Deleted(key("stays")));
    assert_eq!(cluster.found(), one("ends", &["cart"]), "it still answers");
}

#[test]
fn a_completed_pod_has_no_address_any_more() {
    let mut cluster = cluster();
    cluster.pod(
        "runs",
        json!({"app": "cart"}),
        created("2026-11-01T10:00:00Z"),
    );
    cluster.pod("done", json!({"app": "cart"}), |pod| {
        created("2026-11-01T11:00:00Z")(pod);
        pod["status"]["phase"] = json!("Succeeded");
    });
    assert_eq!(cluster.found(), one("runs", &["cart"]));
}

#[test]
fn the_mirror_of_a_static_pod_carries_the_uid_of_the_kubelet() {
    let mut cluster = cluster();
    let hash = "5b4a8d1c0f2e3d4c5b6a79880716253f";
    cluster.pod("cart-n1", json!({"app": "cart"}), |pod| {
        pod["metadata"]["annotations"] = json!({
            "kubernetes.io/config.hash": hash,
            "kubernetes.io/config.mirror": hash,
            "kubernetes.io/config.source": "file",
        });
    });
    let findings = cluster.findings(Include::Services, &Workloads::default());
    assert_eq!(findings.targets[0].labels[STATIC_POD_UID], hash);
    assert_eq!(findings.targets[0].uid, "uid-cart-n1");
}

#[test]
fn slices_of_a_service_lead_together() {
    let mut cluster = cluster();
    cluster.service("by-hand", json!({}));
    cluster.pod("legacy", json!({}), as_is);
    cluster.slice(
        "by-hand-1",
        "by-hand",
        &["10.0.0.1", "not-an-address.example.com"],
    );
    assert_eq!(cluster.found(), []);
    cluster.slice("by-hand-2", "by-hand", &["10.0.0.7"]);
    cluster.slice("by-hand-3", "by-hand", &["10.0.0.7"]);
    assert_eq!(cluster.found(), one("legacy", &["by-hand"]));
}
