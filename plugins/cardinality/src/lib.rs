//! Filter: caps how many rows a target and the node have; the rest is counted in overflow rows.
//!
//! An overflow row has the method `_OTHER` and the first status of its class (200, 300, 400, 500), so rates, error
//! ratios and quantiles of a target stay whole: what is lost is who they are of. A row once admitted stays while
//! its target does, and one that was not stays in the overflow, so no count falls. Totals stay as they are.
//!
//! Which rows were admitted, and which targets have an overflow, is kept in the sink's state, 8 bytes each. The
//! busiest are admitted first.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test panics where it fails")
)]

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use owlk8s_plugin::{
    Filter, Histogram, Result, Row, RowKey, Snapshot, TablesBuilder, Target, Verdict,
    export_filter, manifest, state,
};
use serde::Deserialize;

struct Cardinality;

/// As many fit the default state, beside 1,000 targets.
const NODE_MAX: usize = 7_000;

/// The filter's `config` table.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// Rows of one target, overflow aside.
    target: usize,
    /// Rows of all targets, overflow aside.
    node: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            target: 50,
            node: 2_000,
        }
    }
}

impl Filter for Cardinality {
    type Config = Config;

    fn validate(config: &Config) -> Result<()> {
        match config.node {
            0..=NODE_MAX => Ok(()),
            node => Err(format!(
                "config key `node`: {node} rows are more than the {NODE_MAX} that can be remembered"
            )
            .into()),
        }
    }

    fn filter(config: &Config, snapshot: &Snapshot<'_>) -> Result<Verdict> {
        let mut memory = Memory::load();
        memory.admit(config, snapshot);
        let mut tables = TablesBuilder::new(snapshot, snapshot.temporality());
        for target in snapshot.targets() {
            tables.target(target.record(), target.total().clone());
            let mut rest: BTreeMap<RowKey<'_>, Overflow> = BTreeMap::new();
            for row in target.rows() {
                if memory.0.contains(&hash(&target, &row)) {
                    tables.row(
                        &RowKey::of(&row),
                        row.count,
                        row.duration_sum_ns,
                        &row.latency(),
                    );
                } else {
                    rest.entry(overflow_key(&row)).or_default().add(&row);
                }
            }
            for (key, sum) in rest {
                tables.row(&key, sum.count, sum.duration_sum_ns, &sum.latency);
            }
            for row in target.grpc_rows() {
                tables.grpc_row(row.client, row.status, row.count);
            }
        }
        memory.save()?;
        for name in snapshot.columns() {
            if let Some(values) = snapshot.column(&name) {
                tables.column(name, values);
            }
        }
        Ok(Verdict::replace(tables.finish()))
    }
}

export_filter!(Cardinality);

manifest!({
    "description": "Caps the rows of a target and of the node",
    "asks": { "columns": ["label:*"] }
});

#[derive(Default)]
struct Overflow {
    count: u64,
    duration_sum_ns: u64,
    latency: Histogram,
}

impl Overflow {
    fn add(&mut self, row: &Row<'_>) {
        self.count += row.count;
        self.duration_sum_ns += row.duration_sum_ns;
        self.latency.add(&row.latency());
    }
}

/// At most one for each side, class, protocol, and for probes.
fn overflow_key<'s>(row: &Row<'s>) -> RowKey<'s> {
    RowKey {
        method: "_OTHER",
        status: (row.status / 100 * 100).max(200),
        ..RowKey::of(row)
    }
}

/// Hashes of the rows that were admitted and of the targets that have an overflow.
struct Memory(HashSet<u64>);

impl Memory {
    fn load() -> Self {
        let bytes = state::get();
        let (words, _) = bytes.as_chunks::<8>();
        Self(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }

    fn save(&self) -> Result<()> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|hash| hash.to_le_bytes()).collect();
        Ok(state::set(&bytes)?)
    }

    /// Forgets what is gone, and admits new rows as far as there is room. A target that has an overflow admits no
    /// more: a row of it may be in there.
    fn admit(&mut self, config: &Config, snapshot: &Snapshot<'_>) {
        let before = std::mem::take(&mut self.0);
        let (mut rows, mut waiting) = (0, Vec::new());
        for target in snapshot.targets() {
            let overflow = overflow_hash(&target);
            let (mut old, mut new) = (0, Vec::new());
            for row in target.rows() {
                let hash = hash(&target, &row);
                if before.contains(&hash) {
                    self.0.insert(hash);
                    old += 1;
                } else {
                    new.push((Reverse(row.count), hash, overflow));
                }
            }
            rows += old;
            new.sort_unstable();
            let room = match before.contains(&overflow) {
                true => 0,
                false => config.target.saturating_sub(old),
            };
            if before.contains(&overflow) || new.len() > room {
                self.0.insert(overflow);
            }
            waiting.extend(new.into_iter().take(room));
        }
        waiting.sort_unstable();
        for (index, (_, hash, overflow)) in waiting.into_iter().enumerate() {
            let admitted = rows + index < config.node;
            self.0.insert(if admitted { hash } else { overflow });
        }
    }
}

fn overflow_hash(target: &Target<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (target.id(), "overflow").hash(&mut hasher);
    hasher.finish()
}

/// A target and what its row is told apart by.
fn hash(target: &Target<'_>, row: &Row<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    let key = RowKey::of(row);
    target.id().hash(&mut hasher);
    (key.client, key.probe, key.status).hash(&mut hasher);
    (key.protocol, key.method).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
