//! What was added up so far, between windows.
//!
//! A window may be given twice: where it did not reach the sink's end, the next one holds its counts again. So
//! the sums up to the last window are kept apart from that window's own, and join when the next begins where it
//! ended.

use std::collections::{BTreeMap, BTreeSet};

use owlk8s_plugin::records::Window;
use owlk8s_plugin::{Result, log, state};
use serde::{Deserialize, Serialize};

use crate::group::{Groups, OTHER};
use crate::{Config, busiest};

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Sums of all windows before the last.
    before: Groups,
    /// End of the window that `before` ends with.
    before_end_unix_ns: u64,
    /// The last window's own, with the names that it had.
    last: Groups,
    last_end_unix_ns: u64,
    /// Groups that have a name of their own, where only some do.
    names: BTreeSet<String>,
    /// How busy each group is, likewise.
    scores: BTreeMap<String, f64>,
}

impl Memory {
    /// As the window before left it; empty at first.
    pub(crate) fn load() -> Self {
        let bytes = state::get();
        if bytes.is_empty() {
            return Self::default();
        }
        postcard::from_bytes(&bytes).unwrap_or_else(|_| {
            log::warn("the sums so far are of another version: all begin again at 0");
            Self::default()
        })
    }

    pub(crate) fn save(&self) -> Result<()> {
        crate::keep(&postcard::to_allocvec(self)?)
    }

    /// A window, which may hold the last one's counts again.
    pub(crate) fn add(&mut self, config: &Config, window: Window, groups: Groups) {
        if self.last_end_unix_ns == 0 {
            self.before_end_unix_ns = window.start_unix_ns;
        }
        let repeated = window.start_unix_ns == self.before_end_unix_ns
            && window.start_unix_ns != self.last_end_unix_ns;
        if !repeated {
            self.join();
        }
        self.last = if config.top == 0 {
            groups
        } else {
            busiest::score(&mut self.scores, &groups);
            self.names = busiest::next(config.top, &self.scores, &self.names);
            groups.folded(config.by, &self.names)
        };
        self.last_end_unix_ns = window.end_unix_ns;
        for (id, group) in &mut self.last.0 {
            if !self.before.0.contains_key(id) {
                group.begin(window.start_unix_ns);
            }
        }
        self.forget();
    }

    /// The last window arrived.
    fn join(&mut self) {
        for (id, group) in std::mem::take(&mut self.last).0 {
            match self.before.0.get_mut(&id) {
                None => {
                    self.before.0.insert(id, group);
                }
                Some(sum) => {
                    sum.plus(&group);
                    sum.renew(&group);
                }
            }
        }
        self.before_end_unix_ns = self.last_end_unix_ns;
    }

    /// Groups that have lost their name, or their last target, begin again at 0 should they come back. `other` stays:
    /// it has no target to lose.
    fn forget(&mut self) {
        let last = &self.last;
        self.before
            .0
            .retain(|id, _| last.0.contains_key(id) || id == OTHER);
        if let Some(other) = self.before.0.get_mut(OTHER)
            && !last.0.contains_key(OTHER)
        {
            other.left_alone();
        }
    }

    /// Everything so far, the last window with it.
    pub(crate) fn sums(&self) -> Groups {
        let mut sums = self.before.clone();
        for (id, group) in &self.last.0 {
            match sums.0.get_mut(id) {
                None => {
                    sums.0.insert(id.clone(), group.clone());
                }
                Some(sum) => {
                    sum.plus(group);
                    sum.renew(group);
                }
            }
        }
        sums
    }
}
