//! The agent's counts, read where users read them (`GET /snapshot`), beside the servers' and clients'.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
use owlk8s_discover::lab::Room;
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::ADMIN_PORT;
use super::client::get;
use super::pods::{PODS, Pod};
use super::tally::Counts;

const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The part of the snapshot that is looked at here.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Snapshot {
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    pod: String,
    status: String,
    #[serde(default)]
    reason: String,
    totals: Counts,
}

/// A fresh reading of the agent inside `node`.
pub(super) async fn read(node: &Room) -> anyhow::Result<Snapshot> {
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT));
    let response = node
        .run(get(admin, "/snapshot"))
        .await?
        .with_context(|| format!("GET http://{admin}/snapshot"))?;
    if !response.status().is_success() {
        bail!("GET http://{admin}/snapshot: {}", response.status());
    }
    serde_json::from_slice(response.body())
        .with_context(|| format!("what http://{admin}/snapshot says"))
}

/// Waits until all pods are watched: a request before that would be missed.
pub(super) async fn attached(node: &Room, patience: Duration) -> anyhow::Result<()> {
    let end = Instant::now() + patience;
    loop {
        let snapshot = read(node).await;
        match &snapshot {
            Ok(snapshot) if snapshot.waiting().is_empty() => return Ok(()),
            _ if Instant::now() < end => sleep(LOOK_AGAIN).await,
            Ok(snapshot) => bail!(
                "not attached after {patience:?}: {}",
                snapshot.waiting().join("; ")
            ),
            Err(_) => {
                return snapshot
                    .map(|_| ())
                    .with_context(|| format!("the agent does not answer after {patience:?}"));
            }
        }
    }
}

impl Snapshot {
    /// Pods that are not watched yet, with the reason.
    fn waiting(&self) -> Vec<String> {
        let not_yet = |pod: &Pod| match self.targets.iter().find(|target| target.pod == pod.name) {
            Some(target) if target.status == "active" => None,
            Some(target) => Some(format!(
                "{} is {}: {}",
                pod.name, target.status, target.reason
            )),
            None => Some(format!("{} is unknown", pod.name)),
        };
        PODS.iter().filter_map(not_yet).collect()
    }
}

/// The counts side by side.
pub(super) struct Comparison {
    /// A table for people.
    pub(super) text: String,
    /// All three agree for each pod, and there was something to count.
    pub(super) equal: bool,
}

pub(super) fn compare(
    pods: &[Pod],
    served: &[Counts],
    answered: &[Counts],
    counted: &Snapshot,
) -> Comparison {
    let counted: BTreeMap<&str, Counts> = counted
        .targets
        .iter()
        .map(|t| (t.pod.as_str(), t.totals))
        .collect();
    let mut text = format!(
        "\n{:<22}{:>18}{:>18}{:>18}\n",
        "requests/4xx/5xx", "servers", "clients", "owlk8s"
    );
    let mut equal = true;
    for ((pod, served), answered) in pods.iter().zip(served).zip(answered) {
        let ours = counted.get(pod.name).copied().unwrap_or_default();
        let same = *served == *answered && *served == ours && ours.requests > 0;
        equal &= same;
        let [served, answered, ours] = [*served, *answered, ours].map(show);
        let verdict = if same { "equal" } else { "NOT EQUAL" };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:<22}{served:>18}{answered:>18}{ours:>18}  {verdict}",
            pod.name
        );
    }
    Comparison { text, equal }
}

fn show(counts: Counts) -> String {
    format!("{}/{}/{}", counts.requests, counts.err4, counts.err5)
}
