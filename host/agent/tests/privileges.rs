//! The least privilege: an ordinary user with two capabilities counts exactly, and each that is taken away is named.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

mod common;

use std::time::Duration;

use common::agent::{BINARY, config};
use common::lab::need;
use common::{Agent, Lab, Nginx, within};

/// The default hook needs no other.
const NEEDED: [&str; 2] = ["bpf", "net_raw"];

/// The agent's arguments to `setpriv`: user 65534 with `capabilities` and no way to more.
fn unprivileged(capabilities: &[&str]) -> Vec<String> {
    need("setpriv", "util-linux");
    let only: String = capabilities
        .iter()
        .map(|name| format!(",+{name}"))
        .collect();
    let mut arguments: Vec<String> = [
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--no-new-privs",
    ]
    .map(str::to_owned)
    .into();
    for set in ["inh-caps", "ambient-caps", "bounding-set"] {
        arguments.push(format!("--{set}=-all{only}"));
    }
    arguments.push(BINARY.to_owned());
    arguments
}

#[test]
fn an_ordinary_user_with_two_capabilities_counts_exactly() {
    let lab = Lab::new(1);
    let nginx = Nginx::start(&lab, "p1");
    let mut command = lab.command("node", "setpriv");
    command.args(unprivileged(&NEEDED));
    let agent = Agent::start_as(&lab, command, &config(&[lab.target("p1")], ""));
    agent.all_attached();
    agent.ready();
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let line = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(line("Uid:"), "65534");
    // CAP_NET_RAW is 13, CAP_BPF 39.
    let two = 1u64 << 13 | 1 << 39;
    for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
        assert_eq!(u64::from_str_radix(&line(set), 16).unwrap(), two, "{set}");
    }
    let before = nginx.requests();
    nginx.load(1);
    let truth = nginx.requests_since(before);
    within(Duration::from_secs(2), "all requests are counted", || {
        let totals = agent.pod("p1")["totals"].clone();
        if totals["requests"] == truth {
            Ok(())
        } else {
            Err(format!("{truth} at nginx, {totals}"))
        }
    });
}

#[test]
fn each_capability_that_is_taken_away_is_named() {
    let lab = Lab::bare();
    let file = lab.dir.path().join("owlk8s.toml");
    std::fs::write(
        &file,
        "[discovery.static]\ntargets = [{ pod = \"a\", interface = \"lo\" }]\n",
    )
    .unwrap();
    for missing in NEEDED {
        let left: Vec<&str> = NEEDED.into_iter().filter(|name| *name != missing).collect();
        let out = lab
            .command("node", "setpriv")
            .args(unprivileged(&left))
            .args(["run", "--config"])
            .arg(&file)
            .output()
            .unwrap();
        let said = String::from_utf8(out.stderr).unwrap();
        let named = format!("CAP_{} ", missing.to_uppercase());
        assert_eq!(out.status.code(), Some(1), "without {missing}: {said}");
        assert!(said.contains(&named), "without {missing}: {said}");
        assert!(
            said.contains("securityContext.capabilities"),
            "the remedy: {said}"
        );
    }
}
