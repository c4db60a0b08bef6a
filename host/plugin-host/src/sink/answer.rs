//! Sinks that are asked: a responder answers from the latest window, through listeners that the host owns.
//!
//! Filters run once a window, the responder once a request. Few requests run at once, and one that finds
//! no room within a guest's wall time is told to come back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use owlk8s_pipeline::{Attempt, BreakerState};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::generation::Generation;
use super::guarded::Guarded;
use super::{End, Runner, Shared};
use crate::bindings::types::{Request, Response};
use crate::call::Answer;
use crate::chain::Chain;
use crate::desk::Desk;
use crate::endpoints::serve::{Ask, Listener};
use crate::status::{PluginKind, SinkState};
use crate::tables::Tables;

/// Guests of one sink that run at once: each may hold the sink's memory limit.
const AT_ONCE: usize = 4;
/// How long a request waits for its turn.
const TURN: Duration = Duration::from_secs(2);
/// A plugin in quarantine stays there; windows are looked at again so seldom.
const QUARANTINE_LOOK: Duration = Duration::from_secs(3600);

/// Until it is stopped, or becomes what is run otherwise.
pub(super) async fn run(runner: &mut Runner, generation: Generation) -> End {
    let shared = Arc::clone(&runner.shared);
    let responder = Arc::new(Responder {
        chain: Mutex::new(Arc::clone(&generation.chain)),
        desk: shared.desk.clone(),
        tables: Mutex::new(None),
        guarded: Mutex::new(Guarded::new(&shared, &generation.order.config.breaker)),
        turns: Semaphore::new(AT_ONCE),
    });
    let mut follower = Follower {
        columns: generation.order.config.columns.clone(),
        shared,
        responder,
        last: None,
        rests_until: None,
    };
    let mut listening = follower.begin(generation);
    loop {
        if let Some(next) = runner.next.take() {
            if next.chain.kind() != PluginKind::Responder {
                return End::Becomes(Box::new(next));
            }
            listening = follower.swap(next).await;
        }
        // Between two windows: one that was taken is not let go for the next generation.
        if let Some(attempt) = follower.take() {
            tokio::select! {
                () = follower.follow(attempt) => continue,
                _ = runner.stop.wait_for(|stop| *stop) => return End::Stopped,
            }
        }
        tokio::select! {
            () = follower.idle() => {}
            () = runner.next.left.notified() => {}
            Some(_) = listening.join_next() => {
                return End::Failed("its listeners ended (report this)".to_owned());
            }
            _ = runner.stop.wait_for(|stop| *stop) => return End::Stopped,
        }
    }
}

/// What the listeners of one sink share.
struct Responder {
    /// Of the generation that runs.
    chain: Mutex<Arc<Chain>>,
    desk: Desk,
    tables: Mutex<Option<Arc<Tables>>>,
    guarded: Mutex<Guarded>,
    turns: Semaphore,
}

/// Keeps the latest window at hand.
struct Follower {
    shared: Arc<Shared>,
    responder: Arc<Responder>,
    columns: Vec<String>,
    last: Option<Attempt>,
    rests_until: Option<Instant>,
}

impl Follower {
    /// Answer by the generation, on its listeners, from here on.
    fn begin(&self, generation: Generation) -> JoinSet<()> {
        self.shared.becomes(&generation);
        *lock(&self.responder.chain) = Arc::clone(&generation.chain);
        let addresses = generation
            .listeners
            .iter()
            .map(|listener| listener.address().to_string())
            .collect();
        let desk = &self.shared.desk;
        desk.status(|status| status.listening = addresses);
        lock(&self.responder.guarded).announce();
        let mut listening = JoinSet::new();
        for listener in generation.listeners {
            listening.spawn(answer(listener, Arc::clone(&self.responder)));
        }
        listening
    }

    /// Go on with the next generation. Its listeners accept before those of the one before end; open
    /// connections stay, and are answered by it.
    async fn swap(&mut self, next: Generation) -> JoinSet<()> {
        self.columns.clone_from(&next.order.config.columns);
        let guarded = Guarded::new(&self.shared, &next.order.config.breaker);
        *lock(&self.responder.guarded) = guarded;
        self.rests_until = None;
        let listening = self.begin(next);
        if let Some(last) = self.last.clone()
            && let Ok(tables) = self.filter(&last).await
        {
            *lock(&self.responder.tables) = Some(tables);
        }
        listening
    }

