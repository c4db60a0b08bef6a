use std::collections::BTreeMap;

use owlk8s_model::{TargetSnapshot, Temporality};
use proptest::prelude::*;

use super::*;
use crate::delta::departures;
use crate::sum::fixtures::{snapshot, target};

fn offer(windows: &mut Windows, sequence: u64, requests: u64) {
    windows.offer(Arc::new(snapshot(sequence, vec![target("a", requests)])));
}

fn requests(attempt: &Attempt) -> u64 {
    attempt
        .snapshot
        .targets
        .iter()
        .map(|target| target.totals.requests)
        .sum()
}

#[test]
fn latest_gives_the_newest_and_counts_what_it_dropped() {
    let mut windows = Windows::new(Mode::Latest, 9);
    for sequence in 1..=3 {
        offer(&mut windows, sequence, sequence * 10);
    }
    let attempt = windows.take().expect("one waits");
    assert_eq!(
        (
            attempt.window.sequence,
            requests(&attempt),
            windows.dropped()
        ),
        (3, 30, 2)
    );
    assert!(windows.take().is_none());
    assert!(!windows.overtaken());
    offer(&mut windows, 4, 40);
    assert!(windows.overtaken());
}

#[test]
fn every_window_keeps_order_and_drops_the_oldest_over_its_capacity() {
    let mut windows = Windows::new(Mode::EveryWindow, 2);
    for sequence in 1..=4 {
        offer(&mut windows, sequence, sequence);
    }
    let taken: Vec<u64> = std::iter::from_fn(|| windows.take())
        .map(|attempt| attempt.window.sequence)
        .collect();
    assert_eq!((taken, windows.dropped()), (vec![3, 4], 2));
}

#[test]
fn window_covers_all_since_the_last_acknowledged_one() {
    let mut windows = Windows::new(Mode::Latest, 1);
    offer(&mut windows, 1, 1);
    let first = windows.take().expect("one waits");
    windows.acknowledge(&first);
    offer(&mut windows, 2, 1);
    offer(&mut windows, 3, 1);
    let merged = windows.take().expect("one waits").window;
    assert_eq!(
        (merged.start, merged.end, merged.merged),
        (first.window.end, UnixNanos(3_000_000_000), 2)
    );
}

#[test]
fn until_one_arrives_a_window_covers_all_that_were_offered() {
    let mut windows = Windows::new(Mode::Delta, 1);
    let mut start_and_merged = |sequence| {
        offer(&mut windows, sequence, sequence * 10);
        let attempt = windows.take().expect("one waits");
        let covered = (attempt.window.start, attempt.window.merged);
        assert_eq!(requests(&attempt), sequence * 10);
        windows.abandon(attempt);
        covered
    };
    let start = UnixNanos(4_000_000_000);
    assert_eq!(start_and_merged(5), (start, 1));
    assert_eq!(start_and_merged(6), (start, 2));
    assert_eq!(start_and_merged(8), (start, 4));
}

#[test]
fn mode_that_becomes_delta_counts_from_the_last_acknowledged_window() {
    let mut windows = Windows::new(Mode::EveryWindow, 3);
    offer(&mut windows, 1, 10);
    let first = windows.take().expect("one waits");
    windows.acknowledge(&first);
    offer(&mut windows, 2, 15);
    let held = windows.take().expect("one waits");
    offer(&mut windows, 3, 30);
    windows.put_back(held);
    windows.change(Mode::Delta, 3);
    let delta = windows.take().expect("one waits");
    assert_eq!(delta.snapshot.temporality, Temporality::Delta);
    assert_eq!(
        (delta.window.merged, requests(&delta), windows.dropped()),
        (2, 20, 0)
    );
}

#[test]
fn window_that_is_put_back_comes_first_and_delta_loses_none_on_its_way_to_every_window() {
    let mut windows = Windows::new(Mode::Delta, 1);
    offer(&mut windows, 1, 10);
    let held = windows.take().expect("one waits");
    windows.put_back(held);
    windows.change(Mode::EveryWindow, 2);
    offer(&mut windows, 2, 20);
    let taken: Vec<(u64, u64)> = std::iter::from_fn(|| windows.take())
        .map(|attempt| (attempt.window.sequence, requests(&attempt)))
        .collect();
    assert_eq!((taken, windows.dropped()), (vec![(1, 10), (2, 20)], 0));
    windows.change(Mode::Latest, 2);
    assert!(!windows.is_waiting());
}

