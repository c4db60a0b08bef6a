use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use owlk8s_model::Snapshot;
use owlk8s_pipeline::{Select, Windows};
use tokio::sync::Notify;

use crate::config::SinkConfig;
use crate::frames::Resume;

/// Where windows for one sink wait, from generation to generation.
pub(crate) struct Mailbox {
    select: Mutex<Select>,
    windows: Mutex<Windows>,
    pub(super) notify: Notify,
}

impl Mailbox {
    pub(crate) fn new(config: &SinkConfig, resume: &Resume) -> Arc<Self> {
        let mut windows = Windows::new(config.mode, config.queue);
        if let Some(acknowledged) = resume.acknowledged {
            windows.resume(acknowledged, None);
        }
        Arc::new(Self {
            select: Mutex::new(config.select.clone()),
            windows: Mutex::new(windows),
            notify: Notify::new(),
        })
    }

    /// From here on windows come as this configuration wants them; those that wait stay as they are. What
    /// a target counted before it was selected comes with its first window in `delta`.
    pub(super) fn adopt(&self, config: &SinkConfig) {
        self.select().clone_from(&config.select);
        self.windows().change(config.mode, config.queue);
    }

    /// The cumulative window that was acknowledged last.
    pub(crate) fn base(&self, base: &Arc<Snapshot>) {
        let selected = self.select().apply(base);
        self.windows().base(selected);
    }

    /// A new window; never waits for the sink.
    pub(crate) fn offer(&self, snapshot: &Arc<Snapshot>) {
        let selected = self.select().apply(snapshot);
        self.windows().offer(selected);
        self.notify.notify_one();
    }

    pub(super) fn windows(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn select(&self) -> MutexGuard<'_, Select> {
        self.select.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
