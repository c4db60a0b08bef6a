use serde_json::json;

use super::history::Change;
use super::*;
use crate::selector::{Fields, Labels};

fn put(store: &Store, name: &str, node: &str, color: &str) -> u64 {
    let pod = json!({
        "metadata": {"name": name, "namespace": "shop", "labels": {"color": color}}, "spec": {"nodeName": node}
    });
    let key = Key::new("shop", name);
    store
        .change(Kind::Pod, &key, |_| Ok(Some(pod)))
        .unwrap()
        .unwrap()
        .0
}

fn remove(store: &Store, name: &str) -> u64 {
    let key = Key::new("shop", name);
    store
        .change(Kind::Pod, &key, |_| Ok(None))
        .unwrap()
        .unwrap()
        .0
}

fn names(page: &Page) -> Vec<&str> {
    page.items.iter().map(|object| &*object.key.name).collect()
}

fn on(node: &str) -> Selector {
    Selector {
        fields: Fields::parse(&format!("spec.nodeName={node}"), Kind::Pod.resource()).unwrap(),
        ..Selector::default()
    }
}

fn list(store: &Store, selector: &Selector, at: At) -> Page {
    store
        .list(Kind::Pod, selector, at, None, None)
        .unwrap_or_else(|problem| panic!("{problem:?}"))
}

#[test]
fn list_at_an_older_version_shows_what_was_there_then() {
    let store = Store::new();
    put(&store, "a", "n1", "red");
    put(&store, "b", "n2", "red");
    let then = put(&store, "c", "n1", "red");
    remove(&store, "a");
    put(&store, "b", "n1", "blue");
    put(&store, "d", "n1", "red");
    let all = Selector::default();
    assert_eq!(names(&list(&store, &all, At::Latest)), ["b", "c", "d"]);
    let old = list(&store, &all, At::Exactly(then));
    assert_eq!((names(&old), old.version), (vec!["a", "b", "c"], then));
    assert_eq!(old.items[1].label("color"), Some("red"));
    assert_eq!(
        names(&list(&store, &on("n1"), At::Exactly(then))),
        ["a", "c"]
    );
    assert_eq!(names(&list(&store, &on("n1"), At::Latest)), ["b", "c", "d"]);
}

#[test]
fn pages_of_one_version_are_what_one_list_of_it_is() {
    let store = Store::new();
    for name in ["a", "b", "c", "d", "e"] {
        put(&store, name, "n1", "red");
    }
    let all = Selector::default();
    let first = store
        .list(Kind::Pod, &all, At::Latest, None, Some(2))
        .unwrap_or_else(|_| panic!());
    assert_eq!(names(&first), ["a", "b"]);
    let (next, remaining) = first.rest.unwrap();
    assert_eq!((&*next.name, remaining), ("c", 3));
    remove(&store, "c");
    put(&store, "aa", "n1", "red");
    put(&store, "f", "n1", "red");
    let at = At::Exactly(first.version);
    let second = store
        .list(Kind::Pod, &all, at, Some(&next), None)
        .unwrap_or_else(|_| panic!());
    assert_eq!(names(&second), ["c", "d", "e"]);
    assert!(second.rest.is_none());
}

#[test]
fn equal_object_takes_no_version() {
    let store = Store::new();
    let first = put(&store, "a", "n1", "red");
    assert_eq!(put(&store, "a", "n1", "red"), first);
    assert_eq!(put(&store, "a", "n1", "blue"), first + 1);
}

#[test]
fn watcher_sees_objects_enter_and_leave_its_selection() {
    let red = Selector {
        labels: Labels::parse("color=red").unwrap(),
        ..Selector::default()
    };
    let store = Store::new();
    let start = store.version();
    for color in ["blue", "red", "red ", "red", "blue"] {
        put(
            &store,
            "a",
            if color == "red " { "n2" } else { "n1" },
            color.trim(),
        );
    }
    let last = remove(&store, "a");
    let (events, upto) = store.events_after(start, 100).unwrap();
    assert_eq!(upto, last);
    let seen: Vec<_> = events
        .iter()
        .filter_map(|event| event.seen_by(&red))
        .map(|(change, object)| (change, object.label("color").unwrap().to_owned()))
        .collect();
    let red = || "red".to_owned();
    assert_eq!(
        seen,
        [
            (Change::Added, red()),
            (Change::Modified, red()),
            (Change::Modified, red()),
            (Change::Deleted, red())
        ]
    );
}

#[test]
fn history_is_bounded_and_says_so() {
    let store = Store::new();
    store.keep_events(2);
    let versions: Vec<_> = ["a", "b", "c"]
        .map(|name| put(&store, name, "n1", "red"))
        .into();
    let expired = Err(VersionProblem::Expired { floor: versions[0] });
    assert_eq!(store.may_watch_from(versions[0] - 1), expired);
    assert_eq!(store.may_watch_from(versions[0]), Ok(()));
    assert!(store.events_after(versions[0] - 1, 10).is_none());
    assert_eq!(store.events_after(versions[0], 10).unwrap().0.len(), 2);
    assert_eq!(store.events_after(versions[0], 1).unwrap().1, versions[1]);
}

#[test]
fn compaction_refuses_new_watches_and_leaves_open_ones() {
    let store = Store::new();
    let start = store.version();
    let latest = put(&store, "a", "n1", "red");
    store.compact();
    assert_eq!(
        store.may_watch_from(start),
        Err(VersionProblem::Expired { floor: latest })
    );
    assert_eq!(store.may_watch_from(latest), Ok(()));
    assert_eq!(store.events_after(start, 10).unwrap().0.len(), 1);
    let expired = store.list(
        Kind::Pod,
        &Selector::default(),
        At::Exactly(start),
        None,
        None,
    );
    assert_eq!(
        expired.err(),
        Some(VersionProblem::Expired { floor: latest })
    );
    let future = store.list(
        Kind::Pod,
        &Selector::default(),
        At::NotOlderThan(latest + 1),
        None,
        None,
    );
    assert_eq!(
        future.err(),
        Some(VersionProblem::Future { current: latest })
    );
}
