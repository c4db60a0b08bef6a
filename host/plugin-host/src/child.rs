//! The plugin process: no capability, no environment, one socket to the agent, and the sinks.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use owlk8s_model::{Snapshot, Window};
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::agent::chain;
use crate::authority::Ceiling;
use crate::config::SinkConfig;
use crate::desk::{Desks, desks};
use crate::endpoints::Secrets;
use crate::engine::Runtime;
use crate::frames::{
    self, Configure, FrameError, Hello, Resume, SinkReport, TO_AGENT_MAX, TO_CHILD_MAX, ToAgent,
    ToChild, Wanted, rights,
};
use crate::heap::{keep_heap_small, let_go_when_settled};
use crate::plugin::Fetcher;
use crate::sandbox::{self, Reach, SandboxError};
use crate::sink::{Giver, Keeper, Mailbox, Order, Shared, orders};
use crate::status::{BreakerStatus, SinkState, SinkStatus};

/// Threads for what blocks, such as writing files, at most.
const BLOCKING: usize = 128;
/// Guests run on two threads, whatever the node has: the agent is a guest on it.
const WORKERS: usize = 2;
/// Of a drain's time, for the last reports.
const DRAIN_MARGIN: Duration = Duration::from_millis(300);

/// Why the plugin process ended.
#[derive(Debug, Error)]
enum ChildError {
    #[error("its standard input is no socket: it is started by `owlk8s run`, not by hand")]
    TakeSocket(#[source] std::io::Error),
    #[error("the agent sent no socket to ask for components")]
    TakeControl(#[source] std::io::Error),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("cannot start its runtime")]
    Runtime(#[source] std::io::Error),
    #[error("cannot set up wasmtime: {0:#}")]
    Engine(wasmtime::Error),
    #[error(
        "speaks protocol {}, and the agent {theirs}: both must be the same binary",
        frames::PROTOCOL
    )]
    Protocol { theirs: u32 },
    #[error("the agent sent {got} where {wanted} is due")]
    Order {
        wanted: &'static str,
        got: &'static str,
    },
    #[error("its configuration does not decode")]
    Configuration(#[source] serde_json::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// The main of the plugin process, which the agent starts from its own binary. Its standard input is
/// the socket to the agent.
pub fn plugin_process() -> ExitCode {
    keep_heap_small();
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        // The agent is gone: nobody is left to tell.
        Err(ChildError::Frame(FrameError::Closed)) => ExitCode::SUCCESS,
        Err(error) => {
            let text = format!("owlk8s plugin-host: {}\n", chain(&error));
            let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<(), ChildError> {
    // Before the sandbox, which would close nothing of it, so that a person who starts it by hand is
    // told so first.
    let socket = take_socket().map_err(ChildError::TakeSocket)?;
    drop(socket);
    sandbox::enter()?;
    let mut socket = take_socket().map_err(ChildError::TakeSocket)?;
    let control = rights::receive(&socket)
        .and_then(|control| control.ok_or_else(|| std::io::ErrorKind::InvalidData.into()))
        .map_err(ChildError::TakeControl)?;
    let configure = greet(&mut socket)?;
    let wanted: Vec<Wanted> =
        serde_json::from_str(&configure.sinks).map_err(ChildError::Configuration)?;
    let configs: Vec<SinkConfig> = wanted.into_iter().flat_map(Wanted::configs).collect();
    seal(&mut socket, &configs, configure.user)?;
    socket
        .set_nonblocking(true)
        .map_err(ChildError::TakeSocket)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING)
        .thread_name("plugins")
        .enable_all()
        .build()
        .map_err(ChildError::Runtime)?;
    let result = runtime.block_on(run(socket, control, *configure));
    // A write to a stuck standard output must not hold up the end.
    runtime.shutdown_background();
    result
}

fn take_socket() -> std::io::Result<StdUnixStream> {
    let socket = StdUnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    socket.peer_addr()?;
    Ok(socket)
}

/// The rest of the process has no more than this leaves.
fn seal(socket: &mut StdUnixStream, sinks: &[SinkConfig], user: u32) -> Result<(), ChildError> {
    let (frame, result) = match sandbox::seal(&Reach::of(sinks), user) {
        Ok(status) => (ToAgent::Sealed(status), Ok(())),
        Err(error) => (ToAgent::Unfit(chain(&error)), Err(error.into())),
    };
    frames::write_blocking(socket, &frame, TO_AGENT_MAX)?;
    result
}

async fn run(
    socket: StdUnixStream,
    control: OwnedFd,
    configure: Configure,
) -> Result<(), ChildError> {
    let socket = UnixStream::from_std(socket).map_err(ChildError::TakeSocket)?;
    // Ctrl-C reaches the whole process group: the agent says when to drain.
    let _interrupt = signal(SignalKind::interrupt()).map_err(ChildError::Runtime)?;
    let _terminate = signal(SignalKind::terminate()).map_err(ChildError::Runtime)?;
    let (mut from, mut to) = socket.into_split();
    let (desks, mut outbox) = desks();
    let (drain, draining) = watch::channel(false);
    let mut sinks = Sinks::new(Fetcher::new(control), desks, draining)?;
    sinks.adopt(configure)?;
    let (close, closing) = watch::channel(false);
    let sent = outbox.send(&mut to, closing);
    tokio::pin!(sent);
    let within = tokio::select! {
        result = sinks.follow(&mut from) => result?,
        result = &mut sent => return Ok(result?),
    };
    drain.send_replace(true);
    let patience = within.saturating_sub(DRAIN_MARGIN);
    tokio::select! {
        _ = tokio::time::timeout(patience, sinks.finished()) => {}
        result = &mut sent => return Ok(result?),
    }
    close.send_replace(true);
    Ok(sent.await?)
}

/// While there is one thread, and so without a runtime.
fn greet(socket: &mut StdUnixStream) -> Result<Box<Configure>, ChildError> {
    frames::write_blocking(socket, &ToAgent::Hello(Hello::ours()), TO_AGENT_MAX)?;
    match frames::read_blocking(socket, TO_CHILD_MAX)? {
        ToChild::Hello(hello) if hello.protocol == frames::PROTOCOL => {}
        ToChild::Hello(hello) => {
            return Err(ChildError::Protocol {
                theirs: hello.protocol,
            });
        }
        other => {
            return Err(ChildError::Order {
                wanted: "hello",
                got: name(&other),
            });
        }
    }
    match frames::read_blocking(socket, TO_CHILD_MAX)? {
        ToChild::Configure(configure) => Ok(configure),
        other => Err(ChildError::Order {
            wanted: "the configuration",
            got: name(&other),
        }),
    }
}

fn name(frame: &ToChild) -> &'static str {
    match frame {
        ToChild::Hello(_) => "hello",
        ToChild::Configure(_) => "the configuration",
        ToChild::Base(_) => "a base",
        ToChild::Sample { .. } => "a sample",
        ToChild::Snapshot { .. } => "a snapshot",
        ToChild::Standing(_) => "a standing",
        ToChild::Drain { .. } => "drain",
    }
}

/// A sink whose task panics is a status, too.
async fn watched(keeper: Keeper, shared: Arc<Shared>) {
    if tokio::spawn(keeper.run()).await.is_err() {
        shared.desk.state(
            SinkState::Failed,
            "its task panicked (report this with what standard error says)",
        );
    }
}

/// Those that its endpoints name.
fn secrets_of(config: &SinkConfig, all: &Secrets) -> Secrets {
    let of = |name: &str| Some((name.to_owned(), all.get(name)?.clone()));
    config.wanted_env().filter_map(of).collect()
}

/// All sinks of the process.
struct Sinks {
    runtime: Runtime,
    desks: Desks,
    drain: watch::Receiver<bool>,
    sinks: BTreeMap<String, Sink>,
    tasks: JoinSet<()>,
    /// What the next configuration's sinks are tried on, by name.
    samples: BTreeMap<String, Arc<Snapshot>>,
    /// How it stands with every sink of the node, as the agent told last; empty before.
    standing: watch::Sender<Bytes>,
}

struct Sink {
    mailbox: Arc<Mailbox>,
    orders: Giver,
    revision: u64,
    /// Taken out of the configuration: it gets no more windows.
    leaves: bool,
}

impl Sinks {
    fn new(
        fetcher: Fetcher,
        desks: Desks,
        drain: watch::Receiver<bool>,
    ) -> Result<Self, ChildError> {
        Ok(Self {
            runtime: Runtime::new(fetcher).map_err(ChildError::Engine)?,
            desks,
            drain,
            sinks: BTreeMap::new(),
            tasks: JoinSet::new(),
            samples: BTreeMap::new(),
            standing: watch::Sender::default(),
        })
    }

    /// Run what is wanted: sinks that are new start, changed ones prepare a generation, those that are
    /// wanted no more leave, and the rest is not touched.
    fn adopt(&mut self, configure: Configure) -> Result<(), ChildError> {
        let wanted: Vec<Wanted> =
            serde_json::from_str(&configure.sinks).map_err(ChildError::Configuration)?;
        let ceiling: Ceiling =
            serde_json::from_str(&configure.ceiling).map_err(ChildError::Configuration)?;
        let ceiling = Arc::new(ceiling);
        let samples = std::mem::take(&mut self.samples);
        let order = |wanted: Wanted| {
            Arc::new(Order {
                revision: wanted.revision,
                ran: wanted.ran,
                secrets: secrets_of(&wanted.config, &configure.secrets),
                ceiling: Arc::clone(&ceiling),
                sample: samples.get(&wanted.config.name).cloned(),
                config: wanted.config,
            })
        };
        self.sinks.retain(|_, sink| !sink.orders.is_closed());
        let enabled = |wanted: &Wanted| wanted.config.enabled;
        let names: BTreeSet<String> = wanted
            .iter()
            .filter(|wanted| enabled(wanted))
            .map(|wanted| wanted.config.name.clone())
            .collect();
        for (name, sink) in &mut self.sinks {
            if !sink.leaves && !names.contains(name) {
                sink.leaves = true;
                sink.orders.order(None);
            }
        }
        for wanted in wanted.into_iter().filter(enabled) {
            let name = wanted.config.name.clone();
            let known = self.sinks.get_mut(&name);
            if let Some(sink) = &known
                && !sink.leaves
                && sink.revision == wanted.revision
            {
                continue;
            }
            let order = order(wanted);
            if let Some(sink) = known
                && sink.orders.order(Some(Arc::clone(&order)))
            {
                sink.revision = order.revision;
                sink.leaves = false;
                continue;
            }
            let resume = configure.resume.get(&name).cloned().unwrap_or_default();
            self.start(name, order, resume, configure.first);
        }
        let_go_when_settled();
        Ok(())
    }

    fn start(&mut self, name: String, order: Arc<Order>, resume: Resume, first: Option<Window>) {
        let mailbox = Mailbox::new(&order.config, &resume, first);
        let desk = self.desks.open(SinkReport {
            status: SinkStatus {
                counters: resume.counters,
                last_error: resume.last_error.clone(),
                limits_exceeded: resume.limits_exceeded.clone(),
                breaker: BreakerStatus {
                    openings: resume.openings,
                    ..BreakerStatus::default()
                },
                last_success_unix_ns: resume.last_success_unix_ns,
                last_error_unix_ns: resume.last_error_unix_ns,
                // The first that runs under a new process is the one that ran before.
                generation: resume.generation.saturating_sub(u64::from(order.ran)),
                last_sequence: resume
                    .acknowledged
                    .map_or(0, |acknowledged| acknowledged.sequence),
                ..SinkStatus::starting(&order.config)
            },
            revision: 0,
            // Until the window is delivered or given up: this process may end before, too.
            attempting: resume.attempting.clone(),
            acknowledged: resume.acknowledged,
            states: resume.states.clone(),
        });
        let shared = Shared::new(
            self.runtime.clone(),
            Arc::clone(&mailbox),
            desk,
            self.standing.subscribe(),
            resume,
        );
        let revision = order.revision;
        let (giver, orders) = orders(order);
        let keeper = Keeper::new(Arc::clone(&shared), orders, self.drain.clone());
        self.tasks.spawn(watched(keeper, shared));
        let sink = Sink {
            mailbox,
            orders: giver,
            revision,
            leaves: false,
        };
        self.sinks.insert(name, sink);
    }

    /// Hand out windows until the agent asks to drain; within how long.
    async fn follow(&mut self, from: &mut OwnedReadHalf) -> Result<Duration, ChildError> {
        loop {
            match frames::read(from, TO_CHILD_MAX).await? {
                ToChild::Snapshot { sinks, snapshot } => sinks
                    .iter()
                    .filter_map(|sink| self.sinks.get(sink))
                    .filter(|sink| !sink.leaves)
                    .for_each(|sink| sink.mailbox.offer(Arc::clone(&snapshot))),
                ToChild::Sample { sink, snapshot } => {
                    self.samples.insert(sink, snapshot);
                }
                ToChild::Standing(standing) => {
                    self.standing.send_replace(standing.into());
                }
                ToChild::Base(base) => {
                    if let Some(sink) = self.sinks.get(&base.sink) {
                        sink.mailbox.base(*base);
                    }
                }
                ToChild::Configure(configure) => {
                    self.adopt(*configure)?;
                    // Those that are gone meanwhile.
                    while self.tasks.try_join_next().is_some() {}
                }
                ToChild::Drain { within } => return Ok(within),
                other => {
                    return Err(ChildError::Order {
                        wanted: "a snapshot, a configuration or drain",
                        got: name(&other),
                    });
                }
            }
        }
    }

    async fn finished(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}
