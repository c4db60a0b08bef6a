//! Real traffic: what `/snapshot` says against what the server itself counted.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test panics where it fails, and says what it measured"
)]

mod common;

use std::time::Duration;

use common::agent::config;
use common::{Agent, Lab, Nginx, within};

/// `make test` takes the short way; OWLK8S_LONG=1 is the ten runs of ten seconds.
fn runs() -> (u32, u32) {
    if std::env::var_os("OWLK8S_LONG").is_some() {
        (10, 10)
    } else {
        (2, 2)
    }
}

#[test]
fn a_snapshot_equals_the_server_s_own_counts_to_the_last_request() {
    let lab = Lab::new(1);
    let nginx = Nginx::start(&lab, "p1");
    let agent = Agent::attached(&lab, &config(&[lab.target("p1")], ""));
    let (runs, seconds) = runs();
    let begin = nginx.requests();
    for run in 1..=runs {
        nginx.load(seconds);
        let truth = nginx.requests_since(begin);
        assert!(truth > 1000, "no load: {truth} requests");
        let pod = within(Duration::from_secs(2), "all requests are counted", || {
            let pod = agent.pod("p1");
            if pod["totals"]["requests"] == truth {
                Ok(pod)
            } else {
                Err(format!("{truth} at nginx, {}", pod["totals"]))
            }
        });
        println!("run {run}: {truth} requests, {}", pod["totals"]);
        assert_eq!(pod["status"], "active", "{}", pod["reason"]);
        assert_eq!(pod["totals"]["in_flight"], 0, "{}", pod["totals"]);
        assert_eq!(pod["totals"]["coverage"], 1.0, "{}", pod["totals"]);
        assert_eq!(pod["totals"]["duration_count"], truth);
    }
    let pod = agent.pod("p1");
    let answers = nginx.answers();
    assert_eq!(pod["totals"]["err4"], answers["404"]);
    assert_eq!(pod["totals"]["err5"], answers["500"]);
    for (status, count) in &answers {
        let rows = pod["rows"].as_array().unwrap().iter();
        let of_status = rows.filter(|row| row["status"].as_u64() == status.parse().ok());
        assert_eq!(
            of_status
                .map(|row| row["count"].as_u64().unwrap())
                .sum::<u64>(),
            *count,
            "status {status}"
        );
    }
}

#[test]
fn a_snapshot_names_what_the_configuration_named() {
    let lab = Lab::new(1);
    let nginx = Nginx::start(&lab, "p1");
    let agent = Agent::attached(&lab, &config(&[lab.target("p1")], ""));
    nginx.get("/200");
    nginx.get("/404");
    let pod = within(Duration::from_secs(2), "both requests are counted", || {
        let pod = agent.pod("p1");
        if pod["totals"]["requests"] == 2 {
            Ok(pod)
        } else {
            Err(pod.to_string())
        }
    });
    let snapshot = agent.snapshot();
    assert_eq!(snapshot["node"], "lab");
    assert_eq!(snapshot["temporality"], "cumulative");
    assert_eq!(
        (&pod["pod"], &pod["namespace"]),
        (&"p1".into(), &"lab".into())
    );
    assert_eq!(
        pod["workload"],
        serde_json::json!({"kind": "Deployment", "name": "web"})
    );
    assert_eq!(pod["services"], serde_json::json!(["web"]));
    assert_eq!(pod["ips"], serde_json::json!([lab.ip("p1")]));
    assert_eq!(
        (&pod["interface"], &pod["hook"]),
        (&"vhp1".into(), &"host-veth".into())
    );
    for key in [
        "requests",
        "err4",
        "err5",
        "aborted",
        "in_flight",
        "seen",
        "coverage",
        "duration_last_ns",
        "duration_sum_ns",
        "duration_count",
    ] {
        assert!(pod["totals"][key].is_number(), "{key} in {}", pod["totals"]);
    }
    assert!(pod["totals"]["losses"].is_object());
    assert_eq!(
        (&pod["totals"]["err4"], &pod["totals"]["err5"]),
        (&1.into(), &0.into())
    );
    let last = pod["totals"]["duration_last_ns"].as_u64().unwrap();
    assert!(
        (1_000..1_000_000_000).contains(&last),
        "{last} ns for one exchange on a veth"
    );
}

#[test]
fn a_target_without_an_interface_in_the_configuration_is_found_by_its_address() {
    let lab = Lab::new(1);
    let nginx = Nginx::start(&lab, "p1");
    let by_address = format!("{{ pod = \"p1\", ips = [\"{}\"] }}", lab.ip("p1"));
    let agent = Agent::attached(&lab, &config(&[by_address], ""));
    nginx.get("/200");
    within(Duration::from_secs(2), "the request is counted", || {
        let pod = agent.pod("p1");
        let counted = pod["totals"]["requests"] == 1 && pod["interface"] == "vhp1";
        if counted {
            Ok(())
        } else {
            Err(pod.to_string())
        }
    });
}

#[test]
fn an_unknown_interface_is_a_visible_status_while_the_other_target_counts() {
    let lab = Lab::new(1);
    let nginx = Nginx::start(&lab, "p1");
    let absent = "{ pod = \"absent\", ips = [\"10.79.0.99\"], interface = \"veth404\" }".to_owned();
    let agent = Agent::start(&lab, &config(&[lab.target("p1"), absent], ""));
    let reason = within(Duration::from_secs(5), "the absent one has failed", || {
        let pod = agent.pod("absent");
        if pod["status"] == "failed" {
            Ok(pod["reason"].to_string())
        } else {
            Err(pod.to_string())
        }
    });
    assert!(
        reason.contains("interface veth404 of target absent does not exist"),
        "{reason}"
    );
    assert!(reason.contains("vhp1"), "what is there is named: {reason}");
    within(Duration::from_secs(5), "the other one is attached", || {
        let pod = agent.pod("p1");
        if pod["status"] == "active" {
            Ok(())
        } else {
            Err(pod.to_string())
        }
    });
    nginx.get("/500");
    within(Duration::from_secs(2), "its request is counted", || {
        let pod = agent.pod("p1");
        if pod["totals"]["err5"] == 1 {
            Ok(())
        } else {
            Err(pod.to_string())
        }
    });
    within(Duration::from_secs(2), "both are in the metrics", || {
        let (_, metrics) = agent.get("/metrics").unwrap();
        let both =
            ["failed", "active"].map(|status| format!("owlk8s_targets{{status=\"{status}\"}} 1\n"));
        if both.iter().all(|line| metrics.contains(line)) {
            Ok(())
        } else {
            Err(metrics)
        }
    });
}

#[test]
fn a_fresh_snapshot_does_not_advance_the_windows() {
    let lab = Lab::new(1);
    let target = lab.target("p1");
    let agent = Agent::attached(&lab, &config(&[target], "").replace("200ms", "1h"));
    agent.ready();
    let sequences: Vec<_> = (0..3).map(|_| agent.snapshot()["window"].clone()).collect();
    for window in &sequences {
        assert_eq!(
            (&window["sequence"], &window["start"]),
            (&sequences[0]["sequence"], &sequences[0]["start"])
        );
    }
    assert!(
        sequences[0]["end"].as_u64() < sequences[2]["end"].as_u64(),
        "it is read anew each time"
    );
}
