//! Installs what a goal needs, saying what and why, and nothing when everything is there.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::kernel::is_root;
use crate::machine::{self, inspect};
use crate::needs::{BPF_LINKER, Goal, LLVM, Tool};
use crate::plan::{Machine, Missing, Rustup, Step, Toolchain, plan, present_toolchain};
use crate::run::{announce, human, run, run_logged, run_silently};
use crate::workspace::{cargo, path};

/// How long rustup may take for its 25 MB before Debian's packages are taken instead.
const RUSTUP_PATIENCE: Duration = Duration::from_secs(180);

/// Makes the machine ready for the goal, and returns the toolchain for eBPF and WebAssembly.
pub(crate) fn setup(goal: Goal, wish: Option<Toolchain>) -> Result<Toolchain> {
    let started = Instant::now();
    let mut apt = Apt::default();
    let mut machine = inspect();
    let mut installed = false;
    loop {
        let steps = plan(goal, &machine, wish).map_err(|Missing(text)| anyhow!(text))?;
        if steps.is_empty() {
            break;
        }
        for step in &steps {
            install(step, &mut apt)?;
        }
        installed = true;
        machine = progress(inspect(), &steps)?;
    }
    if installed {
        announce(&format!(
            "all that `make {}` needs is here (after {})",
            goal.name(),
            human(started.elapsed())
        ));
    }
    present_toolchain(&machine, wish).context("no toolchain for eBPF and WebAssembly was found after it was installed: this is a mistake in xtask")
}

/// Installs those of `wanted` that are missing.
pub(crate) fn tools(wanted: &[Tool]) -> Result<()> {
    let missing: Vec<_> = wanted
        .iter()
        .filter(|tool| machine::find(tool.command).is_none())
        .map(|tool| (tool.package, tool.why))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    let names = names.join(" ");
    if machine::find("apt-get").is_none() {
        bail!("these programs are missing, here under the names of their Debian packages: {names}");
    }
    if !is_root() {
        bail!(
            "Debian packages are missing and only root may install them: run `sudo apt-get install --no-install-recommends {names}`"
        );
    }
    Apt::default().install(&missing)
}

/// Prints the steps of a plan without taking them.
pub(crate) fn dry_run(goal: Goal, wish: Option<Toolchain>) -> Result<()> {
    let steps = plan(goal, &inspect(), wish).map_err(|Missing(text)| anyhow!(text))?;
    for step in &steps {
        eprintln!("would install {step}");
    }
    if steps.is_empty() {
        eprintln!("nothing to install for `make {}`", goal.name());
    }
    Ok(())
}

/// A machine that looks the same after a step would be asked for the same step for ever.
fn progress(machine: Machine, steps: &[Step]) -> Result<Machine> {
    let lost = steps.iter().find(|step| match step {
        Step::RustupParts => machine.rustup == Rustup::MayFetch,
        Step::BpfLinker => machine.bpf_linker.is_none(),
        Step::Linters => !machine.linters,
        Step::Apt(_) | Step::Pip(_) => false,
    });
    match lost {
        Some(step) => bail!(
            "the installation of {step} went through, and nothing is to be found of it: is it on the PATH?"
        ),
        None => Ok(machine),
    }
}

fn install(step: &Step, apt: &mut Apt) -> Result<()> {
    match step {
        Step::RustupParts => rustup_parts(),
        Step::Linters => linters(),
        Step::Apt(packages) => apt.install(packages),
        Step::BpfLinker => bpf_linker(),
        Step::Pip(modules) => pip(modules),
    }
}

