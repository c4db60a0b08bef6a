//! Decides what to install, given what is there: pure, so that every kind of machine can be tested on any.
//!
//! The order for the parts that compile eBPF and WebAssembly: what rustup already has, what Debian already has,
//! what rustup can fetch, what apt can fetch. A step that may fail without harm (rustup offline) is the last of its
//! plan; the caller looks at the machine again after it and asks for the next plan.

use std::collections::BTreeSet;
use std::fmt;

use crate::needs::{BPF_LINKER, DEBIAN_LLVM, DEBIAN_RUST, Goal, LLVM, MODULES, Module, TOOLS};

/// Which Rust compiles the kernel program and the plugins. The native half is always compiled by the cargo in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The toolchain in use, with `rust-src` and the target `wasm32-wasip2`.
    Rustup,
    /// Debian's packages ([`DEBIAN_RUST`]).
    Debian,
}

/// Whether rustup can be asked for the missing parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rustup {
    /// There is no rustup.
    Absent,
    /// It has both parts.
    HasParts,
    /// It lacks a part and was not asked yet.
    MayFetch,
    /// It was asked for this version of Rust, and could not.
    Refused,
}

/// What was found on the machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) root: bool,
    pub(crate) apt: bool,
    pub(crate) rustup: Rustup,
    /// Those of the packages of [`crate::needs`] that are installed.
    pub(crate) packages: BTreeSet<String>,
    /// Those of the commands of [`crate::needs`], and of `rustup`, that are on the PATH.
    pub(crate) commands: BTreeSet<String>,
    /// The version of the bpf-linker on the PATH.
    pub(crate) bpf_linker: Option<(u32, u32, u32)>,
    /// `llvm-config` of [`LLVM`] was found, from whatever source.
    pub(crate) llvm: bool,
    /// `cargo clippy` and `cargo fmt` answer.
    pub(crate) linters: bool,
    /// Python modules that `python3` can import.
    pub(crate) modules: BTreeSet<String>,
    /// `python3` is Debian's, which takes modules from apt and refuses pip.
    pub(crate) python_is_debian: bool,
}

/// One thing to install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// `rustup component add rust-src`, `rustup target add wasm32-wasip2`. When it fails, the machine is looked at again.
    RustupParts,
    /// `rustup component add clippy rustfmt`, which its minimal profile lacks.
    Linters,
    /// Debian packages, each with its reason.
    Apt(Vec<(&'static str, &'static str)>),
    /// Compile and install bpf-linker.
    BpfLinker,
    /// Python modules by pip.
    Pip(Vec<&'static str>),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RustupParts => f.write_str("rust-src and the target wasm32-wasip2 from rustup"),
            Self::Linters => f.write_str("clippy and rustfmt from rustup"),
            Self::Apt(packages) => {
                let names: Vec<_> = packages.iter().map(|(name, _)| *name).collect();
                write!(f, "the Debian packages {}", names.join(", "))
            }
            Self::BpfLinker => f.write_str("bpf-linker"),
            Self::Pip(modules) => write!(f, "the Python modules {}", modules.join(", ")),
        }
    }
}

/// Why the goal cannot be reached from here: one line that ends with the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Missing(pub(crate) String);

/// The toolchain that is complete on this machine, if there is one.
pub(crate) fn present_toolchain(machine: &Machine, wish: Option<Toolchain>) -> Option<Toolchain> {
    let has = |toolchain| match toolchain {
        Toolchain::Rustup => machine.rustup == Rustup::HasParts,
        Toolchain::Debian => DEBIAN_RUST
            .iter()
            .all(|package| machine.packages.contains(package.name)),
    };
    match wish {
        Some(wish) => has(wish).then_some(wish),
        None => [Toolchain::Rustup, Toolchain::Debian]
            .into_iter()
            .find(|&toolchain| has(toolchain)),
    }
}

/// The steps from this machine to the goal, in order; none when everything is there.
pub(crate) fn plan(
    goal: Goal,
    machine: &Machine,
    wish: Option<Toolchain>,
) -> Result<Vec<Step>, Missing> {
    let mut packages = missing_tools(goal, machine);
    let mut steps = Vec::new();
    let ask_rustup = present_toolchain(machine, wish).is_none()
        && machine.rustup == Rustup::MayFetch
        && wish != Some(Toolchain::Debian);
    if present_toolchain(machine, wish).is_none() && !ask_rustup {
        packages.extend(missing_debian_rust(machine, wish)?);
    }
    let linker = !machine.bpf_linker.is_some_and(is_recent_linker);
    if linker && !machine.llvm {
        packages.extend(missing_llvm(machine)?);
    }
    let pip = missing_modules(goal, machine, &mut packages);

    if !packages.is_empty() {
        may_install(goal, machine, &packages)?;
        steps.push(Step::Apt(packages));
    }
    if goal >= Goal::Test && !machine.linters {
        steps.push(linters(machine)?);
    }
    if ask_rustup {
        steps.push(Step::RustupParts);
        return Ok(steps); // what remains depends on rustup's answer
    }
    if linker {
        steps.push(Step::BpfLinker);
    }
    if !pip.is_empty() {
        steps.push(Step::Pip(pip));
    }
    Ok(steps)
}

