//! Builds the three parts: the kernel program, the plugins, the binary. Cargo decides what is up to date.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::machine;
use crate::plan::Toolchain;
use crate::run::{announce, run};
use crate::workspace::{cargo, cargo_at, native_target, path};

const BPF_TARGET: &str = "bpfel-unknown-none";
const WASM_TARGET: &str = "wasm32-wasip2";

/// Everything, in the order in which one part needs the other.
pub(crate) fn everything(toolchain: Toolchain) -> Result<()> {
    ebpf(toolchain)?;
    plugins(toolchain)?;
    announce(
        "the binary: target/release/owlk8s (the first time several minutes: it holds a WebAssembly compiler)",
    );
    host()
}

/// The example is built along because cargo then chooses the same features of our dependencies as for the tests:
/// what the gate tests is what is built here, and neither compiles the other's dependencies again.
fn host() -> Result<()> {
    let mut build = cargo(".");
    build.args([
        "build",
        "--release",
        "--workspace",
        "--bin",
        "owlk8s",
        "--example",
        "watch",
    ]);
    run(build.arg("--target-dir").arg(path("target")))
}

/// `ebpf/red` -> `target/bpf/owlk8s-red`.
pub(crate) fn ebpf(toolchain: Toolchain) -> Result<()> {
    announce("the kernel program: target/bpf/owlk8s-red");
    let linker =
        machine::bpf_linker().context("bpf-linker is missing: run `cargo xtask setup build`")?;
    let mut build = cargo_of(toolchain, "ebpf/red");
    build
        .args(["build", "--release", "--target", BPF_TARGET])
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker);
    if toolchain == Toolchain::Rustup {
        build.arg("-Zbuild-std=core");
    }
    let built = artefacts(&mut build, "bin")?;
    let [(_, object)] = built.as_slice() else {
        bail!("ebpf/red must build exactly one program, and built {built:?}");
    };
    copy(object, &path("target/bpf/owlk8s-red"))
}

/// Test programs, each given by its room (`host/ROOM`) and its name, and the binary beside them; each as `ROOM/NAME`
/// and its file. The whole workspace is named, so that its features are those of all other builds.
pub(crate) fn tests(wanted: &[(&str, &str)]) -> Result<Vec<(String, PathBuf)>> {
    let mut build = cargo(".");
    build
        .args([
            "test",
            "--release",
            "--no-run",
            "--workspace",
            "--bin",
            "owlk8s",
        ])
        .arg("--target-dir")
        .arg(path("target"));
    for (_, name) in wanted {
        build.args(["--test", name]);
    }
    let built = artefacts(&mut build, "test")?;
    let find = |room: &str, name: &str| {
        let found = built.iter().find(|(manifest, file)| {
            let folder = manifest.parent().and_then(Path::file_name);
            let stem = file.file_stem().unwrap_or_default().to_string_lossy();
            folder.is_some_and(|folder| folder == room)
                && stem.rsplit_once('-').is_some_and(|(stem, _)| stem == name)
        });
        found
            .map(|(_, file)| (format!("{room}/{name}"), file.clone()))
            .with_context(|| format!("host/{room} has no test program {name}"))
    };
    wanted.iter().map(|(room, name)| find(room, name)).collect()
}

/// Each package of `plugins/` with crate type `cdylib` -> `target/plugins/NAME.wasm`; those in a folder `fixtures` ->
/// `target/plugins/fixtures/NAME.wasm`.
pub(crate) fn plugins(toolchain: Toolchain) -> Result<()> {
    announce("the plugins: target/plugins/*.wasm");
    let mut build = wasm_build(toolchain, "plugins");
    for guest in guests()? {
        build.args(["--package", &guest]);
    }
    for (manifest, component) in &artefacts(&mut build, "cdylib")? {
        copy(component, &component_path(manifest)?)?;
    }
    written_guests()?;
    examples(toolchain)
}

/// Those of `examples/plugins` that are in Rust -> `examples/plugins/NAME/NAME.wasm`, where `owlk8s plugin build` puts it as well.
fn examples(toolchain: Toolchain) -> Result<()> {
    announce("the example plugins in Rust: examples/plugins/rust-*/*.wasm");
    let mut build = wasm_build(toolchain, "examples/plugins");
    for (manifest, component) in &artefacts(&mut build, "cdylib")? {
        let folder = manifest
            .parent()
            .context("a manifest without a directory")?;
        let name = folder
            .file_name()
            .context("a package without a directory")?;
        copy(component, &folder.join(name).with_extension("wasm"))?;
    }
    Ok(())
}

