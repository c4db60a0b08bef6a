//! The plugin process: no capability, no environment, one socket to the agent, and the sinks.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

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
use crate::engine::Runtime;
use crate::frames::{
    self, Configure, FrameError, Hello, SinkReport, TO_AGENT_MAX, TO_CHILD_MAX, ToAgent, ToChild,
    rights,
};
use crate::plugin::Fetcher;
use crate::sandbox::{self, Reach, SandboxError};
use crate::sink::{Mailbox, Start};
use crate::status::{SinkState, SinkStatus};

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
    let sinks: Vec<SinkConfig> =
        serde_json::from_str(&configure.sinks).map_err(ChildError::Configuration)?;
    seal(&mut socket, &sinks, configure.user)?;
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
    let result = runtime.block_on(run(socket, control, *configure, sinks));
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
    configs: Vec<SinkConfig>,
) -> Result<(), ChildError> {
    let socket = UnixStream::from_std(socket).map_err(ChildError::TakeSocket)?;
    // Ctrl-C reaches the whole process group: the agent says when to drain.
    let _interrupt = signal(SignalKind::interrupt()).map_err(ChildError::Runtime)?;
    let _terminate = signal(SignalKind::terminate()).map_err(ChildError::Runtime)?;
    let (mut from, mut to) = socket.into_split();
    let (desks, mut outbox) = desks();
    let (drain, draining) = watch::channel(false);
    let mut sinks = Sinks::start(Fetcher::new(control), configure, configs, &desks, draining)?;
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
        ToChild::Base { .. } => "a base",
        ToChild::Snapshot { .. } => "a snapshot",
        ToChild::Drain { .. } => "drain",
    }
}

/// A sink whose task panics is a status, too.
async fn watched(start: Start) {
    let desk = start.desk.clone();
    if tokio::spawn(start.run()).await.is_err() {
        desk.state(
            SinkState::Failed,
            "its task panicked (report this with what standard error says)",
        );
    }
}

/// All sinks of the process.
struct Sinks {
    mailboxes: BTreeMap<String, Arc<Mailbox>>,
    tasks: JoinSet<()>,
}

impl Sinks {
    fn start(
        fetcher: Fetcher,
        configure: Configure,
        configs: Vec<SinkConfig>,
        desks: &Desks,
        drain: watch::Receiver<bool>,
    ) -> Result<Self, ChildError> {
        let runtime = Runtime::new(fetcher).map_err(ChildError::Engine)?;
        let ceiling: Ceiling =
            serde_json::from_str(&configure.ceiling).map_err(ChildError::Configuration)?;
        let ceiling = Arc::new(ceiling);
        let secrets = Arc::new(configure.secrets);
        let mut sinks = Self {
            mailboxes: BTreeMap::new(),
            tasks: JoinSet::new(),
        };
        for config in configs.into_iter().filter(|config| config.enabled) {
            let resume = configure
                .resume
                .get(&config.name)
                .cloned()
                .unwrap_or_default();
            let mailbox = Mailbox::new(config.clone(), &resume);
            let desk = desks.open(SinkReport {
                status: SinkStatus {
                    counters: resume.counters,
                    last_error: resume.last_error.clone(),
                    last_sequence: resume
                        .acknowledged
                        .map_or(0, |acknowledged| acknowledged.sequence),
                    ..SinkStatus::starting(&config)
                },
                attempting: None,
                acknowledged: resume.acknowledged,
                states: resume.states.clone(),
            });
            let start = Start {
                runtime: runtime.clone(),
                mailbox: Arc::clone(&mailbox),
                desk,
                secrets: Arc::clone(&secrets),
                ceiling: Arc::clone(&ceiling),
                resume,
                drain: drain.clone(),
            };
            sinks.mailboxes.insert(config.name, mailbox);
            sinks.tasks.spawn(watched(start));
        }
        Ok(sinks)
    }

    /// Hand out windows until the agent asks to drain; within how long.
    async fn follow(&mut self, from: &mut OwnedReadHalf) -> Result<Duration, ChildError> {
        loop {
            match frames::read(from, TO_CHILD_MAX).await? {
                ToChild::Snapshot { sinks, snapshot } => sinks
                    .iter()
                    .filter_map(|sink| self.mailboxes.get(sink))
                    .for_each(|mailbox| mailbox.offer(Arc::clone(&snapshot))),
                ToChild::Base { sink, snapshot } => {
                    if let Some(mailbox) = self.mailboxes.get(&sink) {
                        mailbox.base(snapshot);
                    }
                }
                ToChild::Drain { within } => return Ok(within),
                other => {
                    return Err(ChildError::Order {
                        wanted: "a snapshot or drain",
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
