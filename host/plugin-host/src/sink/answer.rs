//! Sinks that are asked: a responder answers from the latest window, through listeners that the host owns.
//!
//! Filters run once a window, the responder once a request. Few requests run at once, and one that finds
//! no room within a guest's wall time is told to come back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use owlk8s_pipeline::{Backoff, BreakerState};
use tokio::sync::Semaphore;

use super::guarded::Guarded;
use super::{Mailbox, Start};
use crate::bindings::types::{Request, Response};
use crate::call::Answer;
use crate::chain::Chain;
use crate::config::Endpoint;
use crate::desk::Desk;
use crate::endpoints::serve::{self, Ask, Listener};
use crate::status::SinkState;
use crate::tables::Tables;

/// Guests of one sink that run at once: each may hold the sink's memory limit.
const AT_ONCE: usize = 4;
/// How long a request waits for its turn.
const TURN: Duration = Duration::from_secs(2);
/// A plugin in quarantine stays there; windows are looked at again so seldom.
const QUARANTINE_LOOK: Duration = Duration::from_secs(3600);
/// Between two tries to listen on an address that is taken.
const LISTEN_RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// Until the drain begins.
pub(super) async fn run(start: &Start, chain: Arc<Chain>) -> Result<(), String> {
    let mut drain = start.drain.clone();
    let responder = Arc::new(Responder {
        chain,
        desk: start.desk.clone(),
        tables: Mutex::new(None),
        guarded: Mutex::new(Guarded::new(start)),
        turns: Semaphore::new(AT_ONCE),
    });
    // Windows are taken while the listeners are still waiting for their address.
    let follow = follow(Arc::clone(&start.mailbox), Arc::clone(&responder));
    let listen = serve(start, Arc::clone(&responder));
    tokio::select! {
        () = follow => Ok(()),
        result = listen => result,
        _ = drain.wait_for(|drain| *drain) => Ok(()),
    }
}

/// What the listeners of one sink share.
struct Responder {
    chain: Arc<Chain>,
    desk: Desk,
    tables: Mutex<Option<Arc<Tables>>>,
    guarded: Mutex<Guarded>,
    turns: Semaphore,
}

/// Keep the latest window at hand.
async fn follow(mailbox: Arc<Mailbox>, responder: Arc<Responder>) {
    loop {
        if let Some(until) = responder.filters_wait() {
            tokio::time::sleep_until(until.into()).await;
        }
        let Some(attempt) = ({ mailbox.windows().take() }) else {
            mailbox.notify.notified().await;
            continue;
        };
        let tables = Arc::new(Tables::build(&attempt, &mailbox.config.columns));
        match responder.chain.filter(tables).await {
            Ok(tables) => {
                *lock(&responder.tables) = Some(tables);
                let acknowledged = mailbox.windows().acknowledge(&attempt);
                responder.desk.acknowledged(acknowledged, attempt.gap);
            }
            Err(fault) => {
                mailbox.windows().abandon(attempt);
                lock(&responder.guarded).fault(&fault);
            }
        }
        let dropped = mailbox.windows().dropped();
        responder.desk.dropped(dropped);
    }
}

/// Listen on all of the sink's addresses, and answer. An address that is taken is tried again: what
/// holds it may go.
async fn serve(start: &Start, responder: Arc<Responder>) -> Result<(), String> {
    let mut backoff = Backoff::new(LISTEN_RETRY.0, LISTEN_RETRY.1);
    let listeners = loop {
        match listen(start).await {
            Ok(listeners) => break listeners,
            Err(why) => start.desk.state(SinkState::Failed, &why),
        }
        tokio::time::sleep(backoff.next(fastrand::f64())).await;
    };
    let addresses = listeners
        .iter()
        .map(|listener| listener.address().to_string())
        .collect();
    start.desk.status(|status| status.listening = addresses);
    lock(&responder.guarded).announce();
    let mut tasks = tokio::task::JoinSet::new();
    for listener in listeners {
        tasks.spawn(listener.run(Arc::clone(&responder) as Arc<dyn Ask>));
    }
    while tasks.join_next().await.is_some() {}
    Err("its listeners ended (report this)".to_owned())
}

async fn listen(start: &Start) -> Result<Vec<Listener>, String> {
    let mut listeners = Vec::new();
    for (name, endpoint) in &start.config().endpoints {
        if let Endpoint::Serve(serve) = endpoint {
            let listener = Listener::bind(serve).await;
            listeners.push(listener.map_err(|why| format!("endpoints.{name}: {why}"))?);
        }
    }
    Ok(listeners)
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
        let called = self
            .chain
            .run(tables, Some(request))
            .await
            .and_then(|answer| match answer {
                Answer::Response(response) => self.legal(response),
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

    fn legal(&self, response: Response) -> Result<Response, String> {
        match serve::fault(&response) {
            None => Ok(response),
            Some(fault) => Err(format!("plugin {} {fault}", self.chain.plugin())),
        }
    }

    /// While the breaker is open no filter is called, so windows wait; without filters none has to.
    fn filters_wait(&self) -> Option<Instant> {
        if !self.chain.has_filters() {
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