#[test]
fn smaller_queue_drops_its_oldest_counted() {
    let mut windows = Windows::new(Mode::EveryWindow, 3);
    for sequence in 1..=3 {
        offer(&mut windows, sequence, sequence);
    }
    windows.change(Mode::EveryWindow, 1);
    let left = windows.take().expect("one waits").window.sequence;
    assert_eq!((left, windows.dropped()), (3, 2));
}

#[test]
fn rehearsal_has_the_temporality_of_its_mode_and_all_counts() {
    let window = Arc::new(snapshot(4, vec![target("a", 7)]));
    for (mode, temporality) in [
        (Mode::Latest, Temporality::Cumulative),
        (Mode::EveryWindow, Temporality::Cumulative),
        (Mode::Delta, Temporality::Delta),
    ] {
        let attempt = Attempt::rehearsal(mode, Arc::clone(&window));
        assert_eq!(attempt.snapshot.temporality, temporality);
        assert_eq!((requests(&attempt), attempt.window), (7, window.window));
    }
}

#[test]
fn resumed_sink_skips_what_it_had_and_counts_the_gap() {
    let mut windows = Windows::new(Mode::EveryWindow, 8);
    windows.resume(
        Acknowledged {
            sequence: 4,
            end: UnixNanos(4_000_000_000),
        },
        None,
    );
    for sequence in [3, 4, 7, 8] {
        offer(&mut windows, sequence, sequence);
    }
    let taken: Vec<u64> = std::iter::from_fn(|| windows.take())
        .map(|attempt| attempt.window.sequence)
        .collect();
    assert_eq!((taken, windows.dropped()), (vec![7, 8], 2));
}

#[test]
fn resumed_delta_goes_on_from_its_base() {
    let mut windows = Windows::new(Mode::Delta, 1);
    let base = Arc::new(snapshot(4, vec![target("a", 40), target("gone", 7)]));
    windows.resume(
        Acknowledged {
            sequence: 4,
            end: base.window.end,
        },
        Some(base),
    );
    offer(&mut windows, 6, 65);
    let attempt = windows.take().expect("one waits");
    assert_eq!((requests(&attempt), attempt.window.merged), (25, 2));
    assert_eq!(attempt.snapshot.temporality, Temporality::Delta);
}

#[test]
fn target_that_leaves_during_an_outage_keeps_its_last_counts() {
    let mut windows = Windows::new(Mode::Delta, 1);
    windows.offer(Arc::new(snapshot(1, vec![target("a", 1), target("b", 10)])));
    let first = windows.take().expect("one waits");
    windows.acknowledge(&first);
    windows.offer(Arc::new(snapshot(2, vec![target("a", 2), target("b", 15)])));
    windows.offer(Arc::new(snapshot(3, vec![target("a", 3)])));
    let second = windows.take().expect("one waits");
    let ids: Vec<(String, u64)> = second
        .snapshot
        .targets
        .iter()
        .map(|t| (t.id.to_string(), t.totals.requests))
        .collect();
    assert_eq!(ids, [("a".to_owned(), 2), ("b".to_owned(), 5)]);
}

