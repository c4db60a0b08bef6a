//! What the machine boots into: an initramfs with the test programs, what they use, and the kernel's network modules.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Check;
use super::kernels::Kernel;
use crate::machine::find;
use crate::run::{answer, run_logged};
use crate::workspace::path;

const INIT: &str = include_str!("init.sh");
/// Parts of a kernel's modules that the tests use, or that those use.
const MODULES: [&str; 4] = [
    "kernel/net",
    "kernel/drivers/net",
    "kernel/lib",
    "kernel/crypto",
];

/// Files of this machine, which lie at the same place in the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Content(BTreeSet<PathBuf>);

impl Content {
    pub(super) fn file(&mut self, file: impl Into<PathBuf>) {
        self.0.insert(file.into());
    }

    /// A program, with the libraries that it is linked against.
    pub(super) fn program(&mut self, program: impl AsRef<Path>) -> Result<()> {
        let program = program.as_ref();
        self.file(program);
        let listing = answer(Command::new("ldd").arg(program));
        let Some(listing) = listing else {
            bail!("cannot tell the libraries of {} (ldd)", program.display());
        };
        libraries(&listing).for_each(|library| self.file(library));
        Ok(())
    }
}

/// The paths in a listing of `ldd`: `libm.so.6 => /lib/libm.so.6 (0x…)`, `/lib64/ld-linux-x86-64.so.2 (0x…)`.
fn libraries(listing: &str) -> impl Iterator<Item = &str> {
    listing
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
}

/// The image's file.
pub(super) fn make(kernel: &Kernel, content: &Content, checks: &[Check]) -> Result<PathBuf> {
    let root = path("target/vm/root");
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("cannot clear {}", root.display()))?;
    }
    for folder in [
        "proc",
        "sys",
        "dev",
        "tmp",
        "run/netns",
        "etc",
        "bin",
        "sbin",
        "busybox",
    ] {
        let folder = root.join(folder);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    for file in &content.0 {
        copy(file, &at(&root, file))?;
    }
    let busybox = find("busybox").context("`busybox` is missing")?;
    copy(&busybox, &root.join("bin/busybox"))?;
    for link in ["bin/sh", "sbin/modprobe"] {
        let link = root.join(link);
        symlink("/bin/busybox", &link)
            .with_context(|| format!("cannot make {}", link.display()))?;
    }
    let lines = checks
        .iter()
        .map(|check| format!("{}\t{}\n", check.name, check.line));
    write(&root.join("checks"), &lines.collect::<String>())?;
    write(
        &root.join("etc/passwd"),
        "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
    )?;
    write(&root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
    write(&root.join("init"), INIT)?;
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))
        .context("cannot make the machine's first program executable")?;
    modules(kernel, &root, &busybox)?;
    pack(&root, &busybox)
}

fn at(root: &Path, file: &Path) -> PathBuf {
    root.join(file.strip_prefix("/").unwrap_or(file))
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    // What a link leads to, under the link's name.
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("cannot copy {} into the image", from.display()))
}

/// Not compressed, as busybox loads only such; with the lists that the kernel asks for them by.
fn modules(kernel: &Kernel, root: &Path, busybox: &Path) -> Result<()> {
    let folder = root.join("lib/modules").join(&kernel.release);
    let script = "set -e
        cd \"$1\"; shift; to=$1; shift; busybox=$1; shift; release=$1; shift
        mkdir -p \"$to\"
        for part in \"$@\"; do test -d $part && cp -r --parents $part \"$to\"; done
        cp modules.builtin* \"$to\" || true
        find \"$to\" -name '*.ko.xz' -exec \"$busybox\" unxz {} +
        find \"$to\" -name '*.ko.zst' -exec zstd -q -d --rm {} +
        find \"$to\" -name '*.ko.gz' -exec \"$busybox\" gunzip {} +
        \"$busybox\" depmod -b \"${to%/lib/modules/*}\" \"$release\"";
    let mut copy = Command::new("sh");
    copy.args(["-c", script, "sh"])
        .args([&kernel.modules, &folder])
        .arg(busybox)
        .arg(&kernel.release)
        .args(MODULES);
    run_logged(&mut copy, &path("target/vm/modules.log"))
}

fn pack(root: &Path, busybox: &Path) -> Result<PathBuf> {
    let image = path("target/vm/initramfs");
    let mut pack = Command::new("sh");
    pack.args([
        "-c",
        "cd \"$1\" && find . | \"$2\" cpio -o -H newc > \"$3\"",
        "sh",
    ])
    .arg(root)
    .arg(busybox)
    .arg(&image);
    run_logged(&mut pack, &path("target/vm/pack.log"))?;
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_of_a_program_are_those_that_lie_somewhere() {
        let listing = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                       \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                       \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let found: Vec<_> = libraries(listing).collect();
        assert_eq!(
            found,
            [
                "/lib/x86_64-linux-gnu/libc.so.6",
                "/lib64/ld-linux-x86-64.so.2"
            ]
        );
        assert_eq!(libraries("\tstatically linked\n").count(), 0);
    }
}
