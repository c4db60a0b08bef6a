use std::collections::BTreeMap;

use owlk8s_plugin::records::Temporality;
use owlk8s_plugin::testing::SnapshotData;
use owlk8s_plugin::{Formatter, Snapshot, config};
use owlk8s_plugin_golden::{assert_golden, assert_golden_digest, snapshot, thousand_targets};

use super::{Config, LINE_MAX, StatsD};

const DOG: &str = r#"{"tags": "dogstatsd", "durations": "timers", "prefix": "my.http"}"#;

fn delta(data: SnapshotData) -> SnapshotData {
    SnapshotData {
        temporality: Temporality::Delta,
        ..data
    }
}

fn format(config: &str, data: &SnapshotData) -> String {
    let config = config::parse(config).unwrap();
    StatsD::validate(&config).unwrap();
    let mut payloads = StatsD::format(&config, &Snapshot::new(data)).unwrap();
    assert!(payloads.len() < 2);
    payloads.pop().map_or(String::new(), |payload| {
        assert_eq!(payload.endpoint, "out");
        String::from_utf8(payload.body).unwrap()
    })
}

#[test]
fn output_is_golden() {
    for (style, config) in [("default", "{}"), ("dogstatsd", DOG)] {
        for name in ["empty", "shop", "odd-names"] {
            assert_golden(
                format!("golden/{name}.{style}.txt"),
                &format(config, &delta(snapshot(name))),
            );
        }
        assert_golden_digest(
            format!("golden/thousand.{style}.digest"),
            &format(config, &delta(thousand_targets())),
        );
    }
}

/// As a server reads lines: sums of counters, and of timers the number by their sample rates.
fn read(text: &str) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for line in text.lines() {
        let (name, rest) = line.split_once(':').unwrap();
        let mut fields = rest.split('|');
        let value: f64 = fields.next().unwrap().parse().unwrap();
        let kind = fields.next().unwrap();
        let (mut rate, mut tags) = (1.0, "");
        for field in fields {
            match field.split_at(1) {
                ("@", number) => rate = number.parse().unwrap(),
                ("#", list) => tags = list,
                _ => panic!("{line}"),
            }
        }
        let amount = match kind {
            "c" => value / rate,
            "ms" => 1.0 / rate,
            "g" => continue,
            _ => panic!("{line}"),
        };
        *sums.entry(format!("{name} {tags}")).or_default() += amount;
    }
    sums
}

#[test]
fn counters_and_timers_add_up_to_the_totals() {
    let data = delta(thousand_targets());
    let sums = read(&format(DOG, &data));
    let all = |metric: &str| -> f64 {
        let of = sums.iter().filter(|(name, _)| name.starts_with(metric));
        of.map(|(_, sum)| sum).sum()
    };
    let expected: u64 = data.totals.iter().map(|total| total.requests).sum();
    assert_eq!(all("my.http.requests "), expected as f64);
    assert_eq!(all("my.http.duration ").round(), expected as f64);
}

#[test]
fn no_name_makes_a_line_too_long_or_two() {
    let mut data = delta(snapshot("odd-names"));
    for target in &mut data.targets {
        target.pod = "購物車|".repeat(1000);
        target.namespace = "a\nb:c".repeat(1000);
        target.workload_name = "#".repeat(5000);
        target.services = vec!["s,".repeat(5000)];
        target.node = "n".repeat(5000);
    }
    let prefix = "p".repeat(100);
    for tags in ["none", "dogstatsd"] {
        let config =
            format!(r#"{{"tags": "{tags}", "durations": "timers", "prefix": "{prefix}"}}"#);
        let text = format(&config, &data);
        assert!(text.lines().all(|line| line.len() < LINE_MAX), "{text}");
        assert!(text.lines().all(|line| line.starts_with(&prefix)), "{text}");
        read(&text);
    }
}

#[test]
fn targets_of_one_name_are_one() {
    let mut data = delta(snapshot("shop"));
    data.targets[1].pod = "cart-0".to_owned();
    data.totals[1].requests = 5;
    data.totals[1].in_flight = 1;
    let text = format("{}", &data);
    assert!(
        text.contains("owlk8s.shop.cart.cart-0.requests:1005|c\n"),
        "{text}"
    );
    assert!(
        text.contains("owlk8s.shop.cart.cart-0.in_flight:3|g\n"),
        "{text}"
    );
}

#[test]
fn counts_since_discovery_are_refused_with_the_remedy() {
    let data = snapshot("shop");
    let error = StatsD::format(&Config::default(), &Snapshot::new(&data)).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("set the sink's `mode` to \"delta\""),
        "{error}"
    );
}

#[test]
fn a_bad_config_names_the_key() {
    for (config, message) in [
        (
            r#"{"prefix": "a b"}"#.to_owned(),
            "config key `prefix` holds ' ': letters, digits, `_`, `-` and `.` make a name",
        ),
        (
            format!(r#"{{"prefix": "{}"}}"#, "x".repeat(101)),
            "config key `prefix` has 101 bytes, and 100 are the limit",
        ),
    ] {
        let config = config::parse(&config).unwrap();
        assert_eq!(StatsD::validate(&config).unwrap_err().to_string(), message);
    }
}
