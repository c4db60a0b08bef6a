//! Gives the plugin process its components. That process opens no file and starts no program: it names a
//! component of the configuration, and gets an open file with machine code, which is kept from before or
//! made by a compile child.
//!
//! What it asks for is bounded: only references of the configuration, so many at once, and each compile by
//! the limits of `[plugins]`. Whatever a component does to its compiler is that component's own failure.

mod cache;
mod child;
mod component;
mod lanes;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{Mutex as AsyncMutex, OnceCell, Semaphore};
use tokio::time::timeout;
use tracing::{debug, info, warn};

pub(crate) use cache::shipped_name;
pub(crate) use child::ARTIFACT_MAX;

use super::Program;
use crate::config::{PluginsConfig, SinkConfig};
use crate::frames::{self, Artifact, FETCH_MAX, FETCHED_MAX, Fetch, Fetched, FrameError, rights};
use cache::{Cache, Code};
use child::{Compiler, Failure};
use component::Component;
use lanes::Lanes;

/// Requests that are answered at once; each sink has one at a time.
const AT_ONCE: usize = 64;
/// For the question, once a connection for it is there.
const PATIENCE: Duration = Duration::from_secs(10);
/// Refusals that are remembered: what cannot be compiled is not tried again until it changes.
const REFUSALS: usize = 64;

