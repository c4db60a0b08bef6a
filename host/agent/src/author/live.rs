//! `owlk8s plugin record`: snapshots of an agent that runs, to try plugins on.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use owlk8s_model::Snapshot;
use owlk8s_plugin_host::redacted;

use crate::client;

#[derive(Args, Clone, Debug)]
pub(crate) struct RecordArgs {
    /// The admin endpoints of the agent
    #[arg(long, value_name = "URL", default_value = client::ADMIN)]
    live: String,
    /// So many snapshots, one after the other
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1000))]
    windows: u32,
    /// The time between two of them
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    every: Duration,
    /// The file to write, a snapshot a line
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Writes the file; what was written, in words.
pub(crate) fn record(args: &RecordArgs) -> anyhow::Result<String> {
    let snapshots = read(args)?;
    let targets = snapshots.last().map_or(0, |last| last.targets.len());
    let mut text = String::new();
    for snapshot in redacted(snapshots) {
        text += &serde_json::to_string(&snapshot)?;
        text.push('\n');
    }
    let out = args.out.display();
    std::fs::write(&args.out, &text).with_context(|| format!("cannot write {out}"))?;
    Ok(format!(
        "{out}: {} windows of {targets} targets, {} bytes; names and addresses are replaced, counts are the true ones\n",
        args.windows,
        text.len()
    ))
}

/// One window after the other: each begins where the one before ended.
fn read(args: &RecordArgs) -> anyhow::Result<Vec<Snapshot>> {
    let mut snapshots: Vec<Snapshot> = Vec::new();
    for number in 1..=args.windows {
        if number > 1 {
            std::thread::sleep(args.every);
        }
        let mut snapshot = snapshot(&args.live)?;
        snapshot.window.sequence = u64::from(number);
        snapshot.window.merged = 1;
        if let Some(before) = snapshots.last() {
            snapshot.window.start = before.window.end;
        }
        snapshots.push(snapshot);
    }
    Ok(snapshots)
}

/// A fresh reading of the agent.
pub(super) fn snapshot(url: &str) -> anyhow::Result<Snapshot> {
    client::read(url, "/snapshot")
}
