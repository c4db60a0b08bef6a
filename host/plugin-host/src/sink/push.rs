//! Sinks that are given windows: a formatter's payloads go to its endpoints, an exporter sends by itself.
//!
//! Payloads that an endpoint did not take are tried again as they are, after a backoff, until they
//! arrive, are refused, or (in `latest`) are overtaken. So a window with two endpoints reaches each once,
//! and in `delta` no count is sent twice because a neighbour was away.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use owlk8s_pipeline::{Attempt, Backoff, BreakerState};

use super::generation::Generation;
use super::guarded::Guarded;
use super::{End, Mailbox, Runner, Shared};
use crate::bindings::types::{Outcome, Payload};
use crate::call::Answer;
use crate::chain::Chain;
use crate::desk::Desk;
use crate::endpoints::{Delivery, Outlet, Progress};
use crate::frames::Attempting;
use crate::status::{PluginKind, SinkState};
use crate::tables::Tables;

/// The first wait for an endpoint that failed, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// The longest that an endpoint or exporter may ask to be left alone.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// Until it is stopped, or becomes what is run otherwise.
pub(super) async fn run(runner: &mut Runner, generation: Generation) -> End {
    let mut push = Push::new(&runner.shared, generation);
    while !*runner.stop.borrow_and_update() {
        if let Some(next) = runner.next.take() {
            if next.chain.kind() == PluginKind::Responder {
                push.put_back();
                return End::Becomes(Box::new(next));
            }
            push.swap(next);
        }
        match push.due(Instant::now()) {
            Due::Now => push.step().await,
            Due::At(at) => tokio::select! {
                () = tokio::time::sleep_until(at.into()) => {}
                () = runner.next.left.notified() => {}
                _ = runner.stop.changed() => {}
            },
            Due::WhenOffered | Due::Never => tokio::select! {
                () = push.mailbox.notify.notified() => {}
                () = runner.next.left.notified() => {}
                _ = runner.stop.changed() => {}
            },
        }
    }
    push.flush().await;
    End::Stopped
}

struct Push {
    shared: Arc<Shared>,
    chain: Arc<Chain>,
    columns: Vec<String>,
    mailbox: Arc<Mailbox>,
    desk: Desk,
    outlets: BTreeMap<String, Outlet>,
    guarded: Guarded,
    backoff: Backoff,
    /// Set by a failed delivery.
    not_before: Option<Instant>,
    /// The first failure of the window on its way.
    failing_since: Option<Instant>,
    retry_for: Duration,
    held: Option<Held>,
    /// What an earlier process had on its way.
    earlier: Option<Attempting>,
    /// Of the plugins, before they were called with the newest window.
    states_before: Vec<Vec<u8>>,
}

/// A window that did not arrive yet.
struct Held {
    attempt: Attempt,
    /// None: an exporter is to be called again with it.
    payloads: Option<VecDeque<Payload>>,
    /// Of the first of them.
    progress: Progress,
    arrived: usize,
}

enum Due {
    Now,
    At(Instant),
    WhenOffered,
    /// Its plugin is in quarantine.
    Never,
}

impl Push {
    fn new(shared: &Arc<Shared>, generation: Generation) -> Self {
        shared.becomes(&generation);
        let (config, resume) = (&generation.order.config, shared.take_resume());
        let guarded = Guarded::new(&shared.desk, &config.breaker, &resume);
        guarded.announce();
        Self {
            shared: Arc::clone(shared),
            columns: config.columns.clone(),
            retry_for: config.retry_for,
            chain: generation.chain,
            mailbox: Arc::clone(&shared.mailbox),
            desk: shared.desk.clone(),
            outlets: generation.outlets,
            guarded,
            backoff: Backoff::new(RETRY.0, RETRY.1),
            not_before: None,
            failing_since: None,
            held: None,
            earlier: resume.attempting,
            states_before: Vec::new(),
        }
    }

    /// Go on with the next generation: at once, whatever the one before waited for.
    fn swap(&mut self, next: Generation) {
        self.put_back();
        let (held, states_before) = (self.held.take(), std::mem::take(&mut self.states_before));
        *self = Self {
            held,
            states_before,
            ..Self::new(&Arc::clone(&self.shared), next)
        };
    }

    /// A window of which nothing arrived is taken anew by the next generation, with the states of before.
    /// One that arrived in part is not made twice: the rest of its payloads goes to the next generation's
    /// endpoints of the same names.
    fn put_back(&mut self) {
        let nothing_arrived =
            |held: &mut Held| held.arrived == 0 && held.progress == Progress::default();
        if let Some(held) = self.held.take_if(nothing_arrived) {
            self.chain.restore(std::mem::take(&mut self.states_before));
            self.mailbox.windows().put_back(held.attempt);
        }
    }

