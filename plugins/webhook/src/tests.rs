use owlk8s_plugin::records::Temporality;
use owlk8s_plugin::testing::SnapshotData;
use owlk8s_plugin::{Exporter, Outcome, Snapshot, config, state};
use owlk8s_plugin_golden::{assert_golden, snapshot, thousand_targets};
use serde_json::Value;

use super::{Answer, Config, Webhook, tell};

const RULES: &str = r#"{"url": "https://hooks.example/x", "rules": [
    {"name": "errors", "metric": "error_ratio", "above": 0.005, "for": 2},
    {"name": "slow", "metric": "p99", "above": 0.1, "by": "service", "min_requests": 10},
    {"name": "quiet", "metric": "rate", "below": 200, "by": "pod", "namespace": "shop"},
    {"name": "blind", "metric": "coverage", "below": 0.99, "by": "namespace"}
]}"#;

fn parsed(json: &str) -> Config {
    let config = config::parse(json).unwrap();
    Webhook::validate(&config).unwrap();
    config
}

fn shop() -> SnapshotData {
    SnapshotData {
        temporality: Temporality::Delta,
        ..snapshot("shop")
    }
}

/// What a receiver that takes everything is told of this window.
fn told(rules: &str, data: &SnapshotData) -> Option<Value> {
    let mut told = None;
    let outcome = tell(&parsed(rules), &Snapshot::new(data), |body| {
        told = Some(serde_json::from_slice(body).unwrap());
        Answer::Taken
    });
    assert_eq!(outcome, Outcome::Delivered);
    told
}

/// Rule and group of the alerts in this part of a notice.
fn names(notice: &Value, part: &str) -> Vec<String> {
    let alerts = notice[part].as_array().unwrap().iter();
    let name = |alert: &Value| format!("{} {}", alert["rule"], alert["group"]).replace('"', "");
    alerts.map(name).collect()
}

#[test]
fn one_request_tells_all_that_began_and_no_more() {
    state::set(&[]).unwrap();
    let first = told(RULES, &shop()).unwrap();
    assert_eq!(
        names(&first, "firing"),
        ["slow pay/pay", "quiet shop/cart-0", "blind pay"]
    );
    assert_golden(
        "golden/first.json",
        &(serde_json::to_string_pretty(&first).unwrap() + "\n"),
    );
    // For two windows in a row.
    let second = told(RULES, &shop()).unwrap();
    assert_eq!(names(&second, "firing"), ["errors shop/StatefulSet/cart"]);
    assert_eq!(names(&second, "resolved"), [""; 0]);
    assert_eq!(told(RULES, &shop()), None, "nothing new");
}

#[test]
fn what_ended_is_told_once_and_may_begin_again() {
    state::set(&[]).unwrap();
    let rules = r#"{"url": "https://a", "rules": [{"name": "errors", "metric": "error_ratio", "above": 0.005}]}"#;
    let (bad, mut good) = (shop(), shop());
    good.totals[0].err5 = 0;
    assert_eq!(names(&told(rules, &bad).unwrap(), "firing").len(), 1);
    let over = told(rules, &good).unwrap();
    assert_eq!(names(&over, "resolved"), ["errors shop/StatefulSet/cart"]);
    assert_eq!(over["resolved"][0]["value"], 0.0);
    assert_eq!(told(rules, &good), None);
    assert_eq!(names(&told(rules, &bad).unwrap(), "firing").len(), 1);
    let gone = told(
        rules,
        &SnapshotData {
            temporality: Temporality::Delta,
            ..snapshot("empty")
        },
    )
    .unwrap();
    assert_eq!(gone["resolved"][0]["value"], Value::Null);
}

#[test]
fn what_could_not_be_told_is_told_later() {
    state::set(&[]).unwrap();
    let (config, data) = (parsed(RULES), shop());
    let tries = |answer: Answer| tell(&config, &Snapshot::new(&data), |_| answer);
    assert_eq!(tries(Answer::Later("away".to_owned())), Outcome::Retry(0));
    assert_eq!(state::get(), b"", "nothing is remembered");
    assert_eq!(
        tries(Answer::Never("no".to_owned())),
        Outcome::Rejected("no".to_owned())
    );
    assert_eq!(names(&told(RULES, &data).unwrap(), "firing").len(), 3);
}

#[test]
fn a_thousand_targets_fit_the_state_and_odd_names_are_json() {
    state::set(&[]).unwrap();
    let all = r#"{"url": "https://a", "rules": [{"name": "all", "metric": "rate", "above": 0, "by": "workload"}]}"#;
    let data = SnapshotData {
        temporality: Temporality::Delta,
        ..thousand_targets()
    };
    assert_eq!(names(&told(all, &data).unwrap(), "firing").len(), 50);
    let odd = SnapshotData {
        temporality: Temporality::Delta,
        ..snapshot("odd-names")
    };
    let notice = told(all, &odd).unwrap();
    assert_eq!(names(&notice, "firing").len(), 7);
    assert_eq!(names(&notice, "resolved").len(), 50);
}

#[test]
fn silence_of_what_is_not_read_is_no_rate() {
    state::set(&[]).unwrap();
    let rules = r#"{"url": "https://a", "rules": [{"name": "quiet", "metric": "rate", "below": 1, "by": "pod", "namespace": "shop"}]}"#;
    let mut data = shop();
    assert_eq!(told(rules, &data), None, "one waits, one failed");
    data.totals[0].requests = 0;
    data.totals[0].seen = 0;
    data.totals[0].coverage = 0.0;
    assert_eq!(told(rules, &data), None, "the third is blind");
    data.totals[0].coverage = 1.0;
    let notice = told(rules, &data).unwrap();
    assert_eq!(names(&notice, "firing"), ["quiet shop/cart-0"]);
}

#[test]
fn counts_since_discovery_are_rejected_with_the_remedy() {
    let data = snapshot("shop");
    match Webhook::export(&parsed(RULES), &Snapshot::new(&data)) {
        Outcome::Rejected(why) => {
            assert!(why.ends_with("set the sink's `mode` to \"delta\""), "{why}")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bad_config_names_the_key() {
    let rule = |rule: &str| format!(r#"{{"url": "https://a", "rules": [{rule}]}}"#);
    for (config, message) in [
        (
            r#"{"url": "x", "rules": []}"#.to_owned(),
            "config key `url`: must begin with https:// or http://",
        ),
        (
            r#"{"url": "https://a", "rules": []}"#.to_owned(),
            "config key `rules` must hold a rule",
        ),
        (
            rule(r#"{"name": "a", "metric": "rate"}"#),
            "config key `rules[0]`: needs one of `above` and `below`",
        ),
        (
            rule(r#"{"name": "a", "metric": "error_ratio", "above": 5}"#),
            "config key `rules[0]`: the threshold is a share, 0 to 1",
        ),
        (
            rule(r#"{"name": "a", "metric": "rate", "above": 1, "for": 0}"#),
            "config key `rules[0]`: `for` counts windows, at least 1",
        ),
        (
            rule(
                r#"{"name": "a", "metric": "rate", "above": 1}, {"name": "a", "metric": "p50", "above": 1}"#,
            ),
            "config key `rules[1]`: there is another rule \"a\"",
        ),
    ] {
        let config = config::parse::<Config>(&config).unwrap();
        assert_eq!(Webhook::validate(&config).unwrap_err().to_string(), message);
    }
}
