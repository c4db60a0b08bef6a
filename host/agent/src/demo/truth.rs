//! The agent's counts, read where users read them (`GET /snapshot`), beside the servers' and clients'.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
use owlk8s_discover::lab::Room;
use serde::Deserialize;
use serde::de::DeserializeOwned;
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

/// The part of a sink's status that is looked at here.
#[derive(Debug, Deserialize)]
struct Sink {
    name: String,
    state: String,
}

/// A fresh reading of the agent inside `node`.
pub(super) async fn read(node: &Room) -> anyhow::Result<Snapshot> {
    ask(node, "/snapshot").await
}

async fn ask<T: DeserializeOwned>(node: &Room, path: &'static str) -> anyhow::Result<T> {
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT));
    let what = || format!("GET http://{admin}{path}");
    let response = node.run(get(admin, path)).await?.with_context(what)?;
    if !response.status().is_success() {
        bail!("{}: {}", what(), response.status());
    }
    serde_json::from_slice(response.body()).with_context(what)
}

/// Waits until all pods are watched, since a request before that would be missed, and until no
/// plugin is being compiled any more, since nobody would see the table.
pub(super) async fn ready(node: &Room, patience: Duration) -> anyhow::Result<()> {
    let end = Instant::now() + patience;
    loop {
        match waiting(node).await {
            Ok(waiting) if waiting.is_empty() => return Ok(()),
            _ if Instant::now() < end => sleep(LOOK_AGAIN).await,
            Ok(waiting) => bail!("not ready after {patience:?}: {}", waiting.join("; ")),
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("the agent does not answer after {patience:?}"));
            }
        }
    }
}

/// Pods that are not watched and sinks that are not made yet, with the reason.
async fn waiting(node: &Room) -> anyhow::Result<Vec<String>> {
    let mut waiting = read(node).await?.waiting();
    let sinks: Vec<Sink> = ask(node, "/plugins").await?;
    let starting = sinks.iter().filter(|sink| sink.state == "starting");
    waiting.extend(starting.map(|sink| format!("sink {} is starting", sink.name)));
    Ok(waiting)
}

impl Snapshot {
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
