use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// Watches the directories that files lie in: a file that is replaced takes a watch of its own with it.
pub(super) struct Files {
    watcher: RecommendedWatcher,
    dirs: BTreeSet<PathBuf>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Names that are of interest, whatever directory they are in.
    names: Mutex<BTreeSet<OsString>>,
    event: Notify,
}

impl Files {
    pub(super) fn new() -> notify::Result<Self> {
        let shared = Arc::<Shared>::default();
        let for_watcher = Arc::clone(&shared);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // An error is most often an overflow: something has happened.
            if event
                .as_ref()
                .map_or(true, |event| for_watcher.takes(event))
            {
                for_watcher.event.notify_one();
            }
        })?;
        Ok(Self {
            watcher,
            dirs: BTreeSet::new(),
            shared,
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
        *self
            .shared
            .names
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = names;
        // One that is there no more has ended its watch by itself.
        for gone in self.dirs.difference(&dirs) {
            let _ = self.watcher.unwatch(gone);
        }
        self.dirs.retain(|dir| dirs.contains(dir));
        for dir in dirs {
            if self.dirs.contains(&dir) {
                continue;
            }
            match self.watcher.watch(&dir, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.dirs.insert(dir);
                }
                Err(error) => {
                    tracing::warn!(dir = %dir.display(), %error, "cannot watch a directory: SIGHUP looks at it");
                }
            }
        }
    }

    /// The next that is of interest; several may come as one.
    pub(super) async fn event(&mut self) {
        self.shared.event.notified().await;
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

impl Shared {
    /// Whether a file of interest was written whole, replaced or removed.
    fn takes(&self, event: &Event) -> bool {
        let whole = |path: &PathBuf| match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(_))
            | EventKind::Remove(_) => true,
            // A link is whole at once; a file that was made is still to be written.
            EventKind::Create(CreateKind::Folder) => false,
            EventKind::Create(_) => path.is_symlink(),
            _ => event.need_rescan(),
        };
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        event.paths.iter().any(|path| {
            let named = path.file_name().is_some_and(|name| {
                // Kubernetes swaps a mounted ConfigMap by its link `..data`.
                names.contains(name) || name.as_encoded_bytes().starts_with(b"..")
            });
            named && whole(path)
        }) || event.need_rescan()
    }
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
