//! Filter: sums pods to their workloads, services or namespaces, optionally the busiest N of them and `other`.
//!
//! Counts since a pod's discovery cannot be summed: the sum would fall when a pod goes. Differences can, and a
//! pod that went between two windows still has its last ones in the next. So the sink's mode must be `delta`.
//!
//! What is handed on are differences as well (`counts = "delta"`), or, for those who need counters that only
//! rise, such as the plugin `prometheus`, what was added up so far (`counts = "cumulative"`), in the sink's
//! state: some 50 bytes for each status and method of a group.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test panics where it fails")
)]

mod busiest;
mod group;
mod memory;

use owlk8s_plugin::records::Temporality;
use owlk8s_plugin::{
    Filter, Result, Snapshot, TablesBuilder, Verdict, export_filter, manifest, state,
};
use serde::Deserialize;

use group::Groups;
use memory::Memory;

struct Aggregate;

/// The filter's `config` table.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    by: By,
    /// How many groups keep their name; 0 is all.
    top: usize,
    counts: Counts,
}

/// What becomes one target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum By {
    /// A pod without a workload stays alone.
    #[default]
    Workload,
    /// A pod counts for the first of its services, so that nothing counts twice.
    Service,
    Namespace,
}

/// What the sums count from.
#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Counts {
    #[default]
    Delta,
    Cumulative,
}

impl Filter for Aggregate {
    type Config = Config;

    fn filter(config: &Config, snapshot: &Snapshot<'_>) -> Result<Verdict> {
        if snapshot.temporality() == Temporality::Cumulative {
            return Err(
                "sums of counts since discovery would fall when a pod goes: set the sink's `mode` to \"delta\"".into(),
            );
        }
        let window = Groups::of(config.by, snapshot);
        let (groups, temporality) = match config.counts {
            Counts::Delta => {
                let names = busiest::of_window(config.top, &window);
                (window.folded(config.by, &names), Temporality::Delta)
            }
            Counts::Cumulative => {
                let mut memory = Memory::load();
                memory.add(config, snapshot.window(), window);
                let sums = memory.sums();
                memory.save()?;
                (sums, Temporality::Cumulative)
            }
        };
        let mut tables = TablesBuilder::new(snapshot, temporality);
        groups.write(&mut tables, snapshot);
        Ok(Verdict::replace(tables.finish()))
    }
}

export_filter!(Aggregate);

manifest!({
    "description": "Sums pods to workloads, services or namespaces"
});

/// As a reader of the sink's status is told it.
fn too_large(problem: &str) -> String {
    format!("{problem} (raise the sink's `limits.state`, or set `top` in the filter's config)")
}

/// Keeps the sums for the next window.
fn keep(bytes: &[u8]) -> Result<()> {
    state::set(bytes).map_err(|problem| too_large(&problem).into())
}

#[cfg(test)]
mod tests;
