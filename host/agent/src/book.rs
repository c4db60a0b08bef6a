//! What the reader keeps from one window to the next: the plan, the targets that are about to leave, and
//! the snapshot before. Pure: readings come in, snapshots go out.

use std::collections::BTreeSet;
use std::sync::Arc;

use owlk8s_model::{Reading, Snapshot, Target, TargetId, TargetSet, UnixNanos, fold};
use owlk8s_probe::{Place, Wanted};

use crate::plan::Plan;

pub(crate) struct Book {
    node: String,
    include_probes: bool,
    plan: Arc<Plan>,
    /// No longer in the set, and attached for one more window, so that what they answered last is in
    /// a snapshot.
    leaving: Vec<Arc<Target>>,
    before: Option<Arc<Snapshot>>,
    /// Nothing was counted before.
    began: UnixNanos,
}

impl Book {
    pub(crate) fn new(node: String, include_probes: bool, began: UnixNanos) -> Self {
        Self {
            node,
            include_probes,
            plan: Arc::default(),
            leaving: Vec::new(),
            before: None,
            began,
        }
    }

    /// Takes the next plan.
    pub(crate) fn adopt(&mut self, next: Arc<Plan>) {
        let staying: BTreeSet<&TargetId> = next.set.targets.iter().map(|t| &t.id).collect();
        let known = |target: &&Arc<Target>| self.plan.places.contains_key(&target.id);
        self.leaving
            .extend(self.plan.set.targets.iter().filter(known).cloned());
        self.leaving.retain(|target| !staying.contains(&target.id));
        self.plan = next;
    }

    /// What is to be attached.
    pub(crate) fn wanted(&self) -> Vec<Wanted> {
        let planned = self.plan.places.iter().map(|(id, place)| Wanted {
            target: id.clone(),
            place: place.clone(),
            beyond: self.plan.beyond.get(id).cloned().unwrap_or_default(),
        });
        // Where they are is where they stay.
        let leaving = self.leaving.iter().map(|target| Wanted {
            target: target.id.clone(),
            place: Place::Waiting("is about to leave".to_owned()),
            beyond: Vec::new(),
        });
        planned.chain(leaving).collect()
    }

    /// Closes the window: its snapshot becomes the one before, and those that were leaving have left.
    pub(crate) fn window(&mut self, reading: &Reading) -> Arc<Snapshot> {
        let snapshot = Arc::new(self.fresh(reading));
        self.before = Some(Arc::clone(&snapshot));
        self.leaving.clear();
        snapshot
    }

    /// The window so far; nothing is closed.
    pub(crate) fn fresh(&self, reading: &Reading) -> Snapshot {
        let mut snapshot = fold(
            self.before.as_deref(),
            &self.node,
            &self.set(),
            reading,
            self.include_probes,
        );
        if self.before.is_none() {
            snapshot.window.start = self.began.min(snapshot.window.end);
        }
        snapshot
    }

    fn set(&self) -> Arc<TargetSet> {
        if self.leaving.is_empty() {
            return Arc::clone(&self.plan.set);
        }
        let mut set = TargetSet::clone(&self.plan.set);
        set.targets.extend(self.leaving.iter().cloned());
        set.targets.sort_by(|a, b| a.id.cmp(&b.id));
        Arc::new(set)
    }
}

#[cfg(test)]
mod tests;
