//! The agent's endpoints, its end, and what it holds.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test panics where it fails, and says what it measured"
)]

mod common;

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use common::agent::{config, promtool};
use common::{Agent, Lab, Nginx, shipped, within};

#[test]
fn readyz_is_ready_after_the_first_reading() {
    let lab = Lab::new(1);
    let agent = Agent::start(&lab, &config(&[lab.target("p1")], ""));
    agent.ready();
    assert_eq!(agent.get("/livez").unwrap(), (200, "live\n".to_owned()));
}

#[test]
fn an_unknown_path_is_answered_with_those_there_are() {
    let lab = Lab::new(1);
    let agent = Agent::start(&lab, &config(&[lab.target("p1")], ""));
    let listing = "nothing at /metric; there are\n/livez\n/readyz\n/metrics\n/snapshot\n/plugins\n/plugins/SINK\n/plugins/SINK/crashes\n/log\n";
    assert_eq!(agent.get("/metric").unwrap(), (404, listing.to_owned()));
    assert_eq!(
        agent.ask("POST", "/snapshot").unwrap(),
        (405, "only GET and HEAD\n".to_owned())
    );
}

#[test]
fn our_own_metrics_pass_promtool() {
    let lab = Lab::new(1);
    let agent = Agent::attached(&lab, &config(&[lab.target("p1")], ""));
    let metrics = within(Duration::from_secs(5), "the first window is closed", || {
        let (_, metrics) = agent.get("/metrics").unwrap();
        if metrics.contains("owlk8s_targets{status=\"active\"} 1\n") {
            Ok(metrics)
        } else {
            Err(metrics)
        }
    });
    promtool(&metrics);
    for name in [
        "owlk8s_windows_total",
        "owlk8s_read_duration_seconds_sum",
        "owlk8s_plugin_process_restarts_total",
    ] {
        assert!(
            metrics.contains(&format!("\n{name} ")),
            "{name} in {metrics}"
        );
    }
}

#[test]
fn sigterm_drains_the_last_requests_to_the_sink_and_ends_within_5_seconds() {
    shipped("json-log");
    let lab = Lab::new(1);
    let nginx = Nginx::start(&lab, "p1");
    let out = lab.dir.path().join("out.json");
    // One window at the start, the next after an hour: what arrives is the drain's.
    let sink = format!(
        "[[sinks]]\nname = \"json\"\nplugin = \"json-log\"\nendpoints.out = {{ kind = \"file\", path = \"{}\" }}\n",
        out.display()
    );
    let mut agent = Agent::attached(
        &lab,
        &config(&[lab.target("p1")], &sink).replace("200ms", "1h"),
    );
    within(Duration::from_secs(20), "the sink is active", || {
        let sink = agent.sink("json");
        if sink["state"] == "active" {
            Ok(())
        } else {
            Err(sink.to_string())
        }
    });
    for _ in 0..7 {
        nginx.get("/200");
    }
    let asked = Instant::now();
    let ended = agent.stop(Duration::from_secs(6));
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "took {:?}",
        asked.elapsed()
    );
    assert_eq!(
        (ended.code(), ended.signal()),
        (Some(0), None),
        "{}",
        agent.log()
    );
    let written = std::fs::read_to_string(&out).unwrap();
    let last: serde_json::Value =
        serde_json::from_str(written.lines().last().expect("a line")).unwrap();
    assert_eq!(last["metrics"]["requests"], 7, "{written}");
}

#[test]
fn an_endpoint_that_never_answers_does_not_hold_up_the_end() {
    shipped("json-log");
    let lab = Lab::new(1);
    // Takes connections into its backlog and never says a word.
    let silent = lab.listen("node", "127.0.0.1:9999".parse().unwrap());
    let sink = "[[sinks]]\nname = \"silent\"\nplugin = \"json-log\"\nmode = \"delta\"\n\
                endpoints.out = { kind = \"http\", url = \"http://127.0.0.1:9999/\", timeout = \"1m\" }\n";
    let mut agent = Agent::attached(&lab, &config(&[lab.target("p1")], sink));
    within(Duration::from_secs(20), "the sink is active", || {
        let sink = agent.sink("silent");
        if sink["state"] == "active" {
            Ok(())
        } else {
            Err(sink.to_string())
        }
    });
    let asked = Instant::now();
    let ended = agent.stop(Duration::from_secs(6));
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "took {:?}",
        asked.elapsed()
    );
    assert_eq!(ended.code(), Some(0), "{}", agent.log());
    drop(silent);
}

#[test]
fn nothing_is_left_behind_after_the_end() {
    let lab = Lab::new(1);
    let mut agent = Agent::attached(&lab, &config(&[lab.target("p1")], ""));
    let children = agent.children();
    agent.stop(Duration::from_secs(6));
    for child in children {
        assert!(
            !std::path::Path::new(&format!("/proc/{child}")).exists(),
            "child {child} lives on"
        );
    }
}

