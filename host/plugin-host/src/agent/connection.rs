use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::Duration;

use owlk8s_model::Snapshot;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

use super::memory::{Memory, Orders};
use super::supervisor::chain;
use crate::crash::{CrashReport, now};
use crate::frames::{
    self, FrameError, Hello, Level, PROTOCOL, TO_AGENT_MAX, TO_CHILD_MAX, ToAgent, ToChild,
};
use crate::guest::printable;
use crate::status::SandboxStatus;

/// For the hello of a new process.
const HELLO_PATIENCE: Duration = Duration::from_secs(10);
/// It reports each second; silent for so long, it is stuck.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// For the sinks of a process that is started anew to deliver what waits.
const SEAL_ANEW: Duration = Duration::from_secs(5);
/// Of a log line from a process that is not trusted.
const LINE_MAX: usize = 8 << 10;

/// The conversation with one plugin process.
pub(super) struct Connection<'a> {
    pub(super) memory: &'a Memory,
    pub(super) drain: watch::Receiver<Option<Duration>>,
}

impl Connection<'_> {
    /// Until it is drained, or the reason why it ended before.
    pub(super) async fn run(self, socket: StdUnixStream) -> Result<(), String> {
        socket
            .set_nonblocking(true)
            .map_err(|error| error.to_string())?;
        let (mut from, mut to) = UnixStream::from_std(socket)
            .map_err(|error| error.to_string())?
            .into_split();
        let greeting = timeout(HELLO_PATIENCE, greet(&mut from, &mut to)).await;
        greeting.map_err(|_| format!("it did not answer within {HELLO_PATIENCE:?}"))??;
        let memory = self.memory;
        let mut drain = self.drain.clone();
        let deadline = async {
            let within = drain
                .wait_for(Option::is_some)
                .await
                .ok()
                .and_then(|within| *within);
            match within {
                Some(within) => tokio::time::sleep(within).await,
                None => std::future::pending().await,
            }
        };
        let feed = self.feed(&mut to);
        tokio::pin!(feed);
        let listen = listen(memory, &mut from);
        tokio::pin!(listen);
        tokio::select! {
            result = &mut listen => result,
            () = deadline => {
                warn!("plugin process did not drain in time: what waits in it is lost");
                Ok(())
            }
            result = &mut feed => match result {
                // A full end: what it says until it closes still counts.
                Err(error) => Err(listen.await.err().unwrap_or_else(|| chain(&error))),
                Ok(()) => listen.await,
            },
        }
    }

    /// Its configuration, what it goes on from, then every window, a changed configuration between two of
    /// them, and at last the drain.
    async fn feed(&self, to: &mut OwnedWriteHalf) -> Result<(), FrameError> {
        let mut drain = self.drain.clone();
        let first = self.memory.orders(true);
        let mut configured = first.revision;
        let mut sent = None;
        let windows = order(to, first).await?;
        for snapshot in windows {
            sent = Some(snapshot.window.sequence);
            send(self.memory, to, &snapshot).await?;
        }
        loop {
            let offered = self.memory.offered.notified();
            while let Some(snapshot) = self.memory.after(sent) {
                sent = Some(snapshot.window.sequence);
                send(self.memory, to, &snapshot).await?;
            }
            // After them: what leaves has had all that was offered before.
            if self.memory.revision() != configured {
                if self.memory.seal_anew() {
                    info!(
                        "plugin process is started anew: the configuration reaches further than it was sealed for"
                    );
                    return frames::write(to, &ToChild::Drain { within: SEAL_ANEW }, TO_CHILD_MAX)
                        .await;
                }
                let orders = self.memory.orders(false);
                configured = orders.revision;
                order(to, orders).await?;
            }
            let within = *drain.borrow_and_update();
            if let Some(within) = within {
                return frames::write(to, &ToChild::Drain { within }, TO_CHILD_MAX).await;
            }
            tokio::select! {
                () = offered => {}
                _ = drain.changed() => {}
            }
        }
    }
}

/// What to run, with what it is tried on before, and what it goes on from behind. The windows that follow.
async fn order(to: &mut OwnedWriteHalf, orders: Orders) -> Result<Vec<Arc<Snapshot>>, FrameError> {
    for (sink, snapshot) in orders.samples {
        let sample = ToChild::Sample { sink, snapshot };
        too_large_is_left_out(frames::write(to, &sample, TO_CHILD_MAX).await)?;
    }
    let configure = ToChild::Configure(Box::new(orders.configure));
    frames::write(to, &configure, TO_CHILD_MAX).await?;
    for base in orders.bases {
        frames::write(to, &ToChild::Base(Box::new(base)), TO_CHILD_MAX).await?;
    }
    Ok(orders.windows)
}

