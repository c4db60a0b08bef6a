//! The plugin process: no capability, no environment, one socket to the agent, and the sinks.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use owlk8s_model::Snapshot;
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::SinkConfig;
use crate::desk::{Desks, desks};
use crate::endpoints::Secrets;
use crate::engine::Runtime;
use crate::frames::{
    self, Configure, FrameError, Hello, Resume, SinkReport, TO_AGENT_MAX, TO_CHILD_MAX, ToAgent,
    ToChild, Wanted,
};
use crate::sandbox::{self, SandboxError};
use crate::sink::{Giver, Keeper, Mailbox, Order, Shared, orders};
use crate::status::{BreakerStatus, SinkState, SinkStatus};

/// Guests run on two threads, whatever the node has: the agent is a guest on it.
const WORKERS: usize = 2;
/// Of a drain's time, for the last reports.
const DRAIN_MARGIN: Duration = Duration::from_millis(300);

/// Why the plugin process ended.
#[derive(Debug, Error)]
enum ChildError {
    #[error("its standard input is no socket: it is started by `owlk8s run`, not by hand")]
    TakeSocket(#[source] std::io::Error),
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
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        // The agent is gone: nobody is left to tell.
        Err(ChildError::Frame(FrameError::Closed)) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = format!("owlk8s plugin-host: {error}");
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                text.push_str(&format!(": {error}"));
                cause = error.source();
            }
            let _ =
                std::io::Write::write_all(&mut std::io::stderr(), format!("{text}\n").as_bytes());
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
    let socket = take_socket().map_err(ChildError::TakeSocket)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("plugins")
        .enable_all()
        .build()
        .map_err(ChildError::Runtime)?;
    let result = runtime.block_on(run(socket));
    // A write to a stuck standard output must not hold up the end.
    runtime.shutdown_background();
    result
}

