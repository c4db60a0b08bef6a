use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::config::Size;
use crate::frames::Fetch;
use crate::plugin::{LoadError, check_header, find};

/// A component file, looked at.
#[derive(Clone, Debug)]
pub(super) struct Component {
    pub(super) path: String,
    /// `sha256:` and 64 hex digits.
    pub(super) digest: String,
    pub(super) size_bytes: u64,
}

impl Component {
    /// Of the reference, with the digest that is wanted, within the size. Blocks.
    pub(super) fn find(fetch: &Fetch, dirs: &[PathBuf], max: Size) -> Result<Self, LoadError> {
        let path = find(&fetch.reference, dirs)?;
        Self::read(fetch, &path, max, &mut io::sink())
    }

    /// Look at it again while it is copied to `to`, where the compiler reads it: the file may have been
    /// replaced. Blocks.
    pub(super) fn copy(
        &self,
        fetch: &Fetch,
        max: Size,
        to: &mut impl Write,
    ) -> Result<(), LoadError> {
        let copied = Self::read(fetch, Path::new(&self.path), max, to)?;
        if copied.digest == self.digest {
            Ok(())
        } else {
            Err(LoadError::Read {
                path: self.path.clone(),
                problem: "it was replaced while it was read".to_owned(),
            })
        }
    }

    /// What `why` means for who configured it.
    pub(super) fn refused(&self, why: &str) -> String {
        LoadError::Compile {
            path: self.path.clone(),
            problem: why.to_owned(),
        }
        .to_string()
    }

    fn read(fetch: &Fetch, path: &Path, max: Size, to: &mut impl Write) -> Result<Self, LoadError> {
        let shown = path.display().to_string();
        let fail = |problem: String| LoadError::Read {
            path: shown.clone(),
            problem,
        };
        let mut file = open(path, max).map_err(fail)?;
        let mut head = Vec::new();
        let (size_bytes, digest) =
            copy_hashed(&mut file, to, &mut head).map_err(|error| fail(error.to_string()))?;
        let digest = format!("sha256:{digest}");
        if let Some(wanted) = fetch.digest.as_ref().filter(|wanted| **wanted != digest) {
            return Err(LoadError::Digest {
                path: shown,
                found: digest,
                wanted: wanted.clone(),
            });
        }
        check_header(&shown, &head)?;
        Ok(Self {
            path: shown,
            digest,
            size_bytes,
        })
    }
}

fn open(path: &Path, max: Size) -> Result<impl Read, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is no regular file".to_owned());
    }
    if metadata.len() > max.0 {
        return Err(format!(
            "its {} bytes are over the limit of {max} (plugins.component_size)",
            metadata.len()
        ));
    }
    // It may grow while it is read.
    Ok(file.take(max.0))
}

/// Copy all of it; its length and SHA-256, and its first bytes in `head`.
fn copy_hashed(
    from: &mut impl Read,
    to: &mut impl Write,
    head: &mut Vec<u8>,
) -> io::Result<(u64, String)> {
    const HEAD: usize = 8;
    let (mut hash, mut length) = (Sha256::new(), 0);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok((length, format!("{:x}", hash.finalize()))),
            Ok(read) => &buffer[..read],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        head.extend(read.iter().take(HEAD - head.len().min(HEAD)));
        hash.update(read);
        to.write_all(read)?;
        length += read.len() as u64;
    }
}

/// SHA-256 of a whole file, in hex.
pub(super) fn digest_of(mut file: &File) -> io::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let (_, digest) = copy_hashed(&mut file, &mut io::sink(), &mut Vec::new())?;
    Ok(digest)
}
