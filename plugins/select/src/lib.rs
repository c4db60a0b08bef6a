//! Filter: keeps, drops and renames targets, and drops rows, by globs over their names.
//!
//! A rule is a table of fields, and matches where all of them do: `{ namespace = "shop", pod = "cart-*" }`.
//! A list of rules matches where one of them does. `keep` comes before `drop`, and both look at a target as it
//! came: a new name is given last.
//!
//! Dropped rows are gone for whoever reads rows; totals are the agent's audit of a target and stay as
//! they are.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test panics where it fails")
)]

mod rules;

use owlk8s_plugin::{Filter, Rename, Result, Snapshot, Verdict, export_filter, manifest};
use serde::Deserialize;

use rules::{Columns, RowRule, TargetRule};

struct Select;

/// The filter's `config` table.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// Only targets that match one of them; none keeps all.
    keep: Vec<TargetRule>,
    /// Not the targets that match one of them.
    drop: Vec<TargetRule>,
    /// Not the rows that match one of them.
    drop_rows: Vec<RowRule>,
    /// New names; the first rule that matches a target counts.
    rename: Vec<Renaming>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Renaming {
    r#match: TargetRule,
    pod: Option<String>,
    namespace: Option<String>,
    /// The workload's name; its kind stays.
    workload: Option<String>,
}

impl Filter for Select {
    type Config = Config;

    fn validate(config: &Config) -> Result<()> {
        for (key, rules) in [("keep", &config.keep), ("drop", &config.drop)] {
            for (index, rule) in rules.iter().enumerate() {
                rule.check()
                    .map_err(|why| format!("config key `{key}[{index}]`: {why}"))?;
            }
        }
        for (index, rule) in config.drop_rows.iter().enumerate() {
            rule.check()
                .map_err(|why| format!("config key `drop_rows[{index}]`: {why}"))?;
        }
        for (index, renaming) in config.rename.iter().enumerate() {
            renaming
                .r#match
                .check()
                .map_err(|why| format!("config key `rename[{index}].match`: {why}"))?;
            let names = [&renaming.pod, &renaming.namespace, &renaming.workload];
            if names.iter().all(|name| name.is_none()) {
                return Err(format!(
                    "config key `rename[{index}]` gives no new name: `pod`, `namespace` or `workload`"
                )
                .into());
            }
        }
        Ok(())
    }

    fn filter(config: &Config, snapshot: &Snapshot<'_>) -> Result<Verdict> {
        let renamed = config.rename.iter().map(|renaming| &renaming.r#match);
        let columns = Columns::of(
            snapshot,
            config.keep.iter().chain(&config.drop).chain(renamed),
        )?;
        let kept: Vec<_> = snapshot
            .targets()
            .filter(|target| {
                let any =
                    |rules: &[TargetRule]| rules.iter().any(|rule| rule.matches(target, &columns));
                (config.keep.is_empty() || any(&config.keep)) && !any(&config.drop)
            })
            .collect();
        let rename = |target: &owlk8s_plugin::Target<'_>| {
            let rule = config
                .rename
                .iter()
                .find(|renaming| renaming.r#match.matches(target, &columns))?;
            Some(Rename {
                target: target.index(),
                pod: rule.pod.clone(),
                namespace: rule.namespace.clone(),
                workload_name: rule.workload.clone(),
            })
        };
        let rows = (!config.drop_rows.is_empty()).then(|| {
            snapshot
                .rows()
                .filter(|row| !config.drop_rows.iter().any(|rule| rule.matches(row)))
                .map(|row| row.index())
                .collect()
        });
        Ok(Verdict {
            renames: kept.iter().filter_map(rename).collect(),
            rows,
            ..Verdict::keep_targets(kept.iter().map(|target| target.index()))
        })
    }
}

export_filter!(Select);

manifest!({
    "description": "Keeps, drops and renames targets and rows by their names",
    "asks": { "columns": ["label:*"] }
});

#[cfg(test)]
mod tests;
