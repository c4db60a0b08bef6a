//! `cargo xtask vm-test`: the kernel tests on other kernels than this machine's, each booted in an emulator.
//!
//! A kernel is a Debian package, unpacked and never installed. The machine has no disk: what it runs lies in its
//! initramfs, the test programs as they were built here, with the libraries and tools that they use. It needs no
//! hardware virtualisation and touches nothing of this machine; with software emulation a kernel takes some minutes.

mod boot;
mod image;
mod kernels;
mod report;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::compile;
use crate::machine::find;
use crate::needs::VM_TOOLS;
use crate::plan::Toolchain;
use crate::run::announce;
use crate::setup;
use crate::workspace::path;

use image::Content;
use report::Report;

/// Debian's kernels that are tested where none is named: the stable one, and the one of its backports.
const SERIES: [&str; 2] = ["6.1", "6.12"];

/// Test programs that concern the kernel, by room (`host/ROOM`). Each loads the program, reads its maps, or talks rtnetlink.
const TESTS: [(&str, &str); 12] = [
    ("probe", "testrun"),
    ("probe", "kernel_http1"),
    ("probe", "kernel_http2"),
    ("probe", "kernel_losses"),
    ("probe", "kernel_tcp"),
    ("probe", "privileges"),
    ("probe", "without_cap_bpf"),
    ("probe", "sweep"),
    ("probe", "veth"),
    ("probe", "beyond"),
    ("discover", "elsewhere"),
    ("discover", "namespaces"),
];

/// One thing that runs in the machine: a name, and a line of shell.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Check {
    name: String,
    line: String,
}

impl Check {
    fn new(name: impl Into<String>, line: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            line: line.into(),
        }
    }
}

/// Boots each kernel and prints what passed on it; fails where anything did not. `wanted` are series (`6.1`) files of
/// kernel packages, or folders that some were unpacked into; without any, [`SERIES`].
pub(crate) fn test(toolchain: Toolchain, wanted: &[String], only: Option<&str>) -> Result<()> {
    if std::env::consts::ARCH != "x86_64" {
        bail!(
            "vm-test boots kernels for x86-64 and this machine is {}: run it on an x86-64 machine",
            std::env::consts::ARCH
        );
    }
    setup::tools(VM_TOOLS)?;
    let kernels = match wanted {
        [] => SERIES.iter().map(|series| kernels::find(series)).collect(),
        wanted => wanted.iter().map(|one| kernels::find(one)).collect(),
    };
    let kernels: Vec<kernels::Kernel> = Result::from_iter::<Vec<_>>(kernels)?;
    compile::ebpf(toolchain)?;
    compile::plugins(toolchain)?;
    announce("the test programs");
    let programs = compile::tests(&TESTS)?;
    let (content, checks) = what_runs(&programs, only)?;
    let mut reports = Vec::new();
    for kernel in &kernels {
        announce(&format!(
            "Linux {} in an emulator (some minutes; as it goes: {})",
            kernel.release,
            boot::log(&kernel.release).display()
        ));
        let began = Instant::now();
        let image = image::make(kernel, &content, &checks)?;
        let said = boot::run(kernel, &image, &checks)?;
        reports.push(Report::read(
            &kernel.release,
            &checks,
            &said,
            began.elapsed(),
        ));
    }
    for report in &reports {
        eprintln!("{report}");
    }
    let failed = reports.iter().filter(|report| !report.is_passed()).count();
    if failed > 0 {
        bail!(
            "{failed} of {} kernels did not pass; their logs are in target/vm",
            reports.len()
        );
    }
    announce(&format!("{} kernels passed", reports.len()));
    Ok(())
}

/// What the machine holds, and what it does, in this order.
fn what_runs(programs: &[(String, PathBuf)], only: Option<&str>) -> Result<(Content, Vec<Check>)> {
    let owlk8s = path("target/release/owlk8s");
    let owlk8s = owlk8s.to_str().context("the checkout's path is no text")?;
    let mut content = Content::default();
    content.program(owlk8s)?;
    for plugin in ["simple-log", "prometheus"] {
        content.file(path("target/plugins").join(plugin).with_extension("wasm"));
    }
    for tool in ["ip", "nsenter", "setpriv"] {
        content.program(find(tool).with_context(|| format!("`{tool}` is missing"))?)?;
    }
    let two = ["inh-caps", "ambient-caps", "bounding-set"]
        .map(|set| format!("--{set}=-all,+bpf,+net_raw"));
    let two = format!(
        "setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs {}",
        two.join(" ")
    );
    let mut checks = vec![
        Check::new("doctor", format!("{owlk8s} doctor")),
        Check::new(
            "doctor with two capabilities",
            format!("{two} {owlk8s} doctor"),
        ),
    ];
    for (name, program) in programs {
        content.program(program)?;
        // Timings are of the whole machine, and an emulated one is slow: one test at a time.
        checks.push(Check::new(
            name,
            format!("{} --test-threads=1", program.display()),
        ));
    }
    checks.push(Check::new("demo", format!("{owlk8s} demo --for 10s")));
    checks.retain(|check| only.is_none_or(|only| check.name.contains(only)));
    if checks.is_empty() {
        bail!("no check has `{}` in its name", only.unwrap_or_default());
    }
    Ok((content, checks))
}
