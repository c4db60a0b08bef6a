//! The node with its pods and clients: a bridge, and a namespace behind each of its ports.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use owlk8s_discover::lab::{LabError, Prefixed, Room};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::client::clients;
use super::pods::{PODS, Pod};
use super::server;
use super::tally::{Counts, Tally};

const BRIDGE: &str = "br0";
/// For requests under way when traffic ends; the slowest takes 60 ms.
const FINISH: Duration = Duration::from_secs(5);

pub(super) struct Lab {
    node: Arc<Room>,
    clients: Arc<Room>,
    pods: Vec<Living>,
}

struct Living {
    tally: Arc<Tally>,
    /// Held: the server lives as long.
    _room: Room,
}

fn addresses(last: u8) -> [Prefixed; 2] {
    [
        (std::net::Ipv4Addr::new(10, 77, 0, last).into(), 24),
        (
            std::net::Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, last.into()).into(),
            64,
        ),
    ]
}

impl Lab {
    /// Makes everything, with the servers listening. Dropping it ends everything.
    pub(super) async fn up() -> anyhow::Result<Self> {
        let node = Arc::new(Room::open("demo-node").await?);
        node.bridge(BRIDGE, &addresses(1)).await?;
        let clients = Arc::new(Room::open("demo-clients").await?);
        node.join(BRIDGE, "vh-clients", &clients, &addresses(200))
            .await?;
        let mut pods = Vec::new();
        for pod in &PODS {
            pods.push(Living::start(pod, &node).await?);
        }
        Ok(Self {
            node,
            clients,
            pods,
        })
    }

    pub(super) fn node(&self) -> &Arc<Room> {
        &self.node
    }

    /// What the servers say that they have answered, in the order of [`PODS`].
    pub(super) fn served(&self) -> Vec<Counts> {
        self.pods.iter().map(|pod| pod.tally.counts()).collect()
    }

    /// Starts all clients.
    pub(super) fn traffic(&self) -> Traffic {
        let (stop, stopped) = watch::channel(false);
        let tallies: Vec<Arc<Tally>> = PODS.iter().map(|_| Arc::default()).collect();
        let all: Vec<_> = PODS
            .iter()
            .zip(&tallies)
            .flat_map(|(pod, tally)| clients(pod, tally))
            .collect();
        let room = Arc::clone(&self.clients);
        let running = tokio::spawn(async move {
            room.run(async move {
                let mut running: JoinSet<()> = all
                    .into_iter()
                    .map(|client| client.run(stopped.clone()))
                    .collect();
                while running.join_next().await.is_some() {}
            })
            .await
        });
        Traffic {
            stop,
            tallies,
            running,
        }
    }
}

impl Living {
    async fn start(pod: &'static Pod, node: &Room) -> anyhow::Result<Self> {
        let room = Room::open(&format!("demo-{}", pod.port.trim_start_matches("vh-"))).await?;
        node.join(BRIDGE, pod.port, &room, &addresses(pod.last))
            .await?;
        let tally = Arc::<Tally>::default();
        let listening = room.run(server::serve(pod, Arc::clone(&tally))).await?;
        listening.with_context(|| format!("cannot listen in the namespace of {}", pod.name))?;
        Ok(Self { tally, _room: room })
    }
}

/// Clients at work.
pub(super) struct Traffic {
    stop: watch::Sender<bool>,
    tallies: Vec<Arc<Tally>>,
    running: JoinHandle<Result<(), LabError>>,
}

impl Traffic {
    /// Lets requests under way be answered, and says what was, in the order of [`PODS`].
    pub(super) async fn stop(self) -> anyhow::Result<Vec<Counts>> {
        self.stop.send_replace(true);
        let finished = tokio::time::timeout(FINISH, self.running).await;
        finished.map_err(|_| {
            anyhow!("the demo's clients still wait for answers after {FINISH:?}")
        })???;
        Ok(self.tallies.iter().map(|tally| tally.counts()).collect())
    }
}
