//! The agent as `owlk8s run` has it, on a thread inside the node's namespace: its sockets, its plugin
//! process and its listeners are in there with it.

use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, anyhow};
use owlk8s_discover::Namespace;
use tokio::sync::oneshot;

use crate::agent::Built;
use crate::config::Config;
use crate::privilege;

pub(super) struct Agent {
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<anyhow::Result<()>>,
}

impl Agent {
    pub(super) fn start(config: Config, node: &Arc<Namespace>) -> anyhow::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (report, ended) = oneshot::channel();
        let node = Arc::clone(node);
        let life = move || {
            // Where nobody waits for the report, the demo has ended for a reason of its own.
            let _ = report.send(live(config, &node, stopped));
        };
        thread::Builder::new()
            .name("demo-agent".to_owned())
            .spawn(life)
            .context("cannot start the agent's thread")?;
        Ok(Self { stop, ended })
    }

    /// Comes back when the agent ended without being asked to.
    pub(super) async fn failed(&mut self) -> anyhow::Error {
        match (&mut self.ended).await {
            Ok(Err(error)) => error,
            Ok(Ok(())) | Err(_) => anyhow!("the agent ended by itself"),
        }
    }

    /// Drains it and waits for that.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        // An agent that has ended already is not to be asked.
        let _ = self.stop.send(());
        self.ended
            .await
            .unwrap_or_else(|_| Err(anyhow!("the agent's thread panicked")))
    }
}

fn live(config: Config, node: &Namespace, stopped: oneshot::Receiver<()>) -> anyhow::Result<()> {
    node.enter()?;
    privilege::settle()?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let mut running = Built::new(config).await?.spawn()?;
            let asked = async {
                // The sender's end asks the same.
                let _ = stopped.await;
            };
            let ended = running.until(asked).await;
            running.drain().await;
            Ok(ended?)
        })
}
