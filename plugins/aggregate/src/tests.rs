use std::collections::BTreeMap;

use owlk8s_plugin::records::{Status, Temporality};
use owlk8s_plugin::testing::SnapshotData;
use owlk8s_plugin::{Filter, Snapshot, config, state};
use owlk8s_plugin_golden::{snapshot, thousand_targets};

use super::Aggregate;

fn delta(data: SnapshotData) -> SnapshotData {
    SnapshotData {
        temporality: Temporality::Delta,
        ..data
    }
}

/// What the filter hands on.
fn sums(config: &str, data: &SnapshotData) -> SnapshotData {
    let config = config::parse(config).unwrap();
    data.filtered(Aggregate::filter(&config, &Snapshot::new(data)).unwrap())
}

/// Requests by group.
fn requests(data: &SnapshotData) -> BTreeMap<String, u64> {
    let ids = data.targets.iter().map(|target| target.id.clone());
    ids.zip(data.totals.iter().map(|total| total.requests))
        .collect()
}

fn of(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs
        .iter()
        .map(|(id, requests)| ((*id).to_owned(), *requests))
        .collect()
}

/// A window of so many requests of each pod, `PODS` by workload.
fn window(start: u64, end: u64, pods: &[(&str, &str, u64)]) -> SnapshotData {
    let template = delta(snapshot("shop"));
    let mut data = SnapshotData {
        targets: Vec::new(),
        totals: Vec::new(),
        rows: Vec::new(),
        grpc_rows: Vec::new(),
        ..template.clone()
    };
    (data.window.start_unix_ns, data.window.end_unix_ns) = (start, end);
    for (index, (workload, pod, requests)) in (0..).zip(pods) {
        let mut target = template.targets[2].clone();
        target.id = (*pod).to_owned();
        target.pod = (*pod).to_owned();
        target.workload_name = (*workload).to_owned();
        target.status = Status::Active;
        data.targets.push(target);
        let mut total = owlk8s_plugin::records::Total::none();
        (total.requests, total.seen) = (*requests, *requests);
        data.totals.push(total);
        let mut row = template.rows[0];
        (row.target, row.count) = (index, *requests);
        data.rows.push(row);
    }
    data
}

