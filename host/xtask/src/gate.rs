//! The gate: everything that must hold, the cheap checks first, ended by the first that fails. CI runs only this.
//!
//! One profile (`--release`) for the binary and the tests, so that the WebAssembly compiler is compiled once.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::compile;
use crate::deploy;
use crate::plan::Toolchain;
use crate::reference;
use crate::run::{announce, human, run};
use crate::workspace::{cargo, native_target, path};

/// Tests that load the machine disturb each other's timing: no more than this many at once.
const TEST_THREADS: usize = 4;

type Check = fn(Toolchain) -> Result<()>;

const CHECKS: &[(&str, Check)] = &[
    ("formatting", |_| formatting()),
    ("lock files", |_| lock_files()),
    ("deploy: the chart and what it renders", |_| {
        deploy::deploy(true)
    }),
    ("deploy: the alerts", |_| deploy::alerts()),
    ("build: kernel program", compile::ebpf),
    ("lints: kernel program", |_| ebpf_lints()),
    ("lints: plugins", |_| plugin_lints()),
    ("build: plugins", compile::plugins),
    ("tests: plugins", |_| plugin_tests()),
    ("lints: host", |_| host_lints()),
    ("build: host and its tests", |_| host_tests(&["--no-run"])),
    ("tests: host, kernel, end to end", |_| {
        host_tests(&["--", &test_threads()])
    }),
    ("documents: the configuration's reference", |_| {
        reference::reference(true)
    }),
];

/// Runs every check and prints how long each took.
pub(crate) fn gate(toolchain: Toolchain) -> Result<()> {
    let mut times = Vec::new();
    for (name, check) in CHECKS {
        announce(&format!("[{}/{}] {name}", times.len() + 1, CHECKS.len()));
        let started = Instant::now();
        let result = check(toolchain);
        times.push((*name, started.elapsed()));
        if let Err(error) = result {
            summary(&times, "FAILED");
            return Err(error.context(format!("the gate ended at `{name}`")));
        }
    }
    summary(&times, "passed");
    Ok(())
}

fn summary(times: &[(&str, Duration)], verdict: &str) {
    eprintln!();
    for (n, (name, elapsed)) in times.iter().enumerate() {
        let word = if n + 1 == times.len() {
            verdict
        } else {
            "passed"
        };
        eprintln!("  {word:7} {name:34} {:>12}", human(*elapsed));
    }
    let whole = times.iter().map(|(_, elapsed)| *elapsed).sum();
    eprintln!("  the gate {verdict} after {}", human(whole));
}

/// The four workspaces of the checkout.
const WORKSPACES: [&str; 4] = [".", "plugins", "examples/plugins", "ebpf/red"];

/// A lock file that lags behind its manifest would be changed by whoever builds next.
fn lock_files() -> Result<()> {
    for workspace in WORKSPACES {
        let mut metadata = cargo(workspace);
        metadata
            .args(["metadata", "--locked", "--format-version", "1"])
            .stdout(Stdio::null());
        run(&mut metadata).with_context(|| {
            format!("Cargo.lock of `{workspace}` is old: commit what cargo makes of it")
        })?;
    }
    Ok(())
}

fn formatting() -> Result<()> {
    for workspace in WORKSPACES {
        run(cargo(workspace).args(["fmt", "--all", "--check"]))?;
    }
    Ok(())
}

/// Linted as native code: clippy exists only for the toolchain in use, which need not have the parts for eBPF.
fn ebpf_lints() -> Result<()> {
    let mut clippy = cargo("ebpf/red");
    clippy.args([
        "clippy",
        "--release",
        "--quiet",
        "--target",
        &native_target(),
    ]);
    run(clippy
        .args(["--", "--deny", "warnings"])
        .env("RUSTC_BOOTSTRAP", "1"))
}

/// Natively as well, and in the quick profile: their own is tuned for size.
fn plugin_lints() -> Result<()> {
    for workspace in ["plugins", "examples/plugins"] {
        let mut clippy = cargo(workspace);
        clippy.args(["clippy", "--quiet", "--workspace", "--all-targets"]);
        run(clippy.args(["--", "--deny", "warnings"]))?;
    }
    Ok(())
}

fn host_lints() -> Result<()> {
    let mut clippy = cargo(".");
    clippy.args([
        "clippy",
        "--release",
        "--quiet",
        "--workspace",
        "--all-targets",
    ]);
    run(clippy
        .arg("--target-dir")
        .arg(path("target"))
        .args(["--", "--deny", "warnings"]))
}

/// The plugins' own tests, natively: what a guest does with a snapshot needs no WebAssembly.
fn plugin_tests() -> Result<()> {
    run(cargo("plugins").args(["test", "--quiet", "--workspace"]))
}

fn host_tests(more: &[&str]) -> Result<()> {
    run(cargo(".")
        .args(["test", "--release", "--workspace", "--target-dir"])
        .arg(path("target"))
        .args(more))
}

/// One after the other: each is a picture of an agent that has the machine for itself.
pub(crate) fn screenshots() -> Result<()> {
    announce(
        "the pictures: host/docs/img/*.png (some five minutes: each waits for a past to show)",
    );
    host_tests(&[
        "--test",
        "screenshots",
        "--",
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ])
}

fn test_threads() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("--test-threads={}", cores.min(TEST_THREADS))
}
