//! The last events, oldest first, without gaps.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::object::{Key, Object};
use crate::resource::Kind;
use crate::selector::Selector;

/// One change of one object.
pub(crate) struct Event {
    pub(crate) version: u64,
    pub(crate) kind: Kind,
    pub(crate) before: Option<Arc<Object>>,
    pub(crate) after: Option<Arc<Object>>,
}

/// What a watcher sees of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Modified,
    Deleted,
}

impl Event {
    /// What a watcher that selects so sees, if anything: an object that begins to match is added for it, one that
    /// ceases to is deleted. A deleted object is the last that matched, under the version of the event.
    pub(crate) fn seen_by(&self, selector: &Selector) -> Option<(Change, &Arc<Object>)> {
        let matching = |object: &'_ Option<Arc<Object>>| {
            object
                .as_ref()
                .is_some_and(|object| selector.matches(object))
        };
        match (matching(&self.before), matching(&self.after)) {
            (false, true) => self.after.as_ref().map(|object| (Change::Added, object)),
            (true, true) => self.after.as_ref().map(|object| (Change::Modified, object)),
            (true, false) => self.before.as_ref().map(|object| (Change::Deleted, object)),
            (false, false) => None,
        }
    }
}

impl Change {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// Events whose versions follow each other.
pub(crate) struct History {
    events: VecDeque<Arc<Event>>,
    limit: usize,
    /// The oldest version that a list or a watch may begin at.
    floor: u64,
    latest: u64,
}

impl History {
    pub(crate) fn new(version: u64, limit: usize) -> Self {
        Self {
            events: VecDeque::new(),
            limit,
            floor: version,
            latest: version,
        }
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    pub(crate) fn push(&mut self, event: Event) {
        self.latest = event.version;
        self.events.push_back(Arc::new(event));
        self.trim();
    }

    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.trim();
    }

    /// The events stay for watches that are open.
    pub(crate) fn compact(&mut self, version: u64) {
        self.floor = self.floor.max(version);
    }

    fn trim(&mut self) {
        while self.events.len() > self.limit
            && let Some(event) = self.events.pop_front()
        {
            self.floor = self.floor.max(event.version);
        }
    }

    pub(crate) fn after(&self, version: u64, most: usize) -> Option<(Vec<Arc<Event>>, u64)> {
        if version >= self.latest {
            return Some((Vec::new(), version));
        }
        let first = self.events.front()?.version;
        let skip = (version + 1).checked_sub(first)?;
        let skip = usize::try_from(skip).ok()?;
        let events: Vec<_> = self.events.iter().skip(skip).take(most).cloned().collect();
        let upto = events.last().map_or(version, |event| event.version);
        Some((events, upto))
    }

    /// What differs between the present and this version: the objects as they were then.
    pub(crate) fn undo(&self, kind: Kind, version: u64) -> BTreeMap<Key, Option<Arc<Object>>> {
        let mut past = BTreeMap::new();
        let since = self
            .events
            .iter()
            .rev()
            .take_while(|event| event.version > version);
        for event in since.filter(|event| event.kind == kind) {
            if let Some(object) = event.before.as_ref().or(event.after.as_ref()) {
                past.insert(object.key.clone(), event.before.clone());
            }
        }
        past
    }
}
