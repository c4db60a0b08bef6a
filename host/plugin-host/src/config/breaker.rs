use std::time::Duration;

use owlk8s_pipeline::{Backoff, Breaker};
use serde::{Deserialize, Serialize};

/// When a plugin that faults again and again is left alone. A fault of its endpoint never counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerConfig {
    /// Faults in a row that open it.
    pub faults: u32,
    /// How long it is open the first time; twice as long each further time.
    #[serde(with = "humantime_serde")]
    pub first: Duration,
    /// The longest.
    #[serde(with = "humantime_serde")]
    pub max: Duration,
    /// Openings in a row after which the plugin is called no more until it is loaded anew; 0: never so.
    pub quarantine: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            faults: 3,
            first: Duration::from_secs(5),
            max: Duration::from_secs(600),
            // With these waits that is after an hour of nothing but faults.
            quarantine: 12,
        }
    }
}

impl BreakerConfig {
    /// Closed.
    pub(crate) fn breaker(&self) -> Breaker {
        let quarantine = (self.quarantine > 0).then_some(self.quarantine);
        Breaker::new(self.faults, Backoff::new(self.first, self.max), quarantine)
    }
}
