//! Where kernels come from: Debian's packages, fetched and unpacked below `target/vm`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{announce, answer, run_logged};
use crate::workspace::path;

/// A kernel with its modules.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) release: String,
    pub(super) image: PathBuf,
    /// The directory with `kernel/` and `modules.builtin` in it.
    pub(super) modules: PathBuf,
}

/// The newest kernel of a series (`6.1`) that apt offers, or that of a package's file, or of a folder that packages were
/// unpacked into.
pub(super) fn find(wanted: &str) -> Result<Kernel> {
    if Path::new(wanted).is_dir() {
        return unpacked(Path::new(wanted));
    }
    if wanted.ends_with(".deb") {
        return unpack(Path::new(wanted));
    }
    let name = offered(wanted)?;
    let folder = path("target/vm/packages");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    if let Some(file) = fetched(&folder, &name)? {
        return unpack(&file);
    }
    announce(&format!(
        "{name}: fetched, and unpacked below target/vm; it is not installed"
    ));
    let log = path("target/vm/fetch.log");
    let mut fetch = Command::new("apt-get");
    fetch
        .args(["download", "-q", "-o", "APT::Sandbox::User=root", &name])
        .current_dir(&folder);
    run_logged(&mut fetch, &log)?;
    let file = fetched(&folder, &name)?;
    unpack(&file.with_context(|| {
        format!(
            "apt-get fetched no file of {name} into {}",
            folder.display()
        )
    })?)
}

/// The name of the package.
fn offered(series: &str) -> Result<String> {
    let pattern = format!(
        "^linux-image-{}[.-].*cloud-amd64$",
        series.replace('.', "\\.")
    );
    let found = answer(Command::new("apt-cache").args(["search", "--names-only", &pattern]));
    let text = found.context(
        "apt-cache is missing: name the file of a kernel package (`linux-image-….deb`) instead",
    )?;
    newest(&text).with_context(|| {
        format!(
            "apt offers no cloud kernel of the series {series}: run `apt-get update`, add the Debian release that has it, or name the \
             file of a kernel package (`linux-image-….deb`)"
        )
    })
}

/// The newest of the packages that a search lists; one without a version in its name only points to others.
fn newest(listing: &str) -> Option<String> {
    let names = listing.lines().filter_map(|line| line.split(' ').next());
    names
        .filter(|name| numbers(name).len() >= 3)
        .max_by_key(|name| numbers(name))
        .map(str::to_owned)
}

fn numbers(name: &str) -> Vec<u64> {
    let version = name.trim_end_matches("-cloud-amd64");
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

fn fetched(folder: &Path, name: &str) -> Result<Option<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = entries.flatten().map(|entry| entry.path());
    Ok(files.find(|file| {
        let file = file.file_name().unwrap_or_default().to_string_lossy();
        file.starts_with(&format!("{name}_")) && file.ends_with(".deb")
    }))
}

fn unpack(package: &Path) -> Result<Kernel> {
    let name = package.file_stem().context("a package without a name")?;
    let folder = path("target/vm/kernels").join(name);
    if !folder.is_dir() {
        let fresh = folder.with_extension("new");
        fs::create_dir_all(&fresh).with_context(|| format!("cannot make {}", fresh.display()))?;
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("--extract").arg(package).arg(&fresh);
        run_logged(&mut unpack, &path("target/vm/unpack.log"))?;
        fs::rename(&fresh, &folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    unpacked(&folder)
}

/// The kernel below a folder: `boot/vmlinuz-RELEASE`, or `vmlinuz` among its modules, as newer packages have it.
fn unpacked(folder: &Path) -> Result<Kernel> {
    let places = ["lib/modules", "usr/lib/modules"].map(|place| folder.join(place));
    let modules = places
        .iter()
        .find_map(|place| Some(fs::read_dir(place).ok()?.flatten().next()?.path()));
    let Some(modules) = modules else {
        bail!(
            "{} holds no modules (lib/modules/RELEASE): where a kernel is more than one package, unpack all into one folder and name that",
            folder.display()
        );
    };
    let release = modules
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let images = [
        folder.join("boot").join(format!("vmlinuz-{release}")),
        modules.join("vmlinuz"),
    ];
    let Some(image) = images.into_iter().find(|image| image.is_file()) else {
        bail!(
            "{} holds no kernel (boot/vmlinuz-{release})",
            folder.display()
        );
    };
    Ok(Kernel {
        release,
        image,
        modules,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_kernel_of_a_listing_is_taken_and_no_package_that_points_to_it() {
        let listing = "linux-image-6.1.0-9-cloud-amd64 - Linux 6.1 for x86-64 cloud (signed)\n\
                       linux-image-6.1.0-56-cloud-amd64 - Linux 6.1 for x86-64 cloud (signed)\n\
                       linux-image-6.1-cloud-amd64 - Linux for x86-64 cloud (meta-package)\n";
        assert_eq!(
            newest(listing).as_deref(),
            Some("linux-image-6.1.0-56-cloud-amd64")
        );
        assert_eq!(newest(""), None);
    }
}
