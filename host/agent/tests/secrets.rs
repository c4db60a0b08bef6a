//! Secrets of endpoints, looked for in everything that the agent shows.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test panics where it fails, and says what it measured"
)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use common::agent::{BINARY, config};
use common::{Agent, Lab, fixture, within};

const OF_ENV: &str = "env-hunter2";
const OF_FILE: &str = "file-swordfish";
/// `owl:file-swordfish`
const BASIC: &str = "b3dsOmZpbGUtc3dvcmRmaXNo";

#[test]
fn secrets_are_in_no_log_no_page_and_no_printed_configuration() {
    let lab = Lab::new(1);
    // Nobody listens: the error is what is shown most often.
    let password = lab.dir.path().join("password");
    std::fs::write(&password, OF_FILE).unwrap();
    std::fs::set_permissions(&password, PermissionsExt::from_mode(0o644)).unwrap();
    let sink = format!(
        "[[sinks]]\nname = \"x\"\nplugin = \"{}\"\n\
         endpoints.out = {{ kind = \"http\", url = \"http://127.0.0.1:9/\", headers = {{ x-key = {{ env = \"KEY\" }} }}, \
         basic = {{ user = \"owl\", password = {{ file = \"{}\" }} }} }}\n",
        fixture("good-echo").display(),
        password.display()
    );
    let config = config(&[lab.target("p1")], &sink);
    let mut command = lab.command("node", BINARY);
    command.env("KEY", OF_ENV).env("debug", "true");
    let agent = Agent::start_as(&lab, command, &config);
    within(Duration::from_secs(60), "it is tried in vain", || {
        let sink = agent.sink("x");
        if sink["counters"]["sink_faults"].as_u64() > Some(0) {
            Ok(())
        } else {
            Err(sink.to_string())
        }
    });
    let printed = Command::new(BINARY)
        .args(["config", "--config"])
        .arg(lab.dir.path().join("owlk8s.toml"))
        .env("KEY", OF_ENV)
        .output()
        .unwrap();
    assert!(printed.status.success());
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(
        printed.contains("env = \"KEY\""),
        "where it is, is shown: {printed}"
    );
    let mut shown = vec![
        printed,
        agent.log(),
        std::fs::read_to_string(&agent.stdout).unwrap(),
    ];
    for path in ["/plugins", "/metrics", "/snapshot"] {
        shown.push(agent.get(path).unwrap().1);
    }
    for text in shown {
        for secret in [OF_ENV, OF_FILE, BASIC] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}