    fn due(&self, now: Instant) -> Due {
        if self.held.is_none() && !self.mailbox.windows().is_waiting() {
            return Due::WhenOffered;
        }
        let calls_plugin = self
            .held
            .as_ref()
            .is_none_or(|held| held.payloads.is_none());
        if calls_plugin && self.guarded.state(now) == BreakerState::Quarantined {
            self.desk.dropped(self.mailbox.windows().dropped());
            return Due::Never;
        }
        let closed = self.guarded.waits_until(now).filter(|_| calls_plugin);
        match self.not_before.filter(|at| *at > now).max(closed) {
            Some(at) => Due::At(at),
            None => Due::Now,
        }
    }

    /// Bring one window as far as it goes.
    async fn step(&mut self) {
        self.not_before = None;
        let held = match self.held.take() {
            Some(held) if self.mailbox.windows().overtaken() => {
                self.abandon(held.attempt);
                None
            }
            held => held,
        };
        match held {
            Some(Held {
                attempt,
                payloads: Some(payloads),
                progress,
                arrived,
            }) => self.deliver(attempt, payloads, progress, arrived).await,
            Some(Held {
                attempt,
                payloads: None,
                ..
            }) => self.call(attempt).await,
            None => {
                let taken = self.mailbox.windows().take();
                if let Some(attempt) = taken {
                    self.announce(attempt.window.sequence).await;
                    self.call(attempt).await;
                }
            }
        }
        let dropped = self.mailbox.windows().dropped();
        self.desk.dropped(dropped);
    }

    /// Before anything of a window is delivered: how to deliver the same once more. One that an earlier
    /// process announced keeps what that said, and its files are looked through for it.
    async fn announce(&mut self, sequence: u64) {
        let earlier = self.earlier.take();
        let marks = match earlier.filter(|earlier| earlier.sequence == sequence) {
            Some(earlier) => {
                for (name, outlet) in &mut self.outlets {
                    if let (Outlet::File(file), Some(mark)) = (outlet, earlier.marks.get(name)) {
                        file.resume(*mark);
                    }
                }
                earlier.marks
            }
            None => {
                let mark = |(name, outlet): (&String, &Outlet)| match outlet {
                    Outlet::File(file) => Some((name.clone(), file.mark()?)),
                    _ => None,
                };
                self.outlets.iter().filter_map(mark).collect()
            }
        };
        self.desk.attempting(sequence, marks).await;
    }

    /// What comes next was written by no earlier process.
    fn is_new(&mut self) {
        for outlet in self.outlets.values_mut() {
            if let Outlet::File(file) = outlet {
                file.resumed();
            }
        }
    }

    async fn call(&mut self, attempt: Attempt) {
        self.guarded.calling(Instant::now());
        let tables = Arc::new(Tables::build(&attempt, &self.columns));
        self.states_before = self.chain.states();
        let answer = match self.chain.filter(tables).await {
            Ok(tables) => self.chain.run(tables, None).await,
            Err(fault) => Err(fault),
        };
        let answer = answer.and_then(|answer| match answer {
            Answer::Payloads(payloads) => self
                .chain
                .known_endpoints(&payloads, self.outlets.keys())
                .map(|()| Answer::Payloads(payloads)),
            other => Ok(other),
        });
        match answer {
            Err(fault) => self.plugin_fault(attempt, &fault),
            Ok(answer) => {
                self.guarded.success();
                match answer {
                    Answer::Payloads(payloads) => {
                        let progress = Progress::default();
                        self.deliver(attempt, payloads.into(), progress, 0).await;
                    }
                    Answer::Outcome(outcome) => self.sent(attempt, outcome),
                    _ => unreachable!("a formatter gives payloads, an exporter an outcome"),
                }
            }
        }
    }

