//! Looks at the machine: which of the things named in [`crate::needs`] are there. Quick (some tens of milliseconds),
//! because every `make` does it, and without the network.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::needs::{DEBIAN_LLVM, DEBIAN_RUST, LLVM, MODULES, TOOLS};
use crate::plan::{Machine, Rustup};
use crate::run::answer;
use crate::workspace::path;

/// Looks at everything once.
pub(crate) fn inspect() -> Machine {
    let python = answer(
        Command::new("python3")
            .args(["-c", FIND_MODULES])
            .args(MODULES.iter().map(|m| m.import)),
    );
    let mut python = python
        .iter()
        .flat_map(|text| text.lines())
        .map(str::to_owned);
    let prefix = python.next().unwrap_or_default();
    Machine {
        root: crate::kernel::is_root(),
        apt: find("apt-get").is_some(),
        rustup: rustup(),
        packages: packages(),
        commands: commands(),
        bpf_linker: bpf_linker()
            .and_then(|path| version(&answer(Command::new(path).arg("--version"))?)),
        llvm: llvm_prefix().is_some(),
        linters: ["clippy", "fmt"]
            .iter()
            .all(|name| answer(Command::new("cargo").args([name, "--version"])).is_some()),
        modules: python.collect(),
        python_is_debian: prefix == "/usr",
    }
}

/// Prints Python's prefix, then those of the modules that it can find.
const FIND_MODULES: &str = "import sys, importlib.util as u
print(sys.prefix)
for name in sys.argv[1:]:
    if u.find_spec(name): print(name)";

/// Where a program is: on the PATH, or where Debian keeps those for root.
pub(crate) fn find(command: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(command))
        .find(|file| file.is_file())
}

/// bpf-linker on the PATH, or where `cargo install` puts it.
pub(crate) fn bpf_linker() -> Option<PathBuf> {
    find("bpf-linker").or_else(|| {
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home =
            home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
        Some(home.join("bin/bpf-linker")).filter(|file| file.is_file())
    })
}

/// The prefix of LLVM with its development files, as `llvm-sys` wants it.
pub(crate) fn llvm_prefix() -> Option<PathBuf> {
    let debian = PathBuf::from(format!("/usr/lib/llvm-{LLVM}"));
    if debian.join("bin/llvm-config").is_file() && debian.join("lib/libPolly.a").is_file() {
        return Some(debian);
    }
    if find("apt-get").is_some() {
        return None; // Debian's half of it is completed by its packages
    }
    let config = find(&format!("llvm-config-{LLVM}")).or_else(|| find("llvm-config"))?;
    let version = answer(Command::new(&config).arg("--version"))?;
    let prefix = answer(Command::new(&config).arg("--prefix"))?;
    version
        .starts_with(&format!("{LLVM}."))
        .then(|| prefix.into())
}

/// The file that remembers the version of Rust for which rustup could not give its parts.
pub(crate) fn refusal() -> PathBuf {
    path("target/setup/rustup-refused")
}

/// The version of the compiler in use, as it says it itself.
pub(crate) fn rustc_version() -> Option<String> {
    answer(Command::new("rustc").arg("--version"))
}

fn commands() -> BTreeSet<String> {
    let wanted = TOOLS.iter().map(|tool| tool.command).chain(["rustup"]);
    wanted
        .filter(|name| find(name).is_some())
        .map(str::to_owned)
        .collect()
}

/// What rustup has, and whether it can be asked for more.
pub(crate) fn rustup() -> Rustup {
    let Some(sysroot) = answer(Command::new("rustc").args(["--print", "sysroot"])) else {
        return Rustup::Absent;
    };
    let rustlib = Path::new(&sysroot).join("lib/rustlib");
    if rustlib.join("src/rust/library/Cargo.lock").is_file()
        && rustlib.join("wasm32-wasip2/lib").is_dir()
    {
        return Rustup::HasParts;
    }
    if find("rustup").is_none() {
        return Rustup::Absent;
    }
    let refused = fs::read_to_string(refusal()).ok();
    match refused.is_some() && refused == rustc_version() {
        true => Rustup::Refused,
        false => Rustup::MayFetch,
    }
}

fn packages() -> BTreeSet<String> {
    let wanted = DEBIAN_RUST
        .iter()
        .chain(DEBIAN_LLVM)
        .map(|package| package.name);
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Package} ${db:Status-Status}\n"])
        .args(wanted)
        .output(); // its status is no matter: it fails when one package is unknown, and lists the others
    let text = output.map(|output| output.stdout).unwrap_or_default();
    installed(&String::from_utf8_lossy(&text))
}

/// The packages that a listing of `dpkg-query` calls installed; one that was removed but left its settings is not.
fn installed(listing: &str) -> BTreeSet<String> {
    listing
        .lines()
        .filter_map(|line| line.strip_suffix(" installed"))
        .map(str::to_owned)
        .collect()
}

/// The three numbers at the end of `bpf-linker 0.13.0`.
fn version(text: &str) -> Option<(u32, u32, u32)> {
    let last = text.split_whitespace().last()?;
    let mut numbers = last.split(['.', '-']).map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_with_and_without_a_suffix() {
        assert_eq!(version("bpf-linker 0.13.0"), Some((0, 13, 0)));
        assert_eq!(version("bpf-linker 0.14.1-dev"), Some((0, 14, 1)));
        assert_eq!(version("bpf-linker"), None);
    }

    #[test]
    fn removed_packages_do_not_count_as_installed() {
        let listing = "rustc-web installed\nwasi-libc config-files\nllvm-22-dev not-installed\n";
        assert_eq!(installed(listing), BTreeSet::from(["rustc-web".to_owned()]));
    }

    #[test]
    fn programs_are_found_on_the_path_only() {
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-program-as-this"), None);
    }
}
