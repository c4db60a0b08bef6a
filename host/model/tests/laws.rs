//! The laws of the fold: what holds for any readings, not for chosen ones.

use std::borrow::Cow;
use std::sync::Arc;

use owlk8s_model::{
    Counters, Direction, FIRST_BUCKET, Histogram, Hook, Method, Protocol, Reading, Row, Snapshot,
    Status, Target, TargetReading, TargetSet, TargetSnapshot, Temporality, UnixNanos, Window, fold,
};
use proptest::prelude::*;

fn target(id: &str) -> Arc<Target> {
    Arc::new(Target {
        id: id.into(),
        pod: id.to_owned(),
        uid: String::new(),
        namespace: "shop".to_owned(),
        workload: None,
        services: vec!["cart".to_owned()],
        ips: vec![],
        interface: None,
        labels: Default::default(),
    })
}

fn set(ids: &[&str]) -> TargetSet {
    TargetSet {
        confirmed_at: UnixNanos(1),
        targets: ids.iter().map(|id| target(id)).collect(),
    }
}

fn row(status: u16, probe: bool, count: u64) -> Row {
    let mut buckets = vec![0; 208];
    buckets[usize::from(status % 208)] = count;
    Row {
        direction: Direction::Server,
        protocol: Protocol::Http11,
        method: Method(Cow::Borrowed("GET")),
        status,
        probe,
        count,
        duration_sum_ns: count * 1000,
        latency: Histogram::trimmed(FIRST_BUCKET, &buckets),
    }
}

/// What happened to one target so far: answered by status, aborted, waiting, lost.
#[derive(Clone, Copy, Debug, Default)]
struct Past {
    ok: u64,
    not_found: u64,
    failed: u64,
    probes: u64,
    aborted: u64,
    waiting: u64,
    lost: u64,
}

impl Past {
    fn reading(self) -> TargetReading {
        let answered = self.ok + self.not_found + self.failed + self.probes;
        TargetReading::Active {
            interface: "veth0".into(),
            hook: Hook::HostVeth,
            hook_reason: String::new(),
            blind: None,
            counters: Counters {
                started: answered + self.aborted + self.waiting + self.lost,
                probe_started: self.probes,
                aborted: self.aborted,
                lost: self.lost,
                losses: [(Cow::Borrowed("evicted"), self.lost)].into(),
                segments_to_pod: 1,
                segments_from_pod: 1,
                ..Counters::default()
            },
            rows: vec![
                row(200, false, self.ok),
                row(404, false, self.not_found),
                row(503, false, self.failed),
                row(200, true, self.probes),
            ],
            grpc: vec![],
        }
    }

