//! Network namespaces by their files, and work inside them.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;

/// Whether the file still stands for the namespace with this inode. No descriptor is held for that: it would keep the
/// namespace of a pod that has ended.
pub(crate) fn is_namespace(path: &Path, inode: u64) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.ino() == inode)
}

/// Runs `work` inside the namespace, on a thread that ends with it: the caller's thread never leaves its own. The outer
/// error says that it could not be entered.
pub(crate) fn inside<T: Send>(
    path: &Path,
    inode: u64,
    work: impl FnOnce() -> T + Send,
) -> io::Result<T> {
    let file = File::open(path)?;
    if file.metadata()?.ino() != inode {
        return Err(io::Error::from_raw_os_error(libc::ESTALE));
    }
    thread::scope(|scope| {
        let entered = || {
            // SAFETY: no pointer is passed; only this thread is concerned.
            if unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(work())
        };
        thread::Builder::new()
            .name("netns".to_owned())
            .stack_size(128 * 1024)
            .spawn_scoped(scope, entered)?
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
