//! From one answer of the agent to the next: what each target counted in between, and its rates of the last windows.

use std::collections::{BTreeMap, VecDeque};

use owlk8s_model::{Snapshot, TargetId, TargetSnapshot};

use crate::Seen;
use crate::counts::Counts;

/// Of the past, in memory.
pub const WINDOWS: usize = 60;

/// What is known of an agent by its answers so far.
#[derive(Clone, Debug)]
pub struct Model {
    pub(crate) seen: Seen,
    /// As the agent measured it between its last two answers; none at the first.
    pub(crate) seconds: Option<f64>,
    pub(crate) counted: BTreeMap<TargetId, Counted>,
    past: VecDeque<BTreeMap<TargetId, f64>>,
}

/// Of one target: in the last window, or since its counts began where that is later.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    pub(crate) counts: Counts,
    pub(crate) since_discovery: Counts,
    /// How long that took.
    seconds: f64,
}

impl Counted {
    /// Answers a second.
    pub(crate) fn rate(&self) -> f64 {
        self.counts.requests as f64 / self.seconds
    }
}

impl Model {
    /// From the first answer: means since each target's discovery.
    pub fn new(seen: Seen) -> Self {
        let counted = counted(&seen.snapshot, None);
        Self {
            seen,
            seconds: None,
            counted,
            past: VecDeque::new(),
        }
    }

    /// With one answer more. Another life of the agent has another past.
    pub fn take(&mut self, seen: Seen) {
        let (before, now) = (self.seen.snapshot.window, seen.snapshot.window);
        if now.sequence < before.sequence || now.end.0 < before.end.0 {
            *self = Self::new(seen);
            return;
        }
        if now.end == before.end {
            // Asked twice within one reading: what was counted is still that of the window.
            self.seen.sinks = seen.sinks;
            return;
        }
        self.seconds = Some((now.end.0 - before.end.0) as f64 / 1e9);
        self.counted = counted(&seen.snapshot, Some(&self.seen.snapshot));
        let rates = self.counted.iter();
        self.past.push_back(
            rates
                .map(|(id, counted)| (id.clone(), counted.rate()))
                .collect(),
        );
        if self.past.len() > WINDOWS {
            self.past.pop_front();
        }
        self.seen = seen;
    }

    pub(crate) fn targets(&self) -> impl Iterator<Item = (&TargetSnapshot, &Counted)> {
        let targets = self.seen.snapshot.targets.iter();
        targets.filter_map(|target| Some((target, self.counted.get(&target.id)?)))
    }

    /// Answers a second of these targets together in the last windows, the oldest first.
    pub(crate) fn trend<'a>(&self, ids: impl Iterator<Item = &'a TargetId> + Clone) -> Vec<f64> {
        let of =
            |window: &BTreeMap<TargetId, f64>| ids.clone().filter_map(|id| window.get(id)).sum();
        self.past.iter().map(of).collect()
    }
}

fn counted(now: &Snapshot, before: Option<&Snapshot>) -> BTreeMap<TargetId, Counted> {
    let earlier = |target: &TargetSnapshot| {
        let targets = &before?.targets;
        let at = targets
            .binary_search_by(|old| old.id.cmp(&target.id))
            .ok()?;
        (targets[at].since == target.since).then_some(&targets[at])
    };
    let of = |target: &TargetSnapshot| {
        let all = Counts::of(target);
        let difference = earlier(target).and_then(|old| all.since(&Counts::of(old)));
        let begin = match (before, &difference) {
            (Some(before), Some(_)) => before.window.end,
            _ => target.since,
        };
        let nanos = now.window.end.0.saturating_sub(begin.0);
        let counted = Counted {
            counts: difference.unwrap_or_else(|| all.clone()),
            since_discovery: all,
            // Discovered this very moment: nothing can have been counted for long.
            seconds: (nanos as f64 / 1e9).max(0.001),
        };
        (target.id.clone(), counted)
    };
    now.targets.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{answer, target};

    fn rate(model: &Model, id: &str) -> f64 {
        model.counted[&TargetId::from(id)].rate()
    }

    #[test]
    fn the_first_answer_gives_means_since_discovery() {
        let model = Model::new(answer(10, vec![target("cart").requests(50).since(5)]));
        assert_eq!((rate(&model, "cart"), model.seconds), (10.0, None));
        assert!(model.trend([TargetId::from("cart")].iter()).is_empty());
    }

    #[test]
    fn rates_are_differences_of_two_answers() {
        let mut model = Model::new(answer(10, vec![target("cart").requests(50)]));
        model.take(answer(14, vec![target("cart").requests(90)]));
        assert_eq!((rate(&model, "cart"), model.seconds), (10.0, Some(4.0)));
        model.take(answer(16, vec![target("cart").requests(90)]));
        assert_eq!(rate(&model, "cart"), 0.0);
        assert_eq!(model.trend([TargetId::from("cart")].iter()), [10.0, 0.0]);
    }

    #[test]
    fn counts_that_began_again_count_from_their_beginning() {
        let mut model = Model::new(answer(10, vec![target("cart").requests(5000)]));
        // The same name and id, and other counts since second 18.
        model.take(answer(20, vec![target("cart").requests(6000).since(18)]));
        assert_eq!(rate(&model, "cart"), 3000.0);
        // Counters that fell without a word are no negative rate and no huge one.
        model.take(answer(28, vec![target("cart").requests(100).since(18)]));
        assert_eq!(rate(&model, "cart"), 10.0);
    }

    #[test]
    fn a_target_that_comes_later_counts_from_its_discovery() {
        let mut model = Model::new(answer(10, vec![target("cart")]));
        model.take(answer(
            20,
            vec![target("cart"), target("pay").requests(30).since(17)],
        ));
        assert_eq!(rate(&model, "pay"), 10.0);
        assert_eq!(model.trend([TargetId::from("pay")].iter()), [10.0]);
    }

    #[test]
    fn another_life_of_the_agent_has_another_past() {
        let mut model = Model::new(answer(10, vec![target("cart").requests(50)]));
        model.take(answer(12, vec![target("cart").requests(60)]));
        let mut young = answer(14, vec![target("cart").requests(3).since(13)]);
        young.snapshot.window.sequence = 1;
        model.take(young);
        assert_eq!((rate(&model, "cart"), model.seconds), (3.0, None));
        assert!(model.trend([TargetId::from("cart")].iter()).is_empty());
    }

    #[test]
    fn the_past_is_bounded() {
        let mut model = Model::new(answer(1, vec![target("cart")]));
        (2..200).for_each(|second| model.take(answer(second, vec![target("cart")])));
        assert_eq!(model.trend([TargetId::from("cart")].iter()).len(), WINDOWS);
    }

    #[test]
    fn the_same_reading_twice_changes_no_rate() {
        let mut model = Model::new(answer(10, vec![target("cart").requests(50)]));
        model.take(answer(12, vec![target("cart").requests(60)]));
        model.take(answer(12, vec![target("cart").requests(60)]));
        assert_eq!(rate(&model, "cart"), 5.0);
    }
}
