use owlk8s_plugin::testing::SnapshotData;
use owlk8s_plugin::{Formatter, Payload, Snapshot, config, state};
use owlk8s_plugin_golden::{assert_golden, assert_golden_digest, snapshot, thousand_targets};

use super::{Config, InfluxDb};

fn payloads(config: &str, data: &SnapshotData) -> Vec<Payload> {
    let config = config::parse(config).unwrap();
    InfluxDb::validate(&config).unwrap();
    InfluxDb::format(&config, &Snapshot::new(data)).unwrap()
}

/// What goes to the endpoint `write`; empty where nothing does.
fn format(config: &str, data: &SnapshotData) -> String {
    let mut payloads = payloads(config, data);
    assert!(payloads.len() < 2);
    payloads.pop().map_or(String::new(), |payload| {
        assert_eq!(payload.endpoint, "write");
        String::from_utf8(payload.body).unwrap()
    })
}

const ALL: &str = r#"{"measurement": "http requests", "fields": "all", "by_status": true, "services": "all",
    "precision": "s", "tags": {"cluster": "eu 1"}}"#;

#[test]
fn output_is_golden() {
    for (style, config) in [("default", "{}"), ("all", ALL)] {
        for name in ["empty", "shop", "odd-names"] {
            assert_golden(
                format!("golden/{name}.{style}.line"),
                &format(config, &snapshot(name)),
            );
        }
        assert_golden_digest(
            format!("golden/thousand.{style}.digest"),
            &format(config, &thousand_targets()),
        );
    }
}

#[test]
fn a_point_is_one_line_whatever_the_names() {
    let data = snapshot("odd-names");
    let text = format("{}", &data);
    assert_eq!(text.lines().count(), data.targets.len());
    assert!(!text.replace('\n', "").contains(char::is_control));
}

#[test]
fn targets_that_agree_in_all_tags_are_one_point_with_the_sum() {
    let mut data = snapshot("shop");
    let mut successor = data.targets[0].clone();
    successor.id = "another-uid".to_owned();
    data.targets.push(successor);
    let mut total = data.totals[0].clone();
    (total.requests, total.duration_last_ns) = (7, 0);
    data.totals.push(total);
    let text = format("{}", &data);
    let of_cart: Vec<_> = text
        .lines()
        .filter(|line| line.contains("podname=cart-0"))
        .collect();
    assert_eq!(of_cart.len(), 1, "{text}");
    assert!(
        of_cart[0].contains("duration=4211i,requests=1007i"),
        "{}",
        of_cart[0]
    );
}

#[test]
fn each_precision_is_of_the_window_s_end_in_whole_milliseconds() {
    for (precision, time) in [
        ("ns", "1795416420123000000"),
        ("us", "1795416420123000"),
        ("ms", "1795416420123"),
        ("s", "1795416420"),
    ] {
        let text = format(
            &format!(r#"{{"precision": "{precision}"}}"#),
            &snapshot("shop"),
        );
        assert!(
            text.lines()
                .all(|line| line.rsplit_once(' ').unwrap().1 == time),
            "{text}"
        );
    }
}

#[test]
fn the_database_is_asked_for_at_first_and_after_each_window_that_did_not_arrive() {
    state::set(&[]).unwrap();
    let mut data = snapshot("shop");
    let mut endpoints = |merged| {
        data.window.merged = merged;
        let payloads = payloads(r#"{"create_database": true}"#, &data);
        payloads
            .into_iter()
            .map(|payload| payload.endpoint)
            .collect::<Vec<_>>()
    };
    assert_eq!(endpoints(1), ["create", "write"]);
    assert_eq!(endpoints(1), ["write"]);
    assert_eq!(endpoints(3), ["create", "write"]);
    assert_eq!(endpoints(1), ["write"]);
}

#[test]
fn no_target_is_no_request() {
    assert_eq!(payloads("{}", &snapshot("empty")).len(), 0);
}

#[test]
fn a_bad_config_names_the_key() {
    let problem = |json| InfluxDb::validate(&config::parse::<Config>(json).unwrap());
    assert_eq!(
        problem(r#"{"measurement": ""}"#).unwrap_err().to_string(),
        "config key `measurement` must not be empty"
    );
    assert_eq!(
        problem(r#"{"tags": {"service": "x"}}"#)
            .unwrap_err()
            .to_string(),
        "config key `tags`: \"service\" is no name for a tag of your own (the plugin's are namespace, podname, owner, \
         owner_kind, service, node, method, status, protocol, side, probe)"
    );
    assert_eq!(
        config::parse::<Config>(r#"{"precision": "m"}"#)
            .err()
            .as_deref(),
        Some("config key `precision`: unknown variant `m`, expected one of `ns`, `us`, `ms`, `s`")
    );
}
