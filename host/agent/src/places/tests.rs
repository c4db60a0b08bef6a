use owlk8s_model::{Counters, Reading, TargetReading, UnixNanos, fold};

use super::*;

fn target(id: &str, interface: &str) -> Arc<Target> {
    Arc::new(Target {
        id: id.into(),
        pod: id.to_owned(),
        uid: String::new(),
        namespace: String::new(),
        workload: None,
        services: Vec::new(),
        ips: Vec::new(),
        interface: Some(interface.to_owned()),
        labels: BTreeMap::new(),
    })
}

fn set(targets: &[&Arc<Target>]) -> Arc<TargetSet> {
    let targets = targets.iter().map(|target| Arc::clone(target)).collect();
    Arc::new(TargetSet {
        confirmed_at: UnixNanos(1),
        targets,
    })
}

fn found(target: &Arc<Target>, index: u32) -> Answer {
    let name = target.interface.clone().unwrap();
    Answer {
        target: Arc::clone(target),
        found: Ok(Interface { name, index }),
        beyond: None,
    }
}

fn missing(target: &Arc<Target>) -> Answer {
    let error = ResolveError::NoSuchInterface {
        target: target.id.to_string(),
        name: target.interface.clone().unwrap(),
        existing: "lo".to_owned(),
    };
    Answer {
        target: Arc::clone(target),
        found: Err(error),
        beyond: None,
    }
}

fn ids(due: &[(Arc<Target>, bool)]) -> Vec<&str> {
    due.iter().map(|(target, _)| target.pod.as_str()).collect()
}

/// What the next window says of the target.
fn window(target: &Arc<Target>, said: TargetReading) -> Snapshot {
    let reading = Reading {
        at: UnixNanos(1),
        targets: vec![(target.id.clone(), said)],
    };
    fold(None, "n", &set(&[target]), &reading, false)
}

/// When it is not attached.
fn unattached(target: &Arc<Target>) -> Snapshot {
    window(target, TargetReading::Waiting("gone".to_owned()))
}

/// When it is read there.
fn read_at(target: &Arc<Target>, hook: Hook, blind: Option<&str>) -> Snapshot {
    let active = TargetReading::Active {
        interface: "veth".into(),
        hook,
        hook_reason: String::new(),
        blind: blind.map(str::to_owned),
        counters: Counters::default(),
        rows: Vec::new(),
        grpc: Vec::new(),
    };
    window(target, active)
}

fn cgroup(path: &str) -> Result<Beyond, String> {
    Ok(Beyond::Cgroup(owlk8s_probe::Cgroup { path: path.into() }))
}

#[test]
fn each_target_is_asked_about_once_until_its_answer() {
    let (a, b) = (target("a", "veth1"), target("b", "veth2"));
    let now = Instant::now();
    let mut known = Known::new(now);
    known.adopt(&set(&[&a, &b]), now);
    assert_eq!(ids(&known.due(now)), ["a", "b"]);
    assert!(known.due(now + SLOWEST).is_empty());
    known.learn(found(&a, 7), now);
    assert!(known.due(now).is_empty());
    assert_eq!(
        ids(&known.due(now + ROUND)),
        ["a"],
        "what was found is looked at again"
    );
    let on = Place::On(owlk8s_probe::Interface {
        name: "veth1".into(),
        index: 7,
    });
    assert_eq!(known.plan().places, BTreeMap::from([("a".into(), on)]));
}

#[test]
fn what_failed_is_asked_again_with_doubling_waits_up_to_the_slowest() {
    let a = target("a", "veth1");
    let mut now = Instant::now();
    let mut known = Known::new(now);
    known.adopt(&set(&[&a]), now);
    let mut waits = Vec::new();
    for _ in 0..12 {
        assert_eq!(ids(&known.due(now)), ["a"]);
        known.learn(missing(&a), now);
        waits.push(known.next_due(now) - now);
        now = known.next_due(now);
    }
    let about = |wait: Duration, of: Duration| of * 4 / 5 <= wait && wait <= of * 6 / 5 + TICK;
    for (wait, doubled) in waits.iter().zip([1, 2, 4, 8, 16, 32, 64, 128]) {
        assert!(about(*wait, FIRST * doubled), "{waits:?}");
    }
    assert!(
        waits[9..].iter().all(|wait| about(*wait, SLOWEST)),
        "{waits:?}"
    );
    let why = "interface veth1 of target a does not exist: this network namespace has lo \
               (correct `interface`, or leave it out and give `ips`)";
    assert_eq!(
        known.plan().places,
        BTreeMap::from([("a".into(), Place::Failed(why.to_owned()))])
    );
}

#[test]
fn an_answer_about_what_a_target_was_before_is_not_believed() {
    let (old, new) = (target("a", "veth1"), target("a", "veth2"));
    let now = Instant::now();
    let mut known = Known::new(now);
    known.adopt(&set(&[&old]), now);
    known.due(now);
    known.adopt(&set(&[&new]), now);
    known.learn(found(&old, 7), now);
    assert!(known.plan().places.is_empty());
    assert_eq!(known.due(now)[0].0.interface.as_deref(), Some("veth2"));
}

