use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What makes a file whole, or another one: written and closed, renamed, linked, removed.
const OF_INTEREST: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::MOVE)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::ONLYDIR);

/// Watches the directories that files lie in: a file that is replaced takes a watch of its own with it.
/// <https://man7.org/linux/man-pages/man7/inotify.7.html>
pub(super) struct Files {
    inotify: AsyncFd<OwnedFd>,
    /// By watch descriptor.
    dirs: BTreeMap<i32, PathBuf>,
    /// Names that are of interest, whatever directory they are in.
    names: BTreeSet<OsString>,
}

impl Files {
    pub(super) fn new() -> std::io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        // SAFETY: an `OwnedFd` is one descriptor for as long as it lives, it is open, and this takes it over.
        let inotify = unsafe { AsyncFd::register_with_interest(inotify, Interest::READABLE) }?;
        Ok(Self {
            inotify,
            dirs: BTreeMap::new(),
            names: BTreeSet::new(),
        })
    }

    /// Watch these files, and what they are links to, and no others.
    pub(super) fn watch<'a>(&mut self, files: impl Iterator<Item = &'a PathBuf>) {
        let (mut dirs, mut names) = (BTreeSet::new(), BTreeSet::new());
        for file in files {
            for path in [Some(file.clone()), file.canonicalize().ok()]
                .into_iter()
                .flatten()
            {
                dirs.extend(dir_of(&path).filter(|dir| dir.is_dir()));
                names.extend(path.file_name().map(OsString::from));
            }
        }
        self.names = names;
        let mut watches = BTreeMap::new();
        for dir in dirs {
            // Of a directory that is watched already, under any name, this gives the same descriptor.
            match inotify::add_watch(&self.inotify, &dir, OF_INTEREST) {
                Ok(watch) => {
                    watches.insert(watch, dir);
                }
                Err(error) => {
                    tracing::warn!(dir = %dir.display(), %error, "cannot watch a directory: SIGHUP looks at it");
                }
            }
        }
        for gone in self
            .dirs
            .keys()
            .filter(|watch| !watches.contains_key(watch))
        {
            // That of a directory which is no more has ended by itself.
            let _ = inotify::remove_watch(&self.inotify, *gone);
        }
        self.dirs = watches;
    }

    /// Comes back after something of interest; several may come as one. Cancel safe.
    pub(super) async fn event(&mut self) {
        loop {
            let mut ready = match self.inotify.readable().await {
                Ok(ready) => ready,
                // The runtime ends.
                Err(_) => return std::future::pending().await,
            };
            let (inotify, dirs, names) = (self.inotify.get_ref(), &self.dirs, &self.names);
            match drain(inotify, |event| takes(dirs, names, event)) {
                Ok(of_interest) => {
                    ready.clear_ready();
                    if of_interest {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "files are watched no more: SIGHUP looks at them");
                    return std::future::pending().await;
                }
            }
        }
    }
}

fn dir_of(file: &Path) -> Option<PathBuf> {
    let dir = file.parent()?;
    Some(if dir.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        dir.to_owned()
    })
}

/// Read all events; whether `takes` took one.
fn drain(inotify: &OwnedFd, takes: impl Fn(&inotify::Event<'_>) -> bool) -> Result<bool, Errno> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(inotify, &mut buffer);
    let mut taken = false;
    loop {
        match reader.next() {
            Ok(event) => taken |= takes(&event),
            Err(Errno::AGAIN) => return Ok(taken),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether a file of interest was written whole, replaced or removed.
fn takes(
    dirs: &BTreeMap<i32, PathBuf>,
    names: &BTreeSet<OsString>,
    event: &inotify::Event<'_>,
) -> bool {
    // Some events are lost: one of them may have been of interest.
    if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
        return true;
    }
    let (Some(name), Some(dir)) = (event.file_name(), dirs.get(&event.wd())) else {
        return false;
    };
    let name = OsStr::from_bytes(name.to_bytes());
    // Kubernetes swaps a mounted ConfigMap by its link `..data`.
    if !names.contains(name) && !name.as_bytes().starts_with(b"..") {
        return false;
    }
    // A link is whole at once; a file that was made is still to be written.
    !event.events().contains(ReadFlags::CREATE) || dir.join(name).is_symlink()
}

/// What tells a file from the one that was there before, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Print(Option<(u64, u64, u64, i64, i64)>);

impl Print {
    pub(super) fn of(file: &Path) -> Self {
        let print = |m: std::fs::Metadata| (m.dev(), m.ino(), m.size(), m.mtime(), m.mtime_nsec());
        Self(std::fs::metadata(file).ok().map(print))
    }
}