    fn then(self, more: Self) -> Self {
        Self {
            ok: self.ok + more.ok,
            not_found: self.not_found + more.not_found,
            failed: self.failed + more.failed,
            probes: self.probes + more.probes,
            aborted: self.aborted + more.aborted,
            waiting: more.waiting,
            lost: self.lost + more.lost,
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Past>> {
    let n = 0u64..1000;
    let past = (
        n.clone(),
        n.clone(),
        n.clone(),
        n.clone(),
        n.clone(),
        n.clone(),
        n,
    )
        .prop_map(
            |(ok, not_found, failed, probes, aborted, waiting, lost)| Past {
                ok,
                not_found,
                failed,
                probes,
                aborted,
                waiting,
                lost,
            },
        );
    prop::collection::vec(past, 1..8)
}

/// A snapshot after each step.
fn snapshots(steps: &[Past]) -> Vec<Snapshot> {
    let mut past = Past::default();
    let mut made: Vec<Snapshot> = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        past = past.then(*step);
        let reading = Reading {
            at: UnixNanos(10 + at as u64),
            targets: [("cart-0".into(), past.reading())].into(),
        };
        made.push(fold(
            made.last(),
            "worker-1",
            &set(&["cart-0"]),
            &reading,
            false,
        ));
    }
    made
}

proptest! {
    #[test]
    fn what_is_seen_is_counted_aborted_waiting_or_lost_by_name(steps in steps()) {
        for snapshot in snapshots(&steps) {
            let totals = &snapshot.targets[0].totals;
            let lost: u64 = totals.losses.values().sum();
            prop_assert_eq!(totals.seen, totals.requests + totals.aborted + totals.in_flight + lost);
            prop_assert!((0.0..=1.0).contains(&totals.coverage));
        }
    }

    #[test]
    fn counts_never_go_down_and_windows_follow_each_other(steps in steps()) {
        for pair in snapshots(&steps).windows(2) {
            let (before, after) = (&pair[0].targets[0].totals, &pair[1].targets[0].totals);
            prop_assert!(after.requests >= before.requests && after.err4 >= before.err4);
            prop_assert!(after.err5 >= before.err5 && after.aborted >= before.aborted);
            prop_assert!(after.duration_sum_ns >= before.duration_sum_ns);
            prop_assert_eq!(pair[1].window.sequence, pair[0].window.sequence + 1);
            prop_assert_eq!(pair[1].window.start, pair[0].window.end);
        }
    }

    #[test]
    fn two_windows_added_equal_the_joined_one(steps in steps()) {
        let made = snapshots(&steps);
        let (first, last) = (&made[0], &made[made.len() - 1]);
        let joined = last.since(first);
        let each: Vec<Snapshot> = made.windows(2).map(|pair| pair[1].since(&pair[0])).collect();
        let sum = |of: &dyn Fn(&Snapshot) -> u64| -> u64 { each.iter().map(of).sum() };
        prop_assert_eq!(joined.targets[0].totals.requests, sum(&|w| w.targets[0].totals.requests));
        prop_assert_eq!(joined.targets[0].totals.err5, sum(&|w| w.targets[0].totals.err5));
        prop_assert_eq!(joined.targets[0].totals.aborted, sum(&|w| w.targets[0].totals.aborted));
        let count = |w: &Snapshot| w.targets[0].rows.iter().map(|r| r.latency.count()).sum();
        prop_assert_eq!(count(&joined), sum(&count));
        prop_assert_eq!(u64::from(joined.window.merged), made.len() as u64 - 1);
    }

    #[test]
    fn histograms_add_and_subtract_back(a in prop::collection::vec(0u64..9, 0..40), b in prop::collection::vec(0u64..9, 0..40), shift in -30i32..30) {
        let (a, b) = (Histogram::trimmed(0, &a), Histogram::trimmed(shift, &b));
        prop_assert_eq!(a.plus(&b).count(), a.count() + b.count());
        prop_assert_eq!(a.plus(&b).minus(&b), a);
    }
}

#[test]
fn probes_are_left_out_of_the_totals_unless_asked_for() {
    let past = Past {
        ok: 3,
        probes: 5,
        ..Past::default()
    };
    let reading = Reading {
        at: UnixNanos(1),
        targets: [("cart-0".into(), past.reading())].into(),
    };
    let without = fold(None, "n", &set(&["cart-0"]), &reading, false);
    let with = fold(None, "n", &set(&["cart-0"]), &reading, true);
    assert_eq!(without.targets[0].totals.requests, 3);
    assert_eq!(without.targets[0].totals.in_flight, 0);
    assert_eq!(with.targets[0].totals.requests, 8);
    assert_eq!(without.targets[0].rows.len(), 4, "their rows stay");
}

#[test]
fn target_out_of_reach_keeps_its_counts_and_says_why() {
    let active = Reading {
        at: UnixNanos(1),
        targets: [(
            "cart-0".into(),
            Past {
                ok: 7,
                ..Past::default()
            }
            .reading(),
        )]
        .into(),
    };
    let before = fold(None, "n", &set(&["cart-0"]), &active, false);
    let gone = Reading {
        at: UnixNanos(2),
        targets: [(
            "cart-0".into(),
            TargetReading::Waiting("veth is gone".to_owned()),
        )]
        .into(),
    };
    let after = fold(
        Some(&before),
        "n",
        &set(&["cart-0", "cart-1"]),
        &gone,
        false,
    );
    assert_eq!(after.targets[0].status, Status::Waiting);
    assert_eq!(after.targets[0].reason, "veth is gone");
    assert_eq!(after.targets[0].totals.requests, 7);
    assert_eq!(after.targets[1].status, Status::Waiting);
    assert_eq!(after.targets[1].totals.requests, 0);
}

#[test]
fn counts_begin_with_the_window_that_first_held_the_target() {
    let mut before = None;
    let mut since = |at: u64, names: &[&str]| {
        let reading = Reading {
            at: UnixNanos(at),
            targets: [].into(),
        };
        let now = fold(before.as_ref(), "n", &set(names), &reading, false);
        let since: Vec<u64> = now.targets.iter().map(|target| target.since.0).collect();
        before = Some(now);
        since
    };
    assert_eq!(since(10, &["cart-0"]), [10]);
    assert_eq!(since(20, &["cart-0", "cart-1"]), [10, 10]);
    assert_eq!(since(30, &["cart-0", "cart-1"]), [10, 10]);
    assert_eq!(since(40, &["cart-1"]), [10]);
    assert_eq!(since(50, &["cart-0", "cart-1"]), [40, 10], "a new life");
}

/// A target with these counters.
fn counted(counters: Counters, blind: Option<&str>) -> TargetSnapshot {
    let reading = Reading {
        at: UnixNanos(1),
        targets: [(
            "cart-0".into(),
            TargetReading::Active {
                interface: "veth0".into(),
                hook: Hook::HostVeth,
                hook_reason: String::new(),
                blind: blind.map(str::to_owned),
                counters,
                rows: vec![],
                grpc: vec![],
            },
        )]
        .into(),
    };
    fold(None, "n", &set(&["cart-0"]), &reading, false)
        .targets
        .remove(0)
}

/// The status that a target with these counters has, and why.
fn status_of(counters: Counters) -> (Status, String) {
    let target = counted(counters, None);
    (target.status, target.reason)
}

#[test]
fn blind_target_is_degraded_and_covers_nothing() {
    let counters = Counters {
        segments_from_pod: 1000,
        ..Counters::default()
    };
    let blind = counted(
        counters.clone(),
        Some("veth0 is bypassed; add CAP_SYS_ADMIN"),
    );
    assert_eq!(blind.status, Status::Degraded);
    assert_eq!(blind.reason, "blind: veth0 is bypassed; add CAP_SYS_ADMIN");
    assert_eq!((blind.blind, blind.totals.coverage), (true, 0.0));
    let sees = counted(counters, None);
    assert_eq!((sees.blind, sees.totals.coverage), (false, 1.0));
}

#[test]
fn blind_target_covers_nothing_in_a_window_either() {
    let snapshot = |sequence| Snapshot {
        node: "n".to_owned(),
        window: Window {
            sequence,
            ..Window::default()
        },
        temporality: Temporality::Cumulative,
        targets_confirmed_at: UnixNanos(1),
        targets: vec![counted(Counters::default(), Some("veth0 is bypassed"))],
    };
    let window = snapshot(2).since(&snapshot(1));
    assert_eq!(window.targets[0].totals.coverage, 0.0);
}

#[test]
fn tls_and_losses_are_not_green() {
    let tls = Counters {
        segments_from_pod: 9,
        segments_to_pod: 9,
        tls: 2,
        ..Counters::default()
    };
    let lossy = Counters {
        started: 100,
        aborted: 90,
        lost: 10,
        losses: [(Cow::Borrowed("evicted"), 10)].into(),
        segments_from_pod: 9,
        segments_to_pod: 9,
        ..Counters::default()
    };
    for (counters, says) in [
        (tls, "speaks TLS: RED not available"),
        (lossy, "coverage 0.9000: 10 of 100 lost to evicted"),
    ] {
        let (status, reason) = status_of(counters);
        assert_eq!(status, Status::Degraded);
        assert!(reason.contains(says), "{reason}");
    }
    let quiet = Counters {
        segments_from_pod: 3,
        ..Counters::default()
    };
    assert_eq!(status_of(quiet), (Status::Active, String::new()));
}
