//! Bad input: one message that names the thing, the place and the remedy, and the exit code.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test panics where it fails, and says what it measured"
)]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::agent::{BINARY, config};
use common::{Agent, Lab};

fn owlk8s(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).output().unwrap()
}

/// Exit code and standard error of `owlk8s run` on this text; `FILE` stands for the file's path.
fn run(text: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("owlk8s.toml");
    std::fs::write(&file, text).unwrap();
    let out = owlk8s(&["run", "--config", file.to_str().unwrap()]);
    let said = String::from_utf8(out.stderr)
        .unwrap()
        .replace(file.to_str().unwrap(), "FILE");
    (out.status.code(), said)
}

#[test]
fn the_version_is_told() {
    let out = owlk8s(&["--version"]);
    let told = String::from_utf8(out.stdout).unwrap();
    assert_eq!(
        (out.status.code(), told.trim()),
        (Some(0), concat!("owlk8s ", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn an_unknown_key_is_a_usage_error() {
    assert_eq!(
        run("intervall = \"1s\"\n"),
        (
            Some(2),
            "owlk8s: FILE:1: unknown key \"intervall\", did you mean \"interval\"? \
             (known here: node, interval, log, plugin_dirs, admin, probe, discovery, plugins, sinks)\n"
                .to_owned()
        )
    );
}

#[test]
fn a_bad_duration_is_a_usage_error() {
    assert_eq!(
        run("\ninterval = \"soon\"\n"),
        (
            Some(2),
            "owlk8s: FILE:2: interval = \"soon\" is not a duration from \"100ms\" to \"1h\", \
             such as \"500ms\", \"10s\" or \"1m30s\"\n"
                .to_owned()
        )
    );
}

#[test]
fn two_sinks_of_one_name_are_a_usage_error() {
    let sink = "[[sinks]]\nname = \"log\"\nplugin = \"simple-log\"\nendpoints.out = { kind = \"stdout\" }\n";
    assert_eq!(
        run(&format!("{sink}{sink}")),
        (
            Some(2),
            "owlk8s: FILE:5: sink \"log\" is there already, in line 1: give each [[sinks]] a name of its own\n".to_owned()
        )
    );
}

#[test]
fn a_configuration_that_watches_nothing_is_a_usage_error() {
    assert_eq!(
        run(""),
        (
            Some(2),
            "owlk8s: FILE: what [discovery] says cannot be watched: nothing to watch: add a [discovery.kubernetes] table, targets in [discovery.static], or a \
             [discovery.host] table to the configuration\n"
                .to_owned()
        )
    );
}

#[test]
fn every_wrong_target_is_told_at_once() {
    let (code, said) =
        run("[discovery.static]\ntargets = [{ pod = \"a\", ips = [\"x\"] }, { pod = \"b\" }]\n");
    assert_eq!(code, Some(2));
    assert!(
        said.contains("discovery.static.targets[0] (a): ip `x` is no address"),
        "{said}"
    );
    assert!(
        said.contains("discovery.static.targets[1] (b): has neither `ips` nor `interface`"),
        "{said}"
    );
}

#[test]
fn a_missing_file_is_a_usage_error() {
    let out = owlk8s(&["run", "--config", "/nowhere/owlk8s.toml"]);
    assert_eq!(out.status.code(), Some(2));
    assert_eq!(
        String::from_utf8(out.stderr).unwrap(),
        "owlk8s: cannot read configuration file /nowhere/owlk8s.toml: name a readable file with --config: \
         No such file or directory (os error 2)\n"
    );
}

#[test]
fn an_unknown_command_is_a_usage_error() {
    assert_eq!(owlk8s(&["runn"]).status.code(), Some(2));
    assert_eq!(
        owlk8s(&["run"]).status.code(),
        Some(2),
        "run without --config"
    );
}

#[test]
fn a_port_taken_is_named_with_the_key_that_moves_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (code, said) = run(&format!(
        "[admin]\nlisten = \"{address}\"\n[discovery.static]\ntargets = [{{ pod = \"a\", interface = \"lo\" }}]\n"
    ));
    assert_eq!(code, Some(1), "{said}");
    let message = format!(
        "owlk8s: cannot listen on {address} for the admin endpoints: set another address with `listen` in [admin]: \
         Address already in use (os error 98)\n"
    );
    assert!(said.ends_with(&message), "{said}");
}

#[test]
fn missing_capabilities_are_named_in_the_first_line() {
    common::lab::need("capsh", "libcap2-bin");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("owlk8s.toml");
    std::fs::write(
        &file,
        "[discovery.static]\ntargets = [{ pod = \"a\", interface = \"lo\" }]\n",
    )
    .unwrap();
    let command = format!("exec {BINARY} run --config {}", file.display());
    let out = Command::new("capsh")
        .args([
            "--drop=cap_net_raw,cap_bpf,cap_sys_admin",
            "--",
            "-c",
            &command,
        ])
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(out.stderr).unwrap(),
        "owlk8s: CAP_BPF (loads the filter) and CAP_NET_RAW (opens packet sockets) are missing: run as root, or grant \
         CAP_BPF, CAP_NET_RAW (in Kubernetes: add them under securityContext.capabilities)\n"
    );
}

#[test]
fn config_prints_every_default_and_reads_what_it_printed() {
    let out = owlk8s(&["config"]);
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let printed = String::from_utf8(out.stdout).unwrap();
    for line in [
        "interval = \"10s\"",
        "listen = \"127.0.0.1:9465\"",
        "connections = 65536",
        "include_probes = false",
    ] {
        assert!(printed.contains(line), "{line} in\n{printed}");
    }
    let lab = tempfile::tempdir().unwrap();
    let file = lab.path().join("owlk8s.toml");
    std::fs::write(
        &file,
        config(&["{ pod = \"a\", interface = \"lo\" }".to_owned()], ""),
    )
    .unwrap();
    let first = owlk8s(&["config", "--config", file.to_str().unwrap()]);
    assert!(
        first.status.success(),
        "{}",
        String::from_utf8_lossy(&first.stderr)
    );
    std::fs::write(&file, &first.stdout).unwrap();
    let second = owlk8s(&["config", "--config", file.to_str().unwrap()]);
    assert_eq!(
        String::from_utf8(first.stdout).unwrap(),
        String::from_utf8(second.stdout).unwrap()
    );
}

#[test]
fn version_is_one_line() {
    let out = owlk8s(&["version"]);
    assert_eq!(
        String::from_utf8(out.stdout).unwrap(),
        format!("owlk8s {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn sinks_that_cannot_start_are_a_status_beside_what_runs() {
    let lab = Lab::new(1);
    let text = lab.dir.path().join("text.wasm");
    std::fs::write(&text, "this is no component").unwrap();
    let sinks = format!(
        "[[sinks]]\nname = \"absent\"\nplugin = \"no-such-plugin\"\nendpoints.out = {{ kind = \"stdout\" }}\n\
         [[sinks]]\nname = \"text\"\nplugin = \"{}\"\nendpoints.out = {{ kind = \"stdout\" }}\n",
        text.display()
    );
    let agent = Agent::attached(&lab, &config(&[lab.target("p1")], &sinks));
    let plugins = common::within(
        std::time::Duration::from_secs(10),
        "both sinks have failed",
        || {
            let plugins = agent.json("/plugins");
            let failed = plugins
                .as_array()
                .unwrap()
                .iter()
                .filter(|p| p["state"] == "failed")
                .count();
            if failed == 2 {
                Ok(plugins)
            } else {
                Err(plugins.to_string())
            }
        },
    );
    let said = plugins.to_string();
    assert!(said.contains("no-such-plugin"), "{said}");
    assert!(
        said.contains(Path::new("text.wasm").to_str().unwrap()),
        "{said}"
    );
    assert_eq!(agent.pod("p1")["status"], "active");
}
