//! Sinks that are asked: a responder answers from the latest window, through listeners that the host owns.
//!
//! Filters run once a window, the responder once a request. Few requests run at once, and one that finds
//! no room within a guest's wall time is told to come back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use owlk8s_pipeline::{Attempt, BreakerState};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::generation::Generation;
use super::guarded::Guarded;
use super::{End, Runner, Shared};
use crate::bindings::types::{Request, Response};
use crate::call::Answer;
use crate::chain::Chain;
use crate::desk::Desk;
use crate::endpoints::serve::{Ask, Listener};
use crate::frames::Resume;
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
    let breaker = &generation.order.config.breaker;
    let guarded = Guarded::new(&shared.desk, breaker, &shared.take_resume());
    let responder = Arc::new(Responder {
        chain: Mutex::new(Arc::clone(&generation.chain)),
        desk: shared.desk.clone(),
        standing: shared.standing.clone(),
        tables: Mutex::new(None),
        guarded: Mutex::new(guarded),
        turns: Semaphore::new(AT_ONCE),
    });
    let mut follower = Follower {
        columns: generation.order.config.columns.clone(),
        shared,
        responder,
        last: None,
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
            () = listening.ended() => {
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
    standing: watch::Receiver<Bytes>,
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
}

impl Follower {
    /// Answer by the generation, on its listeners, from here on.
    fn begin(&self, generation: Generation) -> Listening {
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
        Listening::of(generation.listeners, &self.responder)
    }

    /// Go on with the next generation. Its listeners accept before those of the one before end; open
    /// connections stay, and are answered by it.
    async fn swap(&mut self, next: Generation) -> Listening {
        self.columns.clone_from(&next.order.config.columns);
        let breaker = &next.order.config.breaker;
        let guarded = Guarded::new(&self.shared.desk, breaker, &Resume::default());
        *lock(&self.responder.guarded) = guarded;
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
        if self.responder.filters_wait().is_some() {
            return None;
        }
        self.shared.mailbox.windows().take()
    }

    /// Until there may be one.
    async fn idle(&self) {
        match self.responder.filters_wait() {
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
                let (merged, gap) = (attempt.merged(), attempt.gap);
                self.responder.desk.acknowledged(acknowledged, merged, gap);
                self.last = Some(attempt);
            }
            Err(fault) => {
                mailbox.windows().abandon(attempt);
                lock(&self.responder.guarded).fault(&fault);
            }
        }
        let dropped = mailbox.windows().dropped();
        self.responder.desk.dropped(dropped);
    }
}

/// The listeners of one generation. Dropped, they accept no more; what they have accepted goes on.
struct Listening {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Listening {
    fn of(listeners: Vec<Listener>, responder: &Arc<Responder>) -> Self {
        let stop = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        for listener in listeners {
            tasks.spawn(listener.run(Arc::clone(responder) as Arc<dyn Ask>, stop.subscribe()));
        }
        Self { stop, tasks }
    }

    /// One of them has, by a fault.
    async fn ended(&mut self) {
        if self.tasks.join_next().await.is_none() {
            std::future::pending().await
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.tasks.detach_all();
    }
}

impl Ask for Responder {
    fn ask(self: Arc<Self>, request: Request) -> crate::endpoints::serve::Answering {
        Box::pin(async move {
            let response = self.answer(request).await;
            self.desk.count(|counters| counters.requests_served += 1);
            response
        })
    }

    fn standing(&self) -> Bytes {
        self.standing.borrow().clone()
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
        {
            let guarded = lock(&self.guarded);
            match guarded.state(Instant::now()) {
                BreakerState::Closed => {}
                BreakerState::HalfOpen => guarded.calling(Instant::now()),
                BreakerState::Open => {
                    return plain(
                        503,
                        "the plugin failed several times in a row and is called again later",
                    );
                }
                BreakerState::Quarantined => {
                    return plain(
                        503,
                        "the plugin failed so often that it is called no more until it is loaded anew",
                    );
                }
            }
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
                lock(&self.guarded).fault(&fault);
                plain(500, &fault)
            }
        }
    }

    /// While the breaker is open no filter is called, so windows wait; without filters none has to.
    fn filters_wait(&self) -> Option<Instant> {
        if !lock(&self.chain).has_filters() {
            return None;
        }
        let now = Instant::now();
        let guarded = lock(&self.guarded);
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