#[test]
fn a_target_that_has_a_place_and_is_not_attached_there_is_looked_up_again() {
    let a = target("a", "veth1");
    let now = Instant::now();
    let mut known = Known::new(now);
    known.adopt(&set(&[&a]), now);
    known.due(now);
    known.doubt(&unattached(&a), now);
    assert!(known.due(now).is_empty(), "it is being asked about");
    known.learn(found(&a, 7), now);
    known.doubt(&unattached(&a), now);
    assert_eq!(ids(&known.due(now)), ["a"]);
}

#[test]
fn a_target_that_is_gone_is_forgotten_and_an_answer_for_it_ignored() {
    let (a, b) = (target("a", "veth1"), target("b", "veth2"));
    let now = Instant::now();
    let mut known = Known::new(now);
    known.adopt(&set(&[&a, &b]), now);
    known.due(now);
    known.adopt(&set(&[&b]), now);
    known.learn(found(&a, 7), now);
    known.learn(found(&b, 8), now);
    assert_eq!(
        known
            .plan()
            .places
            .keys()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["b"]
    );
}

#[test]
fn where_else_a_target_can_be_read_is_asked_for_once_it_is_blind() {
    let (a, later) = (target("a", "veth1"), target("later", "veth2"));
    let now = Instant::now();
    let mut known = Known::new(now);
    known.adopt(&set(&[&a]), now);
    assert!(matches!(known.due(now)[..], [(_, false)]));
    known.learn(found(&a, 7), now);
    known.doubt(&read_at(&a, Hook::HostVeth, None), now);
    assert!(known.due(now).is_empty());

    known.doubt(&read_at(&a, Hook::HostVeth, Some("bypassed")), now);
    assert!(matches!(known.due(now)[..], [(_, true)]));
    let answer = Answer {
        beyond: Some(vec![cgroup("/a")]),
        ..found(&a, 7)
    };
    known.learn(answer, now);
    assert_eq!(known.plan().beyond[&"a".into()], [cgroup("/a")]);
    known.doubt(&read_at(&a, Hook::HostVeth, Some("bypassed")), now);
    assert!(known.due(now).is_empty(), "it was asked for");

    // Read there it needs no other place; who comes later is asked about at once.
    known.doubt(&read_at(&a, Hook::CgroupSkb, None), now);
    assert!(matches!(known.due(now + ROUND)[..], [(_, false)]));
    known.adopt(&set(&[&a, &later]), now);
    assert!(matches!(known.due(now)[..], [(_, true)]));
    known.learn(found(&a, 7), now);
    assert_eq!(known.plan().beyond[&"a".into()], [cgroup("/a")]);
}

#[test]
fn a_place_beyond_that_has_ended_is_looked_for_again() {
    let a = target("a", "veth1");
    let now = Instant::now();
    let mut known = Known::new(now);
    known.adopt(&set(&[&a]), now);
    known.due(now);
    let answer = Answer {
        beyond: Some(vec![cgroup("/a")]),
        ..missing(&a)
    };
    known.learn(answer, now);
    known.doubt(&read_at(&a, Hook::CgroupSkb, None), now);
    assert!(known.due(now).is_empty());
    known.doubt(&unattached(&a), now);
    assert_eq!(ids(&known.due(now)), ["a"]);
}

#[test]
fn what_is_found_again_and_again_is_looked_up_in_common_rounds() {
    let (a, b) = (target("a", "veth1"), target("b", "veth2"));
    let now = Instant::now();
    let mut known = Known::new(now);
    known.adopt(&set(&[&a, &b]), now);
    known.due(now);
    known.learn(found(&a, 7), now + ROUND / 10);
    known.learn(found(&b, 8), now + ROUND / 2);
    assert!(known.due(now + ROUND * 9 / 10).is_empty());
    assert_eq!(ids(&known.due(now + ROUND)), ["a", "b"]);
}

#[test]
fn what_failed_for_long_is_asked_about_at_once_when_links_change() {
    let (a, b) = (target("a", "veth1"), target("b", "veth2"));
    let mut now = Instant::now();
    let mut known = Known::new(now);
    known.adopt(&set(&[&a, &b]), now);
    known.due(now);
    known.learn(found(&b, 8), now);
    for _ in 0..10 {
        known.learn(missing(&a), now);
        now = known.next_due(now).max(now);
        known.due(now);
    }
    known.learn(missing(&a), now);
    known.due(now + ROUND);
    known.learn(found(&b, 8), now + ROUND);
    assert!(known.due(now + ROUND).is_empty());
    let changed = now + ROUND;
    known.links_changed(changed);
    assert_eq!(ids(&known.due(changed)), ["a"], "b is where it was");
    // Not there yet: its next look-ups are close together again.
    known.learn(missing(&a), changed);
    assert!(known.next_due(changed) <= changed + 2 * TICK);
}

#[test]
fn what_is_being_asked_about_while_links_change_is_asked_again_soon() {
    let a = target("a", "veth1");
    let mut now = Instant::now();
    let mut known = Known::new(now);
    known.adopt(&set(&[&a]), now);
    for _ in 0..10 {
        known.due(now);
        known.learn(missing(&a), now);
        now = known.next_due(now);
    }
    assert_eq!(ids(&known.due(now)), ["a"]);
    known.links_changed(now);
    assert!(known.due(now).is_empty());
    known.learn(missing(&a), now);
    assert!(known.next_due(now) <= now + 2 * TICK);
}
