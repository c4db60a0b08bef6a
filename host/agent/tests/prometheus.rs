//! The plugin `prometheus` before two real servers, one of them with native histograms: what they answer is what
//! nginx answered, also after they were away.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test panics where it fails, and says what it measured"
)]

mod common;

use std::time::Duration;

use common::agent::config;
use common::grafana::queries;
use common::histogram::{bucket_of, histogram};
use common::{Agent, Lab, Nginx, Prometheus, shipped, within};

const SINK: &str = "[[sinks]]\nname = \"prometheus\"\nplugin = \"prometheus\"\n\
                    endpoints.metrics = { kind = \"serve\", listen = \"127.0.0.1:9466\" }\n";
const PAGE: &str = "127.0.0.1:9466";
const CLASSIC: &str = "sum(http_server_request_duration_seconds_count)";
const NATIVE: &str = "histogram_count(sum(http_server_request_duration_seconds))";

fn counts(server: &Prometheus<'_>, query: &str, truth: u64, when: &str) {
    within(Duration::from_secs(30), when, || {
        match server.value(query)? {
            value if value == truth as f64 => Ok(()),
            value => Err(format!("{value}, {truth} at nginx; {}", server.complaint())),
        }
    });
}

#[test]
fn what_prometheus_holds_is_what_nginx_answered_also_after_an_outage() {
    shipped("prometheus");
    let lab = Lab::new(1);
    let nginx = Nginx::start(&lab, "p1");
    let agent = Agent::attached(&lab, &config(&[lab.target("p1")], SINK));
    let native = ["--enable-feature=native-histograms"];
    let mut classic = Prometheus::start(&lab, 9090, PAGE, &[]);
    let mut native = Prometheus::start(&lab, 9091, PAGE, &native);
    let begin = nginx.requests();
    nginx.load(1);
    let truth = nginx.requests_since(begin);
    counts(&classic, CLASSIC, truth, "OpenMetrics has all");
    counts(&native, NATIVE, truth, "protobuf has all");

    classic.down();
    native.down();
    nginx.load(1);
    classic.up();
    native.up();
    let truth = nginx.requests_since(begin);
    counts(
        &classic,
        CLASSIC,
        truth,
        "after the outage OpenMetrics has all",
    );
    counts(&native, NATIVE, truth, "after the outage protobuf has all");

    // The traffic has ended: the snapshot's buckets are those that were scraped.
    let histogram = histogram(&agent.pod("p1"));
    for q in [0.1, 0.5, 0.9, 0.99, 1.0] {
        let query = format!("histogram_quantile({q}, sum(http_server_request_duration_seconds))");
        let found = native.value(&query).unwrap();
        let (low, high) = bucket_of(&histogram, q);
        println!("quantile {q}: {found} s, bucket {low} to {high} s");
        assert!(
            low * 0.999_999 <= found && found <= high * 1.000_001,
            "quantile {q} is {found}, its bucket {low} to {high}"
        );
    }
    let errors = |code: &str| {
        let of = format!("{{http_response_status_code=\"{code}\"}}");
        classic
            .value(&format!(
                "sum(http_server_request_duration_seconds_count{of})"
            ))
            .unwrap()
    };
    let joined = "count(http_server_request_duration_seconds_count * on (k8s_pod_name) group_left (ips) owlk8s_target_info)";
    assert_eq!(classic.value(joined), Ok(3.0), "a series a status");
    let about = classic.query("target_info").unwrap();
    assert_eq!(about[0]["metric"]["k8s_node_name"], "lab");
    nginx.load(2);
    for server in [&classic, &native] {
        let variables = [
            ("$namespace", ".*"),
            ("$workload", ".*"),
            ("$__rate_interval", "10s"),
        ];
        for (title, query) in queries("prometheus.json", "expr", &variables) {
            // Grafana asks a variable's values of another endpoint; the series are the same.
            let query = match query.strip_prefix("label_values(") {
                Some(rest) => rest.rsplit_once(',').unwrap().0.to_owned(),
                None => query,
            };
            let series = server
                .query(&query)
                .unwrap_or_else(|error| panic!("{title}: {error}"));
            // Every target is whole here.
            let empty = title == "Targets that are not whole";
            assert_eq!(series.is_empty(), empty, "{title}: {query}: {series:?}");
            let all_numbers = series.iter().all(|s| s["value"][1] != "NaN");
            assert!(all_numbers, "{title}: {query}: {series:?}");
        }
    }
    let truth = nginx.requests_since(begin);
    counts(&classic, CLASSIC, truth, "in the end OpenMetrics has all");
    let (err4, err5) = (errors("404"), errors("500"));
    drop((classic, native, agent));
    let answers = nginx.answers();
    assert_eq!((err4, err5), (answers["404"] as f64, answers["500"] as f64));
}
