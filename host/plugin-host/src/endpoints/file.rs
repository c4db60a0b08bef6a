//! A file that is appended to and rotated. One that was moved away or deleted is made anew, so that
//! logrotate works as well, without a signal.
//!
//! A payload is in the file once, also where this process is killed while it writes: the sink's next
//! life is told how long the file was before ([`Mark`]), finds the payload behind it or a part of it,
//! and goes on from there.

mod rotate;

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::Delivery;
use crate::config::FileEndpoint;

/// Where a file ended before a window was written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    device: u64,
    inode: u64,
    length: u64,
}

/// An open file endpoint.
pub(crate) struct File {
    config: FileEndpoint,
    /// Away while a thread writes; one that did not come back is opened again.
    log: Option<Log>,
}

struct Log {
    config: FileEndpoint,
    file: fs::File,
    /// When it was begun, as far as the file system knows.
    begun: SystemTime,
    /// The rest of a window that an earlier process may have written is to be looked for behind it.
    resumed: Option<Mark>,
}

impl File {
    /// Opened at once, so that a wrong path is told at the start.
    pub(super) fn open(config: &FileEndpoint) -> Result<Self, String> {
        let log = Log::open(config).map_err(|error| {
            let path = config.path.display();
            format!("cannot open {path} for writing: {error} (its directory must exist, and the user of plugins.user must be able to write in it)")
        })?;
        Ok(Self {
            config: config.clone(),
            log: Some(log),
        })
    }

    pub(super) async fn deliver(&mut self, body: Vec<u8>) -> Delivery {
        let (config, log) = (self.config.clone(), self.log.take());
        let written = tokio::task::spawn_blocking(move || {
            let mut log = match log {
                Some(log) => log,
                None => Log::open(&config)?,
            };
            let rotation = log.append(&body)?;
            Ok::<_, io::Error>((log, rotation))
        });
        match written.await {
            Ok(Ok((log, rotation))) => {
                self.log = Some(log);
                match rotation {
                    Ok(()) => Delivery::Arrived,
                    Err(error) => Delivery::ArrivedBut(
                        0,
                        format!(
                            "cannot rotate {}: {error} (it grows on)",
                            self.config.path.display()
                        ),
                    ),
                }
            }
            Ok(Err(error)) => Delivery::Retry(
                format!("cannot write {}: {error}", self.config.path.display()),
                None,
            ),
            Err(_) => Delivery::Retry("the write was given up".to_owned(), None),
        }
    }

    /// Where it ends now; none where it is no regular file.
    pub(crate) fn mark(&self) -> Option<Mark> {
        let metadata = self.log.as_ref()?.file.metadata().ok()?;
        Mark::of(&metadata)
    }

    /// The next payloads may be behind `mark` already.
    pub(crate) fn resume(&mut self, mark: Mark) {
        if let Some(log) = &mut self.log {
            log.resumed = Some(mark);
        }
    }

    /// Payloads from here on are new.
    pub(crate) fn resumed(&mut self) {
        if let Some(log) = &mut self.log {
            log.resumed = None;
        }
    }
}

impl Mark {
    fn of(metadata: &fs::Metadata) -> Option<Self> {
        metadata.is_file().then(|| Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
        })
    }

    fn is_in(&self, metadata: &fs::Metadata) -> bool {
        (self.device, self.inode) == (metadata.dev(), metadata.ino())
    }
}

impl Log {
    fn open(config: &FileEndpoint) -> io::Result<Self> {
        let file = append(config)?;
        let metadata = file.metadata()?;
        let begun = metadata.created().or_else(|_| metadata.modified());
        Ok(Self {
            config: config.clone(),
            file,
            begun: begun.unwrap_or_else(|_| SystemTime::now()),
            resumed: None,
        })
    }

    /// The inner error is the rotation's: the payload is in the file all the same.
    fn append(&mut self, body: &[u8]) -> io::Result<io::Result<()>> {
        self.follow()?;
        if self.find(body)? {
            return Ok(Ok(()));
        }
        let rotation = self.rotate(body.len() as u64);
        self.write_whole(body)?;
        match rotation {
            // After the write: what is compressed takes a while.
            Ok(true) if self.config.gzip => Ok(rotate::compress(&self.config.path)),
            rotation => Ok(rotation.map(|_| ())),
        }
    }

    /// Open it again where it is no longer the one at its path.
    fn follow(&mut self) -> io::Result<()> {
        if let (Ok(open), Ok(there)) = (self.file.metadata(), fs::metadata(&self.config.path))
            && (open.dev(), open.ino()) == (there.dev(), there.ino())
        {
            return Ok(());
        }
        let resumed = self.resumed;
        *self = Self::open(&self.config)?;
        self.resumed = resumed;
        Ok(())
    }

    /// Whether an earlier process has written this payload. What it wrote of it in part is taken back.
    fn find(&mut self, body: &[u8]) -> io::Result<bool> {
        let Some(mark) = self.resumed else {
            return Ok(false);
        };
        let metadata = self.file.metadata()?;
        let rotated = || fs::metadata(rotate::rotated(&self.config.path, 1));
        let from = if mark.is_in(&metadata) {
            mark.length
        } else if rotated().is_ok_and(|rotated| mark.is_in(&rotated)) {
            // It was rotated for the very payload that is looked for.
            0
        } else {
            self.resumed = None;
            return Ok(false);
        };
        let mut there = Vec::new();
        let mut reader = fs::File::open(&self.config.path)?;
        reader.seek(SeekFrom::Start(from))?;
        reader.take(body.len() as u64).read_to_end(&mut there)?;
        if there == body {
            let length = from + body.len() as u64;
            self.resumed = Mark::of(&metadata).map(|mark| Mark { length, ..mark });
            return Ok(true);
        }
        if !there.is_empty() && body.starts_with(&there) {
            self.file.set_len(from)?;
        }
        self.resumed = None;
        Ok(false)
    }

    /// Whether it was rotated to make room for so many bytes.
    fn rotate(&mut self, bytes: u64) -> io::Result<bool> {
        let metadata = self.file.metadata()?;
        let (size, after) = (self.config.rotate_size.0, self.config.rotate_after);
        let too_large = size > 0 && metadata.len() + bytes > size;
        let too_old = after.is_some_and(|after| self.begun.elapsed().is_ok_and(|age| age >= after));
        if !metadata.is_file() || metadata.len() == 0 || !(too_large || too_old) {
            return Ok(false);
        }
        rotate::rotate(&self.config.path, self.config.keep)?;
        let resumed = self.resumed;
        *self = Self::open(&self.config)?;
        self.resumed = resumed;
        Ok(true)
    }

    /// All or nothing: what a full disk cut off is taken back, so that the next try does not repeat it.
    fn write_whole(&mut self, body: &[u8]) -> io::Result<()> {
        let before = self.file.metadata()?;
        self.file.write_all(body).inspect_err(|_| {
            if before.is_file() {
                let _ = self.file.set_len(before.len());
            }
        })
    }
}

/// A file that is made here has the permissions of the configuration, whatever the umask.
fn append(config: &FileEndpoint) -> io::Result<fs::File> {
    let open = |options: &mut OpenOptions| options.append(true).open(&config.path);
    let bits = config.permissions.0;
    match open(OpenOptions::new().create_new(true).mode(bits)) {
        Ok(file) => {
            file.set_permissions(fs::Permissions::from_mode(bits))?;
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            open(OpenOptions::new().create(true).mode(bits))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
