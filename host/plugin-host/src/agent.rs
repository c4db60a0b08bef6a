//! The agent's side: starts the plugin process, feeds it, keeps what must outlive it, and starts it
//! again when it ends. The agent itself runs no guest and waits for none.

mod connection;
mod loader;
mod memory;
mod process;
mod recorder;
mod state;
mod supervisor;
mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use owlk8s_model::Snapshot;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::{ConfigError, PluginsConfig, Secret, SinkConfig, check};
use crate::crash::CrashReport;
use crate::plugin::search_path;
use crate::status::{SandboxStatus, SinkStatus};
pub use loader::LoadCounters;
use loader::Loader;
pub(crate) use loader::{ARTIFACT_MAX, shipped_name};
use memory::{Memory, Wants};
use recorder::{Recorder, Recording};
use supervisor::Supervisor;
pub(crate) use supervisor::chain;

/// What the plugin host is started with.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// `[plugins]` of the configuration.
    pub plugins: PluginsConfig,
    /// `[[sinks]]` of the configuration.
    pub sinks: Vec<SinkConfig>,
    /// `plugin_dirs` of the configuration; the shipped plugins' directories follow by themselves.
    pub plugin_dirs: Vec<PathBuf>,
    /// Values of the environment variables that [`SinkConfig::wanted_env`] names, as far as they are set.
    pub secrets: BTreeMap<String, Secret>,
    /// What to run as the plugin process: this very binary with `plugin-host` by default.
    pub program: Program,
}

impl HostOptions {
    fn check(&self) -> Result<(), StartError> {
        let mut errors = check(&self.sinks);
        errors.extend(self.plugins.check(&self.sinks));
        if errors.is_empty() {
            Ok(())
        } else {
            Err(StartError::Config(errors))
        }
    }

    fn wants(self) -> Wants {
        let exe = std::env::current_exe().ok();
        Wants {
            dirs: search_path(&self.plugin_dirs, exe.as_deref()),
            sinks: self.sinks,
            secrets: self.secrets,
            ceiling: self.plugins.ceiling,
            user: self.plugins.user,
            look_again: false,
        }
    }
}

/// How the plugin process is started. It must call [`crate::plugin_process`].
#[derive(Clone, Debug)]
pub struct Program {
    /// Path of the binary.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// The arguments with which it compiles a component instead, by [`crate::compile_process`].
    pub compiler_args: Vec<String>,
}

impl Default for Program {
    fn default() -> Self {
        // Not `current_exe`: this one is right after the binary was replaced on disk, too.
        Self {
            path: "/proc/self/exe".into(),
            args: vec!["plugin-host".to_owned()],
            compiler_args: vec!["plugin-compile".to_owned()],
        }
    }
}

/// Why the plugin host does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// What is configured cannot be meant as they are written.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Config(Vec<ConfigError>),
}

/// The plugins, behind a process boundary.
#[derive(Debug)]
pub struct PluginHost {
    memory: Arc<Memory>,
    loader: Arc<Loader>,
    drain: watch::Sender<Option<Duration>>,
    supervisor: JoinHandle<()>,
    recorder: Option<Recording>,
}

impl PluginHost {
    /// Start the plugin process in the background; needs a tokio runtime. A plugin that cannot run is
    /// a status, not an error; so is a plugin process that does not start.
    pub fn start(options: HostOptions) -> Result<Self, StartError> {
        options.check()?;
        let (recorder, saved) = Recorder::open(options.plugins.state_dir());
        let (plugins, program) = (options.plugins.clone(), options.program.clone());
        let memory = Arc::new(Memory::new(options.wants(), saved));
        let recorder = recorder.record(Arc::clone(&memory));
        let (drain, draining) = watch::channel(None);
        let loader = Loader::new(plugins, &program);
        loader.allow(&memory.configs(), memory.dirs());
        let supervisor = Supervisor {
            memory: Arc::clone(&memory),
            loader: Arc::clone(&loader),
            program,
            drain: draining,
        };
        Ok(Self {
            memory,
            loader,
            drain,
            supervisor: tokio::spawn(supervisor.run()),
            recorder: Some(recorder),
        })
    }

    /// Run this from now on; `program`, and of `plugins` all but `max` and the ceiling, stay as they were. Sinks
    /// that are as they were are not touched; others start, leave, or prepare a new generation beside
    /// the one that runs. With an error nothing has changed.
    pub fn reload(&self, options: HostOptions) -> Result<(), StartError> {
        options.check()?;
        self.memory.want(options.wants());
        self.loader
            .allow(&self.memory.configs(), self.memory.dirs());
        Ok(())
    }

    /// The plugins' files may have changed: a sink whose plugins are others now prepares a new
    /// generation, and one that could not run tries again.
    pub fn look_again(&self) {
        self.memory.look_again();
    }

    /// Where the plugins of all sinks lie, or may come to lie.
    pub fn plugin_files(&self) -> BTreeSet<PathBuf> {
        self.memory.plugin_files()
    }

    /// A new window for all sinks. Never waits: while the plugin process is away or behind, the newest
    /// few windows wait for it.
    pub fn offer(&self, snapshot: Arc<Snapshot>) {
        self.memory.offer(snapshot);
    }

    /// How it stands with each sink, in the order of the configuration.
    pub fn status(&self) -> Vec<SinkStatus> {
        self.memory.status()
    }

    /// Crash reports of one sink, the newest last; empty where there is no such sink.
    pub fn crashes(&self, sink: &str) -> Vec<CrashReport> {
        self.memory.crashes(sink)
    }

    /// How often the plugin process was started again after it ended by itself.
    pub fn restarts(&self) -> u64 {
        self.memory.restarts()
    }

    /// Process id of the plugin process while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.memory.pid()
    }

    /// What became of requests for components, since the agent's start.
    pub fn loads(&self) -> LoadCounters {
        self.loader.counters()
    }

    /// What the plugin process gave up, since it runs guests.
    pub fn sandbox(&self) -> Option<SandboxStatus> {
        self.memory.sandbox()
    }

    /// Let every sink deliver what waits, and end the plugin process, by force when `within` is over.
    pub async fn drain(mut self, within: Duration) {
        self.drain.send_replace(Some(within));
        let _ = (&mut self.supervisor).await;
        if let Some(recorder) = self.recorder.take() {
            recorder.end().await;
        }
    }
}

/// Without a drain the connection just closes, and the plugin process ends with it.
impl Drop for PluginHost {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}