    async fn deliver(
        &mut self,
        attempt: Attempt,
        mut payloads: VecDeque<Payload>,
        mut progress: Progress,
        mut arrived: usize,
    ) {
        let mut refused = false;
        while let Some(payload) = payloads.front() {
            let of_endpoint = |why: &str| format!("endpoint {}: {why}", payload.endpoint);
            let bytes = payload.body.len() as u64;
            let delivery = match self.outlets.get_mut(&payload.endpoint) {
                Some(outlet) => outlet.deliver(payload, &mut progress).await,
                // Names were checked when the plugin gave the payloads.
                None => Delivery::Refused("it was taken out of the configuration".to_owned()),
            };
            let delivery = match delivery {
                Delivery::Retry(why, _) if self.is_over() => {
                    Delivery::Refused(format!("{why}; given up ({})", self.over()))
                }
                delivery => delivery,
            };
            match delivery {
                Delivery::Arrived => {
                    self.desk
                        .count(|counters| counters.bytes_delivered += bytes);
                    arrived += 1;
                }
                Delivery::ArrivedBut(lines, why) => {
                    self.desk.fault(&of_endpoint(&why), |counters| {
                        counters.bytes_delivered += bytes;
                        counters.lines_left_out += lines;
                        counters.sink_faults += 1;
                    });
                    arrived += 1;
                }
                Delivery::Refused(why) => {
                    self.desk.fault(&of_endpoint(&why), |counters| {
                        counters.payloads_refused += 1;
                        counters.sink_faults += 1;
                    });
                    refused = true;
                }
                Delivery::Retry(why, after) => {
                    let why = of_endpoint(&why);
                    self.held = Some(Held {
                        attempt,
                        payloads: Some(payloads),
                        progress,
                        arrived,
                    });
                    return self.sink_fault(&why, after);
                }
            }
            payloads.pop_front();
            progress = Progress::default();
        }
        if refused && arrived == 0 {
            self.abandon(attempt)
        } else {
            self.acknowledge(&attempt)
        }
    }

    /// What an exporter says became of its window.
    fn sent(&mut self, attempt: Attempt, outcome: Outcome) {
        match outcome {
            Outcome::Delivered => self.acknowledge(&attempt),
            Outcome::Partial(rows) => {
                let text = format!(
                    "plugin {} says: {rows} rows were refused for good",
                    self.chain.plugin()
                );
                self.desk.fault(&text, |counters| {
                    counters.sink_faults += 1;
                    counters.rows_rejected += rows;
                });
                self.acknowledge(&attempt);
            }
            Outcome::Retry(after_ms) => {
                let why = format!("plugin {} asks to try again later", self.chain.plugin());
                if self.is_over() {
                    let text = format!("{why}; given up ({})", self.over());
                    self.desk.fault(&text, |counters| counters.sink_faults += 1);
                    return self.abandon(attempt);
                }
                self.held = Some(Held {
                    attempt,
                    payloads: None,
                    progress: Progress::default(),
                    arrived: 0,
                });
                self.sink_fault(&why, Some(Duration::from_millis(after_ms)));
            }
            Outcome::Rejected(problem) => {
                let problem = crate::guest::printable(&problem, 500);
                let text = format!(
                    "plugin {} says: the window was rejected: {problem}",
                    self.chain.plugin()
                );
                self.desk.fault(&text, |counters| counters.sink_faults += 1);
                self.abandon(attempt);
            }
        }
    }

    fn acknowledge(&mut self, attempt: &Attempt) {
        self.failing_since = None;
        self.backoff.reset();
        self.is_new();
        let acknowledged = self.mailbox.windows().acknowledge(attempt);
        self.desk
            .acknowledged(acknowledged, attempt.merged(), attempt.gap);
        self.desk.state(SinkState::Active, "");
    }

    fn abandon(&mut self, attempt: Attempt) {
        self.failing_since = None;
        self.is_new();
        self.desk.abandoned();
        self.mailbox.windows().abandon(attempt);
    }

    /// Whether the window has been tried for long enough; asked after each failure.
    fn is_over(&mut self) -> bool {
        let since = self.failing_since.get_or_insert_with(Instant::now);
        since.elapsed() >= self.retry_for
    }

    fn over(&self) -> String {
        format!("retry_for is {:?}", self.retry_for)
    }

    fn sink_fault(&mut self, why: &str, after: Option<Duration>) {
        let wait = self
            .backoff
            .next(fastrand::f64())
            .max(after.unwrap_or_default().min(RETRY_AFTER_MAX));
        self.not_before = Some(Instant::now() + wait);
        self.desk.fault(why, |counters| counters.sink_faults += 1);
        self.desk.state(
            SinkState::Backoff,
            &format!("{why}; next try in {:.1} s", wait.as_secs_f64()),
        );
    }

    fn plugin_fault(&mut self, attempt: Attempt, fault: &str) {
        self.abandon(attempt);
        self.guarded.fault(fault);
    }

    /// A last try for all that waits. It ends with the first that fails; the process's deadline bounds it.
    async fn flush(&mut self) {
        loop {
            self.not_before = None;
            if !matches!(self.due(Instant::now()), Due::Now) {
                return;
            }
            self.step().await;
            if self.not_before.is_some() {
                return;
            }
        }
    }
}
