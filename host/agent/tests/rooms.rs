//! The rooms and their fences: which crate may know what.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test panics where it fails, and says what it measured"
)]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// What each room needs directly, by room; what runs only in tests or builds does not count.
fn rooms() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        .no_deps()
        .other_options(["--offline".to_owned()])
        .exec()
        .unwrap_or_else(|e| panic!("cargo metadata: {e}"));
    let needs = |package: &cargo_metadata::Package| {
        let normal = package
            .dependencies
            .iter()
            .filter(|d| d.kind == DependencyKind::Normal);
        normal.map(|d| d.name.clone()).collect()
    };
    metadata
        .packages
        .iter()
        .map(|p| (p.name.to_string(), needs(p)))
        .collect()
}

fn who_knows(prefix: &str) -> Vec<String> {
    let knows = |needs: &BTreeSet<String>| {
        needs
            .iter()
            .any(|n| n == prefix || n.starts_with(&format!("{prefix}-")))
    };
    rooms()
        .into_iter()
        .filter(|(_, needs)| knows(needs))
        .map(|(room, _)| room)
        .collect()
}

#[test]
fn only_discover_knows_the_api_server_and_routes() {
    assert_eq!(who_knows("rtnetlink"), ["owlk8s-discover"]);
    for kube in ["kube", "k8s-openapi"] {
        assert!(
            who_knows(kube).iter().all(|room| room == "owlk8s-discover"),
            "{:?} know {kube}",
            who_knows(kube)
        );
    }
}

#[test]
fn only_probe_knows_aya() {
    assert_eq!(who_knows("aya"), ["owlk8s-probe"]);
}

#[test]
fn only_plugin_host_knows_wasmtime() {
    assert_eq!(who_knows("wasmtime"), ["owlk8s-plugin-host"]);
}

#[test]
fn only_top_knows_the_terminal() {
    assert_eq!(who_knows("ratatui"), ["owlk8s-top"]);
}

#[test]
fn model_is_values_only() {
    assert_eq!(
        rooms()["owlk8s-model"],
        BTreeSet::from(["serde".to_owned()])
    );
}

#[test]
fn the_probe_needs_no_runtime() {
    assert!(!who_knows("tokio").contains(&"owlk8s-probe".to_owned()));
}

#[test]
fn the_shared_layouts_need_nothing() {
    assert_eq!(rooms()["owlk8s-ebpf-abi"], BTreeSet::new());
}

#[test]
fn anyhow_is_for_the_agent_and_the_build_tool() {
    assert!(
        who_knows("anyhow")
            .iter()
            .all(|room| ["owlk8s", "xtask"].contains(&room.as_str())),
        "{:?}",
        who_knows("anyhow")
    );
}

#[test]
fn nobody_knows_the_agent_and_the_capable_rooms_do_not_know_each_other() {
    let rooms = rooms();
    let all: BTreeSet<String> = rooms.keys().cloned().collect();
    let mut allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("owlk8s-model", &[][..]),
        ("owlk8s-ebpf-abi", &[]),
        ("owlk8s-ebpf-machine", &["owlk8s-ebpf-abi"]),
        ("owlk8s-probe", &["owlk8s-model", "owlk8s-ebpf-abi"]),
        ("owlk8s-discover", &["owlk8s-model"]),
        ("owlk8s-pipeline", &["owlk8s-model"]),
        ("owlk8s-plugin-host", &["owlk8s-model", "owlk8s-pipeline"]),
        (
            "owlk8s",
            &[
                "owlk8s-model",
                "owlk8s-discover",
                "owlk8s-probe",
                "owlk8s-plugin-host",
                "owlk8s-pipeline",
                "owlk8s-top",
            ],
        ),
        ("owlk8s-top", &["owlk8s-model"]),
        (
            "owlk8s-wire",
            &["owlk8s-ebpf-abi", "owlk8s-model", "owlk8s-probe"],
        ),
        ("owlk8s-apiserver", &[]),
        ("xtask", &["owlk8s-probe", "owlk8s-ebpf-abi"]),
    ]);
    for (room, needs) in rooms {
        let allowed = allowed
            .remove(room.as_str())
            .unwrap_or_else(|| panic!("{room} is a new room: say what it may know"));
        for need in needs.intersection(&all) {
            assert!(allowed.contains(&need.as_str()), "{room} knows {need}");
        }
    }
    assert!(allowed.is_empty(), "gone: {allowed:?}");
}
