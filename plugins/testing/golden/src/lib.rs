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

/// 1,000 pods of 50 workloads in 10 namespaces with four rows each, and a gRPC row in every tenth: as many as
/// no node has, each with numbers of its own.
///
/// # Panics
/// Never.
pub fn thousand_targets() -> SnapshotData {
    let row = |pod: u64, (index, (method, status)): (u64, (&str, u16))| {
        json!({
            "direction": "server", "protocol": if index == 3 { "http/2" } else { "http/1.1" }, "method": method,
            "status": status, "probe": false, "count": 24 * (pod + index), "duration_sum_ns": 24 * (pod + index) * 20_000_000,
            "latency": {"offset": -60 + pod as i64 % 7, "counts": vec![pod + index; 24]},
        })
    };
    let target = |pod: u64| {
        let (workload, rows) = (
            pod % 50,
            [("GET", 200), ("POST", 201), ("GET", 404), ("POST", 503)],
        );
        let each = |index: u64| 24 * (pod + index);
        let all = (0..4).map(each).sum::<u64>();
        let grpc = json!({"direction": "server", "status": pod % 17, "count": pod});
        json!({
            "id": format!("uid-{pod:04}"), "pod": format!("app-{workload}-{pod}"), "uid": format!("uid-{pod:04}"),
            "namespace": format!("team-{}", workload % 10),
            "workload": {"kind": "Deployment", "name": format!("app-{workload}")},
            "services": [format!("app-{workload}")], "ips": [format!("10.0.{}.{}", pod / 250, pod % 250 + 1)],
            "labels": {"team": format!("team-{}", workload % 10)}, "status": "active", "reason": "",
            "totals": {
                "requests": all, "err4": each(2), "err5": each(3), "aborted": pod % 3, "in_flight": pod % 5,
                "seen": all + pod % 3 + pod % 5, "coverage": 1.0, "duration_last_ns": 20_000_000 + pod,
                "duration_sum_ns": all * 20_000_000, "duration_count": all,
            },
            "rows": (0..).zip(rows).map(|indexed| row(pod, indexed)).collect::<Vec<_>>(),
            "grpc": if pod % 10 == 1 { json!([grpc]) } else { json!([]) },
        })
    };
    let snapshot = json!({
        "node": "worker-1",
        "window": {"start": 1_790_000_000_000_000_000_u64, "end": 1_790_000_010_000_000_000_u64, "sequence": 7, "merged": 1},
        "temporality": "cumulative",
        "targets": (0..1000).map(target).collect::<Vec<_>>(),
    });
    SnapshotData::from_json(&snapshot.to_string()).expect("the JSON above is a snapshot")
}

/// Compares an output too long to be kept with what the golden file says of it: its length, its hash, and its
/// first and last lines, for a person to see.
///
/// # Panics
/// Where they differ.
#[track_caller]
pub fn assert_golden_digest(file: impl AsRef<Path>, actual: &str) {
    let lines: Vec<&str> = actual.lines().collect();
    let shown = lines
        .iter()
        .take(3)
        .chain(lines.iter().skip(3).rev().take(3).rev());
    let mut digest = format!(
        "{} lines, {} bytes, FNV-1a {:016x}\n",
        lines.len(),
        actual.len(),
        fnv1a(actual.as_bytes())
    );
    for line in shown {
        digest.push_str(line);
        digest.push('\n');
    }
    assert_golden(file, &digest);
}

/// <http://www.isthe.com/chongo/tech/comp/fnv/>: the standard library's hasher may change with the compiler.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
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
