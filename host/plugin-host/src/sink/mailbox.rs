use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use owlk8s_model::{Snapshot, Window};
use owlk8s_pipeline::Windows;
use tokio::sync::Notify;

use crate::config::SinkConfig;
use crate::frames::{Base, Resume};

/// Where windows for one sink wait, from generation to generation.
pub(crate) struct Mailbox {
    windows: Mutex<Windows>,
    pub(super) notify: Notify,
    /// Whether a window came yet.
    offered: AtomicBool,
}

impl Mailbox {
    pub(crate) fn new(config: &SinkConfig, resume: &Resume, first: Option<Window>) -> Arc<Self> {
        let mut windows = Windows::new(config.mode, config.queue);
        if let Some(first) = first {
            windows.first(first);
        }
        if let Some(end) = resume.earlier_end {
            windows.after_agent(end);
        }
        if let Some(acknowledged) = resume.acknowledged {
            windows.resume(acknowledged, None);
        }
        if let Some(attempting) = &resume.attempting {
            windows.again(attempting.sequence);
        }
        Arc::new(Self {
            windows: Mutex::new(windows),
            notify: Notify::new(),
            offered: AtomicBool::new(false),
        })
    }

    /// From here on windows come as this configuration wants them; those that wait stay as they are. What
    /// a target counted before it was selected comes with its first window in `delta`.
    pub(super) fn adopt(&self, config: &SinkConfig) {
        self.windows().change(config.mode, config.queue);
    }

    /// What a `delta` sink goes on from; too late once a window was offered.
    pub(crate) fn base(&self, base: Base) {
        if self.offered.load(Ordering::Relaxed) {
            return;
        }
        let mut windows = self.windows();
        if let (Some(acknowledged), Some(snapshot)) = (windows.acknowledged(), base.acknowledged) {
            windows.resume(acknowledged, Some(snapshot));
        }
        windows.departed(base.departed, base.until, base.forgotten);
    }

    /// A new window, as the agent cut it for this sink; never waits for the sink.
    pub(crate) fn offer(&self, snapshot: Arc<Snapshot>) {
        self.offered.store(true, Ordering::Relaxed);
        self.windows().offer(snapshot);
        self.notify.notify_one();
    }

    pub(super) fn windows(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
