//! The one owner of the probe: a thread that attaches, reads and folds, and is asked by messages. It
//! ends, and detaches everything, when nobody can ask any more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use owlk8s_model::{Reading, Snapshot, TargetReading, UnixNanos};
use owlk8s_probe::{Probe, Wanted};
use tokio::sync::oneshot;

use crate::book::Book;
use crate::places::chain;
use crate::plan::Plan;

enum Ask {
    Adopt(Arc<Plan>),
    Window(oneshot::Sender<Arc<Snapshot>>),
    Fresh(oneshot::Sender<Snapshot>),
    Sweep,
}

/// The reader's thread ended before it was told to: a fault in it, reported on standard error.
#[derive(Debug, thiserror::Error)]
#[error("the reader ended unexpectedly")]
pub(crate) struct ReaderGone;

/// Asks the reader; cheap to clone.
#[derive(Clone)]
pub(crate) struct Reader {
    asks: mpsc::Sender<Ask>,
    cost: Arc<Cost>,
}

/// What reading took so far.
#[derive(Default)]
pub(crate) struct Cost {
    pub(crate) reads: AtomicU64,
    pub(crate) nanos: AtomicU64,
    /// Followed when they were last counted.
    pub(crate) connections: AtomicU64,
}

impl Reader {
    /// Starts the thread; it owns the probe from here on.
    pub(crate) fn spawn(probe: Probe, book: Book) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (asks, asked) = mpsc::channel();
        let cost = Arc::new(Cost::default());
        let worker = Worker {
            probe,
            book,
            reading: Reading::default(),
            cost: Arc::clone(&cost),
        };
        let thread = std::thread::Builder::new()
            .name("reader".to_owned())
            .spawn(move || worker.run(&asked))?;
        Ok((Self { asks, cost }, thread))
    }

    pub(crate) fn adopt(&self, plan: Arc<Plan>) -> Result<(), ReaderGone> {
        self.asks.send(Ask::Adopt(plan)).map_err(|_| ReaderGone)
    }

    /// Reads and closes the window.
    pub(crate) async fn window(&self) -> Result<Arc<Snapshot>, ReaderGone> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Window(reply)).map_err(|_| ReaderGone)?;
        answer.await.map_err(|_| ReaderGone)
    }

    /// Reads and leaves the window open.
    pub(crate) async fn fresh(&self) -> Result<Snapshot, ReaderGone> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Fresh(reply)).map_err(|_| ReaderGone)?;
        answer.await.map_err(|_| ReaderGone)
    }

    /// Lets go of connections that ended without a word.
    pub(crate) fn sweep(&self) -> Result<(), ReaderGone> {
        self.asks.send(Ask::Sweep).map_err(|_| ReaderGone)
    }

    pub(crate) fn cost(&self) -> &Cost {
        &self.cost
    }
}

struct Worker {
    probe: Probe,
    book: Book,
    /// The last.
    reading: Reading,
    cost: Arc<Cost>,
}

impl Worker {
    fn run(mut self, asked: &mpsc::Receiver<Ask>) {
        // An answer that nobody waits for any more is no failure.
        while let Ok(ask) = asked.recv() {
            match ask {
                Ask::Adopt(plan) => {
                    self.book.adopt(plan);
                    self.reconcile();
                }
                Ask::Window(reply) => {
                    self.read();
                    let _ = reply.send(self.book.window(&self.reading));
                    // What failed is tried again, and what has left is let go.
                    self.reconcile();
                }
                Ask::Fresh(reply) => {
                    self.read();
                    let _ = reply.send(self.book.fresh(&self.reading));
                }
                Ask::Sweep => self.sweep(),
            }
        }
    }

    fn reconcile(&mut self) {
        match self.probe.reconcile(self.book.wanted()) {
            Ok(changes) if changes.is_empty() => {}
            Ok(changes) => {
                for (target, hook, reason) in &changes.moved {
                    tracing::info!(%target, ?hook, reason, "moved");
                }
                tracing::debug!(?changes, "reconciled");
            }
            Err(error) => tracing::error!(error = chain(&error), "cannot reconcile"),
        }
    }

    /// A reading that fails is every target's status, not an end.
    fn read(&mut self) {
        let (at, began) = (now(), Instant::now());
        if let Err(error) = self.probe.read_into(at, &mut self.reading) {
            let why = chain(&error);
            tracing::error!(error = why, "cannot read");
            let failed = |wanted: Wanted| (wanted.target, TargetReading::Failed(why.clone()));
            let mut targets: Vec<_> = self.book.wanted().into_iter().map(failed).collect();
            targets.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            self.reading = Reading { at, targets };
        }
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.cost.nanos.fetch_add(took, Ordering::Relaxed);
        self.cost.reads.fetch_add(1, Ordering::Relaxed);
    }

    fn sweep(&mut self) {
        match self.probe.sweep() {
            Ok(swept) => {
                let connections = u64::try_from(swept.connections).unwrap_or(u64::MAX);
                self.cost.connections.store(connections, Ordering::Relaxed);
                tracing::debug!(?swept, "swept");
            }
            Err(error) => tracing::error!(error = chain(&error), "cannot sweep"),
        }
    }
}

/// By the wall clock.
pub(crate) fn now() -> UnixNanos {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    UnixNanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
