//! `owlk8s doctor`: whether the agent can work here, each thing with what was found and, where it is not as it must be,
//! what to do. It changes nothing: what it loads and opens is gone when it ends.

mod kernel;
mod kubernetes;
mod network;
mod plugins;
mod running;

use std::fmt::Write as _;

use serde::Serialize;

use crate::config::Config;

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    /// What it is about: `kernel`, `capabilities`, ...
    name: String,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// What to do; empty where nothing is to be done.
    #[serde(skip_serializing_if = "String::is_empty")]
    remedy: String,
}

/// How it stands with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// As it must be.
    Ok,
    /// Not looked at, since something else is missing or not configured.
    Skipped,
    /// The agent works, with less.
    Warning,
    /// The agent cannot work.
    Failed,
}

impl Check {
    fn new(name: impl Into<String>, verdict: Verdict, found: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            verdict,
            found: found.into(),
            remedy: String::new(),
        }
    }

    fn ok(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(name, Verdict::Ok, found)
    }

    fn skipped(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(name, Verdict::Skipped, why)
    }

    fn warning(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(name, Verdict::Warning, found)
    }

    fn failed(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(name, Verdict::Failed, found)
    }

    fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }
}

/// All checks, in the order of what needs what.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The worst of them.
    verdict: Verdict,
    checks: Vec<Check>,
}

impl Report {
    fn new(checks: Vec<Check>) -> Self {
        let worst = checks.iter().map(|check| check.verdict).max();
        Self {
            // What was skipped is no complaint.
            verdict: worst
                .filter(|worst| *worst > Verdict::Skipped)
                .unwrap_or(Verdict::Ok),
            checks,
        }
    }

    /// Whether the agent cannot work here.
    pub(crate) fn is_failed(&self) -> bool {
        self.verdict == Verdict::Failed
    }

    pub(crate) fn json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// For people: a line each, and the remedy below.
    pub(crate) fn text(&self) -> String {
        let widest = self.checks.iter().map(|check| check.name.len()).max();
        let width = widest.unwrap_or_default();
        let mut text = String::new();
        for check in &self.checks {
            let verdict = match check.verdict {
                Verdict::Ok => "ok",
                Verdict::Skipped => "skipped",
                Verdict::Warning => "warning",
                Verdict::Failed => "FAILED",
            };
            let _ = writeln!(text, "{verdict:<8} {:<width$}  {}", check.name, check.found);
            if !check.remedy.is_empty() {
                let _ = writeln!(text, "{:<8} {:<width$}  -> {}", "", "", check.remedy);
            }
        }
        text
    }
}

/// Looks at everything.
pub(crate) async fn examine(config: &Config) -> Report {
    let mut checks = kernel::checks(config);
    checks.push(network::check());
    checks.push(plugins::check());
    checks.extend(kubernetes::checks(config).await);
    checks.extend(running::checks(config).await);
    Report::new(checks)
}

#[cfg(test)]
mod tests;
