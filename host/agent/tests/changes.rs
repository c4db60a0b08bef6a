//! Targets that come, go and move while the agent runs.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test panics where it fails, and says what it measured"
)]

mod common;

use std::time::Duration;

use common::agent::config;
use common::{Agent, Lab, Nginx, within};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(15);

#[test]
fn a_veth_replaced_under_the_same_name_is_followed_and_counts_go_on() {
    let lab = Lab::new(1);
    let nginx = Nginx::start(&lab, "p1");
    let agent = Agent::attached(&lab, &config(&[lab.target("p1")], ""));
    let requests = |count: u64| {
        within(Duration::from_secs(3), "the requests are counted", || {
            let pod = agent.pod("p1");
            if pod["totals"]["requests"] == count {
                Ok(())
            } else {
                Err(pod.to_string())
            }
        });
    };
    for _ in 0..3 {
        nginx.get("/200");
    }
    requests(3);
    lab.unplug("p1");
    within(PATIENCE, "the target is not called active", || {
        let pod = agent.pod("p1");
        if pod["status"] == "active" {
            Err(pod.to_string())
        } else {
            Ok(())
        }
    });
    assert_eq!(
        agent.pod("p1")["totals"]["requests"],
        3,
        "what was counted stays"
    );
    lab.plug("p1");
    within(PATIENCE, "it is attached again", || {
        let pod = agent.pod("p1");
        if pod["status"] == "active" {
            Ok(())
        } else {
            Err(pod.to_string())
        }
    });
    for _ in 0..2 {
        nginx.get("/200");
    }
    requests(5);
}

#[test]
fn pods_of_this_host_are_found_by_themselves_come_later_and_leave() {
    let lab = Lab::new(2);
    let nginx = Nginx::start(&lab, "p1");
    lab.unplug("p2");
    let agent = Agent::start(
        &lab,
        "node = \"lab\"\ninterval = \"200ms\"\n[discovery.host]\n",
    );
    let find = |who: &str| -> Option<Value> {
        let (name, snapshot) = (lab.netns(who), agent.snapshot());
        let mut targets = snapshot["targets"].as_array().unwrap().iter();
        targets
            .find(|target| target["pod"] == name.as_str())
            .cloned()
    };
    let active = |who: &str| {
        within(PATIENCE, "the pod is attached", || match find(who) {
            Some(pod) if pod["status"] == "active" => Ok(()),
            other => Err(format!("{other:?}")),
        });
    };
    active("p1");
    assert!(find("p2").is_none());
    nginx.get("/404");
    within(Duration::from_secs(3), "its request is counted", || {
        let pod = find("p1").unwrap();
        if pod["totals"]["err4"] == 1 {
            Ok(())
        } else {
            Err(pod.to_string())
        }
    });
    lab.plug("p2");
    active("p2");
    lab.unplug("p2");
    within(PATIENCE, "the pod has left", || match find("p2") {
        None => Ok(()),
        Some(pod) => Err(pod.to_string()),
    });
    active("p1");
}