#[test]
fn the_agent_gives_up_the_capabilities_it_does_not_need() {
    let lab = Lab::new(1);
    let agent = Agent::start(&lab, &config(&[lab.target("p1")], ""));
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:\t"))
        .unwrap();
    let held = u64::from_str_radix(effective, 16).unwrap();
    // From linux/capability.h.
    for (bit, name) in [
        (0, "CHOWN"),
        (1, "DAC_OVERRIDE"),
        (16, "SYS_MODULE"),
        (17, "SYS_RAWIO"),
        (22, "SYS_BOOT"),
    ] {
        assert_eq!(held >> bit & 1, 0, "CAP_{name} is held");
    }
    for (bit, name) in [(13, "NET_RAW"), (39, "BPF")] {
        assert_eq!(held >> bit & 1, 1, "CAP_{name} is not held");
    }
    assert!(
        agent.log().contains("CAP_BPF"),
        "the log says what is held: {}",
        agent.log()
    );
}

/// One of our own commands, in the node's namespace.
fn command(lab: &Lab, words: &[&str]) -> std::process::Output {
    let mut command = lab.command("node", common::agent::BINARY);
    command.args(words).output().unwrap()
}

#[test]
fn the_log_level_changes_while_the_agent_runs_and_back() {
    let lab = Lab::new(1);
    let agent = Agent::attached(&lab, &config(&[lab.target("p1")], ""));
    let said = |words: &[&str]| {
        let output = command(&lab, words);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), text)
    };
    let (done, before) = said(&["log"]);
    assert!(done && before.contains(" started node="), "{before}");
    assert!(before.ends_with("(configuration)\n"), "{before}");
    let (done, changed) = said(&["log", "debug"]);
    assert!(done && changed.contains("owlk8s=debug"), "{changed}");
    within(
        Duration::from_secs(5),
        "what is logged at debug",
        || match agent.log().contains("DEBUG") {
            true => Ok(()),
            false => {
                // What is no HTTP is a line at debug.
                let admin = lab.connect("node", "127.0.0.1:9465".parse().unwrap());
                std::io::Write::write_all(&mut admin.unwrap(), b"\x01\r\n\r\n").unwrap();
                Err(agent.log())
            }
        },
    );
    let (done, back) = said(&["log", "default"]);
    assert!(done && back.ends_with("(configuration)\n"), "{back}");
    let refused = command(&lab, &["log", "loud"]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success(), "{why}");
    assert!(
        why.contains("\"loud\" is no level; there are error, warn"),
        "{why}"
    );
}

#[test]
fn a_support_bundle_holds_everything_under_other_names() {
    shipped("json-log");
    let lab = Lab::new(1);
    let nginx = Nginx::start(&lab, "p1");
    let text = config(
        &[lab.target("p1")],
        "[[sinks]]\nname = \"json\"\nplugin = \"json-log\"\nendpoints.out = { kind = \"stdout\" }\n",
    );
    let text = text.replace("node = \"lab\"", "node = \"lab-of-the-test\"");
    let agent = Agent::attached(&lab, &text);
    for _ in 0..5 {
        nginx.get("/200");
    }
    let file = lab.dir.path().join("owlk8s.toml");
    let bundle = |more: &[&str]| {
        let archive = lab.dir.path().join("bundle.tar.gz");
        let out = archive.to_str().unwrap();
        let mut words = vec![
            "support",
            "--config",
            file.to_str().unwrap(),
            "--output",
            out,
        ];
        words.extend(more);
        let output = command(&lab, &words);
        assert!(output.status.success(), "{output:?}");
        let tar = std::process::Command::new("tar")
            .args(["--extract", "--to-stdout", "--gzip", "--file", out])
            .output()
            .unwrap();
        let list = std::process::Command::new("tar")
            .args(["--list", "--gzip", "--file", out])
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(list.stdout), text(tar.stdout))
    };
    let (files, redacted) = bundle(&[]);
    for name in [
        "versions.json",
        "doctor.json",
        "config.toml",
        "snapshot.json",
        "plugins.json",
        "metrics.txt",
        "log.txt",
        "missing.txt",
    ] {
        assert!(
            files.contains(&format!("owlk8s-support/{name}\n")),
            "{files}"
        );
    }
    let target = agent.pod("p1");
    let ip = target["ips"][0].as_str().unwrap().to_owned();
    let namespace = target["namespace"].as_str().unwrap().to_owned();
    assert!(!redacted.contains("lab-of-the-test"), "{redacted}");
    assert!(!redacted.contains(&format!("\"{ip}\"")), "{redacted}");
    let named = format!("\"namespace\": \"{namespace}\"");
    assert!(!redacted.contains(&named), "{redacted}");
    assert!(
        redacted.contains("\"requests\": 5"),
        "the counts are the true ones"
    );
    let (_, plain) = bundle(&["--names"]);
    assert!(
        plain.contains("lab-of-the-test") && plain.contains(&named),
        "{plain}"
    );
}
