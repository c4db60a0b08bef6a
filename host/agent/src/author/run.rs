//! `owlk8s plugin run`: a plugin once on a snapshot.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use owlk8s_model::Snapshot;
use owlk8s_plugin_host::{Asked, Given, Sent, SinkConfig, Tried, Workshop};

use super::{SinkArgs, live, show, sink, snapshots, workbench};
use crate::client::runtime;
use crate::privilege;

#[derive(Args, Clone, Debug)]
pub(crate) struct RunArgs {
    /// The component
    component: PathBuf,
    /// A file with one or more snapshots, a crash report, or one of `shop`, `odd-names`, `empty`, `rows-50000`
    #[arg(long, value_name = "FILE", default_value = "shop")]
    snapshot: String,
    /// Read the snapshot from the agent on this node instead
    #[arg(long, value_name = "URL", conflicts_with = "snapshot", num_args = 0..=1, default_missing_value = crate::client::ADMIN)]
    live: Option<String>,
    /// For a responder: method and path
    #[arg(long, value_name = "REQUEST", default_value = "GET /")]
    request: String,
    /// For a responder: a field of the request's head
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    #[command(flatten)]
    sink: SinkArgs,
}

/// Prints what the plugin gives on standard output, and what it says and costs on standard error; whether it gave something
/// for each window, and all of it arrived.
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<bool> {
    let windows = match &args.live {
        Some(url) => vec![live::snapshot(url)?],
        None => snapshots(&args.snapshot)?,
    };
    let asked = asked(&args.request, &args.headers)?;
    let sink = sink(&args.component, &args.sink, None)?;
    privilege::drop_all()?;
    runtime()?.block_on(tried(sink, &windows, &asked))
}

async fn tried(sink: SinkConfig, windows: &[Snapshot], asked: &Asked) -> anyhow::Result<bool> {
    let mut bench = workbench(&mut Workshop::new()?, sink)?;
    let mut said = bench.authority();
    bench.validate().await.map_err(anyhow::Error::msg)?;
    let mut whole = true;
    for window in windows {
        let Tried { given, log, cost } = bench.try_on(window, Some(asked)).await;
        said.extend(log);
        say(&mut said)?;
        match given {
            Ok(Given::Payloads(payloads)) => {
                let (to_deliver, shown): (Vec<Sent>, Vec<Sent>) = payloads
                    .into_iter()
                    .partition(|sent| bench.has_endpoint(&sent.endpoint));
                if to_deliver.is_empty() || !shown.is_empty() {
                    crate::print(&show::text(&Given::Payloads(shown)))?;
                }
                for sent in &to_deliver {
                    let endpoint = &sent.endpoint;
                    said.push(match bench.deliver(sent).await {
                        Ok(()) => {
                            format!("endpoint {endpoint}: {} bytes delivered", sent.body.len())
                        }
                        Err(why) => {
                            whole = false;
                            format!("endpoint {endpoint}: {why}")
                        }
                    });
                }
            }
            Ok(given) => crate::print(&show::text(&given))?,
            Err(fault) => {
                whole = false;
                said.push(fault);
            }
        }
        said.push(format!(
            "window {}: {:.2} ms of processor time, {} KiB of memory, {} calls of the host",
            window.window.sequence,
            cost.cpu_ns as f64 / 1e6,
            cost.memory >> 10,
            cost.host_calls
        ));
        say(&mut said)?;
    }
    Ok(whole)
}

fn say(lines: &mut Vec<String>) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut to = std::io::stderr().lock();
    for line in lines.drain(..) {
        writeln!(to, "{line}")?;
    }
    Ok(())
}

/// `GET /metrics` and `accept: text/plain`
pub(super) fn asked(request: &str, headers: &[String]) -> anyhow::Result<Asked> {
    let Some((method, target)) = request.split_once(' ') else {
        bail!("{request:?} is no request: give method and path, such as 'GET /metrics'");
    };
    let mut fields = Vec::new();
    for header in headers {
        let Some((name, value)) = header.split_once(':') else {
            bail!("{header:?} is no field: give 'name: value'");
        };
        fields.push((name.trim().to_lowercase(), value.trim().to_owned()));
    }
    Ok(Asked {
        method: method.to_owned(),
        target: target.to_owned(),
        headers: fields,
    })
}