/// Finds, compiles, keeps. Lives as long as the agent.
#[derive(Debug)]
pub(super) struct Loader {
    config: PluginsConfig,
    compiler: Compiler,
    cache: OnceCell<Cache>,
    lanes: Lanes,
    at_once: Arc<Semaphore>,
    shared: Mutex<Shared>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Shared {
    /// What may be asked for.
    references: BTreeSet<String>,
    /// Where it is looked for by name.
    dirs: Vec<PathBuf>,
    /// One compile for all that ask for the same component, by its digest.
    flights: BTreeMap<String, Arc<AsyncMutex<()>>>,
    /// Why a component cannot be compiled, by its digest.
    refusals: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
struct Counters {
    compiled: AtomicU64,
    refused: AtomicU64,
    cached: AtomicU64,
}

/// What became of requests for components.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadCounters {
    /// Compiled.
    pub compiled: u64,
    /// Not compiled: over a limit, or no component.
    pub refused: u64,
    /// Compiled before, and kept.
    pub cached: u64,
}

/// Why a request got no answer.
#[derive(Debug, Error)]
enum AnswerError {
    #[error("cannot use its connection")]
    Connection(#[source] std::io::Error),
    #[error("it did not say what it wants within {PATIENCE:?}")]
    Silent,
    #[error(transparent)]
    Frame(#[from] FrameError),
}

impl Loader {
    pub(super) fn new(config: PluginsConfig, program: &Program) -> Arc<Self> {
        Arc::new(Self {
            compiler: Compiler::new(program, &config),
            config,
            cache: OnceCell::new(),
            lanes: Lanes::default(),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            shared: Mutex::default(),
            counters: Counters::default(),
        })
    }

    /// The plugins that `sinks` name may be asked for from now on, and no others; by name they are in `dirs`.
    pub(super) fn allow(&self, sinks: &[SinkConfig], dirs: Vec<PathBuf>) {
        let enabled = sinks.iter().filter(|sink| sink.enabled);
        let references = enabled
            .flat_map(|sink| {
                let filters = sink.filters.iter().map(|filter| filter.plugin());
                filters.chain([sink.plugin.as_str()])
            })
            .map(str::to_owned)
            .collect();
        let mut shared = self.shared();
        (shared.references, shared.dirs) = (references, dirs);
    }

    pub(super) fn counters(&self) -> LoadCounters {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LoadCounters {
            compiled: of(&self.counters.compiled),
            refused: of(&self.counters.refused),
            cached: of(&self.counters.cached),
        }
    }

    /// Answer what a plugin process asks over `control`, until it is gone. What is compiled for it by then is
    /// kept for the next one.
    pub(super) async fn serve(self: Arc<Self>, control: StdUnixStream) -> std::io::Result<()> {
        control.set_nonblocking(true)?;
        let control = UnixStream::from_std(control)?;
        loop {
            let asked = control
                .async_io(Interest::READABLE, || rights::receive(&control))
                .await;
            let connection = match asked {
                Ok(Some(connection)) => connection,
                Ok(None) => continue,
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            };
            // Over the bound the connection just closes, and its request fails.
            if let Ok(turn) = Arc::clone(&self.at_once).try_acquire_owned() {
                let loader = Arc::clone(&self);
                tokio::spawn(async move {
                    if let Err(error) = loader.answer(connection).await {
                        debug!(%error, "request for a component is given up");
                    }
                    drop(turn);
                });
            }
        }
    }

    async fn answer(&self, connection: OwnedFd) -> Result<(), AnswerError> {
        let connection = StdUnixStream::from(connection);
        connection
            .set_nonblocking(true)
            .map_err(AnswerError::Connection)?;
        let mut connection = UnixStream::from_std(connection).map_err(AnswerError::Connection)?;
        let fetch = timeout(PATIENCE, frames::read(&mut connection, FETCH_MAX))
            .await
            .map_err(|_| AnswerError::Silent)??;
        let (fetched, files) = match self.fetch(&fetch).await {
            Ok((artifact, files)) => (Fetched::Ready(artifact), files.map(Some)),
            Err(refused) => (Fetched::Refused(refused), [None, None]),
        };
        for file in &files {
            let file = file.as_ref().map(AsFd::as_fd);
            connection
                .async_io(Interest::WRITABLE, || rights::send(&connection, file))
                .await
                .map_err(AnswerError::Connection)?;
        }
        Ok(frames::write(&mut connection, &fetched, FETCHED_MAX).await?)
    }

    /// What it is, its code and itself; or a sentence that says why not.
    async fn fetch(&self, fetch: &Fetch) -> Result<(Artifact, [File; 2]), String> {
        if !self.shared().references.contains(&fetch.reference) {
            let reference = crate::guest::printable(&fetch.reference, 200);
            return Err(format!("plugin {reference} is not in the configuration"));
        }
        let component = self.find(fetch).await?;
        let cache = self.cache().await;
        let flight = self.flight(&component.digest);
        let alone = flight.lock().await;
        if let Some(bad) = &fetch.bad_code {
            warn!(
                plugin = component.path,
                "compiled component is not what it should be: it is compiled again"
            );
            cache.forget(&component.digest, bad);
        }
        let code = match cache.get(&component.digest) {
            Some(code) => {
                self.counters.cached.fetch_add(1, Ordering::Relaxed);
                code
            }
            None => self.compile(cache, fetch, &component).await?,
        };
        drop(alone);
        drop(flight);
        self.shared()
            .flights
            .retain(|_, flight| Arc::strong_count(flight) > 1);
        let itself = File::open(&component.path)
            .map_err(|error| format!("cannot read plugin {}: {error}", component.path))?;
        let artifact = Artifact {
            path: component.path,
            digest: component.digest,
            size_bytes: component.size_bytes,
            code_digest: code.digest.clone(),
        };
        Ok((artifact, [code.file, itself]))
    }

    async fn find(&self, fetch: &Fetch) -> Result<Component, String> {
        let dirs = self.shared().dirs.clone();
        let (fetch, max) = (fetch.clone(), self.config.component_size);
        let find = move || Component::find(&fetch, &dirs, max).map_err(|error| error.to_string());
        blocking(find).await?
    }

    async fn compile(
        &self,
        cache: &Cache,
        fetch: &Fetch,
        component: &Component,
    ) -> Result<Code, String> {
        if let Some(why) = self.shared().refusals.get(&component.digest) {
            return Err(component.refused(why));
        }
        let began = Instant::now();
        let made = self
            .lanes
            .run(|| self.compiler.compile(fetch, component, cache))
            .await;
        match made {
            Ok(made) => {
                self.counters.compiled.fetch_add(1, Ordering::Relaxed);
                let (plugin, took) = (&component.path, began.elapsed());
                info!(
                    plugin,
                    digest = component.digest,
                    ?took,
                    "component compiled"
                );
                let digest = component.digest.clone();
                cache.put(&digest, made).await
            }
            Err(failure) => {
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
                let mut shared = self.shared();
                if let Failure::OfComponent(why) = &failure
                    && shared.refusals.len() < REFUSALS
                {
                    shared
                        .refusals
                        .insert(component.digest.clone(), why.clone());
                }
                Err(component.refused(failure.text()))
            }
        }
    }

    async fn cache(&self) -> &Cache {
        let open = async {
            let (config, program) = (self.config.clone(), self.compiler.program().to_owned());
            let opened = blocking(move || Cache::open(&config, &program)).await;
            opened.unwrap_or_else(|_| Cache::in_memory(&self.config))
        };
        self.cache.get_or_init(|| open).await
    }

    fn flight(&self, digest: &str) -> Arc<AsyncMutex<()>> {
        let mut shared = self.shared();
        Arc::clone(shared.flights.entry(digest.to_owned()).or_default())
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// On a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| "the agent failed to look at it (report this with its log)".to_owned())
}