#[test]
fn pods_are_summed_to_what_they_belong_to() {
    let data = delta(snapshot("shop"));
    for (by, groups) in [
        (
            "workload",
            &[
                ("pod:shop/search-2", 0),
                ("workload:pay/Deployment/pay", 98),
                ("workload:shop/StatefulSet/cart", 1000),
            ][..],
        ),
        (
            "service",
            &[
                ("pod:shop/search-2", 0),
                ("service:pay/pay", 98),
                ("service:shop/cart", 1000),
            ],
        ),
        (
            "namespace",
            &[("namespace:pay", 98), ("namespace:shop", 1000)],
        ),
    ] {
        let sums = sums(&format!(r#"{{"by": "{by}"}}"#), &data);
        assert_eq!(requests(&sums), of(groups), "{by}");
        assert_eq!(sums.temporality, Temporality::Delta);
    }
}

#[test]
fn a_group_has_the_worst_status_and_every_row() {
    let sums = sums(r#"{"by": "namespace"}"#, &delta(snapshot("shop")));
    let shop = sums
        .targets
        .iter()
        .position(|t| t.namespace == "shop")
        .unwrap();
    let target = &sums.targets[shop];
    assert_eq!(target.status, Status::Failed);
    assert!(
        target.reason.starts_with("1 of 3 failed: cannot attach"),
        "{}",
        target.reason
    );
    assert_eq!((target.pod.as_str(), target.services.len()), ("", 2));
    let rows = sums.rows.iter().filter(|row| row.target as usize == shop);
    assert_eq!(rows.map(|row| row.count).sum::<u64>(), 1000 + 120 + 77);
    let total = &sums.totals[shop];
    assert_eq!((total.seen, total.in_flight, total.aborted), (1005, 2, 3));
}

#[test]
fn top_keeps_the_busiest_and_nothing_is_lost_in_other() {
    let data = delta(thousand_targets());
    let all: u64 = data.totals.iter().map(|total| total.requests).sum();
    let sums = sums(r#"{"top": 3}"#, &data);
    let requests = requests(&sums);
    assert_eq!(requests.len(), 4);
    assert_eq!(requests.values().sum::<u64>(), all);
    assert!(
        requests.contains_key("other")
            && requests.contains_key("workload:team-9/Deployment/app-49")
    );
    let rows: u64 = sums.rows.iter().map(|row| row.count).sum();
    assert_eq!(rows, data.rows.iter().map(|row| row.count).sum::<u64>());
    let buckets = |data: &SnapshotData| data.latency.counts.iter().sum::<u64>();
    assert_eq!(buckets(&sums), buckets(&data));
}

const CUMULATIVE: &str = r#"{"counts": "cumulative"}"#;

#[test]
fn cumulative_sums_rise_while_pods_come_and_go() {
    state::set(&[]).unwrap();
    let cart = |data: &SnapshotData| requests(data)["workload:pay/Deployment/cart"];
    let first = sums(
        CUMULATIVE,
        &window(0, 10, &[("cart", "a", 5), ("cart", "b", 7)]),
    );
    assert_eq!(
        (cart(&first), first.temporality),
        (12, Temporality::Cumulative)
    );
    // Pod b went; its last counts are in the window in which it did.
    let second = sums(
        CUMULATIVE,
        &window(10, 20, &[("cart", "a", 1), ("cart", "b", 2)]),
    );
    assert_eq!(cart(&second), 15);
    let third = sums(CUMULATIVE, &window(20, 30, &[("cart", "c", 4)]));
    assert_eq!(cart(&third), 19);
    assert_eq!(third.rows[0].count, 19);
    assert_eq!(third.targets[0].since_unix_ns, 0);
}

#[test]
fn a_window_that_did_not_arrive_counts_once() {
    state::set(&[]).unwrap();
    let cart = |start, end, requests_| {
        let window = window(start, end, &[("cart", "a", requests_)]);
        requests(&sums(CUMULATIVE, &window))["workload:pay/Deployment/cart"]
    };
    assert_eq!(cart(0, 10, 5), 5);
    assert_eq!(cart(10, 20, 3), 8);
    assert_eq!(
        cart(10, 30, 7),
        12,
        "the last one's three are among the seven"
    );
    assert_eq!(cart(10, 40, 9), 14);
    assert_eq!(cart(40, 50, 1), 15);
}

#[test]
fn a_first_window_that_did_not_arrive_counts_once() {
    state::set(&[]).unwrap();
    let cart = |start, end, requests_| {
        let window = window(start, end, &[("cart", "a", requests_)]);
        requests(&sums(CUMULATIVE, &window))["workload:pay/Deployment/cart"]
    };
    assert_eq!(cart(5, 10, 5), 5);
    assert_eq!(cart(5, 20, 6), 6);
    assert_eq!(cart(20, 30, 1), 7);
}

#[test]
fn who_has_a_name_changes_seldom_and_other_never_falls() {
    state::set(&[]).unwrap();
    let config = r#"{"counts": "cumulative", "top": 1}"#;
    let (mut other, mut names, mut all) = (0, Vec::new(), 0);
    for n in 0..40_u64 {
        // Two that are as busy as each other, and from the twentieth window on one that is far busier.
        let busy = if n >= 20 { 1000 } else { 1 };
        let pods = [
            ("x", "x", 10 + n % 3),
            ("y", "y", 12 - n % 3),
            ("z", "z", busy),
        ];
        all += pods.iter().map(|(_, _, requests)| requests).sum::<u64>();
        let sums = requests(&sums(config, &window(n * 10, n * 10 + 10, &pods)));
        assert_eq!(sums.len(), 2, "{sums:?}");
        assert!(sums["other"] >= other, "{sums:?} after {other}");
        other = sums["other"];
        let name = sums.into_keys().find(|id| id != "other").unwrap();
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(names[1], "workload:pay/Deployment/z");
    assert!(other < all);
}

#[test]
fn a_group_that_is_gone_is_forgotten_and_begins_again() {
    state::set(&[]).unwrap();
    let both = [("x", "x", 3), ("y", "y", 4)];
    sums(CUMULATIVE, &window(0, 10, &both));
    let one = sums(CUMULATIVE, &window(10, 20, &both[..1]));
    assert_eq!(requests(&one), of(&[("workload:pay/Deployment/x", 6)]));
    let again = sums(CUMULATIVE, &window(20, 30, &both));
    assert_eq!(
        requests(&again),
        of(&[
            ("workload:pay/Deployment/x", 9),
            ("workload:pay/Deployment/y", 4)
        ])
    );
    let since: Vec<_> = again.targets.iter().map(|t| t.since_unix_ns).collect();
    assert_eq!(since, [0, 20]);
}

#[test]
fn a_node_of_fifty_workloads_fits_the_state() {
    state::set(&[]).unwrap();
    let data = delta(thousand_targets());
    assert_eq!(sums(CUMULATIVE, &data).targets.len(), 50);
    assert!(state::get().len() < 48 << 10, "{}", state::get().len());
}

#[test]
fn a_state_that_is_full_names_the_remedy() {
    state::set(&[]).unwrap();
    let pods: Vec<String> = (0..2000).map(|n| format!("{n:060}")).collect();
    let pods: Vec<_> = pods
        .iter()
        .map(|pod| (pod.as_str(), pod.as_str(), 1))
        .collect();
    let config = config::parse(CUMULATIVE).unwrap();
    let data = window(0, 10, &pods);
    let error = Aggregate::filter(&config, &Snapshot::new(&data)).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("(raise the sink's `limits.state`, or set `top` in the filter's config)"),
        "{error}"
    );
}

#[test]
fn nothing_and_odd_names_pass() {
    assert_eq!(sums("{}", &delta(snapshot("empty"))).targets.len(), 0);
    assert_eq!(sums("{}", &delta(snapshot("odd-names"))).targets.len(), 7);
}

#[test]
fn counts_since_discovery_are_refused_with_the_remedy() {
    let data = snapshot("shop");
    let config = config::parse("{}").unwrap();
    let error = Aggregate::filter(&config, &Snapshot::new(&data)).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("set the sink's `mode` to \"delta\""),
        "{error}"
    );
}