#[test]
fn first_window_after_another_agent_has_a_gap_until_it_is_acknowledged() {
    for mode in [Mode::Latest, Mode::Delta, Mode::EveryWindow] {
        let mut windows = Windows::new(mode, 4);
        let of = |sequence| snapshot(sequence, vec![target("a", sequence)]);
        windows.after_agent(UnixNanos(1_500_000_000));
        // The agent began at 4 s, and its windows with 1 again.
        let shift = |mut snapshot: Snapshot| {
            snapshot.window.start.0 += 4_000_000_000;
            snapshot.window.end.0 += 4_000_000_000;
            Arc::new(snapshot)
        };
        windows.offer(shift(of(1)));
        let first = windows.take().expect("one waits");
        assert_eq!(first.gap, Some(Duration::from_millis(2500)), "{mode:?}");
        windows.abandon(first);
        windows.offer(shift(of(2)));
        let second = windows.take().expect("one waits");
        assert!(second.gap.is_some(), "the gap is not told yet");
        if mode == Mode::Delta {
            let window = second.window;
            assert_eq!((window.start.0, window.merged), (4_000_000_000, 2));
        }
        windows.acknowledge(&second);
        windows.offer(shift(of(3)));
        assert_eq!(windows.take().expect("one waits").gap, None);
    }
}

#[test]
fn gap_of_a_clock_that_was_set_back_is_one_all_the_same() {
    let mut windows = Windows::new(Mode::Latest, 1);
    windows.after_agent(UnixNanos(u64::MAX));
    offer(&mut windows, 1, 1);
    let gap = windows.take().expect("one waits").gap;
    assert_eq!(gap, Some(Duration::from_nanos(1)));
}

#[test]
fn window_that_an_earlier_process_had_on_its_way_comes_first_and_as_it_was() {
    let before = |windows: &mut Windows| {
        let base = Arc::new(snapshot(1, vec![target("a", 1)]));
        let acknowledged = Acknowledged {
            sequence: 1,
            end: base.window.end,
        };
        windows.resume(acknowledged, Some(base));
    };
    let mut killed = Windows::new(Mode::Delta, 1);
    before(&mut killed);
    offer(&mut killed, 2, 20);
    offer(&mut killed, 3, 30);
    let lost = killed.take().expect("one waits");

    let mut windows = Windows::new(Mode::Delta, 1);
    before(&mut windows);
    windows.again(3);
    offer(&mut windows, 2, 20);
    assert!(!windows.is_waiting() && windows.take().is_none());
    offer(&mut windows, 3, 30);
    // Goes right after it: its last counts are no part of the window before.
    windows.offer(Arc::new(snapshot(4, vec![target("b", 7)])));
    let again = windows.take().expect("it is here");
    assert_eq!(
        (again.window, &again.snapshot),
        (lost.window, &lost.snapshot)
    );
    windows.acknowledge(&again);
    let next = windows.take().expect("one waits");
    assert_eq!((next.window.sequence, requests(&next)), (4, 7));
}

#[test]
fn window_that_is_nowhere_any_more_is_not_waited_for() {
    let mut windows = Windows::new(Mode::Delta, 1);
    windows.again(2);
    offer(&mut windows, 3, 30);
    assert_eq!(windows.take().expect("one waits").window.sequence, 3);
}

/// What happens in one interval.
#[derive(Clone, Debug)]
struct Step {
    /// For each of three targets: gone, or there with so many more requests.
    targets: [Option<u8>; 3],
    /// What becomes of the window; none: nobody takes it.
    delivery: Option<bool>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let target = prop_oneof![1 => Just(None), 3 => any::<u8>().prop_map(Some)];
    let step = (
        [target.clone(), target.clone(), target],
        proptest::option::of(any::<bool>()),
    )
        .prop_map(|(targets, delivery)| Step { targets, delivery });
    proptest::collection::vec(step, 1..40)
}

/// The kernel and the fold: counts of a target begin at 0 with each of its lives.
#[derive(Default)]
struct World {
    now: BTreeMap<usize, u64>,
    ever: BTreeMap<String, u64>,
    sequence: u64,
}

impl World {
    fn step(&mut self, step: &Step) -> Arc<Snapshot> {
        for (index, change) in step.targets.iter().enumerate() {
            match change {
                None => {
                    self.now.remove(&index);
                }
                Some(more) => {
                    *self.now.entry(index).or_default() += u64::from(*more);
                    *self.ever.entry(index.to_string()).or_default() += u64::from(*more);
                }
            }
        }
        self.sequence += 1;
        let targets: Vec<TargetSnapshot> = self
            .now
            .iter()
            .map(|(i, n)| target(&i.to_string(), *n))
            .collect();
        Arc::new(snapshot(self.sequence, targets))
    }
}

