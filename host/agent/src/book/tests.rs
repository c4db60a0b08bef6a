use std::collections::BTreeMap;

use owlk8s_model::{
    Counters, Direction, Histogram, Hook, Method, Protocol, Row, TargetReading, UnixNanos,
};
use owlk8s_probe::Interface;

use super::*;

fn target(id: &str) -> Arc<Target> {
    Arc::new(Target {
        id: id.into(),
        pod: id.to_owned(),
        uid: String::new(),
        namespace: String::new(),
        workload: None,
        services: Vec::new(),
        ips: Vec::new(),
        interface: None,
        labels: BTreeMap::new(),
    })
}

fn on(index: u32) -> Place {
    Place::On(Interface {
        name: format!("veth{index}").into(),
        index,
    })
}

/// Targets with their places; one of index 0 was not looked up yet.
fn plan(places: &[(&str, u32)]) -> Arc<Plan> {
    let set = TargetSet {
        confirmed_at: UnixNanos(1),
        targets: places.iter().map(|(id, _)| target(id)).collect(),
    };
    let known = places.iter().filter(|(_, index)| *index > 0);
    let places = known.map(|(id, index)| (TargetId::from(*id), on(*index)));
    Arc::new(Plan {
        places: places.collect(),
        beyond: BTreeMap::new(),
        set: Arc::new(set),
    })
}

fn answered(count: u64) -> TargetReading {
    let row = Row {
        direction: Direction::Server,
        protocol: Protocol::Http11,
        method: Method("GET".into()),
        status: 200,
        probe: false,
        count,
        duration_sum_ns: count,
        latency: Histogram::default(),
    };
    TargetReading::Active {
        interface: "veth".into(),
        hook: Hook::HostVeth,
        hook_reason: String::new(),
        blind: None,
        counters: Counters {
            started: count,
            ..Counters::default()
        },
        rows: vec![row],
        grpc: Vec::new(),
    }
}

fn reading(at: u64, counts: &[(&str, u64)]) -> Reading {
    let targets = counts
        .iter()
        .map(|(id, count)| (TargetId::from(*id), answered(*count)));
    Reading {
        at: UnixNanos(at),
        targets: targets.collect(),
    }
}

fn requests(snapshot: &Snapshot) -> Vec<(&str, u64)> {
    snapshot
        .targets
        .iter()
        .map(|t| (t.pod.as_str(), t.totals.requests))
        .collect()
}

fn wanted(book: &Book) -> Vec<(String, Place)> {
    book.wanted()
        .into_iter()
        .map(|wanted| (wanted.target.to_string(), wanted.place))
        .collect()
}

fn stays() -> Place {
    Place::Waiting("is about to leave".to_owned())
}

fn book() -> Book {
    Book::new("n".to_owned(), false, UnixNanos(0))
}

#[test]
fn a_removed_target_stays_attached_for_one_more_window_with_its_last_counts() {
    let mut book = book();
    book.adopt(plan(&[("a", 1), ("b", 2)]));
    book.window(&reading(1, &[("a", 5), ("b", 7)]));
    book.adopt(plan(&[("b", 2)]));
    assert_eq!(
        wanted(&book),
        [("b".to_owned(), on(2)), ("a".to_owned(), stays())]
    );
    let last = book.window(&reading(2, &[("a", 6), ("b", 8)]));
    assert_eq!(requests(&last), [("a", 6), ("b", 8)]);
    assert_eq!(wanted(&book), [("b".to_owned(), on(2))]);
    let after = book.window(&reading(3, &[("b", 9)]));
    assert_eq!(requests(&after), [("b", 9)]);
}

#[test]
fn a_plan_that_only_confirms_does_not_prolong_a_leaving() {
    let mut book = book();
    book.adopt(plan(&[("a", 1), ("b", 2)]));
    book.adopt(plan(&[("b", 2)]));
    book.adopt(plan(&[("b", 2)]));
    assert_eq!(
        requests(&book.window(&reading(1, &[("a", 5), ("b", 7)]))),
        [("a", 5), ("b", 7)]
    );
    book.adopt(plan(&[("b", 2)]));
    assert_eq!(wanted(&book), [("b".to_owned(), on(2))]);
}

#[test]
fn a_target_that_comes_back_in_time_never_left() {
    let mut book = book();
    book.adopt(plan(&[("a", 1)]));
    book.adopt(plan(&[]));
    book.adopt(plan(&[("a", 1)]));
    assert_eq!(wanted(&book), [("a".to_owned(), on(1))]);
    assert_eq!(requests(&book.window(&reading(1, &[("a", 1)]))), [("a", 1)]);
}

#[test]
fn a_target_that_was_never_looked_up_leaves_at_once() {
    let mut book = book();
    book.adopt(plan(&[("a", 0)]));
    book.adopt(plan(&[]));
    assert_eq!(wanted(&book), []);
}

#[test]
fn a_fresh_snapshot_is_the_window_so_far_and_closes_nothing() {
    let mut book = book();
    book.adopt(plan(&[("a", 1)]));
    let first = book.window(&reading(10, &[("a", 1)]));
    let fresh = book.fresh(&reading(15, &[("a", 2)]));
    assert_eq!(requests(&fresh), [("a", 2)]);
    assert_eq!((fresh.window.start.0, fresh.window.end.0), (10, 15));
    let second = book.window(&reading(20, &[("a", 3)]));
    assert_eq!(
        (
            first.window.sequence,
            fresh.window.sequence,
            second.window.sequence
        ),
        (1, 2, 2)
    );
    assert_eq!((second.window.start.0, second.window.end.0), (10, 20));
}

#[test]
fn the_first_window_begins_when_counting_did() {
    let mut book = Book::new("n".to_owned(), false, UnixNanos(7));
    let starts = [10, 20].map(|at| book.window(&reading(at, &[])).window.start.0);
    assert_eq!(starts, [7, 10]);
    // A clock that was set back meanwhile makes no window that ends before it begins.
    let mut book = Book::new("n".to_owned(), false, UnixNanos(7));
    assert_eq!(book.window(&reading(5, &[])).window.start.0, 5);
}
