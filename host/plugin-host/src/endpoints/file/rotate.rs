//! `log` becomes `log.1`, that `log.2`, and so on; each with `.gz` behind where it was compressed.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

/// `log.3` for 3.
pub(super) fn rotated(path: &Path, number: u32) -> PathBuf {
    with_suffix(path, &format!(".{number}"))
}

/// Behind what was compressed.
const GZIP: &str = ".gz";
/// Behind what is being compressed: a process that is killed meanwhile leaves the whole one, too.
const UNFINISHED: &str = ".gz.part";

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Make room at `path`: all rotated files move up by one, those above `keep` are removed.
pub(super) fn rotate(path: &Path, keep: u32) -> io::Result<()> {
    if keep == 0 {
        return fs::remove_file(path);
    }
    // One more than stays, in case fewer stay than before.
    for suffix in ["", GZIP] {
        let mut number = keep;
        while remove(&with_suffix(&rotated(path, number), suffix))? {
            number += 1;
        }
    }
    for number in (1..keep).rev() {
        for suffix in ["", GZIP] {
            let from = with_suffix(&rotated(path, number), suffix);
            let to = with_suffix(&rotated(path, number + 1), suffix);
            ignore_missing(fs::rename(from, to))?;
        }
    }
    fs::rename(path, rotated(path, 1))
}

/// Compress the file that was rotated last.
pub(super) fn compress(path: &Path) -> io::Result<()> {
    let plain = rotated(path, 1);
    let (unfinished, done) = (with_suffix(&plain, UNFINISHED), with_suffix(&plain, GZIP));
    let mut from = fs::File::open(&plain)?;
    let permissions = from.metadata()?.permissions();
    let to = fs::File::create(&unfinished)?;
    to.set_permissions(permissions)?;
    let mut encoder = GzEncoder::new(to, Compression::default());
    io::copy(&mut from, &mut encoder)?;
    encoder.finish()?.sync_data()?;
    fs::rename(unfinished, done)?;
    fs::remove_file(plain)
}

/// Whether it was there.
fn remove(path: &Path) -> io::Result<bool> {
    let removed = fs::remove_file(path);
    let there = removed.is_ok();
    ignore_missing(removed).map(|()| there)
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
