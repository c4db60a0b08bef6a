//! Compiled components, kept from one start to the next: files `KEY.SHA256.cwasm` of one directory, which is
//! the agent's. The key
//! is of the component and of this very binary, so wasmtime, its configuration and the target are in it; the
//! name says what the content must be, so a damaged file is known by whoever reads it.
//!
//! The plugin process runs what is in these files, so it must not be able to write one: the directory
//! belongs to the agent and nobody else may write in it, the plugin process is sealed by landlock without
//! it, and gets the files as open ones that can only be read. Where one of these does not hold there is no
//! directory: code is kept in files of memory then, as long as the agent lives, and the log says why.
//! An image brings the code of its plugins along, in a directory of the same rules that is only read: a node
//! that starts it compiles nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, MemfdFlags, OFlags, flock, memfd_create};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tracing::{info, warn};

use super::blocking;
use super::component::digest_of;
use crate::config::{PluginsConfig, Size};
use crate::sandbox::landlock_abi;

/// Within the configured directory.
const OWN_DIR: &str = "compiled";
/// Beside the shipped plugins, where an image was made with it.
const SHIPPED: &str = "/usr/lib/owlk8s/compiled";
/// Of a file's name.
const EXTENSION: &str = ".cwasm";
/// Of files in the making, each locked by the agent that makes it; the others are swept when an agent starts.
const IN_THE_MAKING: &str = ".compiling-";
/// Hex digits of a key: enough for it to be the only one.
const KEY: usize = 32;

/// Machine code of a component.
#[derive(Debug)]
pub(super) struct Code {
    /// SHA-256, in hex.
    pub(super) digest: String,
    pub(super) file: File,
}

/// Where compiled components are kept.
#[derive(Debug)]
pub(super) struct Cache {
    place: Place,
    /// Of all that is kept; what was used last stays.
    max: Size,
    /// Digest of this binary.
    binary: String,
    /// What came along with the binary.
    shipped: Option<Shipped>,
}

/// Code of the shipped plugins, compiled when the image was made, for this very binary. Only read.
#[derive(Debug)]
struct Shipped {
    dir: PathBuf,
    /// Digests of code that the plugin process could not use: of another processor, or damaged.
    bad: Mutex<BTreeSet<String>>,
}

#[derive(Debug)]
enum Place {
    Dir(PathBuf),
    Memory(Mutex<BTreeMap<String, Held>>),
}

#[derive(Debug)]
struct Held {
    digest: String,
    file: File,
    size: u64,
    used: SystemTime,
}

/// A file for a compile child to write.
#[derive(Debug)]
pub(super) enum Made {
    Dir(NamedTempFile),
    Memory(File),
}

impl Made {
    pub(super) fn file(&self) -> &File {
        match self {
            Self::Dir(file) => file.as_file(),
            Self::Memory(file) => file,
        }
    }
}

impl Cache {
    /// By the configuration, for the code that `program` makes. Blocks.
    pub(super) fn open(config: &PluginsConfig, program: &Path) -> Self {
        let mut cache = Self::in_memory(config);
        let binary = File::open(program).and_then(|file| digest_of(&file));
        let dir = match (config.cache_dir(), binary) {
            (_, Err(error)) => Err(format!("cannot read {}: {error}", program.display())),
            (dir, Ok(binary)) => {
                cache.binary = binary;
                dir.map_or_else(|| Err("plugins.cache_dir is empty".to_owned()), usable)
            }
        };
        cache.shipped = Shipped::open(Path::new(SHIPPED));
        match dir {
            Ok(dir) => {
                sweep(&dir);
                cache.place = Place::Dir(dir);
            }
            Err(why) => info!("compiled components are not kept when the agent ends: {why}"),
        }
        cache
    }

    /// As long as the agent lives.
    pub(super) fn in_memory(config: &PluginsConfig) -> Self {
        Self {
            place: Place::Memory(Mutex::default()),
            max: config.cache_size,
            binary: String::new(),
            shipped: None,
        }
    }

    /// What was compiled of the component with this digest.
    pub(super) fn get(&self, component: &str) -> Option<Code> {
        let key = self.key(component);
        let shipped = || self.shipped.as_ref().and_then(|shipped| shipped.get(&key));
        self.kept(&key).or_else(shipped)
    }

    fn kept(&self, key: &str) -> Option<Code> {
        match &self.place {
            Place::Memory(held) => {
                let mut held = lock(held);
                let held = held.get_mut(key)?;
                held.used = SystemTime::now();
                held.code().ok()
            }
            Place::Dir(dir) => {
                let entry = entries(dir).into_iter().find(|entry| entry.key == key)?;
                open_code(&entry.path, entry.digest)
                    .inspect_err(|error| {
                        let path = entry.path.display();
                        warn!(%path, %error, "compiled component cannot be used; it is compiled again");
                        let _ = fs::remove_file(&entry.path);
                    })
                    .ok()
            }
        }
    }