/// Whether a bpf-linker of this version links what we compile: ours, or a newer one of the same major.
pub(crate) fn is_recent_linker((major, minor, _): (u32, u32, u32)) -> bool {
    major == BPF_LINKER.0 && minor >= BPF_LINKER.1
}

fn missing_tools(goal: Goal, machine: &Machine) -> Vec<(&'static str, &'static str)> {
    TOOLS
        .iter()
        .filter(|tool| tool.from <= goal && !machine.commands.contains(tool.command))
        .map(|tool| (tool.package, tool.why))
        .collect()
}

fn missing_debian_rust(
    machine: &Machine,
    wish: Option<Toolchain>,
) -> Result<Vec<(&'static str, &'static str)>, Missing> {
    if machine.apt && wish != Some(Toolchain::Rustup) {
        return Ok(not_installed(machine, DEBIAN_RUST));
    }
    let remedy = "run `rustup component add rust-src && rustup target add wasm32-wasip2`";
    Err(Missing(match machine.rustup {
        Rustup::Absent => format!(
            "rust-src and the target wasm32-wasip2 are missing, and so is rustup, which brings them: install it (https://rustup.rs), then {remedy}"
        ),
        _ => format!(
            "rust-src and the target wasm32-wasip2 are missing, and rustup could not fetch them: {remedy} and read what it says"
        ),
    }))
}

fn missing_llvm(machine: &Machine) -> Result<Vec<(&'static str, &'static str)>, Missing> {
    if machine.apt {
        return Ok(not_installed(machine, DEBIAN_LLVM));
    }
    let (major, minor, patch) = BPF_LINKER;
    Err(Missing(format!(
        "bpf-linker {major}.{minor} is missing, and LLVM {LLVM} with its development files to compile it: install those, or a ready \
         bpf-linker with `cargo binstall bpf-linker@{major}.{minor}.{patch}`"
    )))
}

fn not_installed(
    machine: &Machine,
    wanted: &[crate::needs::Package],
) -> Vec<(&'static str, &'static str)> {
    wanted
        .iter()
        .filter(|package| !machine.packages.contains(package.name))
        .map(|package| (package.name, package.why))
        .collect()
}

fn linters(machine: &Machine) -> Result<Step, Missing> {
    match machine.commands.contains("rustup") {
        true => Ok(Step::Linters),
        false => Err(Missing(
            "clippy and rustfmt are missing, which the gate checks with: use rustup's stable Rust (https://rustup.rs), which brings both"
                .to_owned(),
        )),
    }
}

/// Debian's own Python gets its modules from apt (PEP 668); any other from pip, whose names are returned.
fn missing_modules(
    goal: Goal,
    machine: &Machine,
    packages: &mut Vec<(&'static str, &'static str)>,
) -> Vec<&'static str> {
    let missing: Vec<&Module> = MODULES
        .iter()
        .filter(|module| goal >= Goal::Scenarios && !machine.modules.contains(module.import))
        .collect();
    let from_apt =
        machine.apt && (machine.python_is_debian || !machine.commands.contains("python3"));
    if from_apt {
        packages.extend(missing.iter().map(|module| (module.package, module.why)));
        return Vec::new();
    }
    missing.iter().map(|module| module.pip).collect()
}

fn may_install(
    goal: Goal,
    machine: &Machine,
    packages: &[(&'static str, &'static str)],
) -> Result<(), Missing> {
    let names: Vec<&str> = packages.iter().map(|(name, _)| *name).collect();
    let names = names.join(" ");
    if !machine.apt {
        return Err(Missing(format!(
            "these programs are missing, here under the names of their Debian packages: {names}; install them with this system's package manager"
        )));
    }
    if !machine.root {
        return Err(Missing(format!(
            "Debian packages are missing and only root may install them: run `sudo apt-get install --no-install-recommends {names}`, \
             then `make {}` again",
            goal.name()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
