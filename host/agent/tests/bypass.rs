//! A data path that bypasses the node's end of the pod's veth (`bpf_redirect_peer`), to the end: what `/snapshot` says.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

mod common;
#[path = "../../probe/tests/beyond/redirect.rs"]
mod redirect;

use std::time::Duration;

use common::agent::config;
use common::{Agent, Lab, Nginx, within};
use serde_json::Value;

/// Longer than a look-up, a window and the kernel's check of a program take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Lets the client and the pod `p1` reach each other past the node.
fn bypass(lab: &Lab) {
    let ends = [lab.interface("c1"), lab.interface("p1")];
    let redirect = move || {
        redirect::redirect(&ends[0], &ends[1])?;
        redirect::redirect(&ends[1], &ends[0])
    };
    lab.inside("node", redirect).unwrap().unwrap();
}

fn snapshot_that(agent: &Agent<'_>, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    within(PATIENCE, what, || {
        let pod = agent.pod("p1");
        if holds(&pod) {
            Ok(pod)
        } else {
            Err(format!("{pod}\n{}", agent.log()))
        }
    })
}

#[test]
fn bypassed_pod_is_read_inside_and_counted_exactly() {
    let lab = Lab::new(1);
    let nginx = Nginx::start(&lab, "p1");
    bypass(&lab);
    let agent = Agent::attached(&lab, &config(&[lab.target("p1")], ""));
    (0..3).for_each(|_| nginx.get("/200"));
    snapshot_that(&agent, "it has moved", |pod| pod["hook"] == "pod-namespace");
    (0..40).for_each(|_| nginx.get("/200"));
    (0..2).for_each(|_| nginx.get("/404"));
    let pod = snapshot_that(&agent, "all is counted", |pod| {
        pod["totals"]["requests"] == 42
    });
    assert_eq!(pod["totals"]["err4"], 2);
    assert_eq!(
        (&pod["status"], &pod["blind"]),
        (&"active".into(), &false.into())
    );
    assert_eq!(pod["interface"], "vhp1");
    let why = pod["hook_reason"].as_str().unwrap();
    assert!(why.starts_with("vhp1 is bypassed"), "{why}");
    let told = agent.log().matches("moved").count();
    assert_eq!(told, 1, "{}", agent.log());
}

#[test]
fn where_nothing_else_is_permitted_the_pod_is_blind_and_the_remedy_is_named() {
    let lab = Lab::new(1);
    let nginx = Nginx::start(&lab, "p1");
    bypass(&lab);
    let agent = Agent::without(
        &lab,
        "cap_sys_admin,cap_net_admin",
        &config(&[lab.target("p1")], ""),
    );
    within(PATIENCE, "it is attached", || {
        let pod = agent.pod("p1");
        if pod["hook"] == "host-veth" {
            Ok(())
        } else {
            Err(pod.to_string())
        }
    });
    (0..3).for_each(|_| nginx.get("/200"));
    let pod = snapshot_that(&agent, "it is blind, and why", |pod| {
        pod["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("CAP_SYS_ADMIN is missing"))
    });
    let reason = pod["reason"].as_str().unwrap();
    assert!(reason.starts_with("blind: vhp1 is bypassed"), "{reason}");
    assert_eq!(
        (&pod["status"], &pod["blind"]),
        (&"degraded".into(), &true.into())
    );
    assert_eq!(pod["totals"]["coverage"], 0.0);
    assert_eq!(
        (&pod["hook"], &pod["hook_reason"]),
        (&"host-veth".into(), &"".into())
    );
}
