use super::*;

fn parse(toml: &str) -> DiscoveryConfig {
    toml::from_str(toml).unwrap()
}

fn one(fields: &str) -> DiscoveryConfig {
    parse(&format!("[static]\ntargets = [{{ {fields} }}]"))
}

fn complaint(config: &DiscoveryConfig) -> String {
    config.validate().unwrap_err().to_string()
}

#[test]
fn every_field_of_a_static_target_arrives() {
    let config = one(
        r#"pod = "cart-0", namespace = "shop", workload = "Deployment/cart", services = ["web", "cart", "web"],
        ips = ["fd77::b", "10.77.0.11"], interface = "vhp1", labels = { team = "a" }"#,
    );
    config.validate().unwrap();
    let targets = config.static_targets().unwrap();
    let [target] = targets.as_slice() else {
        panic!("{targets:?}")
    };
    assert_eq!(target.id, TargetId::from("shop/cart-0"));
    assert_eq!(
        target.workload,
        Some(Workload {
            kind: "Deployment".into(),
            name: "cart".into()
        })
    );
    assert_eq!(target.services, ["cart", "web"]);
    assert_eq!(
        target.ips,
        [
            "10.77.0.11".parse::<IpAddr>().unwrap(),
            "fd77::b".parse().unwrap()
        ]
    );
    assert_eq!(target.interface.as_deref(), Some("vhp1"));
    assert_eq!(target.labels["team"], "a");
}

#[test]
fn targets_are_sorted_by_id() {
    let config = parse(
        r#"[static]
        targets = [{ pod = "b", ips = ["10.0.0.2"] }, { pod = "a", ips = ["10.0.0.1"] }]"#,
    );
    let ids: Vec<_> = config
        .static_targets()
        .unwrap()
        .iter()
        .map(|t| t.id.to_string())
        .collect();
    assert_eq!(ids, ["a", "b"]);
}

#[test]
fn an_unknown_key_is_refused_by_name() {
    let error = toml::from_str::<DiscoveryConfig>(
        "[static]\ntargets = [{ pod = \"a\", adress = \"10.0.0.1\" }]",
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("unknown field `adress`"),
        "{error}"
    );
}

#[test]
fn each_bad_value_has_a_message_with_place_and_remedy() {
    for (fields, expected) in [
        (
            r#"pod = "a", ips = ["10.0.0.300"]"#,
            "targets[0] (a): ip `10.0.0.300` is no address",
        ),
        (r#"pod = "a", ips = ["10.0.0.1/24"]"#, "without a prefix"),
        (
            r#"pod = "a", ips = ["127.0.0.1"]"#,
            "cannot be a target's address",
        ),
        (
            r#"pod = "a", namespace = "shop""#,
            "targets[0] (shop/a): has neither `ips` nor `interface`",
        ),
        (
            r#"pod = "a", ips = ["10.0.0.1"], workload = "cart""#,
            "workload `cart` is not `Kind/name`",
        ),
        (
            r#"pod = "a", ips = ["10.0.0.1"], workload = "Deployment/""#,
            "is not `Kind/name`",
        ),
        (r#"pod = "", ips = ["10.0.0.1"]"#, "`pod` is empty"),
        (
            r#"pod = "a", interface = "an-interface-too-long""#,
            "is no interface name",
        ),
    ] {
        let complaint = complaint(&one(fields));
        assert!(complaint.contains(expected), "{fields}: {complaint}");
    }
}

#[test]
fn what_two_targets_claim_is_named_with_both() {
    let config = parse(
        r#"[static]
        targets = [
            { pod = "a", namespace = "shop", ips = ["10.0.0.1"], interface = "vh1" },
            { pod = "a", namespace = "shop", ips = ["10.0.0.2"] },
            { pod = "b", namespace = "shop", ips = ["10.0.0.1"], interface = "vh1" },
        ]"#,
    );
    let complaint = complaint(&config);
    assert_eq!(complaint.lines().count(), 3, "{complaint}");
    assert!(
        complaint.contains("targets[1] (shop/a): pod `shop/a` is there twice"),
        "{complaint}"
    );
    assert!(
        complaint.contains("targets[2] (shop/b): ip `10.0.0.1` belongs to shop/a already"),
        "{complaint}"
    );
    assert!(
        complaint.contains("targets[2] (shop/b): interface `vh1` belongs to shop/a already"),
        "{complaint}"
    );
}

#[test]
fn no_source_at_all_is_an_error_that_names_the_tables() {
    for text in ["", "[static]\ntargets = []"] {
        assert!(complaint(&parse(text)).contains("[discovery.host]"));
    }
    parse("[host]").validate().unwrap();
    parse("[host]\nrescan = \"5s\"").validate().unwrap();
}
