//! Network namespaces as files, and threads that enter them.
//!
//! Entering is for a thread only: it is started for that, and ends with the work, so no thread of a
//! runtime is ever left in a foreign namespace. It needs CAP_SYS_ADMIN.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace, held open: it lives at least as long as this.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    path: PathBuf,
}

/// A namespace that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// Not there, or not permitted.
    #[error("cannot open network namespace {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Entering it is not permitted.
    #[error("cannot enter network namespace {} (needs CAP_SYS_ADMIN)", path.display())]
    Enter {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// No thread for it.
    #[error("cannot start a thread for network namespace {}", path.display())]
    Thread {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl Namespace {
    /// Opens the namespace that a file stands for: `/run/netns/NAME`, `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// Where it is not there or not permitted.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, NamespaceError> {
        let path = path.into();
        match File::open(&path) {
            Ok(file) => Ok(Self { file, path }),
            Err(source) => Err(NamespaceError::Open { path, source }),
        }
    }

    /// That of the calling thread.
    ///
    /// # Errors
    /// Where `/proc` is not mounted.
    pub fn current() -> Result<Self, NamespaceError> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// Runs `work` on a thread of its own inside the namespace, and waits for it.
    ///
    /// # Errors
    /// Where it cannot be entered; needs CAP_SYS_ADMIN.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NamespaceError> {
        thread::scope(|scope| {
            let inside = || {
                self.enter()?;
                Ok(work())
            };
            let thread = thread::Builder::new()
                .name("netns".to_owned())
                .spawn_scoped(scope, inside)
                .map_err(|source| NamespaceError::Thread {
                    path: self.path.clone(),
                    source,
                })?;
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Moves the calling thread, and what it will start, into the namespace for good.
    ///
    /// # Errors
    /// Where it cannot be entered; needs CAP_SYS_ADMIN.
    pub fn enter(&self) -> Result<(), NamespaceError> {
        move_into_link_name_space(self.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|errno| {
            NamespaceError::Enter {
                path: self.path.clone(),
                source: errno.into(),
            }
        })
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The files right below a directory with their names, sorted; none where the directory is not there.
pub(crate) fn mounted(directory: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().into_string().ok()?, entry.path()))
        })
        .collect();
    found.sort_unstable();
    found
}

/// Device and inode: equal for two files of the same namespace.
pub(crate) fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
