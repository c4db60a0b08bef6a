use std::sync::Arc;

use super::*;
use crate::tables::fixtures::tables;

fn snapshot() -> Snapshot {
    let names = ["frontend-0", "backend-0", "frontend-1"];
    Redaction::new().snapshot(Arc::new(tables(&names)).snapshot())
}

#[test]
fn snapshot_of_a_report_has_the_true_counts_and_no_true_name() {
    let json = serde_json::to_string(&snapshot()).unwrap();
    for name in ["frontend", "backend", "team-", "\"node\":\"node\""] {
        // `team-...` is a label's value; its key is the configuration's.
        assert!(!json.contains(name), "{name} is in {json}");
    }
    let counts: Vec<u64> = snapshot()
        .targets
        .iter()
        .map(|t| t.totals.requests)
        .collect();
    assert_eq!(counts, [1, 2, 3]);
    assert_eq!(snapshot().window.sequence, 1);
}

#[test]
fn snapshot_over_its_bound_loses_its_last_targets_and_says_how_many() {
    let names: Vec<String> = (0..3_000).map(|n| format!("pod-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (kept, left_out) = bounded(tables(&names).snapshot());
    assert!(left_out > 0);
    assert_eq!(kept.targets.len() as u64 + left_out, 3_000);
    assert!(serde_json::to_vec(&kept).unwrap().len() < SNAPSHOT_MAX + 4096);
}

#[test]
fn report_that_is_none_or_too_large_is_refused() {
    assert!(
        CrashReport::received("{}")
            .unwrap_err()
            .contains("missing field")
    );
    let large = " ".repeat(REPORT_MAX + 1);
    assert!(CrashReport::received(&large).unwrap_err().contains("over"));
}