/// As a window of that size is.
fn too_large_is_left_out(written: Result<(), FrameError>) -> Result<(), FrameError> {
    match written {
        Err(FrameError::TooLarge(..) | FrameError::Encode(_)) => Ok(()),
        other => other,
    }
}

/// To each sink what it may see of a window, and before it how it stands with the sinks, where one of them shows that. What is
/// too large is left out, and said.
async fn send(
    memory: &Memory,
    to: &mut OwnedWriteHalf,
    snapshot: &Snapshot,
) -> Result<(), FrameError> {
    if let Some(standing) = memory.standing() {
        let standing = ToChild::Standing(standing);
        too_large_is_left_out(frames::write(to, &standing, TO_CHILD_MAX).await)?;
    }
    let sequence = snapshot.window.sequence;
    for (sinks, snapshot) in memory.views().cut(snapshot) {
        let frame = ToChild::Snapshot { sinks, snapshot };
        match frames::write(to, &frame, TO_CHILD_MAX).await {
            Err(error @ (FrameError::TooLarge(..) | FrameError::Encode(_))) => {
                warn!(sequence, %error, "window is not sent to plugins");
            }
            result => result?,
        }
    }
    Ok(())
}

async fn greet(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf) -> Result<(), String> {
    let greeting = async {
        frames::write(to, &ToChild::Hello(Hello::ours()), TO_CHILD_MAX).await?;
        frames::read::<ToAgent>(from, TO_AGENT_MAX).await
    };
    match greeting.await {
        Ok(ToAgent::Hello(hello)) if hello.protocol == PROTOCOL => Ok(()),
        Ok(ToAgent::Hello(hello)) => Err(format!(
            "it speaks protocol {}, and the agent {PROTOCOL}",
            hello.protocol
        )),
        Ok(_) => Err("it did not begin with a hello".to_owned()),
        Err(error) => Err(chain(&error)),
    }
}

/// Take in what it says until it says that it is drained.
async fn listen(memory: &Memory, from: &mut OwnedReadHalf) -> Result<(), String> {
    loop {
        let frame = timeout(SILENCE_MAX, frames::read(from, TO_AGENT_MAX)).await;
        let frame = frame.map_err(|_| format!("it was silent for {SILENCE_MAX:?}"))?;
        match frame.map_err(|error| chain(&error))? {
            ToAgent::Report(reports) => {
                reports.into_iter().for_each(|report| memory.report(report))
            }
            ToAgent::Log {
                sink,
                level,
                message,
            } => log(&sink, level, &printable(&message, LINE_MAX)),
            ToAgent::Sealed(status) => sealed(memory, status),
            ToAgent::Unfit(why) => {
                let why = printable(&why, LINE_MAX);
                return Err(format!("it does not dare to run plugins: {why}"));
            }
            ToAgent::Crash { report } => match CrashReport::received(&report) {
                Ok(report) => memory.crashed(report),
                Err(why) => warn!(why, "a crash report of the plugin process is left out"),
            },
            ToAgent::CrashAgain { sink, plugin } => memory.crashed_again(&sink, &plugin, now()),
            ToAgent::Gone(sink) => memory.left(&sink),
            ToAgent::Drained => return Ok(()),
            ToAgent::Hello(_) => return Err("it said hello twice".to_owned()),
        }
    }
}

fn sealed(memory: &Memory, status: SandboxStatus) {
    let (user, landlock) = (status.user, status.landlock);
    info!(user, landlock_abi = landlock, "plugin process is sealed");
    for weakness in &status.weaknesses {
        let weakness = printable(weakness, LINE_MAX);
        warn!("plugin process is sealed less than it could be: {weakness}");
    }
    memory.sealed(status);
}

fn log(sink: &str, level: Level, message: &str) {
    match level {
        Level::Debug => debug!(sink, "{message}"),
        Level::Info => info!(sink, "{message}"),
        Level::Warn => warn!(sink, "{message}"),
        Level::Error => error!(sink, "{message}"),
    }
}

#[cfg(test)]
mod tests;
