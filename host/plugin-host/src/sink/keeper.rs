use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use owlk8s_pipeline::Backoff;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep_until, timeout};

use super::generation::{Generation, Refusal};
use super::{Next, Order, Runner, Shared};
use crate::frames::Level;
use crate::status::SinkState;

/// Between two tries of what may pass by itself.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// For a sink that was taken out of the configuration to deliver what waits.
const LEAVE: Duration = Duration::from_secs(10);

/// Brings one sink from order to order.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    orders: Orders,
    /// Turns true once, for all sinks: deliver what waits, and end.
    drain: watch::Receiver<bool>,
    /// Revision of the last order that was tried.
    tried: Option<u64>,
    runner: Option<Running>,
    backoff: Backoff,
    retry_at: Option<Instant>,
}

struct Running {
    next: Arc<Next>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), String>>,
}

/// One that is not waited for any more ends at once.
impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the sink shall be; none: it shall go.
pub(crate) struct Orders {
    /// Tried before any newer one: it may be what ran, and the newer one no good.
    first: Option<Arc<Order>>,
    newest: watch::Receiver<Option<Arc<Order>>>,
    gate: Arc<Mutex<Gate>>,
}

/// Gives orders to one keeper.
pub(crate) struct Giver {
    newest: watch::Sender<Option<Arc<Order>>>,
    gate: Arc<Mutex<Gate>>,
}

/// A keeper that is told to go ends for good only where no order came meanwhile.
#[derive(Default)]
struct Gate {
    closed: bool,
}

/// The way of orders to one keeper, beginning with `first`.
pub(crate) fn orders(first: Arc<Order>) -> (Giver, Orders) {
    let (sender, receiver) = watch::channel(Some(Arc::clone(&first)));
    let gate = Arc::<Mutex<Gate>>::default();
    let giver = Giver {
        newest: sender,
        gate: Arc::clone(&gate),
    };
    let orders = Orders {
        first: first.ran.then_some(first),
        newest: receiver,
        gate,
    };
    (giver, orders)
}

impl Giver {
    /// Whether the keeper has ended.
    pub(crate) fn is_closed(&self) -> bool {
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        gate.closed
    }

    /// False when the keeper has ended.
    pub(crate) fn order(&self, order: Option<Arc<Order>>) -> bool {
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        if !gate.closed {
            self.newest.send_replace(order);
        }
        !gate.closed
    }
}

impl Orders {
    /// Take no order any more, unless there is one; `last` is done before anybody can see that.
    fn close(&self, last: impl FnOnce()) -> bool {
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        if self.newest.borrow().is_some() {
            return false;
        }
        last();
        gate.closed = true;
        true
    }
}

/// What the keeper wakes up for.
enum Event {
    Drain,
    Order,
    Retry,
    RunnerEnded(Result<Result<(), String>, JoinError>),
}

impl Keeper {
    pub(crate) fn new(shared: Arc<Shared>, orders: Orders, drain: watch::Receiver<bool>) -> Self {
        Self {
            shared,
            orders,
            drain,
            tried: None,
            runner: None,
            backoff: Backoff::new(RETRY.0, RETRY.1),
            retry_at: None,
        }
    }

    /// The sink's whole life. One that cannot run is a status, and waits for its next order.
    pub(crate) async fn run(mut self) {
        loop {
            let order = match self.orders.first.take() {
                Some(first) => Some(first),
                None => self.orders.newest.borrow_and_update().clone(),
            };
            match order {
                None if self.leave().await => return,
                None => continue,
                Some(order) if self.tried != Some(order.revision) => self.attempt(order).await,
                Some(_) => {}
            }
            match self.event().await {
                Event::Drain => return self.stop().await,
                Event::Order => {
                    self.backoff.reset();
                    self.retry_at = None;
                }
                Event::Retry => self.tried = None,
                Event::RunnerEnded(result) => self.ended(result),
            }
        }
    }

    async fn event(&mut self) -> Event {
        let retry_at = self.retry_at;
        let retry = async {
            match retry_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let runner = self.runner.as_mut();
        let ended = async {
            match runner {
                Some(running) => (&mut running.task).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.drain.wait_for(|drain| *drain) => Event::Drain,
            changed = self.orders.newest.changed() => match changed {
                Ok(()) => Event::Order,
                // Nobody can order any more: the process ends.
                Err(_) => Event::Drain,
            },
            () = retry => Event::Retry,
            result = ended => Event::RunnerEnded(result),
        }
    }

    /// Prepare a generation and hand it over, unless the process drains, or a newer order comes before. One
    /// that ran under an earlier process is not given up for a newer one, which may be no good.
    async fn attempt(&mut self, order: Arc<Order>) {
        self.retry_at = None;
        // An older order's that was not taken yet is wanted no more.
        if let Some(running) = &self.runner {
            drop(running.next.take());
        }
        let shared = Arc::clone(&self.shared);
        let prepared = tokio::select! {
            prepared = shared.prepare(&order) => prepared,
            _ = self.drain.wait_for(|drain| *drain) => return,
            Ok(()) = self.orders.newest.changed(), if !order.ran => {
                self.orders.newest.mark_changed();
                return;
            }
        };
        self.tried = Some(order.revision);
        match prepared {
            Ok(Some(generation)) => self.hand_over(generation),
            Ok(None) => self.shared.desk.unchanged(order.revision),
            Err(refusal) => self.refused(&refusal),
        }
    }

    fn hand_over(&mut self, generation: Generation) {
        if let Some(running) = self
            .runner
            .as_ref()
            .filter(|running| !running.task.is_finished())
        {
            return running.next.leave(generation);
        }
        let (stop, stopped) = watch::channel(false);
        let next = Arc::<Next>::default();
        let runner = Runner {
            shared: Arc::clone(&self.shared),
            next: Arc::clone(&next),
            stop: stopped,
        };
        let task = tokio::spawn(runner.run(generation));
        self.runner = Some(Running { next, stop, task });
    }

    fn refused(&mut self, refusal: &Refusal) {
        if refusal.passes {
            self.retry_at = Some(Instant::now() + self.backoff.next(fastrand::f64()));
        }
        if self.runner.is_some() {
            self.shared.desk.refused(&refusal.reason);
        } else {
            self.shared.desk.state(SinkState::Failed, &refusal.reason);
        }
    }

    /// The runner ended by itself.
    fn ended(&mut self, result: Result<Result<(), String>, JoinError>) {
        self.runner = None;
        let reason = match result {
            Ok(Ok(())) => return,
            Ok(Err(reason)) => reason,
            Err(_) => "its task panicked (report this with what standard error says)".to_owned(),
        };
        *self.shared.current() = None;
        self.shared.desk.state(SinkState::Failed, &reason);
    }

    /// Deliver what waits; the process bounds it.
    async fn stop(&mut self) {
        if let Some(mut running) = self.runner.take() {
            running.stop.send_replace(true);
            // What it could not deliver is in its status.
            let _ = (&mut running.task).await;
        }
    }

    /// Deliver what waits, within [`LEAVE`], and go; not when it was ordered again meanwhile.
    async fn leave(&mut self) -> bool {
        let desk = self.shared.desk.clone();
        desk.state(
            SinkState::Draining,
            "it was taken out of the configuration, and delivers what waits",
        );
        if timeout(LEAVE, self.stop()).await.is_err() {
            desk.log(
                Level::Warn,
                format!("what waited for its endpoints is lost: they took it not within {LEAVE:?}"),
            );
        }
        *self.shared.current() = None;
        self.tried = None;
        self.orders.close(|| {
            desk.log(Level::Info, "sink is gone");
            desk.gone();
        })
    }
}