    /// It is not what its name says, or nothing that wasmtime takes.
    pub(super) fn forget(&self, component: &str, digest: &str) {
        let key = self.key(component);
        if let Some(shipped) = &self.shipped {
            shipped.bad().insert(digest.to_owned());
        }
        match &self.place {
            Place::Memory(held) => {
                lock(held).retain(|other, held| *other != key || held.digest != digest);
            }
            Place::Dir(dir) => entries(dir)
                .iter()
                .filter(|entry| entry.key == key && entry.digest == digest)
                .for_each(|entry| {
                    let _ = fs::remove_file(&entry.path);
                }),
        }
    }

    /// A file for new code, of which nobody knows yet.
    pub(super) fn make(&self) -> io::Result<Made> {
        Ok(match &self.place {
            Place::Memory(_) => {
                let file = memfd_create("compiled", MemfdFlags::CLOEXEC)?;
                Made::Memory(File::from(file))
            }
            Place::Dir(dir) => {
                let mut builder = tempfile::Builder::new();
                let builder = builder
                    .prefix(IN_THE_MAKING)
                    .permissions(Permissions::from_mode(0o600));
                loop {
                    let file = builder.tempfile_in(dir)?;
                    flock(file.as_file(), FlockOperation::NonBlockingLockExclusive)?;
                    // Another agent may have swept it before it was locked.
                    if file.as_file().metadata()?.nlink() > 0 {
                        break Made::Dir(file);
                    }
                }
            }
        })
    }

    /// Keep what was made of the component with this digest.
    pub(super) async fn put(&self, component: &str, made: Made) -> Result<Code, String> {
        let (digest, size, made) = blocking(move || {
            let digest = digest_of(made.file())?;
            let size = made.file().metadata()?.len();
            Ok::<_, io::Error>((digest, size, made))
        })
        .await?
        .map_err(|error| format!("cannot read what was compiled: {error}"))?;
        let key = self.key(component);
        let code = match (&self.place, made) {
            (Place::Memory(held), Made::Memory(file)) => {
                hold(held, key.clone(), digest, file, size)
            }
            (Place::Dir(dir), Made::Dir(file)) => {
                let path = dir.join(format!("{key}.{digest}{EXTENSION}"));
                let kept = file.persist(&path).map_err(|error| error.error);
                kept.and_then(|_| open_code(&path, digest))
            }
            _ => unreachable!("a cache makes files of its own kind"),
        };
        let code = code.map_err(|error| format!("cannot keep what was compiled: {error}"))?;
        self.shrink(&key);
        Ok(code)
    }

    /// Let go what was not used for the longest time, until the rest is within the bound; what was made right
    /// now may be over it alone, and goes with the next one.
    fn shrink(&self, newest: &str) {
        match &self.place {
            Place::Memory(held) => {
                let mut held = lock(held);
                let mut all: Vec<(SystemTime, u64, String)> = held
                    .iter()
                    .map(|(key, held)| (held.used, held.size, key.clone()))
                    .collect();
                for key in over(&mut all, self.max, |key| key == newest) {
                    held.remove(&key);
                }
            }
            Place::Dir(dir) => {
                let mut all: Vec<(SystemTime, u64, Entry)> = entries(dir)
                    .into_iter()
                    .filter_map(|entry| {
                        let metadata = fs::symlink_metadata(&entry.path).ok()?;
                        Some((metadata.modified().ok()?, metadata.len(), entry))
                    })
                    .collect();
                for entry in over(&mut all, self.max, |entry| entry.key == newest) {
                    let _ = fs::remove_file(&entry.path);
                }
            }
        }
    }

    fn key(&self, component: &str) -> String {
        key_of(&self.binary, component)
    }
}

/// Of the code of a component, for a binary.
fn key_of(binary: &str, component: &str) -> String {
    let both = format!("{binary}\n{component}");
    let mut key = format!("{:x}", Sha256::digest(both));
    key.truncate(KEY);
    key
}

/// As code of a component is named for the binary that runs here, so that the image can bring it along.
pub(crate) fn shipped_name(component: &[u8], code: &[u8]) -> io::Result<String> {
    let binary = digest_of(&File::open("/proc/self/exe")?)?;
    let component = format!("sha256:{:x}", Sha256::digest(component));
    let key = key_of(&binary, &component);
    Ok(format!("{key}.{:x}{EXTENSION}", Sha256::digest(code)))
}

impl Shipped {
    /// None where there is nothing, or where others than the agent's user may write.
    fn open(dir: &Path) -> Option<Self> {
        let metadata = fs::symlink_metadata(dir).ok()?;
        if let Err(why) = ours(&metadata) {
            let dir = dir.display();
            info!("compiled components in {dir} are not used: {why}");
            return None;
        }
        Some(Self {
            dir: dir.to_owned(),
            bad: Mutex::default(),
        })
    }

