//! What outlives the agent: one file in `state_dir`, written by the agent alone, after each change and
//! as a whole (a new file takes the old one's place). Counts are not in it: they begin anew with each
//! agent, and the sinks are told from where.
//!
//! Without it everything works but this: after a restart of the agent no sink is told of the gap, and
//! plugins begin without their states.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use owlk8s_model::UnixNanos;
use owlk8s_pipeline::Mode;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::memory::plugins;
use crate::config::SinkConfig;
use crate::status::SinkCounters;

/// Rises with every change that an older agent would misread.
const VERSION: u32 = 1;
/// Of the file: the states of 32 sinks with four plugins each at their default limit, in base64.
const SIZE_MAX: u64 = 16 << 20;
const NAME: &str = "sinks.json";
const LOCK: &str = "sinks.lock";

/// Why state does not outlive the agent.
#[derive(Debug, Error)]
pub(super) enum StateError {
    #[error("state directory {} is not there: make it, or set another by state_dir in [plugins]", .0.display())]
    Missing(PathBuf),
    #[error("cannot lock {}: make its directory writable for the agent, or set another by state_dir in [plugins]", path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error("{} is locked by another agent: give each its own by state_dir in [plugins]", .0.display())]
    Locked(PathBuf),
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} has {size} bytes, and {SIZE_MAX} are the most: it is left aside, and written anew", path.display())]
    TooLarge { path: PathBuf, size: u64 },
    #[error("{} is no state of sinks: it is left aside, and written anew", path.display())]
    Decode {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{} is of version {version}, and this agent knows {VERSION}: it is left aside, and written anew", path.display())]
    Version { path: PathBuf, version: u32 },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// All that is written down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saved {
    version: u32,
    sinks: BTreeMap<String, SavedSink>,
}

/// Of one sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedSink {
    /// Whose states these are; a sink with other plugins begins anew.
    pub(super) plugins: Vec<String>,
    pub(super) mode: Mode,
    /// Of the last window that arrived.
    pub(super) end: Option<UnixNanos>,
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub(super) states: Vec<Vec<u8>>,
    pub(super) counters: SinkCounters,
    pub(super) last_error: String,
}

impl Saved {
    pub(super) fn new(sinks: BTreeMap<String, SavedSink>) -> Self {
        Self {
            version: VERSION,
            sinks,
        }
    }

    /// What was written down of a sink with the same name, mode and plugins.
    pub(super) fn of(&self, config: &SinkConfig) -> Option<&SavedSink> {
        let saved = self.sinks.get(&config.name)?;
        (saved.mode == config.mode && saved.plugins == plugins(config)).then_some(saved)
    }
}

/// The file, held by this agent until it ends.
#[derive(Debug)]
pub(super) struct State {
    path: PathBuf,
    written: Vec<u8>,
    _lock: File,
}

impl State {
    /// With what an earlier agent left; a file that does not do is an error to be told, and no more.
    pub(super) fn open(dir: &Path) -> Result<(Self, Result<Saved, StateError>), StateError> {
        if !dir.is_dir() {
            return Err(StateError::Missing(dir.to_owned()));
        }
        let lock = lock(&dir.join(LOCK))?;
        let path = dir.join(NAME);
        let saved = read(&path);
        let state = Self {
            path,
            written: Vec::new(),
            _lock: lock,
        };
        Ok((state, saved))
    }

    /// Written where it differs from what was written last.
    pub(super) fn write(&mut self, saved: &Saved) -> Result<(), StateError> {
        let text = serde_json::to_vec_pretty(saved)
            .unwrap_or_else(|_| unreachable!("it has string keys only"));
        if text == self.written {
            return Ok(());
        }
        let path = self.path.clone();
        let size = text.len() as u64;
        if size > SIZE_MAX {
            return Err(StateError::TooLarge { path, size });
        }
        replace(&path, &text).map_err(|source| StateError::Write { path, source })?;
        self.written = text;
        Ok(())
    }
}

/// Freed by the kernel with the end of the process, however it ends.
fn lock(path: &Path) -> Result<File, StateError> {
    let fail = |source| StateError::Lock {
        path: path.to_owned(),
        source,
    };
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    let file = options.open(path).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(StateError::Locked(path.to_owned())),
        Err(fs::TryLockError::Error(source)) => Err(fail(source)),
    }
}

fn read(path: &Path) -> Result<Saved, StateError> {
    let fail = |source| StateError::Read {
        path: path.to_owned(),
        source,
    };
    let size = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Saved::default()),
        Err(error) => return Err(fail(error)),
        Ok(metadata) => metadata.len(),
    };
    let path = path.to_owned();
    if size > SIZE_MAX {
        return Err(StateError::TooLarge { path, size });
    }
    let text = fs::read(&path).map_err(fail)?;
    match serde_json::from_slice::<Saved>(&text) {
        Ok(saved) if saved.version == VERSION => Ok(saved),
        Ok(Saved { version, .. }) => Err(StateError::Version { path, version }),
        Err(source) => Err(StateError::Decode { path, source }),
    }
}

/// The old file or the new one, whatever happens meanwhile.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("json.part");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&unfinished)?;
    file.write_all(text)?;
    file.sync_data()?;
    fs::rename(unfinished, path)
}

fn to_base64<S: Serializer>(states: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
    let states = states.iter().map(|state| BASE64_STANDARD.encode(state));
    serializer.collect_seq(states)
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Vec<u8>>, D::Error> {
    let states = Vec::<String>::deserialize(deserializer)?;
    let decode = |state| {
        BASE64_STANDARD
            .decode(state)
            .map_err(serde::de::Error::custom)
    };
    states.into_iter().map(decode).collect()
}

#[cfg(test)]
mod tests;