#[derive(Default)]
struct Sink {
    requests: BTreeMap<String, u64>,
    durations: BTreeMap<String, u64>,
    buckets: BTreeMap<String, u64>,
}

impl Sink {
    fn add(&mut self, delta: &Snapshot) {
        for target in &delta.targets {
            *self.requests.entry(target.id.to_string()).or_default() += target.totals.requests;
            for row in &target.rows {
                *self.durations.entry(target.id.to_string()).or_default() +=
                    row.duration_sum_ns / 1_000_000;
                *self.buckets.entry(target.id.to_string()).or_default() += row.latency.count();
            }
        }
    }
}

fn without_zeros(counts: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    counts
        .iter()
        .filter(|(_, n)| **n > 0)
        .map(|(id, n)| (id.clone(), *n))
        .collect()
}

/// What outlives a process.
#[derive(Default)]
struct Agent {
    first: Option<Window>,
    recent: VecDeque<Arc<Snapshot>>,
    departed: Vec<(u64, TargetSnapshot)>,
    acknowledged: Option<Acknowledged>,
    base: Option<Arc<Snapshot>>,
    attempting: Option<Arc<Snapshot>>,
}

impl Agent {
    fn offer(&mut self, snapshot: &Arc<Snapshot>, keep: usize) {
        self.first.get_or_insert(snapshot.window);
        self.recent.push_back(Arc::clone(snapshot));
        while self.recent.len() > keep {
            let old = self.recent.pop_front().expect("there are more");
            self.departed.extend(departures(&old, &self.recent[0]));
        }
    }

    fn acknowledged(&mut self, acknowledged: Acknowledged, attempt: &Attempt) {
        self.acknowledged = Some(acknowledged);
        self.base = Some(Arc::clone(&attempt.cumulative));
        self.attempting = None;
    }

    fn begin(&self) -> Windows {
        let mut windows = Windows::new(Mode::Delta, 1);
        self.first
            .into_iter()
            .for_each(|first| windows.first(first));
        if let Some(acknowledged) = self.acknowledged {
            windows.resume(acknowledged, self.base.clone());
        }
        let from = self
            .acknowledged
            .map_or(0, |acknowledged| acknowledged.sequence);
        let until = self
            .recent
            .front()
            .map_or(0, |oldest| oldest.window.sequence);
        let departed = self
            .departed
            .iter()
            .filter(|(sequence, _)| *sequence >= from);
        windows.departed(departed.cloned().collect(), until, 0);
        let again = self.attempting.iter();
        again
            .clone()
            .for_each(|attempt| windows.again(attempt.window.sequence));
        let older = again.filter(|attempt| attempt.window.sequence < until);
        older
            .chain(&self.recent)
            .for_each(|snapshot| windows.offer(Arc::clone(snapshot)));
        windows
    }
}

