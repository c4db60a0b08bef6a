//! What was asked of the server: one entry for each request, for tests of what a client costs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Entries that are kept; the counts go on.
const MOST_ENTRIES: usize = 100_000;

/// One request, as far as it has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; of other paths the method.
    pub verb: String,
    /// Empty: core.
    pub group: String,
    /// Plural; empty where the path is no resource.
    pub resource: String,
    /// Empty: the whole cluster.
    pub namespace: String,
    /// Empty: a collection.
    pub name: String,
    /// As it came.
    pub label_selector: String,
    /// As it came.
    pub field_selector: String,
    /// As it came; empty: none.
    pub resource_version: String,
    /// As it came.
    pub limit: Option<usize>,
    /// A page that is not the first.
    pub continued: bool,
    /// A watch that asked for the initial state as events.
    pub initial_events: bool,
    /// PartialObjectMetadata was asked for.
    pub metadata_only: bool,
    /// Without the query.
    pub path: String,
    /// Header `User-Agent`.
    pub user_agent: String,
    /// `None`: not answered.
    pub status: Option<u16>,
    /// Of the body, so far.
    pub bytes: u64,
    /// Its answer has not ended.
    pub open: bool,
}

/// Entry of a request that goes on.
#[derive(Debug)]
pub(crate) struct Entry {
    request: Request,
    status: AtomicU16,
    bytes: AtomicU64,
    open: AtomicBool,
    changed: watch::Sender<u64>,
}

/// All requests so far.
pub(crate) struct Log {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    entries: VecDeque<Arc<Entry>>,
    counts: BTreeMap<(String, String), usize>,
}

impl Request {
    fn is(&self, verb: &str, resource: &str) -> bool {
        self.verb == verb && self.resource == resource
    }
}

impl Entry {
    pub(crate) fn answer(&self, status: u16) {
        self.status.store(status, Relaxed);
        self.tell();
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn close(&self) {
        if self.open.swap(false, Relaxed) {
            self.tell();
        }
    }

    fn tell(&self) {
        self.changed.send_modify(|changes| *changes += 1);
    }

    fn request(&self) -> Request {
        let status = self.status.load(Relaxed);
        Request {
            status: (status != 0).then_some(status),
            bytes: self.bytes.load(Relaxed),
            open: self.open.load(Relaxed),
            ..self.request.clone()
        }
    }
}

impl Log {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self, request: Request) -> Arc<Entry> {
        let key = (request.verb.clone(), request.resource.clone());
        let entry = Arc::new(Entry {
            request,
            status: AtomicU16::new(0),
            bytes: AtomicU64::new(0),
            open: AtomicBool::new(true),
            changed: self.changed.clone(),
        });
        let mut state = self.state();
        *state.counts.entry(key).or_default() += 1;
        if state.entries.len() == MOST_ENTRIES {
            state.entries.pop_front();
        }
        state.entries.push_back(Arc::clone(&entry));
        drop(state);
        entry.tell();
        entry
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state()
            .entries
            .iter()
            .map(|entry| entry.request())
            .collect()
    }

    pub(crate) fn counts(&self) -> BTreeMap<(String, String), usize> {
        self.state().counts.clone()
    }

    pub(crate) fn count(&self, verb: &str, resource: &str) -> usize {
        let key = (verb.to_owned(), resource.to_owned());
        self.state().counts.get(&key).copied().unwrap_or_default()
    }

    /// Watches that have begun and not ended.
    pub(crate) fn open_watches(&self, resource: &str) -> usize {
        self.state()
            .entries
            .iter()
            .filter(|entry| entry.request.is("watch", resource))
            .map(|entry| entry.request())
            .filter(|request| request.open && request.status == Some(200))
            .count()
    }

    pub(crate) fn clear(&self) {
        let mut state = self.state();
        state.entries.retain(|entry| entry.open.load(Relaxed));
        state.counts.clear();
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
