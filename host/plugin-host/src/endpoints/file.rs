//! A file that is appended to and rotated. One that was moved away or deleted is made anew, so that
//! logrotate works as well, without a signal.

mod rotate;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::time::SystemTime;

use super::Delivery;
use crate::config::FileEndpoint;

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
}

impl File {
    /// Opened at once, so that a wrong path is told at the start.
    pub(super) fn open(config: &FileEndpoint) -> Result<Self, String> {
        let log = Log::open(config).map_err(|error| {
            let path = config.path.display();
            format!("cannot open {path} for writing: {error} (its directory must exist and be writable without capabilities)")
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
        })
    }

    /// The inner error is the rotation's: the payload is in the file all the same.
    fn append(&mut self, body: &[u8]) -> io::Result<io::Result<()>> {
        self.follow()?;
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
        *self = Self::open(&self.config)?;
        Ok(())
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
        *self = Self::open(&self.config)?;
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
