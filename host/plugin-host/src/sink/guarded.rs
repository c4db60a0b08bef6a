//! The breaker of a sink's plugins: a fault is told at the desk together with what it means.

use std::time::Instant;

use owlk8s_pipeline::{Borne, Breaker, BreakerState};

use crate::config::BreakerConfig;
use crate::desk::Desk;
use crate::frames::Resume;
use crate::status::{BreakerStatus, SinkState};

pub(super) struct Guarded {
    breaker: Breaker,
    desk: Desk,
    quarantine: u32,
    /// Why it is in quarantine since an earlier plugin process.
    reason: String,
}

impl Guarded {
    /// Goes on where the sink was under an earlier plugin process; a new generation begins anew.
    pub(super) fn new(desk: &Desk, config: &BreakerConfig, resume: &Resume) -> Self {
        Self {
            breaker: config.breaker().after(resume.openings),
            desk: desk.clone(),
            quarantine: config.quarantine,
            reason: resume.last_error.clone(),
        }
    }

    /// Active, or still in quarantine.
    pub(super) fn announce(&self) {
        self.publish(Instant::now());
        if self.breaker.is_quarantined() {
            let reason = self.quarantined(&self.reason);
            self.desk.state(SinkState::Quarantined, &reason);
        } else {
            self.desk.state(SinkState::Active, "");
        }
    }

    /// A plugin's fault, never the endpoint's.
    pub(super) fn fault(&mut self, fault: &str) {
        self.desk
            .fault(fault, |counters| counters.plugin_faults += 1);
        let now = Instant::now();
        match self.breaker.fault(now, fastrand::f64()) {
            Borne::Yes => {}
            Borne::Opened(wait) => {
                let reason = format!("{fault}; it is called again in {:.0} s", wait.as_secs_f64());
                self.desk.state(SinkState::Backoff, &reason);
            }
            Borne::Quarantined => {
                let reason = self.quarantined(fault);
                self.desk.state(SinkState::Quarantined, &reason);
            }
        }
        self.publish(now);
    }

    pub(super) fn success(&mut self) {
        if self.breaker.openings() > 0 {
            self.breaker.success();
            self.publish(Instant::now());
        } else {
            self.breaker.success();
        }
    }

    /// A call is made: it may be the one that is tried.
    pub(super) fn calling(&self, now: Instant) {
        if self.breaker.openings() > 0 {
            self.publish(now);
        }
    }

    pub(super) fn state(&self, now: Instant) -> BreakerState {
        self.breaker.state(now)
    }

    pub(super) fn waits_until(&self, now: Instant) -> Option<Instant> {
        self.breaker.waits_until(now)
    }

    fn quarantined(&self, fault: &str) -> String {
        format!(
            "{fault}; it is called no more until it is loaded anew, after {} waits that did not help \
             (breaker.quarantine = {})",
            self.quarantine.saturating_sub(1),
            self.quarantine
        )
    }

    fn publish(&self, now: Instant) {
        let breaker = BreakerStatus {
            state: self.breaker.state(now),
            openings: self.breaker.openings(),
        };
        self.desk.status(|status| status.breaker = breaker);
    }
}
