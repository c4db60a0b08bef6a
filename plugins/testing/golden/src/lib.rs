//! What the shipped plugins are tested with: the snapshots of `plugins/testing/snapshots/`, one of
//! 10,000 rows, and the comparison of an output with a golden file.

#![cfg(not(target_family = "wasm"))]

use std::path::Path;

use owlk8s_plugin::testing::SnapshotData;
use serde_json::json;

/// The snapshot of this name in `plugins/testing/snapshots/`.
///
/// # Panics
/// Where the file is missing or is no snapshot.
pub fn snapshot(name: &str) -> SnapshotData {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../snapshots")
        .join(name)
        .with_extension("json");
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    SnapshotData::from_json(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// 100 pods with 100 rows each: 10 methods by 10 statuses, 24 buckets a row.
///
/// # Panics
/// Never.
pub fn ten_thousand_rows() -> SnapshotData {
    let row = |pod: u64, index: u64| {
        let methods = [
            "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE",
        ];
        let statuses = [200, 201, 204, 301, 304, 400, 404, 500, 502, 503];
        json!({
            "direction": "server", "protocol": "http/1.1", "method": methods[index as usize / 10],
            "status": statuses[index as usize % 10], "probe": false, "count": 24 * (pod + 1),
            "duration_sum_ns": 24 * (pod + 1) * 20_000_000,
            "latency": {"offset": -60, "counts": vec![pod + 1; 24]},
        })
    };
    let target = |pod: u64| {
        let each = 24 * (pod + 1);
        json!({
            "id": format!("uid-{pod:03}"), "pod": format!("cart-{pod}"), "uid": format!("uid-{pod:03}"),
            "namespace": "shop", "workload": {"kind": "StatefulSet", "name": "cart"}, "services": ["cart"],
            "ips": [format!("10.0.0.{pod}")], "labels": {}, "status": "active", "reason": "",
            "totals": {
                "requests": 100 * each, "err4": 20 * each, "err5": 30 * each, "seen": 100 * each, "coverage": 1.0,
                "duration_last_ns": 20_000_000, "duration_sum_ns": 100 * each * 20_000_000, "duration_count": 100 * each,
            },
            "rows": (0..100).map(|index| row(pod, index)).collect::<Vec<_>>(),
        })
    };
    let snapshot = json!({
        "node": "worker-1",
        "window": {"start": 1_790_000_000_000_000_000_u64, "end": 1_790_000_010_000_000_000_u64, "sequence": 7, "merged": 1},
        "temporality": "cumulative",
        "targets": (0..100).map(target).collect::<Vec<_>>(),
    });
    SnapshotData::from_json(&snapshot.to_string()).expect("the JSON above is a snapshot")
}

/// Compares `actual` with the golden file; `UPDATE_GOLDEN=1` in the environment writes it instead.
///
/// # Panics
/// Where they differ, with the first line that does.
#[track_caller]
pub fn assert_golden(file: impl AsRef<Path>, actual: &str) {
    let file = file.as_ref();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(file, actual).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        return;
    }
    let golden = std::fs::read_to_string(file)
        .unwrap_or_else(|error| panic!("{}: {error} (UPDATE_GOLDEN=1 makes it)", file.display()));
    if golden == actual {
        return;
    }
    let difference = golden
        .lines()
        .zip(actual.lines())
        .enumerate()
        .find(|(_, (golden, actual))| golden != actual);
    match difference {
        Some((line, (golden, actual))) => {
            panic!(
                "{}:{}\n  golden: {golden}\n  actual: {actual}",
                file.display(),
                line + 1
            )
        }
        None => panic!(
            "{}: {} bytes, actual {}",
            file.display(),
            golden.len(),
            actual.len()
        ),
    }
}
