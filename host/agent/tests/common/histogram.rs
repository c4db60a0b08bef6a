//! The buckets of a pod in a snapshot, and where a quantile must lie.

use std::collections::BTreeMap;

use serde_json::Value;

/// Counts of a pod's server rows by bucket index.
pub fn histogram(pod: &Value) -> BTreeMap<i64, u64> {
    let mut sum = BTreeMap::new();
    let rows = pod["rows"].as_array().unwrap();
    for row in rows.iter().filter(|row| row["direction"] == "server") {
        let offset = row["latency"]["offset"].as_i64().unwrap();
        for (index, count) in (offset..).zip(row["latency"]["counts"].as_array().unwrap()) {
            *sum.entry(index).or_default() += count.as_u64().unwrap();
        }
    }
    sum
}

/// Edges of the bucket that holds the quantile, seconds.
pub fn bucket_of(histogram: &BTreeMap<i64, u64>, q: f64) -> (f64, f64) {
    let rank = q * histogram.values().sum::<u64>() as f64;
    let mut below = 0;
    let (index, _) = histogram
        .iter()
        .find(|(_, count)| {
            below += **count;
            below as f64 >= rank
        })
        .unwrap();
    let edge = |index: i64| 2f64.powf(index as f64 / 8.0);
    (edge(*index), edge(index + 1))
}
