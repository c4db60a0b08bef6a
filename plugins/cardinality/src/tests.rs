use owlk8s_plugin::testing::SnapshotData;
use owlk8s_plugin::{Filter, Snapshot, config, state};
use owlk8s_plugin_golden::{snapshot, ten_thousand_rows, thousand_targets};

use super::{Cardinality, Config};

/// What the filter leaves, as of the next window.
fn capped(config: &str, data: &SnapshotData) -> SnapshotData {
    let config = config::parse(config).unwrap();
    Cardinality::validate(&config).unwrap();
    data.filtered(Cardinality::filter(&config, &Snapshot::new(data)).unwrap())
}

fn counts(data: &SnapshotData) -> (u64, u64, u64) {
    let count = |of: &dyn Fn(u16) -> bool| {
        let rows = data.rows.iter().filter(|row| of(row.status));
        rows.map(|row| row.count).sum()
    };
    (
        count(&|_| true),
        count(&|status| (400..500).contains(&status)),
        count(&|status| status >= 500),
    )
}

#[test]
fn below_the_cap_nothing_changes() {
    state::set(&[]).unwrap();
    for name in ["empty", "shop", "odd-names"] {
        let data = snapshot(name);
        assert_eq!(capped("{}", &data).rows, data.rows, "{name}");
    }
}

#[test]
fn over_the_cap_every_request_is_in_a_row_of_its_class() {
    state::set(&[]).unwrap();
    let data = ten_thousand_rows();
    let capped = capped(r#"{"target": 10}"#, &data);
    // 100 targets, each with ten rows and an overflow row for 2xx, 3xx, 4xx and 5xx.
    assert_eq!(capped.rows.len(), 100 * (10 + 4));
    assert_eq!(counts(&capped), counts(&data));
    assert_eq!(capped.totals, data.totals);
    let buckets = |data: &SnapshotData| data.latency.counts.iter().sum::<u64>();
    assert_eq!(buckets(&capped), buckets(&data));
    let labels = thousand_targets();
    let labelled = super::tests::capped(r#"{"target": 1}"#, &labels);
    assert_eq!(labelled.columns, labels.columns);
}

#[test]
fn the_node_s_cap_holds_over_all_targets() {
    state::set(&[]).unwrap();
    let data = ten_thousand_rows();
    let config = r#"{"target": 100, "node": 250}"#;
    let capped = capped(config, &data);
    let overflow =
        |row: &&owlk8s_plugin::records::Row| capped.methods[row.method as usize] == "_OTHER";
    assert_eq!(
        capped.rows.len() - capped.rows.iter().filter(overflow).count(),
        250
    );
    assert_eq!(counts(&capped), counts(&data));
    // The two busiest targets are admitted whole, and all others have an overflow.
    assert_eq!(state::get().len(), (250 + 98) * 8);
}

#[test]
fn who_was_admitted_stays_and_who_was_not_does_not_come_in_later() {
    state::set(&[]).unwrap();
    let mut data = snapshot("shop");
    let config = r#"{"target": 2}"#;
    let own = |data: &SnapshotData| -> Vec<(u32, String, u16)> {
        let rows = data.rows.iter().map(|row| {
            (
                row.target,
                data.methods[row.method as usize].clone(),
                row.status,
            )
        });
        rows.filter(|(_, method, _)| method != "_OTHER").collect()
    };
    let first = own(&capped(config, &data));
    let mut before = counts(&data).0;
    for n in 0..5 {
        // The least of the first target's rows becomes its busiest, and other targets go.
        data.rows[2].count += 1000 * n;
        let now = capped(config, &data);
        assert_eq!(own(&now), first);
        assert!(counts(&now).0 >= before);
        before = counts(&now).0;
    }
}

#[test]
fn room_is_free_again_when_a_target_goes() {
    state::set(&[]).unwrap();
    let data = thousand_targets();
    let config = r#"{"node": 100}"#;
    capped(config, &data);
    assert!((100 * 8..=1100 * 8).contains(&state::get().len()));
    let shop = snapshot("shop");
    assert_eq!(capped(config, &shop).rows, shop.rows);
    assert_eq!(state::get().len(), 8 * shop.rows.len());
}

#[test]
fn a_bad_config_names_the_key() {
    let config = config::parse::<Config>(r#"{"node": 9000}"#).unwrap();
    assert_eq!(
        Cardinality::validate(&config).unwrap_err().to_string(),
        "config key `node`: 9000 rows are more than the 7000 that can be remembered"
    );
}
