use owlk8s_plugin::testing::SnapshotData;
use owlk8s_plugin::{Filter, Snapshot, config};
use owlk8s_plugin_golden::{snapshot, thousand_targets};

use super::{Config, Select};

/// What the filter leaves of the snapshot.
fn left(config: &str, data: &SnapshotData) -> SnapshotData {
    let config = config::parse(config).unwrap();
    Select::validate(&config).unwrap();
    data.filtered(Select::filter(&config, &Snapshot::new(data)).unwrap())
}

fn pods(config: &str) -> Vec<String> {
    let left = left(config, &snapshot("shop"));
    left.targets.into_iter().map(|target| target.pod).collect()
}

#[test]
fn a_rule_matches_where_all_its_fields_do() {
    for (config, pods_left) in [
        ("{}", &["cart-0", "cart-1", "pay-1", "search-2"][..]),
        (
            r#"{"keep": [{"namespace": "shop"}]}"#,
            &["cart-0", "cart-1", "search-2"],
        ),
        (
            r#"{"keep": [{"namespace": "shop", "pod": "*-1"}]}"#,
            &["cart-1"],
        ),
        (
            r#"{"keep": [{"pod": "cart-?"}, {"namespace": "pay"}]}"#,
            &["cart-0", "cart-1", "pay-1"],
        ),
        (r#"{"keep": [{"workload": "Deployment/*"}]}"#, &["pay-1"]),
        (r#"{"keep": [{"workload": "cart"}]}"#, &["cart-0", "cart-1"]),
        (
            r#"{"keep": [{"service": "cart-headless"}]}"#,
            &["cart-0", "cart-1"],
        ),
        (
            r#"{"keep": [{"labels": {"team": "check*"}}]}"#,
            &["cart-0", "cart-1"],
        ),
        (
            r#"{"keep": [{"labels": {"team": ""}}]}"#,
            &["pay-1", "search-2"],
        ),
        (
            r#"{"drop": [{"status": "failed"}, {"status": "waiting"}]}"#,
            &["cart-0", "pay-1"],
        ),
        (
            r#"{"keep": [{"namespace": "shop"}], "drop": [{"pod": "cart-0"}]}"#,
            &["cart-1", "search-2"],
        ),
        (r#"{"keep": [{"node": "worker-2"}]}"#, &[]),
    ] {
        assert_eq!(pods(config), pods_left, "{config}");
    }
}

#[test]
fn rows_are_dropped_and_totals_stay() {
    let data = snapshot("shop");
    for (rules, rows) in [
        (r#"[{"status": "4*"}]"#, 8),
        (r#"[{"method": "GET", "protocol": "http/2"}]"#, 8),
        (r#"[{"client": true}, {"probe": true}]"#, 7),
        (r#"[{"probe": false}]"#, 1),
    ] {
        let left = left(&format!(r#"{{"drop_rows": {rules}}}"#), &data);
        assert_eq!(left.rows.len(), rows, "{rules}");
        assert_eq!(left.totals[0].requests, 1000);
    }
}

#[test]
fn the_first_renaming_that_matches_counts() {
    let config = r#"{"rename": [
        {"match": {"pod": "cart-0"}, "pod": "first", "namespace": "store"},
        {"match": {"workload": "StatefulSet/*"}, "workload": "basket", "pod": "later"}
    ]}"#;
    let left = left(config, &snapshot("shop"));
    let names: Vec<_> = left
        .targets
        .iter()
        .map(|t| {
            (
                t.namespace.as_str(),
                t.pod.as_str(),
                t.workload_name.as_str(),
            )
        })
        .collect();
    assert_eq!(
        names,
        [
            ("store", "first", "cart"),
            ("shop", "later", "basket"),
            ("pay", "pay-1", "pay"),
            ("shop", "search-2", "")
        ]
    );
}

#[test]
fn the_empty_the_odd_and_the_thousand_pass() {
    let keep = r#"{"keep": [{"namespace": "team-1"}], "drop_rows": [{"status": "5*"}]}"#;
    assert_eq!(left(keep, &snapshot("empty")).targets.len(), 0);
    let odd = r#"{"keep": [{"namespace": "商?"}, {"pod": "two\n*"}]}"#;
    assert_eq!(left(odd, &snapshot("odd-names")).targets.len(), 2);
    let left = left(keep, &thousand_targets());
    assert_eq!((left.targets.len(), left.rows.len()), (100, 300));
}

#[test]
fn a_label_that_the_sink_was_not_granted_names_the_remedy() {
    let mut data = snapshot("shop");
    data.columns.clear();
    let config = config::parse(r#"{"drop": [{"labels": {"team": "x"}}]}"#).unwrap();
    let error = Select::filter(&config, &Snapshot::new(&data)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a rule looks at label \"team\", and the sink has no column \"label:team\" (add it to the sink's `columns`)"
    );
}

#[test]
fn a_bad_config_names_the_key() {
    for (config, message) in [
        (
            r#"{"drop": [{"pod": "x"}, {}]}"#,
            "config key `drop[1]`: a rule needs a field: `namespace`, `pod`, `workload`, `service`, `node`, `status` or `labels`",
        ),
        (
            r#"{"drop_rows": [{}]}"#,
            "config key `drop_rows[0]`: a rule needs a field: `method`, `status`, `protocol`, `client` or `probe`",
        ),
        (
            r#"{"rename": [{"match": {"pod": "x"}}]}"#,
            "config key `rename[0]` gives no new name: `pod`, `namespace` or `workload`",
        ),
    ] {
        let config = config::parse(config).unwrap();
        assert_eq!(Select::validate(&config).unwrap_err().to_string(), message);
    }
    let unknown = config::parse::<Config>(r#"{"keep": [{"names": "x"}]}"#)
        .err()
        .unwrap();
    assert!(
        unknown.starts_with("config key `keep[0].names`: unknown field `names`"),
        "{unknown}"
    );
}
