//! What holds, for how long, and what is to be told.

use std::collections::BTreeMap;

use owlk8s_plugin::Snapshot;
use serde::{Deserialize, Serialize};

use crate::rules::{Metric, Rule};

/// Groups for which a rule holds, by rule and group. Others need no memory.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Memory(BTreeMap<String, BTreeMap<String, Held>>);

/// How long a rule has held for a group.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Held {
    windows: u32,
    since_unix_ms: u64,
    told: bool,
}

/// The body of a request: what began and what ended in this window.
#[derive(Serialize)]
pub(crate) struct Notice<'r> {
    node: String,
    window_start_unix_ms: u64,
    window_end_unix_ms: u64,
    firing: Vec<Alert<'r>>,
    resolved: Vec<Alert<'r>>,
}

#[derive(Serialize)]
struct Alert<'r> {
    rule: &'r str,
    /// `shop/Deployment/cart`.
    group: String,
    metric: Metric,
    /// None where the group is gone, is blind, or had too few requests.
    value: Option<f64>,
    /// `above` or `below`.
    side: &'static str,
    threshold: f64,
    /// End of the first window in which it held.
    since_unix_ms: u64,
}

impl Memory {
    /// The memory after this window, and what is to be told; nothing where nothing began or ended.
    pub(crate) fn judge<'r>(
        &self,
        rules: &'r [Rule],
        snapshot: &Snapshot<'_>,
    ) -> (Self, Option<Notice<'r>>) {
        let window = snapshot.window();
        let mut after = Self::default();
        let mut notice = Notice {
            node: snapshot.node().to_owned(),
            window_start_unix_ms: window.start_unix_ns / 1_000_000,
            window_end_unix_ms: window.end_unix_ms(),
            firing: Vec::new(),
            resolved: Vec::new(),
        };
        let none = BTreeMap::new();
        for rule in rules {
            let before = self.0.get(&rule.name).unwrap_or(&none);
            let groups = rule.groups(snapshot);
            let seconds = window.duration().as_secs_f64();
            let held = after.0.entry(rule.name.clone()).or_default();
            for (name, group) in &groups {
                let judged = rule.holds(group, seconds);
                let was = before.get(name);
                let now = match judged {
                    Some((_, true)) => Held {
                        windows: was.map_or(0, |held| held.windows).saturating_add(1),
                        since_unix_ms: was.map_or(window.end_unix_ms(), |held| held.since_unix_ms),
                        told: was.is_some_and(|held| held.told),
                    },
                    _ => continue,
                };
                let tell = now.windows >= rule.windows && !now.told;
                if tell {
                    let value = judged.map(|(value, _)| value);
                    notice
                        .firing
                        .push(Alert::of(rule, name, value, now.since_unix_ms));
                }
                let told = now.told || tell;
                held.insert(name.clone(), Held { told, ..now });
            }
            for (name, was) in before {
                if was.told && !held.contains_key(name) {
                    let group = groups.get(name);
                    let value = group.and_then(|group| rule.holds(group, seconds));
                    let value = value.map(|(value, _)| value);
                    notice
                        .resolved
                        .push(Alert::of(rule, name, value, was.since_unix_ms));
                }
            }
        }
        let silent = notice.firing.is_empty() && notice.resolved.is_empty();
        (after, (!silent).then_some(notice))
    }
}

impl<'r> Alert<'r> {
    fn of(rule: &'r Rule, group: &str, value: Option<f64>, since_unix_ms: u64) -> Self {
        Self {
            rule: &rule.name,
            group: group.to_owned(),
            metric: rule.metric,
            value,
            side: rule.side(),
            threshold: rule.threshold(),
            since_unix_ms,
        }
    }
}

impl Notice<'_> {
    pub(crate) fn body(&self) -> Vec<u8> {
        serde_json::to_vec(self)
            .unwrap_or_else(|_| unreachable!("text and finite numbers are JSON"))
    }

    /// For the log.
    pub(crate) fn summary(&self) -> String {
        let names = |alerts: &[Alert<'_>]| -> String {
            let names = alerts
                .iter()
                .map(|alert| format!("{} of {}", alert.rule, alert.group));
            names.collect::<Vec<_>>().join(", ")
        };
        format!(
            "told: firing [{}], resolved [{}]",
            names(&self.firing),
            names(&self.resolved)
        )
    }
}
