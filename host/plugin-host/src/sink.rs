//! A sink's life in the plugin process. Its keeper takes orders: it prepares a generation (load,
//! validate, rehearse, open endpoints) beside the one that runs, and hands it over; its runner takes
//! windows, and changes to the new generation between two of them. A generation that cannot be prepared
//! is refused, and the old one runs on.
//!
//! Keeper and runner are tasks of their own; a window reaches the runner through its [`Mailbox`], and
//! nothing that either does holds up the one that offers.

mod answer;
mod generation;
mod guarded;
mod keeper;
mod mailbox;
mod push;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, watch};

pub(crate) use generation::Order;
pub(crate) use keeper::{Giver, Keeper, orders};
pub(crate) use mailbox::Mailbox;

use crate::desk::Desk;
use crate::engine::Runtime;
use crate::frames::Resume;
use crate::status::PluginKind;
use generation::{Current, Generation};

/// What keeper and runner of one sink share.
pub(crate) struct Shared {
    pub(crate) runtime: Runtime,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) desk: Desk,
    /// How it stands with every sink of the node, as JSON; empty before that is known.
    standing: watch::Receiver<Bytes>,
    /// How far it came under an earlier plugin process; the first generation takes it.
    resume: Mutex<Option<Resume>>,
    current: Mutex<Option<Current>>,
}

impl Shared {
    pub(crate) fn new(
        runtime: Runtime,
        mailbox: Arc<Mailbox>,
        desk: Desk,
        standing: watch::Receiver<Bytes>,
        resume: Resume,
    ) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            mailbox,
            desk,
            standing,
            resume: Mutex::new(Some(resume)),
            current: Mutex::new(None),
        })
    }

    fn take_resume(&self) -> Resume {
        let mut resume = self.resume.lock().unwrap_or_else(PoisonError::into_inner);
        resume.take().unwrap_or_default()
    }

    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on `generation` is the one that runs.
    fn becomes(&self, generation: &Generation) {
        let before = self.current().replace(Current::of(generation));
        let (order, chain) = (&generation.order, &generation.chain);
        self.mailbox.adopt(&order.config);
        chain.live(before.as_ref().map(|before| &*before.chain), &order.config);
        self.desk.runs(order.revision, chain.status());
    }
}

/// Where the keeper leaves a generation for the runner. A newer one takes the place of one that was not
/// taken yet.
#[derive(Default)]
struct Next {
    generation: Mutex<Option<Generation>>,
    left: Notify,
}

impl Next {
    fn leave(&self, generation: Generation) {
        *self.slot() = Some(generation);
        self.left.notify_one();
    }

    fn take(&self) -> Option<Generation> {
        self.slot().take()
    }

    fn slot(&self) -> MutexGuard<'_, Option<Generation>> {
        self.generation
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the run of a kind of plugin ended.
enum End {
    /// It was told to stop, and has delivered what it could.
    Stopped,
    /// The next generation is of a kind that is run otherwise.
    Becomes(Box<Generation>),
    /// It cannot go on; why.
    Failed(String),
}

/// Takes windows, generation after generation, until it is stopped.
struct Runner {
    shared: Arc<Shared>,
    next: Arc<Next>,
    /// Turns true once: deliver what waits, and end.
    stop: watch::Receiver<bool>,
}

impl Runner {
    async fn run(mut self, first: Generation) -> Result<(), String> {
        let mut generation = first;
        loop {
            let end = match generation.chain.kind() {
                PluginKind::Responder => answer::run(&mut self, generation).await,
                _ => push::run(&mut self, generation).await,
            };
            match end {
                End::Stopped => return Ok(()),
                End::Failed(reason) => return Err(reason),
                End::Becomes(next) => generation = *next,
            }
        }
    }
}
