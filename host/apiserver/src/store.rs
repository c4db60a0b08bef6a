//! What the cluster holds: the objects, one counter of versions for all of them, and the last events.
//!
//! Each change takes the next version and leaves one event, as with etcd. A list at an older version is made from the
//! present one by undoing the events since; a watch reads the events behind its version. Both are refused below the
//! floor, which rises when the history is full and by [`Store::compact`]. A watch that is open reads on past a
//! compaction, as one that the watch cache serves does.

mod history;

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::watch;

pub(crate) use history::{Event, History};

use crate::failure::Failure;
use crate::object::{Key, Object};
use crate::resource::{Kind, RESOURCES};
use crate::selector::Selector;

/// Real clusters do not start at 0 either: what is stored first is the apiserver's own.
const FIRST_VERSION: u64 = 100;
/// Events that are kept unless a test says otherwise: enough for any test, and bounded for a server that runs on.
const HISTORY: usize = 20_000;

type Objects = BTreeMap<Key, Arc<Object>>;

/// The one owner of all objects.
pub(crate) struct Store {
    state: Mutex<State>,
    version: watch::Sender<u64>,
    numbers: AtomicU64,
}

struct State {
    version: u64,
    /// By kind.
    collections: Vec<Objects>,
    pods_by_node: HashMap<Box<str>, Objects>,
    history: History,
}

/// What a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Latest,
    /// At least this one.
    NotOlderThan(u64),
    Exactly(u64),
}

/// An answer to a list.
pub(crate) struct Page {
    pub(crate) version: u64,
    pub(crate) items: Vec<Arc<Object>>,
    /// The first object of the next page, and how many there are from it on.
    pub(crate) rest: Option<(Key, usize)>,
}

/// Why a list or a watch is not possible at its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VersionProblem {
    /// No longer known; and the oldest that is.
    Expired { floor: u64 },
    /// Not there yet.
    Future { current: u64 },
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                version: FIRST_VERSION,
                collections: RESOURCES.iter().map(|_| Objects::new()).collect(),
                pods_by_node: HashMap::new(),
                history: History::new(FIRST_VERSION, HISTORY),
            }),
            version: watch::Sender::new(FIRST_VERSION),
            numbers: AtomicU64::new(1),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that was not given before, to make a name or an address of.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Relaxed)
    }

    /// Tells of each change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub(crate) fn version(&self) -> u64 {
        self.state().version
    }

    pub(crate) fn get(&self, kind: Kind, key: &Key) -> Option<Arc<Object>> {
        self.state().collections[kind as usize].get(key).cloned()
    }

    /// Forgets the history: who asks for an older version is told 410.
    pub(crate) fn compact(&self) {
        let mut state = self.state();
        let version = state.version;
        state.history.compact(version);
    }

    /// Keeps so many events from now on.
    pub(crate) fn keep_events(&self, most: usize) {
        self.state().history.set_limit(most);
    }

    /// Changes one object by what `change` makes of it: a new value, or none to delete it. `None` stays `None` where
    /// nothing was and nothing comes. An equal value takes no version, as on a real server. Returns the object as it
    /// is now, or as it was when it has gone.
    pub(crate) fn change(
        &self,
        kind: Kind,
        key: &Key,
        change: impl FnOnce(Option<&Arc<Object>>) -> Result<Option<Value>, Failure>,
    ) -> Result<Option<(u64, Arc<Object>)>, Failure> {
        let mut state = self.state();
        let before = state.collections[kind as usize].get(key).cloned();
        let after = change(before.as_ref())?;
        let next = state.version + 1;
        let after = after.map(|value| Arc::new(Object::new(kind, next, &value)));
        if let (Some(before), Some(after)) = (&before, &after)
            && before.says_the_same(after)
        {
            return Ok(Some((before.version, Arc::clone(before))));
        }
        let Some(result) = after.clone().or_else(|| before.clone()) else {
            return Ok(None);
        };
        state.commit(Event {
            version: next,
            kind,
            before,
            after,
        });
        self.version.send_replace(next);
        Ok(Some((next, result)))
    }

    /// Deletes an object; a namespace with all that is in it, as the controller of namespaces does. Returns what was
    /// there.
    pub(crate) fn delete(&self, kind: Kind, key: &Key) -> Option<Arc<Object>> {
        if kind == Kind::Namespace {
            for resource in RESOURCES.iter().filter(|resource| resource.namespaced) {
                for key in self.keys_in(resource.kind, &key.name) {
                    self.delete(resource.kind, &key);
                }
            }
        }
        let deleted = self.change(kind, key, |_| Ok(None)).ok()??;
        Some(deleted.1)
    }

    fn keys_in(&self, kind: Kind, namespace: &str) -> Vec<Key> {
        let state = self.state();
        let objects = state.collections[kind as usize].range(Key::new(namespace, "")..);
        let inside = objects.take_while(|(key, _)| *key.namespace == *namespace);
        inside.map(|(key, _)| key.clone()).collect()
    }

    /// A page of objects, from a key on.
    pub(crate) fn list(
        &self,
        kind: Kind,
        selector: &Selector,
        at: At,
        from: Option<&Key>,
        limit: Option<usize>,
    ) -> Result<Page, VersionProblem> {
        let state = self.state();
        let current = state.version;
        let version = match at {
            At::Latest => current,
            At::NotOlderThan(version) | At::Exactly(version) if version > current => {
                return Err(VersionProblem::Future { current });
            }
            At::NotOlderThan(_) => current,
            At::Exactly(version) if version < state.history.floor() => {
                return Err(VersionProblem::Expired {
                    floor: state.history.floor(),
                });
            }
            At::Exactly(version) => version,
        };
        let past = state.history.undo(kind, version);
        Ok(state.page(version, kind, selector, &past, from, limit))
    }

    /// Whether a watch can begin behind this version.
    pub(crate) fn may_watch_from(&self, version: u64) -> Result<(), VersionProblem> {
        let floor = self.state().history.floor();
        if version < floor {
            return Err(VersionProblem::Expired { floor });
        }
        Ok(())
    }

    /// The next events behind this version, at most `most`, and the version up to which they were looked at; `None`
    /// when some were dropped.
    pub(crate) fn events_after(&self, version: u64, most: usize) -> Option<(Vec<Arc<Event>>, u64)> {
        self.state().history.after(version, most)
    }

    /// Objects and bytes that are stored of this kind.
    pub(crate) fn size(&self, kind: Kind) -> (usize, usize) {
        let state = self.state();
        let objects = &state.collections[kind as usize];
        (
            objects.len(),
            objects.values().map(|object| object.size()).sum(),
        )
    }
}