    async fn filter(&self, attempt: &Attempt) -> Result<Arc<Tables>, String> {
        let chain = lock(&self.responder.chain).clone();
        let tables = Arc::new(Tables::build(attempt, &self.columns));
        chain.filter(tables).await
    }

    /// The next window, when there is one; none after too many faults of a filter.
    fn take(&self) -> Option<Attempt> {
        let rests = self.rests_until.is_some_and(|until| until > Instant::now());
        if rests {
            return None;
        }
        self.shared.mailbox.windows().take()
    }

    /// Until there may be one.
    async fn idle(&self) {
        match self.rests_until.filter(|until| *until > Instant::now()) {
            Some(until) => tokio::time::sleep_until(until.into()).await,
            None => self.shared.mailbox.notify.notified().await,
        }
    }

    async fn follow(&mut self, attempt: Attempt) {
        let mailbox = &self.shared.mailbox;
        match self.filter(&attempt).await {
            Ok(tables) => {
                *lock(&self.responder.tables) = Some(tables);
                let acknowledged = mailbox.windows().acknowledge(&attempt);
                self.responder
                    .desk
                    .acknowledged(acknowledged, attempt.merged());
                self.last = Some(attempt);
            }
            Err(fault) => {
                mailbox.windows().abandon(attempt);
                self.rests_until = self.responder.fault(&fault);
            }
        }
        let dropped = mailbox.windows().dropped();
        self.responder.desk.dropped(dropped);
    }
}

async fn answer(listener: Listener, responder: Arc<Responder>) {
    listener.run(responder).await;
}

impl Ask for Responder {
    fn ask(self: Arc<Self>, request: Request) -> crate::endpoints::serve::Answering {
        Box::pin(async move {
            let response = self.answer(request).await;
            self.desk.count(|counters| counters.requests_served += 1);
            response
        })
    }
}

impl Responder {
    async fn answer(&self, request: Request) -> Response {
        let Some(tables) = lock(&self.tables).clone() else {
            return plain(
                503,
                "no window yet: the first comes within one interval of the agent's start",
            );
        };
        if let Some(why) = self.closed() {
            return plain(503, why);
        }
        let Ok(Ok(_turn)) = tokio::time::timeout(TURN, self.turns.acquire()).await else {
            return plain(503, "too many requests at once");
        };
        let chain = lock(&self.chain).clone();
        let called = chain
            .run(tables, Some(request))
            .await
            .and_then(|answer| match answer {
                Answer::Response(response) => chain.legal(response),
                _ => unreachable!("a responder gives a response"),
            });
        match called {
            Ok(response) => {
                lock(&self.guarded).success();
                self.desk.state(SinkState::Active, "");
                response
            }
            Err(fault) => {
                self.fault(&fault);
                plain(500, &fault)
            }
        }
    }

    /// Why the plugin is not called now.
    fn closed(&self) -> Option<&'static str> {
        let (now, guarded) = (Instant::now(), lock(&self.guarded));
        match guarded.state(now) {
            BreakerState::Closed => None,
            BreakerState::HalfOpen => {
                guarded.calling(now);
                None
            }
            BreakerState::Open => {
                Some("the plugin failed several times in a row and is called again later")
            }
            BreakerState::Quarantined => {
                Some("the plugin failed so often that it is called no more until it is loaded anew")
            }
        }
    }

    /// Until when no filter is called.
    fn fault(&self, fault: &str) -> Option<Instant> {
        let (now, mut guarded) = (Instant::now(), lock(&self.guarded));
        guarded.fault(fault);
        match guarded.state(now) {
            BreakerState::Quarantined => Some(now + QUARANTINE_LOOK),
            _ => guarded.waits_until(now),
        }
    }
}

fn plain(status: u16, text: &str) -> Response {
    Response {
        status,
        headers: vec![(
            "content-type".to_owned(),
            "text/plain; charset=utf-8".to_owned(),
        )],
        body: format!("{text}\n").into_bytes(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
