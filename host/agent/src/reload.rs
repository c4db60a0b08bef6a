//! Reload: the configuration file and the plugins' files are followed, and SIGHUP asks to look at once.
//!
//! What changed comes in a burst (an editor's three steps, a copy of several files, the swap of a
//! ConfigMap's `..data`), so it is looked at when nothing has happened for [`QUIET`]. A file is compared
//! with what was read before: an event alone changes nothing. A configuration that is wrong anywhere is
//! refused as a whole, and the one before stays in effect.

mod diff;
mod files;
mod tally;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

pub(crate) use diff::Diff;
use files::{Files, Print};
pub(crate) use tally::Tally;

use crate::config::{Config, ConfigError, Env};

/// Between the last event and the look.
const QUIET: Duration = Duration::from_millis(300);
/// A look at the latest so long after the first event of a burst.
const BURST: Duration = Duration::from_secs(3);

/// What may have changed.
#[derive(Debug)]
pub(crate) struct Change {
    /// The file's new meaning, or what is wrong with it; none where it says the same as before.
    pub(crate) config: Option<Result<Config, ConfigError>>,
    /// Whether plugins' files are others than before, or shall be looked at in any case.
    pub(crate) plugins: bool,
}

/// Follows the files of one agent.
pub(crate) struct Changes {
    config: PathBuf,
    env: fn(&str) -> Option<String>,
    /// Read last, good or not; none where it could not be read.
    text: Option<String>,
    hup: Signal,
    /// None where the kernel gives no watch: only SIGHUP is left then.
    files: Option<Files>,
    plugin_files: Vec<PathBuf>,
    plugins: Vec<Print>,
    /// Events that were not looked at yet.
    burst: Option<Burst>,
}

struct Burst {
    first: Instant,
    last: Instant,
}

impl Burst {
    fn looked_at(&self) -> Instant {
        (self.first + BURST).min(self.last + QUIET)
    }
}

impl Changes {
    /// From here on SIGHUP ends nothing by itself.
    pub(crate) fn follow(config: &Path, env: fn(&str) -> Option<String>) -> std::io::Result<Self> {
        let files = Files::new()
            .inspect_err(|error| {
                tracing::warn!(%error, "files cannot be watched: SIGHUP reloads the configuration and plugins");
            })
            .ok();
        Ok(Self {
            config: config.to_owned(),
            env,
            text: std::fs::read_to_string(config).ok(),
            hup: signal(SignalKind::hangup())?,
            files,
            plugin_files: Vec::new(),
            plugins: Vec::new(),
            burst: None,
        })
    }

    /// Where the plugins lie, or may come to lie.
    pub(crate) fn plugins_are(&mut self, files: impl IntoIterator<Item = PathBuf>) {
        let files: Vec<PathBuf> = files.into_iter().collect();
        if let Some(watched) = &mut self.files {
            watched.watch(files.iter().chain([&self.config]));
        }
        if files != self.plugin_files {
            self.plugins = files.iter().map(|file| Print::of(file)).collect();
            self.plugin_files = files;
        }
    }

    /// Comes back when something has changed, or SIGHUP asks.
    pub(crate) async fn next(&mut self) -> Change {
        loop {
            if self.asked().await {
                tracing::info!(
                    signal = "SIGHUP",
                    "looking at the configuration and plugins again"
                );
                self.text = None;
                self.plugins.clear();
            }
            let change = self.look();
            if change.config.is_some() || change.plugins {
                return change;
            }
        }
    }

    /// Whether by SIGHUP. Cancel safe: what has begun is kept in `self`.
    async fn asked(&mut self) -> bool {
        loop {
            let Self {
                hup, files, burst, ..
            } = self;
            let event = async {
                match files {
                    Some(files) => files.event().await,
                    None => std::future::pending().await,
                }
            };
            let calm = async {
                match burst {
                    Some(burst) => sleep_until(burst.looked_at()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = hup.recv() => return true,
                () = event => {
                    let last = Instant::now();
                    let first = self.burst.as_ref().map_or(last, |burst| burst.first);
                    self.burst = Some(Burst { first, last });
                }
                () = calm => {
                    self.burst = None;
                    return false;
                }
            }
        }
    }

    fn look(&mut self) -> Change {
        // Its directories may be others now: a link was swapped.
        if let Some(watched) = &mut self.files {
            watched.watch(self.plugin_files.iter().chain([&self.config]));
        }
        let plugins: Vec<Print> = self
            .plugin_files
            .iter()
            .map(|file| Print::of(file))
            .collect();
        let plugins_changed = plugins != self.plugins;
        self.plugins = plugins;
        Change {
            config: self.read(),
            plugins: plugins_changed,
        }
    }

    fn read(&mut self) -> Option<Result<Config, ConfigError>> {
        let env: Env<'_> = &self.env;
        match std::fs::read_to_string(&self.config) {
            Ok(text) if self.text.as_ref() == Some(&text) => None,
            Ok(text) => {
                let config = Config::read(&self.config, &text, env);
                self.text = Some(text);
                Some(config)
            }
            Err(source) => {
                self.text = None;
                Some(Err(ConfigError::Open {
                    path: self.config.clone(),
                    source,
                }))
            }
        }
    }
}