    fn get(&self, key: &str) -> Option<Code> {
        let entry = entries(&self.dir)
            .into_iter()
            .find(|entry| entry.key == key)?;
        if self.bad().contains(&entry.digest) {
            return None;
        }
        open_code(&entry.path, entry.digest).ok()
    }

    fn bad(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The oldest of `all`, as many as it takes for the rest to be within `max`.
fn over<T>(all: &mut Vec<(SystemTime, u64, T)>, max: Size, keep: impl Fn(&T) -> bool) -> Vec<T> {
    let mut total: u64 = all.iter().map(|(_, size, _)| size).sum();
    all.sort_by_key(|(used, ..)| *used);
    let mut gone = Vec::new();
    for (_, size, what) in all.drain(..) {
        if total > max.0 && !keep(&what) {
            total -= size;
            gone.push(what);
        }
    }
    gone
}

fn hold(
    held: &Mutex<BTreeMap<String, Held>>,
    key: String,
    digest: String,
    file: File,
    size: u64,
) -> io::Result<Code> {
    let entry = Held {
        digest,
        file,
        size,
        used: SystemTime::now(),
    };
    let code = entry.code()?;
    lock(held).insert(key, entry);
    Ok(code)
}

impl Held {
    /// Opened anew, from its beginning and for reading alone: what is handed over must stay what it is.
    fn code(&self) -> io::Result<Code> {
        Ok(Code {
            digest: self.digest.clone(),
            file: File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))?,
        })
    }
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file of the directory.
#[derive(Debug)]
struct Entry {
    key: String,
    digest: String,
    path: PathBuf,
}

fn entries(dir: &Path) -> Vec<Entry> {
    let entry = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_suffix(EXTENSION)?;
        let (key, digest) = name.split_once('.')?;
        let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        (key.len() == KEY && digest.len() == 64 && hex(key) && hex(digest)).then(|| Entry {
            key: key.to_owned(),
            digest: digest.to_owned(),
            path: path.clone(),
        })
    };
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files.filter_map(|file| entry(file.path())).collect()
}

/// Opened for reading, if it is a file of ours that nobody else may write.
fn open_code(path: &Path, digest: String) -> io::Result<Code> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, rustix::fs::Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    ours(&metadata).map_err(io::Error::other)?;
    // Used last is let go last. Where the time cannot be set it goes sooner.
    let _ = file.set_modified(SystemTime::now());
    Ok(Code { digest, file })
}

fn ours(metadata: &fs::Metadata) -> Result<(), String> {
    const OTHERS_WRITE: u32 = 0o022;
    let own = rustix::process::geteuid().as_raw();
    if metadata.uid() != own {
        return Err(format!(
            "it belongs to user {} and not to the agent's, {own}",
            metadata.uid()
        ));
    }
    if metadata.mode() & OTHERS_WRITE != 0 {
        return Err("others may write in it (chmod go-w)".to_owned());
    }
    Ok(())
}

/// Our own directory in it, made where it is not there; or why it is not used. Ours, since a volume that
/// Kubernetes gives to a pod may be written by all of the pod.
fn usable(dir: &Path) -> Result<PathBuf, String> {
    let dir = dir.join(OWN_DIR);
    let fail = |problem: String| format!("plugins.cache_dir {}: {problem}", dir.display());
    if landlock_abi() == 0 {
        let problem =
            "this kernel has no landlock, and the plugin process could write it".to_owned();
        return Err(fail(problem));
    }
    if !dir.exists() {
        fs::create_dir_all(&dir).map_err(|error| fail(error.to_string()))?;
        fs::set_permissions(&dir, Permissions::from_mode(0o700))
            .map_err(|error| fail(error.to_string()))?;
    }
    let metadata = fs::symlink_metadata(&dir).map_err(|error| fail(error.to_string()))?;
    ours(&metadata).map_err(fail)?;
    // Told now rather than with the first component.
    tempfile::tempfile_in(&dir).map_err(|error| fail(error.to_string()))?;
    Ok(dir)
}

/// Files that an agent left in the making when it was killed. One that lives, as the one before us does in a
/// rolling update, holds on to its own.
fn sweep(dir: &Path) {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    for file in files.filter(|file| {
        let name = file.file_name();
        name.to_string_lossy().starts_with(IN_THE_MAKING)
    }) {
        let abandoned = File::open(file.path())
            .is_ok_and(|opened| flock(&opened, FlockOperation::NonBlockingLockExclusive).is_ok());
        if abandoned {
            let _ = fs::remove_file(file.path());
        }
    }
}

#[cfg(test)]
mod tests;
