//! `owlk8s demo`: three pods of its own making with real servers and clients, watched by the agent
//! exactly as `owlk8s run` would, with this in place of a configuration file: [`CONFIG`].
//!
//! The node, the pods and the clients are network namespaces that live only in this process (see
//! `owlk8s_discover::lab`), and the agent works inside the node's. So the demo touches no link, address
//! or route of the machine, needs no free address, and leaves nothing behind, however it ends. The two
//! ports that people look at are the only thing on this side: a [`Door`] each, on loopback, on another port
//! where an agent has the usual one.
//!
//! At the end the servers' own counts, the clients' and the agent's are put side by side. They are
//! equal, or the demo fails.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::Stop;
use crate::config::{Config, process_env};
use crate::demo::agent::Agent;
use crate::demo::door::Door;
use crate::demo::lab::Lab;
use crate::demo::pods::PODS;

mod agent;
mod client;
mod door;
mod lab;
mod pods;
mod server;
mod tally;
#[cfg(test)]
mod tests;
mod truth;

/// The agent's own endpoints.
const ADMIN_PORT: u16 = 9465;
/// Prometheus metrics.
const METRICS_PORT: u16 = 9466;
/// For the agent to be attached to all pods, and for its plugins, which are compiled the first time.
const READY: Duration = Duration::from_secs(60);

/// What is said while the filter is loaded and the plugins are compiled.
const BEGINNING: &str =
    "owlk8s demo: three pods with real servers and clients, in network namespaces of their own\n";

const CONFIG: &str = r#"
node = "owlk8s-demo"
interval = "2s"
plugins.state_dir = ""

[admin]
listen = "127.0.0.1:9465"

[discovery.static]
targets = [
    { pod = "cart-6d5f9c8b4-x2x7p", namespace = "shop", workload = "Deployment/cart", services = ["cart"],
      ips = ["10.77.0.11", "fd77::b"], interface = "vh-cart", labels = { team = "basket" } },
    { pod = "checkout-0", namespace = "shop", workload = "StatefulSet/checkout", services = ["checkout", "pay"],
      ips = ["10.77.0.12", "fd77::c"], interface = "vh-checkout", labels = { team = "money" } },
    { pod = "search-7c4d9-kq5zl", namespace = "shop", workload = "DaemonSet/search", services = ["search"],
      ips = ["10.77.0.13", "fd77::d"], labels = { team = "find" } },
]

[[sinks]]
name = "table"
plugin = "simple-log"
endpoints.out = { kind = "stdout" }
config = { style = "table", units = "ms" }

[[sinks]]
name = "prometheus"
plugin = "prometheus"
endpoints.metrics = { kind = "serve", listen = "127.0.0.1:9466" }
"#;

/// Runs until `duration` is over, Ctrl-C or SIGTERM.
pub(crate) fn demo(duration: Option<Duration>) -> anyhow::Result<()> {
    let config = Config::parse("the demo's configuration", CONFIG, &process_env)?;
    crate::logs::start(config.log, &quiet_env);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(run(config, duration))
}

/// Warnings only, where nobody asked for more: the table is what is to be seen.
fn quiet_env(name: &str) -> Option<String> {
    let quiet =
        || (name == "RUST_LOG" && process_env("debug").is_none()).then(|| "warn".to_owned());
    process_env(name)
        .filter(|value| !value.is_empty())
        .or_else(quiet)
}

async fn run(config: Config, duration: Option<Duration>) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    let (admin, metrics) = (
        Door::open(ADMIN_PORT).await?,
        Door::open(METRICS_PORT).await?,
    );
    let greeting = greeting(duration, admin.address()?, metrics.address()?);
    let lab = Lab::up().await?;
    crate::print(BEGINNING)?;
    let mut agent = Agent::start(config, lab.node().namespace())?;
    let doors = [admin, metrics].map(|door| door.lead_to(lab.node()));

    let traffic = tokio::select! {
        error = agent.failed() => return Err(error),
        () = stop.asked() => return agent.stop().await,
        ready = truth::ready(lab.node(), READY) => { ready?; lab.traffic() }
    };
    crate::print(&greeting)?;
    tokio::select! {
        error = agent.failed() => return Err(error),
        () = stop.asked() => {}
        () = over(duration) => {}
    }
    let answered = traffic.stop().await?;
    let counted = truth::read(lab.node())
        .await
        .context("cannot read the agent's last counts")?;
    agent.stop().await?;
    drop(doors);
    let comparison = truth::compare(&PODS, &lab.served(), &answered, &counted);
    crate::print(&comparison.text)?;
    verdict(&comparison)
}

fn verdict(comparison: &truth::Comparison) -> anyhow::Result<()> {
    if !comparison.equal {
        bail!(
            "the demo's servers, clients and owlk8s have counted differently: this is a bug, please report the table above"
        );
    }
    Ok(())
}

fn greeting(duration: Option<Duration>, admin: SocketAddr, metrics: SocketAddr) -> String {
    let end = duration.map_or_else(
        || "Ctrl-C".to_owned(),
        |duration| format!("{}, or with Ctrl-C", humantime::format_duration(duration)),
    );
    format!(
        "\x20 metrics   http://{metrics}/metrics\n\
         \x20 snapshot  http://{admin}/snapshot\n\
         \x20 ends      {end}\n\n"
    )
}

async fn over(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}
