//! The author's kit, as it is typed: what `owlk8s plugin` says of real components and what it ends with.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// A component that `cargo xtask build-plugins` made.
fn shipped(name: &str) -> String {
    let path = checkout()
        .join("target/plugins")
        .join(name)
        .with_extension("wasm");
    assert!(
        path.is_file(),
        "{} is missing: run `cargo xtask build-plugins`",
        path.display()
    );
    path.display().to_string()
}

fn example(name: &str) -> String {
    let path = checkout().join("examples/plugins").join(name);
    let component = path.join(name).with_extension("wasm");
    assert!(
        component.is_file(),
        "{} is missing: run `cargo xtask build-plugins`",
        component.display()
    );
    path.display().to_string()
}

fn owlk8s(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_owlk8s"))
        .arg("plugin")
        .args(words)
        .current_dir(folder)
        .output()
        .unwrap()
}

/// Standard output of a command that must end with `code`.
fn said(code: i32, words: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    said_in(dir.path(), code, words)
}

fn said_in(folder: &Path, code: i32, words: &[&str]) -> String {
    let output = owlk8s(folder, words);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(code), "{words:?}: {out}\n{err}");
    if code == 0 {
        out.into_owned()
    } else {
        format!("{out}{err}")
    }
}

#[test]
fn inspect_says_what_a_plugin_is_and_asks_for() {
    let text = said(0, &["inspect", &shipped("json-log")]);
    for line in [
        "  world     formatter\n",
        "  wit       owlk8s:plugin@0.1.0\n",
        "  asks      for nothing\n",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    let slo = format!("{}/rust-slo.wasm", example("rust-slo"));
    let text = said(0, &["inspect", &slo]);
    assert!(
        text.contains("to send HTTP requests to where its config key `url` points"),
        "{text}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&said(0, &["inspect", &slo, "--json"])).unwrap();
    assert_eq!(
        (&json["world"], &json["manifest"]["asks"]["http"][0]),
        (&"exporter".into(), &"config:url".into())
    );
    let text = said(1, &["inspect", &shipped("fixtures/of-another-version")]);
    assert!(
        text.contains("built for owlk8s:plugin@0.2.0, and this owlk8s has 0.1.0"),
        "{text}"
    );
}

#[test]
fn run_prints_what_a_plugin_gives_or_delivers_it() {
    let log = shipped("simple-log");
    let text = said(0, &["run", &log]);
    assert!(
        text.starts_with(
            "--- out (text/plain; charset=utf-8)\nIP: 10.244.1.17, OwnerObj: cart, Pod: cart-0"
        ),
        "{text}"
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out");
    let endpoint = format!(
        "out={{ kind = \"file\", path = {:?} }}",
        file.display().to_string()
    );
    assert_eq!(said(0, &["run", &log, "--endpoint", &endpoint]), "");
    assert!(
        std::fs::read_to_string(file)
            .unwrap()
            .starts_with("IP: 10.244.1.17")
    );
    let text = said(1, &["run", &log, "--config", r#"{"unit": "ms"}"#]);
    assert!(text.contains("unit"), "{text}");
    let text = said(
        0,
        &["run", &shipped("prometheus"), "--request", "GET /metrics"],
    );
    assert!(
        text.starts_with("--- response 200\n")
            && text.contains("http_server_request_duration_seconds_count"),
        "{text}"
    );
}

#[test]
fn limits_and_authority_are_those_of_the_plugin_process() {
    let text = said(
        1,
        &[
            "run",
            &shipped("fixtures/spins"),
            "--set",
            "limits.cpu = \"100ms\"",
        ],
    );
    assert!(
        text.contains("plugin spins was stopped: it used the processor for 100ms (limits.cpu)"),
        "{text}"
    );
    let slo = format!("{}/rust-slo.wasm", example("rust-slo"));
    let text = said(
        1,
        &[
            "run",
            &slo,
            "--config",
            r#"{"url": "https://slo.example.com/burn"}"#,
        ],
    );
    assert!(
        text.contains("add grant.http = [\"https://slo.example.com:443\"]"),
        "{text}"
    );
}

#[test]
fn bench_measures_and_a_budget_is_kept_or_broken() {
    let log = shipped("json-log");
    let bench = |budget: &str, code| {
        said(
            code,
            &[
                "bench",
                &log,
                "--targets",
                "100",
                "--windows",
                "3",
                "--json",
                "--budget",
                budget,
            ],
        )
    };
    let report: serde_json::Value =
        serde_json::from_str(&bench("cpu=1s,memory=64MiB,bytes=1MiB", 0)).unwrap();
    let line = &report["sizes"][0];
    assert!(
        line["cpu_ns"].as_u64() > Some(0) && line["bytes"].as_u64() > Some(10_000),
        "{report}"
    );
    assert!(bench("cpu=1ns", 1).contains("cpu: "));
}

#[test]
fn examples_in_rust_give_what_their_golden_files_say() {
    for name in ["rust-csv", "rust-drop-probes", "rust-slo"] {
        let text = said(0, &["test", &example(name)]);
        assert!(
            text.contains("ok      (survives rows-50000)\n") && text.ends_with(", 0 failed\n"),
            "{text}"
        );
    }
}

#[test]
fn released_components_run_on_this_host() {
    let versions = checkout().join("plugins/testing/compat");
    let mut run = 0;
    for version in std::fs::read_dir(&versions)
        .unwrap()
        .map(|it| it.unwrap().path())
        .filter(|it| it.is_dir())
    {
        for plugin in std::fs::read_dir(version)
            .unwrap()
            .map(|it| it.unwrap().path())
        {
            let text = said(0, &["test", &plugin.display().to_string()]);
            assert!(
                text.ends_with(", 0 failed\n"),
                "{}: {text}",
                plugin.display()
            );
            run += 1;
        }
    }
    assert!(run >= 4, "{} holds {run} components", versions.display());
}

#[test]
fn plugin_in_rust_from_nothing_to_its_test() {
    let dir = tempfile::tempdir().unwrap();
    for world in ["formatter", "filter", "responder", "exporter"] {
        let name = format!("my-{world}");
        said_in(
            dir.path(),
            0,
            &["new", "--lang", "rust", "--world", world, &name],
        );
        // Together they compile what they share once.
        let config = dir.path().join(".cargo/config.toml");
        std::fs::create_dir_all(config.parent().unwrap()).unwrap();
        std::fs::write(
            config,
            format!(
                "[build]\ntarget-dir = {:?}\n",
                dir.path().join("target").display().to_string()
            ),
        )
        .unwrap();
        let text = said_in(dir.path(), 0, &["build", &name]);
        assert!(text.starts_with(&format!("{name}/{name}.wasm: ")), "{text}");
        let text = said_in(dir.path(), 0, &["test", &name]);
        assert!(text.contains("ok      shop\n"), "{text}");
    }
    let again = said_in(dir.path(), 1, &["new", "--lang", "rust", "my-filter"]);
    assert!(again.contains("my-filter is there already"), "{again}");
}

#[test]
fn what_is_missing_to_build_is_said_with_its_remedy() {
    let dir = tempfile::tempdir().unwrap();
    said_in(dir.path(), 0, &["new", "--lang", "python", "per-pod"]);
    let output = Command::new(env!("CARGO_BIN_EXE_owlk8s"))
        .args(["plugin", "build", "per-pod"])
        .env("PATH", "/nowhere")
        .current_dir(dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("lacks\n  componentize-py: python3 -m venv .venv && .venv/bin/pip install componentize-py"), "{text}");
}