fn take_socket() -> std::io::Result<StdUnixStream> {
    let socket = StdUnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    socket.peer_addr()?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

async fn run(socket: StdUnixStream) -> Result<(), ChildError> {
    let socket = UnixStream::from_std(socket).map_err(ChildError::TakeSocket)?;
    // Ctrl-C reaches the whole process group: the agent says when to drain.
    let _interrupt = signal(SignalKind::interrupt()).map_err(ChildError::Runtime)?;
    let _terminate = signal(SignalKind::terminate()).map_err(ChildError::Runtime)?;
    let (mut from, mut to) = socket.into_split();
    let configure = greet(&mut from, &mut to).await?;
    let (desks, mut outbox) = desks();
    let (drain, draining) = watch::channel(false);
    let mut sinks = Sinks::new(desks, draining)?;
    sinks.adopt(*configure)?;
    let within = tokio::select! {
        result = sinks.follow(&mut from) => result?,
        error = outbox.send(&mut to) => return Err(error.into()),
    };
    drain.send_replace(true);
    let patience = within.saturating_sub(DRAIN_MARGIN);
    tokio::select! {
        _ = tokio::time::timeout(patience, sinks.finished()) => {}
        error = outbox.send(&mut to) => return Err(error.into()),
    }
    Ok(outbox.close(&mut to).await?)
}

async fn greet(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
) -> Result<Box<Configure>, ChildError> {
    frames::write(to, &ToAgent::Hello(Hello::ours()), TO_AGENT_MAX).await?;
    match frames::read(from, TO_CHILD_MAX).await? {
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
    match frames::read(from, TO_CHILD_MAX).await? {
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
        ToChild::Base { .. } => "a base",
        ToChild::Snapshot(_) => "a snapshot",
        ToChild::Drain { .. } => "drain",
    }
}

/// A sink whose task panics is a status, too.
async fn watched(keeper: Keeper, running: Option<Arc<Order>>, shared: Arc<Shared>) {
    if tokio::spawn(keeper.run(running)).await.is_err() {
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
    latest: watch::Sender<Option<Arc<Snapshot>>>,
    /// Whether a configuration came before.
    configured: bool,
}

struct Sink {
    mailbox: Arc<Mailbox>,
    orders: Giver,
    revision: u64,
    /// Taken out of the configuration: it gets no more windows.
    leaves: bool,
}

impl Sinks {
    fn new(desks: Desks, drain: watch::Receiver<bool>) -> Result<Self, ChildError> {
        Ok(Self {
            runtime: Runtime::new().map_err(ChildError::Engine)?,
            desks,
            drain,
            sinks: BTreeMap::new(),
            tasks: JoinSet::new(),
            latest: watch::Sender::new(None),
            configured: false,
        })
    }

    /// Run what is wanted: sinks that are new start, changed ones prepare a generation, those that are
    /// wanted no more leave, and the rest is not touched.
    fn adopt(&mut self, configure: Configure) -> Result<(), ChildError> {
        let wanted: Vec<Wanted> =
            serde_json::from_str(&configure.sinks).map_err(ChildError::Configuration)?;
        let dirs = Arc::new(configure.plugin_dirs);
        let rehearse = std::mem::replace(&mut self.configured, true);
        let order = |revision, config: SinkConfig, rehearse| {
            Arc::new(Order {
                revision,
                secrets: secrets_of(&config, &configure.secrets),
                config,
                dirs: Arc::clone(&dirs),
                rehearse,
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
            let running = wanted
                .running
                .map(|(revision, config)| order(revision, config, false));
            let first = order(
                wanted.revision,
                wanted.config,
                rehearse || running.is_some(),
            );
            if let Some(sink) = known
                && sink.orders.order(Some(Arc::clone(&first)))
            {
                sink.revision = first.revision;
                sink.leaves = false;
                continue;
            }
            let resume = configure.resume.get(&name).cloned().unwrap_or_default();
            self.start(name, first, running, &resume);
        }
        Ok(())
    }

    fn start(
        &mut self,
        name: String,
        order: Arc<Order>,
        running: Option<Arc<Order>>,
        resume: &Resume,
    ) {
        let begins_as = running.as_ref().unwrap_or(&order);
        let mailbox = Mailbox::new(&begins_as.config, resume);
        let desk = self.desks.open(SinkReport {
            status: SinkStatus {
                counters: resume.counters,
                last_error: resume.last_error.clone(),
                last_success_unix_ns: resume.last_success_unix_ns,
                last_error_unix_ns: resume.last_error_unix_ns,
                limits_exceeded: resume.limits_exceeded.clone(),
                breaker: BreakerStatus {
                    openings: resume.openings,
                    ..BreakerStatus::default()
                },
                // The first that runs under a new process is the one that ran before.
                generation: resume.generation.saturating_sub(1),
                last_sequence: resume
                    .acknowledged
                    .map_or(0, |acknowledged| acknowledged.sequence),
                ..SinkStatus::starting(&begins_as.config)
            },
            revision: 0,
            attempting: None,
            acknowledged: resume.acknowledged,
            states: resume.states.clone(),
        });
        let shared = Shared::new(
            self.runtime.clone(),
            Arc::clone(&mailbox),
            desk,
            self.latest.subscribe(),
        );
        let revision = order.revision;
        let (giver, orders) = orders(order);
        let keeper = Keeper::new(Arc::clone(&shared), orders, self.drain.clone());
        self.tasks.spawn(watched(keeper, running, shared));
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
                ToChild::Snapshot(snapshot) => {
                    self.staying()
                        .for_each(|sink| sink.mailbox.offer(&snapshot));
                    self.latest.send_replace(Some(snapshot));
                }
                ToChild::Base { sink, snapshot } => {
                    if let Some(sink) = self.sinks.get(&sink) {
                        sink.mailbox.base(&snapshot);
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

    fn staying(&self) -> impl Iterator<Item = &Sink> {
        self.sinks.values().filter(|sink| !sink.leaves)
    }

    async fn finished(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}