impl State {
    fn commit(&mut self, event: Event) {
        self.version = event.version;
        let objects = &mut self.collections[event.kind as usize];
        if let Some(before) = &event.before {
            objects.remove(&before.key);
            if event.kind == Kind::Pod
                && let Some(node) = &before.node
                && let Some(pods) = self.pods_by_node.get_mut(node)
            {
                pods.remove(&before.key);
            }
        }
        if let Some(after) = &event.after {
            objects.insert(after.key.clone(), Arc::clone(after));
            if event.kind == Kind::Pod
                && let Some(node) = &after.node
            {
                let pods = self.pods_by_node.entry(node.clone()).or_default();
                pods.insert(after.key.clone(), Arc::clone(after));
            }
        }
        self.history.push(event);
    }

    /// The objects that can match.
    fn candidates(&self, kind: Kind, selector: &Selector) -> Option<&Objects> {
        match selector.fields.wanted("spec.nodeName") {
            Some(node) if kind == Kind::Pod && !node.is_empty() => self.pods_by_node.get(node),
            _ => Some(&self.collections[kind as usize]),
        }
    }

    fn page(
        &self,
        version: u64,
        kind: Kind,
        selector: &Selector,
        past: &BTreeMap<Key, Option<Arc<Object>>>,
        from: Option<&Key>,
        limit: Option<usize>,
    ) -> Page {
        let first = match (from, &selector.namespace) {
            (Some(key), _) => key.clone(),
            (None, Some(namespace)) => Key::new(namespace, ""),
            (None, None) => Key::new("", ""),
        };
        let range = (Bound::Included(&first), Bound::Unbounded);
        let now = self
            .candidates(kind, selector)
            .into_iter()
            .flat_map(|all| all.range(range));
        let (mut items, mut rest) = (Vec::new(), None::<(Key, usize)>);
        for object in merge(now, past.range(range)) {
            let namespace = &object.key.namespace;
            if selector
                .namespace
                .as_deref()
                .is_some_and(|wanted| *wanted < **namespace)
            {
                break;
            }
            if !selector.matches(object) {
                continue;
            }
            match &mut rest {
                Some((_, count)) => *count += 1,
                None if limit.is_some_and(|limit| items.len() >= limit) => {
                    rest = Some((object.key.clone(), 1));
                    if selector.is_selective() {
                        break; // nobody is told how many
                    }
                }
                None => items.push(Arc::clone(object)),
            }
        }
        Page {
            version,
            items,
            rest,
        }
    }
}

/// The present objects with the past ones laid over them, in the order of keys.
fn merge<'a>(
    now: impl Iterator<Item = (&'a Key, &'a Arc<Object>)>,
    past: impl Iterator<Item = (&'a Key, &'a Option<Arc<Object>>)>,
) -> impl Iterator<Item = &'a Arc<Object>> {
    let (mut now, mut past) = (now.peekable(), past.peekable());
    std::iter::from_fn(move || {
        loop {
            let older = match (now.peek(), past.peek()) {
                (None, None) => return None,
                (Some((now, _)), Some((past, _))) => past <= now,
                (None, Some(_)) => true,
                (Some(_), None) => false,
            };
            if !older {
                return now.next().map(|(_, object)| object);
            }
            let (key, object) = past.next()?;
            now.next_if(|(present, _)| *present == key);
            if let Some(object) = object {
                return Some(object);
            }
        }
    })
}

#[cfg(test)]
mod tests;
