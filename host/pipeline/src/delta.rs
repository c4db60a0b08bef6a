//! What a sink has not acknowledged yet, as one difference: an outage of any length costs its resolution
//! and no count, and no memory but the targets that went away meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use owlk8s_model::{Snapshot, TargetId, TargetSnapshot, Temporality};

use crate::sum::plus;

/// Departed targets kept for one sink; the oldest goes first, counted. At some 2 KB each this bounds an
/// outage under constant pod churn to about 8 MB.
pub const DEPARTED_MAX: usize = 4096;

#[derive(Debug, Default)]
pub(crate) struct Delta {
    base: Option<Arc<Snapshot>>,
    /// Last seen of targets that are gone, in order of departure.
    departed: VecDeque<Departed>,
    forgotten: u64,
}

#[derive(Debug)]
struct Departed {
    /// Sequence of the last window that held it.
    sequence: u64,
    last: TargetSnapshot,
}

impl Delta {
    pub(crate) fn resume(&mut self, base: Arc<Snapshot>) {
        self.base = Some(base);
    }

    /// How many departed targets' counts were dropped over the bound.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// What went before this process began, each with the last window that held it.
    pub(crate) fn remember(&mut self, gone: Vec<(u64, TargetSnapshot)>, forgotten: u64) {
        let gone = gone.into_iter();
        self.departed
            .extend(gone.map(|(sequence, last)| Departed { sequence, last }));
        self.forgotten += forgotten;
        self.bound();
    }

    /// Keep what `before` held and `now` does not.
    pub(crate) fn follow(&mut self, before: &Snapshot, now: &Snapshot) {
        self.remember(departures(before, now), 0);
    }

    fn bound(&mut self) {
        while self.departed.len() > DEPARTED_MAX {
            self.departed.pop_front();
            self.forgotten += 1;
        }
    }

    /// The sink has all up to `snapshot`.
    pub(crate) fn acknowledge(&mut self, snapshot: &Arc<Snapshot>) {
        // One whose last window this was stays: should it come back, the base is not part of its new life.
        self.departed
            .retain(|gone| gone.sequence >= snapshot.window.sequence);
        self.base = Some(Arc::clone(snapshot));
    }

    /// All counts since the last acknowledgement up to `now`, which need not be the newest.
    pub(crate) fn up_to(&self, now: &Arc<Snapshot>) -> Snapshot {
        // Those that `now` still holds departed later.
        let departed = || {
            let before = |gone: &&Departed| gone.sequence < now.window.sequence;
            self.departed.iter().filter(before)
        };
        if departed().next().is_none() {
            return self.since_base(now, now.targets.clone());
        }
        // Of one id, only its earliest life can be part of the base.
        let mut lives: BTreeMap<&TargetId, Vec<&TargetSnapshot>> = BTreeMap::new();
        for gone in departed() {
            lives.entry(&gone.last.id).or_default().push(&gone.last);
        }
        for target in &now.targets {
            lives.entry(&target.id).or_default().push(target);
        }
        let firsts = lives.values().map(|lives| lives[0].clone()).collect();
        let mut delta = self.since_base(now, firsts);
        for (target, lives) in delta.targets.iter_mut().zip(lives.values()) {
            for later in &lives[1..] {
                *target = plus(target, later);
            }
        }
        delta
    }

    fn since_base(&self, now: &Snapshot, targets: Vec<TargetSnapshot>) -> Snapshot {
        let whole = Snapshot {
            node: now.node.clone(),
            window: now.window,
            temporality: Temporality::Delta,
            targets_confirmed_at: now.targets_confirmed_at,
            targets,
        };
        match &self.base {
            Some(base) => whole.since(base),
            None => whole,
        }
    }
}

/// Targets of `before` that `now` does not hold, with the number of the window that they were in last.
pub fn departures(before: &Snapshot, now: &Snapshot) -> Vec<(u64, TargetSnapshot)> {
    let gone = |target: &&TargetSnapshot| position(now, &target.id).is_none();
    let gone = before.targets.iter().filter(gone);
    gone.map(|target| (before.window.sequence, target.clone()))
        .collect()
}

fn position(snapshot: &Snapshot, id: &TargetId) -> Option<usize> {
    snapshot
        .targets
        .binary_search_by(|target| target.id.cmp(id))
        .ok()
}