fn wasm_build(toolchain: Toolchain, directory: &str) -> Command {
    let mut build = cargo_of(toolchain, directory);
    build.args(["build", "--release", "--target", WASM_TARGET]);
    if toolchain == Toolchain::Debian {
        // Debian keeps rust-lld and wasm-component-ld off the PATH.
        let linkers = format!("/usr/lib/rustlib/{}/bin", native_target());
        let path = std::env::var("PATH").unwrap_or_default();
        build
            .arg("-Zbuild-std=std,panic_abort")
            .env("PATH", format!("{path}:{linkers}"))
            .env("RUSTFLAGS", "-L native=/usr/lib/wasm32-wasi");
    }
    build
}

/// `plugins/testing/written` -> more of `target/plugins/fixtures/NAME.wasm`.
fn written_guests() -> Result<()> {
    let folder = path("target/plugins/fixtures");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    run(cargo("plugins")
        .args(["run", "--quiet", "--package", "written-guests", "--"])
        .arg(folder))
}

/// The packages of `plugins/` that are guests; the others (the SDK, test support) may not even compile for WebAssembly.
fn guests() -> Result<Vec<String>> {
    let output = cargo("plugins")
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    let metadata: Value = serde_json::from_slice(&output.stdout)
        .context("cannot read the list of packages of plugins/")?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let guests: Vec<String> = packages
        .filter(|package| is_guest(package))
        .filter_map(|package| package["name"].as_str().map(str::to_owned))
        .collect();
    if guests.is_empty() {
        bail!("plugins/ holds no plugin: that is a package with crate-type = [\"cdylib\"]");
    }
    Ok(guests)
}

fn is_guest(package: &Value) -> bool {
    let targets = package["targets"].as_array().into_iter().flatten();
    let mut kinds = targets
        .filter_map(|target| target["kind"].as_array())
        .flatten();
    kinds.any(|kind| kind == "cdylib")
}

/// Cargo and compiler of one release. Both ways use what stable Rust keeps for itself (building the standard library,
/// a target without one), which `RUSTC_BOOTSTRAP` opens.
fn cargo_of(toolchain: Toolchain, directory: &str) -> Command {
    let mut cargo = match toolchain {
        Toolchain::Rustup => cargo(directory),
        Toolchain::Debian => cargo_at("/usr/bin/cargo", directory),
    };
    if toolchain == Toolchain::Debian {
        cargo.env("RUSTC", "/usr/bin/rustc");
    }
    cargo.env("RUSTC_BOOTSTRAP", "1");
    for name in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_BUILD_RUSTFLAGS",
    ] {
        cargo.env_remove(name); // they would take the place of the flags that the target needs
    }
    cargo
}

/// The native half of the benchmark of plugins.
pub(crate) fn native_bench() -> Result<PathBuf> {
    let mut build = cargo("plugins");
    build.args([
        "bench",
        "--package",
        "prometheus",
        "--bench",
        "native",
        "--no-run",
    ]);
    let built = artefacts(&mut build, "bench")?;
    let [(_, program)] = built.as_slice() else {
        bail!("plugins/prometheus must have one benchmark, and has {built:?}");
    };
    Ok(program.clone())
}

/// Runs a build and returns (manifest, file) of each artefact of this kind; cargo's own lines go to stderr as ever.
fn artefacts(build: &mut Command, kind: &str) -> Result<Vec<(PathBuf, PathBuf)>> {
    build
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit());
    let output = build.output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!(
            "the build in {} failed ({})",
            build.get_current_dir().unwrap_or(Path::new(".")).display(),
            output.status
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| artefact(line, kind))
        .collect())
}

/// One line of cargo's messages, if it tells of a finished artefact of this kind.
fn artefact(line: &str, kind: &str) -> Option<(PathBuf, PathBuf)> {
    let message: Value = serde_json::from_str(line).ok()?;
    let of_kind = message["target"]["kind"]
        .as_array()?
        .iter()
        .any(|found| found == kind);
    if message["reason"] != "compiler-artifact" || !of_kind {
        return None;
    }
    let file = match message["executable"].as_str() {
        Some(executable) => executable,
        None => message["filenames"]
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .find(|name| name.ends_with(".wasm"))?,
    };
    Some((message["manifest_path"].as_str()?.into(), file.into()))
}

/// Where the component of the package with this manifest belongs: named like its directory.
fn component_path(manifest: &Path) -> Result<PathBuf> {
    let directory = manifest
        .parent()
        .context("a manifest without a directory")?;
    let name = directory
        .file_name()
        .context("a package without a directory")?;
    let is_fixture = directory
        .parent()
        .is_some_and(|parent| parent.ends_with("fixtures"));
    let folder = path(if is_fixture {
        "target/plugins/fixtures"
    } else {
        "target/plugins"
    });
    Ok(folder.join(name).with_extension("wasm"))
}

/// Copies when the content differs, so that what was built from it stays fresh.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == content) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let fresh = to.with_extension("new");
    fs::write(&fresh, content).with_context(|| format!("cannot write {}", fresh.display()))?;
    fs::rename(&fresh, to).with_context(|| format!("cannot write {}", to.display()))
}

#[cfg(test)]
mod tests;
