use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Delivery;

/// A file that is appended to. One that was moved away or deleted is made anew, so that logrotate works
/// without a signal.
pub(crate) struct File {
    path: PathBuf,
    file: Option<Arc<fs::File>>,
}

impl File {
    /// Opened at once, so that a wrong path is told at the start.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let file = append(path).map_err(|error| {
            let path = path.display();
            format!("cannot open {path} for writing: {error} (its directory must exist and be writable without capabilities)")
        })?;
        Ok(Self {
            path: path.to_owned(),
            file: Some(Arc::new(file)),
        })
    }

    pub(super) async fn deliver(&mut self, body: Vec<u8>) -> Delivery {
        let (path, file) = (self.path.clone(), self.file.take());
        let written = tokio::task::spawn_blocking(move || {
            let file = current(&path, file)?;
            write_whole(&file, &body)?;
            Ok::<_, io::Error>(file)
        });
        match written.await {
            Ok(Ok(file)) => {
                self.file = Some(file);
                Delivery::Arrived
            }
            Ok(Err(error)) => Delivery::Retry(
                format!("cannot write {}: {error}", self.path.display()),
                None,
            ),
            Err(_) => Delivery::Retry("the write was given up".to_owned(), None),
        }
    }
}

fn append(path: &Path) -> io::Result<fs::File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// `file` while it is still the one at `path`.
fn current(path: &Path, file: Option<Arc<fs::File>>) -> io::Result<Arc<fs::File>> {
    if let Some(file) = file
        && let (Ok(open), Ok(there)) = (file.metadata(), fs::metadata(path))
        && (open.dev(), open.ino()) == (there.dev(), there.ino())
    {
        return Ok(file);
    }
    append(path).map(Arc::new)
}

/// All or nothing: what a full disk cut off is taken back, so that the next try does not repeat it.
fn write_whole(mut file: &fs::File, body: &[u8]) -> io::Result<()> {
    let length = file.metadata()?;
    file.write_all(body).inspect_err(|_| {
        if length.is_file() {
            let _ = file.set_len(length.len());
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn arrived(file: &mut File, body: &str) {
        assert!(matches!(
            file.deliver(body.as_bytes().to_vec()).await,
            Delivery::Arrived
        ));
    }

    #[tokio::test]
    async fn appends_and_follows_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
        fs::write(&path, "there\n").unwrap();
        let mut file = File::open(&path).unwrap();
        arrived(&mut file, "a\n").await;
        fs::rename(&path, &old).unwrap();
        arrived(&mut file, "b\n").await;
        fs::remove_file(&path).unwrap();
        arrived(&mut file, "c\n").await;
        assert_eq!(fs::read_to_string(&old).unwrap(), "there\na\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "c\n");
    }

    #[tokio::test]
    async fn full_device_is_tried_again_and_a_missing_directory_is_told_at_once() {
        let mut full = File::open(Path::new("/dev/full")).unwrap();
        assert!(
            matches!(full.deliver(b"x".to_vec()).await, Delivery::Retry(why, None) if why.contains("/dev/full"))
        );
        let error = File::open(Path::new("/nowhere/log")).err().unwrap();
        assert!(
            error.starts_with("cannot open /nowhere/log for writing: No such file"),
            "{error}"
        );
    }
}