proptest! {
    /// Outages, refusals, targets that come, go and come back under the same id: once the sink takes
    /// the newest window, the deltas that it took add up to all that was ever counted.
    #[test]
    fn acknowledged_deltas_add_up_to_the_cumulative_counts(steps in steps()) {
        let (mut world, mut windows, mut sink) = (World::default(), Windows::new(Mode::Delta, 1), Sink::default());
        for step in &steps {
            windows.offer(world.step(step));
            if let Some(delivered) = step.delivery {
                let attempt = windows.take().expect("one was offered");
                if delivered {
                    sink.add(&attempt.snapshot);
                    windows.acknowledge(&attempt);
                } else {
                    windows.abandon(attempt);
                }
            }
        }
        windows.offer(world.step(&Step { targets: [Some(0), Some(0), Some(0)], delivery: None }));
        let last = windows.take().expect("one was offered");
        sink.add(&last.snapshot);
        let ever = without_zeros(&world.ever);
        prop_assert_eq!(&without_zeros(&sink.requests), &ever);
        prop_assert_eq!(&without_zeros(&sink.durations), &ever);
        prop_assert_eq!(&without_zeros(&sink.buckets), &ever);
        prop_assert_eq!(windows.dropped(), 0);
    }

    /// An attempt is held while newer windows come in; its acknowledgement must not take theirs along.
    #[test]
    fn windows_offered_during_an_attempt_come_with_the_next(steps in steps(), held in 1_usize..6) {
        let (mut world, mut windows, mut sink) = (World::default(), Windows::new(Mode::Delta, 1), Sink::default());
        let mut attempt: Option<Attempt> = None;
        for (index, step) in steps.iter().enumerate() {
            windows.offer(world.step(step));
            if index % held == 0 {
                if let Some(done) = attempt.take() {
                    sink.add(&done.snapshot);
                    windows.acknowledge(&done);
                }
                attempt = windows.take();
            }
        }
        if let Some(last) = attempt {
            sink.add(&last.snapshot);
            windows.acknowledge(&last);
        }
        windows.offer(world.step(&Step { targets: [Some(0), Some(0), Some(0)], delivery: None }));
        sink.add(&windows.take().expect("one was offered").snapshot);
        prop_assert_eq!(without_zeros(&sink.requests), without_zeros(&world.ever));
    }

    /// The process is killed and begins anew from what the agent keeps: the last acknowledged window, the
    /// one on its way, few windows besides, and who departed before these. The sink knows windows by
    /// their number. However that falls, the sums are right, and the window on its way is the same again.
    #[test]
    fn killed_process_goes_on_without_a_loss(steps in steps(), kills in proptest::collection::vec(any::<bool>(), 40), lives in 1_usize..4) {
        let mut world = World::default();
        let mut windows = Windows::new(Mode::Delta, 1);
        let mut sink: BTreeMap<u64, Arc<Snapshot>> = BTreeMap::new();
        let mut agent = Agent::default();
        for (step, kill) in steps.iter().zip(kills) {
            let offered = world.step(step);
            agent.offer(&offered, lives);
            windows.offer(offered);
            if let Some(delivered) = step.delivery
                && let Some(attempt) = windows.take()
            {
                agent.attempting = Some(Arc::clone(&attempt.cumulative));
                let twice = sink.insert(attempt.window.sequence, Arc::clone(&attempt.snapshot));
                prop_assert!(twice.is_none_or(|before| before == attempt.snapshot));
                if !delivered {
                    // Killed between the delivery and its acknowledgement.
                    windows = agent.begin();
                    continue;
                }
                agent.acknowledged(windows.acknowledge(&attempt), &attempt);
            }
            if kill {
                windows = agent.begin();
            }
        }
        let last = world.step(&Step { targets: [Some(0), Some(0), Some(0)], delivery: None });
        windows.offer(last);
        while let Some(attempt) = windows.take() {
            sink.insert(attempt.window.sequence, Arc::clone(&attempt.snapshot));
            windows.acknowledge(&attempt);
        }
        let mut sums = Sink::default();
        sink.values().for_each(|delta| sums.add(delta));
        prop_assert_eq!(&without_zeros(&sums.requests), &without_zeros(&world.ever));
    }

    /// Every window that was offered is delivered, waiting or counted as dropped.
    #[test]
    fn no_window_is_lost_silently(every in any::<bool>(), capacity in 1_usize..5, steps in steps()) {
        let mode = if every { Mode::EveryWindow } else { Mode::Latest };
        let (mut world, mut windows) = (World::default(), Windows::new(mode, capacity));
        let (mut delivered, mut last) = (0, 0);
        for step in &steps {
            windows.offer(world.step(step));
            match (step.delivery, step.delivery.and_then(|_| windows.take())) {
                (Some(true), Some(attempt)) => {
                    prop_assert!(attempt.window.sequence > last, "order is kept");
                    last = attempt.window.sequence;
                    windows.acknowledge(&attempt);
                    delivered += 1;
                }
                (_, Some(attempt)) => windows.abandon(attempt),
                (_, None) => {}
            }
        }
        let waiting = std::iter::from_fn(|| windows.take()).count() as u64;
        prop_assert!(waiting <= capacity as u64);
        prop_assert_eq!(delivered + waiting + windows.dropped(), steps.len() as u64);
    }
}
