//! What a rule looks at, and whether it holds.

use std::collections::BTreeMap;

use owlk8s_plugin::records::Status;
use owlk8s_plugin::{Histogram, Snapshot, Target};
use serde::{Deserialize, Serialize};

/// Holds where `metric` is above or below a threshold for some windows in a row.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) metric: Metric,
    above: Option<f64>,
    below: Option<f64>,
    /// Windows in a row.
    #[serde(rename = "for", default = "one")]
    pub(crate) windows: u32,
    /// A window with fewer says nothing about ratios and quantiles.
    #[serde(default = "one_request")]
    min_requests: u64,
    #[serde(default)]
    by: By,
    /// Only this one; none is all.
    namespace: Option<String>,
}

fn one() -> u32 {
    1
}

fn one_request() -> u64 {
    1
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    /// Answered requests a second.
    Rate,
    /// Share of answers with 5xx, 0 to 1.
    ErrorRatio,
    /// Seconds.
    P50,
    /// Seconds.
    P90,
    /// Seconds.
    P99,
    /// Share of the seen requests that was counted, 0 to 1; of the worst target.
    Coverage,
}

/// Whose numbers are put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum By {
    /// A pod without a workload stands alone.
    #[default]
    Workload,
    Service,
    Pod,
    Namespace,
}

/// What came of one group in a window.
#[derive(Default)]
pub(crate) struct Group {
    requests: u64,
    errors: u64,
    /// One of its targets is read: the zeros of others mean nothing.
    heard: bool,
    latency: Histogram,
    coverage: Option<f64>,
}

impl Rule {
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.name.is_empty() {
            return Err("`name` must not be empty");
        }
        if self.windows == 0 {
            return Err("`for` counts windows, at least 1");
        }
        let threshold = match (self.above, self.below) {
            (Some(threshold), None) | (None, Some(threshold)) => threshold,
            _ => return Err("needs one of `above` and `below`"),
        };
        match self.metric {
            _ if threshold.is_nan() || threshold < 0.0 => Err("the threshold must be at least 0"),
            Metric::ErrorRatio | Metric::Coverage if threshold > 1.0 => {
                Err("the threshold is a share, 0 to 1")
            }
            _ => Ok(()),
        }
    }

    /// The threshold, whichever way it is meant.
    pub(crate) fn threshold(&self) -> f64 {
        self.above.or(self.below).unwrap_or_default()
    }

    /// `above` or `below`.
    pub(crate) fn side(&self) -> &'static str {
        if self.above.is_some() {
            "above"
        } else {
            "below"
        }
    }

    /// The rule's groups in this window.
    pub(crate) fn groups(&self, snapshot: &Snapshot<'_>) -> BTreeMap<String, Group> {
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        for target in snapshot.targets() {
            let elsewhere = |namespace: &String| *namespace != target.namespace();
            if self.namespace.as_ref().is_some_and(elsewhere) {
                continue;
            }
            for name in self.by.names(&target) {
                groups.entry(name).or_default().add(&target, self.metric);
            }
        }
        groups
    }

    /// The value, and whether the rule holds; none where the window says nothing about it.
    pub(crate) fn holds(&self, group: &Group, seconds: f64) -> Option<(f64, bool)> {
        let value = group.value(self.metric, seconds, self.min_requests)?;
        let holds = match (self.above, self.below) {
            (Some(above), _) => value > above,
            (None, Some(below)) => value < below,
            (None, None) => false,
        };
        Some((value, holds))
    }
}

impl By {
    fn names(self, target: &Target<'_>) -> Vec<String> {
        let within = |name: &str| match target.namespace() {
            "" => name.to_owned(),
            namespace => format!("{namespace}/{name}"),
        };
        match self {
            Self::Pod => vec![target.full_name()],
            Self::Namespace => vec![target.namespace().to_owned()],
            Self::Workload if target.workload_name().is_empty() => vec![target.full_name()],
            Self::Workload => vec![within(&target.workload())],
            Self::Service => target.services().iter().map(within).collect(),
        }
    }
}

impl Group {
    fn add(&mut self, target: &Target<'_>, metric: Metric) {
        let total = target.total();
        let attached = matches!(target.status(), Status::Active | Status::Degraded);
        self.heard |= attached && !total.is_blind();
        self.requests += total.requests;
        self.errors += total.err5;
        self.coverage = Some(
            self.coverage
                .map_or(total.coverage, |c| c.min(total.coverage)),
        );
        if metric.quantile().is_some() {
            self.latency.add(&target.latency());
        }
    }

    fn value(&self, metric: Metric, seconds: f64, min_requests: u64) -> Option<f64> {
        let enough = self.requests >= min_requests.max(1);
        match metric {
            Metric::Rate => (self.heard && seconds > 0.0).then(|| self.requests as f64 / seconds),
            Metric::Coverage => self.coverage,
            Metric::ErrorRatio => enough.then(|| self.errors as f64 / self.requests as f64),
            Metric::P50 | Metric::P90 | Metric::P99 if enough => {
                let duration = self.latency.quantile(metric.quantile()?)?;
                Some(duration.as_secs_f64())
            }
            _ => None,
        }
    }
}

impl Metric {
    fn quantile(self) -> Option<f64> {
        match self {
            Self::P50 => Some(0.5),
            Self::P90 => Some(0.9),
            Self::P99 => Some(0.99),
            _ => None,
        }
    }
}
