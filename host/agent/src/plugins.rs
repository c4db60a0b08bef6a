//! The plugin host as the windows and the admin endpoints share it. The drain takes it away; what is
//! asked after that finds nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use owlk8s_model::Snapshot;
use owlk8s_plugin_host::{
    CrashReport, HostOptions, LoadCounters, PluginHost, SandboxStatus, SinkStatus, StartError,
};

/// Cheap to clone; the lock is never held for longer than a copy takes.
#[derive(Clone)]
pub(crate) struct Plugins {
    host: Arc<Mutex<Option<PluginHost>>>,
}

impl Plugins {
    pub(crate) fn new(host: PluginHost) -> Self {
        Self {
            host: Arc::new(Mutex::new(Some(host))),
        }
    }

    pub(crate) fn offer(&self, snapshot: Arc<Snapshot>) {
        if let Some(host) = &*self.lock() {
            host.offer(snapshot);
        }
    }

    pub(crate) fn status(&self) -> Vec<SinkStatus> {
        self.lock()
            .as_ref()
            .map(PluginHost::status)
            .unwrap_or_default()
    }

    /// Crash reports of one sink, the newest last; none where there is no such sink.
    pub(crate) fn crashes(&self, sink: &str) -> Option<Vec<CrashReport>> {
        let host = self.lock();
        let host = host.as_ref()?;
        let known = host.status().iter().any(|status| status.name == sink);
        known.then(|| host.crashes(sink))
    }

    /// Whether the plugin process runs.
    pub(crate) fn is_up(&self) -> bool {
        self.lock()
            .as_ref()
            .is_some_and(|host| host.pid().is_some())
    }

    pub(crate) fn restarts(&self) -> u64 {
        self.lock().as_ref().map_or(0, PluginHost::restarts)
    }

    /// What the plugin process gave up, since it runs plugins.
    pub(crate) fn sandbox(&self) -> Option<SandboxStatus> {
        self.lock().as_ref().and_then(PluginHost::sandbox)
    }

    /// What became of requests for components.
    pub(crate) fn loads(&self) -> LoadCounters {
        self.lock()
            .as_ref()
            .map(PluginHost::loads)
            .unwrap_or_default()
    }

    /// Run these from now on; with an error nothing has changed.
    pub(crate) fn reload(&self, options: HostOptions) -> Result<(), StartError> {
        match &*self.lock() {
            Some(host) => host.reload(options),
            None => Ok(()),
        }
    }

    /// Their files may have changed.
    pub(crate) fn look_again(&self) {
        if let Some(host) = &*self.lock() {
            host.look_again();
        }
    }

    /// Where they lie, or may come to lie.
    pub(crate) fn files(&self) -> BTreeSet<PathBuf> {
        self.lock()
            .as_ref()
            .map(PluginHost::plugin_files)
            .unwrap_or_default()
    }

    /// Lets the sinks deliver what waits, and ends the plugin process.
    pub(crate) async fn drain(&self, within: Duration) {
        let host = self.lock().take();
        if let Some(host) = host {
            host.drain(within).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<PluginHost>> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
