//! Files with snapshots: JSON as `GET /snapshot` serves it, one object or several, one after the other. A crash report
//! stands for the snapshot in it.

use owlk8s_model::{Snapshot, UnixNanos};
use serde_json::Value;
use thiserror::Error;

use super::node;
use crate::crash::{CrashReport, Redaction};

/// Names of snapshots that are there without a file.
pub const BUILT_IN: [&str; 4] = ["shop", "odd-names", "empty", "rows-50000"];

/// Why a file with snapshots cannot be read.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// It is no JSON, or not that of a snapshot.
    #[error(
        "snapshot {number} of the file: {problem} (the form is that of GET /snapshot; see plugins/README.md)"
    )]
    Form {
        /// Of the object in the file, from 1.
        number: usize,
        /// What was found, and where.
        problem: String,
    },
    /// It holds none.
    #[error("the file holds no snapshot")]
    Empty,
    /// The crash was in `validate`, to which none is given.
    #[error("the crash report holds no snapshot: the plugin crashed in `validate`")]
    NoneInReport,
}

/// One of [`BUILT_IN`]; none for another name.
pub fn built_in(name: &str) -> Option<Snapshot> {
    let json = match name {
        "shop" => include_str!("../../../../plugins/testing/snapshots/shop.json"),
        "odd-names" => include_str!("../../../../plugins/testing/snapshots/odd-names.json"),
        "empty" => include_str!("../../../../plugins/testing/snapshots/empty.json"),
        "rows-50000" => return Some(node(500, 100, 1)),
        _ => return None,
    };
    serde_json::from_str(json).ok()
}

/// All snapshots of a file, in order.
pub fn read_snapshots(text: &str) -> Result<Vec<Snapshot>, SnapshotError> {
    let mut snapshots = Vec::new();
    let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    for (number, value) in (1..).zip(values) {
        let form = |error: serde_json::Error| SnapshotError::Form {
            number,
            problem: error.to_string(),
        };
        let value = value.map_err(form)?;
        snapshots.push(if value.get("config_digest").is_some() {
            let report: CrashReport = serde_json::from_value(value).map_err(form)?;
            report.snapshot.ok_or(SnapshotError::NoneInReport)?
        } else {
            serde_json::from_value(value).map_err(form)?
        });
    }
    if snapshots.is_empty() {
        return Err(SnapshotError::Empty);
    }
    if snapshots.len() > 1 {
        snapshots.iter_mut().for_each(sort);
    }
    Ok(snapshots)
}

/// One window is taken from the next target by target, in this order.
fn sort(snapshot: &mut Snapshot) {
    snapshot.targets.sort_by(|a, b| a.id.cmp(&b.id));
}

/// The same counts of other names and addresses, as in a crash report; equal ones are still equal, over all snapshots.
pub fn redacted(snapshots: Vec<Snapshot>) -> Vec<Snapshot> {
    let mut redaction = Redaction::new();
    let mut one = |mut snapshot: Snapshot| {
        for target in &mut snapshot.targets {
            target.interface.clear();
            target.hook_reason.clear();
        }
        snapshot.targets_confirmed_at = UnixNanos(snapshot.window.end.0);
        let mut snapshot = redaction.snapshot(snapshot);
        sort(&mut snapshot);
        snapshot
    };
    snapshots.into_iter().map(&mut one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_are_built_in_are_there_and_survive_their_own_form() {
        for name in BUILT_IN {
            let snapshot = built_in(name).unwrap_or_else(|| panic!("{name}"));
            let json = serde_json::to_string(&snapshot).unwrap();
            assert_eq!(read_snapshots(&json).unwrap(), [snapshot], "{name}");
        }
        let rows: usize = built_in("rows-50000")
            .unwrap()
            .targets
            .iter()
            .map(|t| t.rows.len())
            .sum();
        assert_eq!(rows, 50_000);
    }

    #[test]
    fn file_holds_several_and_what_a_person_leaves_out_is_empty() {
        let one = r#"{"node": "n", "window": {"start": 0, "end": 1, "sequence": 1, "merged": 1}, "temporality": "delta",
                      "targets": [{"id": "a/b", "pod": "b", "status": "active", "totals": {"requests": 3},
                        "rows": [{"direction": "server", "protocol": "http/2", "method": "GET", "status": 200, "count": 3}]}]}"#;
        let both = read_snapshots(&format!("{one}\n{one}")).unwrap();
        assert_eq!(both.len(), 2);
        assert_eq!(both[1].targets[0].rows[0].count, 3);
        let error = read_snapshots(&format!("{one}{{\"node\": 1}}"))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("snapshot 2 of the file: "), "{error}");
        assert_eq!(
            read_snapshots(" ").unwrap_err().to_string(),
            "the file holds no snapshot"
        );
    }

    #[test]
    fn targets_are_in_the_order_in_which_windows_are_compared() {
        let in_order = |snapshot: &Snapshot| snapshot.targets.is_sorted_by_key(|target| &target.id);
        let mut shop = built_in("shop").unwrap();
        shop.targets.reverse();
        assert!(!in_order(&shop), "or this shows nothing");
        let json = serde_json::to_string(&shop).unwrap();
        let windows = read_snapshots(&(json.clone() + &json)).unwrap();
        assert!(windows.iter().all(in_order));
        for _ in 0..20 {
            assert!(redacted(vec![shop.clone()]).iter().all(in_order));
        }
    }

    #[test]
    fn names_are_other_ones_and_equal_over_all_windows() {
        let shop = built_in("shop").unwrap();
        let later = Snapshot {
            window: owlk8s_model::Window {
                sequence: 43,
                ..shop.window
            },
            ..shop.clone()
        };
        let redacted = redacted(vec![shop.clone(), later]);
        assert_eq!(redacted[0].targets, redacted[1].targets);
        let text = serde_json::to_string(&redacted).unwrap();
        for name in [
            "cart-0",
            "shop",
            "10.244.1.17",
            "worker-1",
            "veth1f0d6c",
            "checkout",
        ] {
            assert!(!text.contains(name), "{name} is in {text}");
        }
        let requests = |snapshot: &Snapshot| {
            snapshot
                .targets
                .iter()
                .map(|t| t.totals.requests)
                .sum::<u64>()
        };
        assert_eq!(requests(&redacted[0]), requests(&shop));
    }
}
