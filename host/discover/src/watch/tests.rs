use std::collections::BTreeMap;

use owlk8s_model::TargetId;

use super::*;

fn target(id: &str, interface: &str, ip: &str) -> Arc<Target> {
    Arc::new(Target {
        id: TargetId::from(id),
        pod: id.to_owned(),
        uid: String::new(),
        namespace: String::new(),
        workload: None,
        services: Vec::new(),
        ips: if ip.is_empty() {
            Vec::new()
        } else {
            vec![ip.parse().unwrap()]
        },
        interface: Some(interface.to_owned()).filter(|name| !name.is_empty()),
        labels: BTreeMap::new(),
    })
}

fn ids(targets: &[Arc<Target>]) -> Vec<&str> {
    targets.iter().map(|target| &*target.id.0).collect()
}

#[test]
fn the_union_is_sorted_and_has_all() {
    let union = union(
        &[target("shop/cart", "", "10.0.0.1")],
        &[target("host/9", "v9", ""), target("zoo", "v8", "")],
    );
    assert_eq!(ids(&union), ["host/9", "shop/cart", "zoo"]);
}

#[test]
fn a_pod_that_two_sources_know_is_there_once_under_its_configured_name() {
    let fixed = [target("cart", "v1", ""), target("search", "", "10.0.0.2")];
    let found = [
        target("host/1", "v1", "10.0.0.1"),
        target("host/2", "v2", "10.0.0.2"),
        target("host/3", "v3", ""),
    ];
    assert_eq!(ids(&union(&fixed, &found)), ["cart", "host/3", "search"]);
}

#[test]
fn targets_without_interface_and_address_are_not_the_same() {
    assert_eq!(
        ids(&union(&[target("a", "", "")], &[target("b", "", "")])),
        ["a", "b"]
    );
}

fn static_config() -> DiscoveryConfig {
    toml::from_str("[static]\ntargets = [{ pod = \"cart\", interface = \"v1\" }]").unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_the_configuration_names_stays_confirmed() {
    let mut watched = discover(&static_config(), &Surroundings::default())
        .await
        .unwrap()
        .sets;
    let first = watched.borrow_and_update().clone();
    assert_eq!(ids(&first.targets), ["cart"]);
    watched.changed().await.unwrap();
    let second = watched.borrow_and_update().clone();
    assert!(second.confirmed_at > first.confirmed_at);
    assert_eq!(second.targets, first.targets);
}

#[tokio::test]
async fn a_wrong_configuration_starts_nothing() {
    let error = discover(&DiscoveryConfig::default(), &Surroundings::default())
        .await
        .unwrap_err();
    assert!(matches!(error, DiscoverError::NothingToWatch));
}