/// Asks rustup once for each version of Rust; a refusal is remembered and is no error.
fn rustup_parts() -> Result<()> {
    announce(
        "rust-src and the target wasm32-wasip2 from rustup: Rust's core for the kernel program, its standard library for plugins (25 MB)",
    );
    let log = path("target/setup/rustup.log");
    let script = "rustup component add rust-src && rustup target add wasm32-wasip2";
    let patience = RUSTUP_PATIENCE.as_secs().to_string();
    let asked = run_silently(
        Command::new("timeout").args([&patience, "sh", "-c", script]),
        &log,
    );
    // It also says that it has what somebody took away.
    if asked.is_err() || machine::rustup() != Rustup::HasParts {
        eprintln!("    rustup cannot give them here (its words: target/setup/rustup.log)");
        let version = machine::rustc_version().unwrap_or_default();
        let file = machine::refusal();
        fs::write(&file, version).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn linters() -> Result<()> {
    announce("clippy and rustfmt from rustup: the gate checks with them");
    let log = path("target/setup/linters.log");
    run_logged(
        Command::new("rustup").args(["component", "add", "clippy", "rustfmt"]),
        &log,
    )
}

/// bpf-linker from its published source, against the LLVM that is here.
fn bpf_linker() -> Result<()> {
    let (major, minor, patch) = BPF_LINKER;
    let version = format!("{major}.{minor}.{patch}");
    announce(&format!(
        "bpf-linker {version} from its published source: links the kernel program (compiled once, about 1 minute)"
    ));
    let prefix = machine::llvm_prefix()
        .with_context(|| format!("LLVM {LLVM} is not where its packages put it"))?;
    let features = format!("llvm-{LLVM}");
    let mut install = cargo(".");
    install
        .args([
            "install",
            "bpf-linker",
            "--version",
            &version,
            "--locked",
            "--force",
        ])
        .args(["--no-default-features", "--features", &features])
        .env(format!("LLVM_SYS_{LLVM}1_PREFIX"), &prefix)
        .env("LLVM_PREFIX", &prefix)
        .env("PATH", first_on_path(&prefix.join("bin"))) // its build script asks the first llvm-config that it finds
        .env("RUSTFLAGS", format!("-L native={}/lib", prefix.display()));
    run(&mut install)
}

fn first_on_path(directory: &Path) -> OsString {
    let mut path = directory.as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path
}

fn pip(modules: &[&str]) -> Result<()> {
    announce(&format!(
        "Python modules by pip, for the wire scenarios: {}",
        modules.join(" ")
    ));
    let log = path("target/setup/pip.log");
    run_logged(
        Command::new("python3")
            .args(["-m", "pip", "install", "--quiet"])
            .args(modules),
        &log,
    )
}

/// apt, whose lists are fetched once.
#[derive(Default)]
struct Apt {
    lists_are_fresh: bool,
}

impl Apt {
    fn install(&mut self, packages: &[(&'static str, &'static str)]) -> Result<()> {
        announce("Debian packages (some minutes at most; the log is target/setup/apt.log):");
        for (name, why) in packages {
            eprintln!("    {name}: {why}");
        }
        if !self.lists_are_fresh {
            run_logged(
                Command::new("apt-get").args(["update", "-q", "-o", "Acquire::Retries=3"]),
                &path("target/setup/apt-update.log"),
            )?;
            self.lists_are_fresh = true;
        }
        let names: Vec<_> = packages.iter().map(|(name, _)| *name).collect();
        let log = path("target/setup/apt.log");
        let mut command = Command::new("sh");
        command
            .args(["-c", INSTALL_WITHOUT_DAEMONS, "sh"])
            .args(&names);
        run_logged(&mut command, &log).map_err(|_| {
            let said = fs::read_to_string(&log).unwrap_or_default();
            anyhow!("{}", not_installed(&names, &said))
        })
    }
}

/// What to say of an installation that failed, by apt's words.
fn not_installed(names: &[&str], said: &str) -> String {
    let unknown: Vec<_> = said
        .lines()
        .filter_map(|line| {
            let package = line.strip_prefix("E: Unable to locate package ");
            package.or_else(|| line.strip_prefix("E: Package '")?.split('\'').next())
        })
        .collect();
    if unknown.is_empty() {
        return format!(
            "apt-get could not install {}: target/setup/apt.log says why",
            names.join(" ")
        );
    }
    format!(
        "apt knows no package {}: Debian brings newer compilers with its security updates, so add the suite \
         `<release>-security` (of debian-security) to the sources in /etc/apt, and try again",
        unknown.join(" ")
    )
}

/// Installs the packages it is given. nginx and prometheus bring a service each, which would listen on this machine
/// now and after each boot; the tests want only their programs. So none is started (policy-rc.d, for the time of the
/// installation), and those that this installation brought are disabled.
const INSTALL_WITHOUT_DAEMONS: &str = r#"
set -e
policy=/usr/sbin/policy-rc.d
mark='written by owlk8s while it installs packages; safe to remove'
grep -qs "$mark" $policy && rm -f $policy
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\n# %s\nexit 101\n' "$mark" > $policy
    chmod 755 $policy
fi
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 "$@"
for service in nginx prometheus; do
    case " $* " in *" $service "*) command -v systemctl >/dev/null && systemctl disable --quiet $service.service || true ;; esac
done
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_that_apt_does_not_know_is_named_with_where_it_is() {
        let names = ["iproute2", "llvm-22-dev"];
        let said = "Reading package lists...\nE: Unable to locate package llvm-22-dev\n\
                    E: Package 'libpolly-22-dev' has no installation candidate\n";
        let told = not_installed(&names, said);
        assert!(
            told.starts_with("apt knows no package llvm-22-dev libpolly-22-dev: "),
            "{told}"
        );
        assert!(told.contains("-security"), "{told}");
        let told = not_installed(&names, "E: Could not get lock /var/lib/dpkg/lock\n");
        assert!(
            told.contains("iproute2 llvm-22-dev") && told.contains("target/setup/apt.log"),
            "{told}"
        );
    }
}
