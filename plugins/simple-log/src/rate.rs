//! Requests a second, per target.
//!
//! A window of differences holds what it takes. Counts since discovery are compared with those of the
//! window before, which are kept in the sink's state (about 60 bytes a target).

use std::collections::BTreeMap;

use owlk8s_plugin::records::Temporality;
use owlk8s_plugin::{Snapshot, Target, log, state};
use serde::{Deserialize, Serialize};

/// Counts of the window before.
#[derive(Default, Deserialize, Serialize)]
struct Before {
    end_unix_ns: u64,
    requests: BTreeMap<String, u64>,
}

/// What is needed to know the rate of a window's targets.
pub(crate) struct Rates {
    before: Option<Before>,
    seconds: f64,
}

impl Rates {
    /// Of this window; remembers its counts for the next.
    pub(crate) fn of(snapshot: &Snapshot<'_>) -> Self {
        let window = snapshot.window();
        if snapshot.temporality() == Temporality::Delta {
            return Self {
                before: None,
                seconds: window.duration().as_secs_f64(),
            };
        }
        let before: Before = state::load().unwrap_or_default();
        let requests = snapshot
            .targets()
            .map(|target| (target.id().to_owned(), target.total().requests));
        let now = Before {
            end_unix_ns: window.end_unix_ns,
            requests: requests.collect(),
        };
        if let Err(problem) = state::save(&now) {
            log::debug(format!("the next window has no rates: {problem}"));
            let _ = state::set(&[]);
        }
        let seconds = window.end_unix_ns.saturating_sub(before.end_unix_ns) as f64 / 1e9;
        Self {
            before: Some(before),
            seconds,
        }
    }

    /// None for a target that the window before did not hold.
    pub(crate) fn per_second(&self, target: &Target<'_>) -> Option<f64> {
        let earlier = match &self.before {
            None => 0,
            Some(before) => *before.requests.get(target.id())?,
        };
        let requests = target.total().requests.saturating_sub(earlier);
        (self.seconds > 0.0).then(|| requests as f64 / self.seconds)
    }
}
