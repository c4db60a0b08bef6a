//! The agent: config -> build -> spawn -> drain.
//!
//! It knows all rooms and none knows it: discovery gives targets, the probe gives readings, the model
//! folds them into snapshots, and the plugin process gets these. See `agent` for that way.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test panics where it fails")
)]

mod admin;
mod agent;
mod author;
mod book;
mod cli;
mod client;
mod config;
mod demo;
mod doctor;
mod logs;
mod manifest;
mod places;
mod plan;
mod plugin;
mod plugins;
mod privilege;
mod reader;
mod reload;
mod support;
mod top;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::agent::Built;
use crate::cli::{Cli, Command, PluginCommand};
use crate::config::{Config, ConfigError, process_env};
use crate::reload::Changes;

/// The user asked for what cannot be; clap ends with it as well.
const USAGE: u8 = 2;
/// The agent could not begin, or could not go on.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        // Before any thread: the plugin process makes its own fences first.
        Command::PluginHost => return owlk8s_plugin_host::plugin_process(),
        Command::PluginCompile => return owlk8s_plugin_host::compile_process(),
        Command::Run { config } => run(&config),
        Command::Demo { duration } => demo::demo(duration),
        Command::Config { config } => print_config(config.as_deref()),
        Command::Doctor { config, json } => return doctor(config.as_deref(), json),
        Command::Top(top) => top::top(top),
        Command::Plugin { command } => return plugin(command),
        Command::Log { level, url } => log(level.as_deref(), &url),
        Command::Support {
            config,
            url,
            output,
            names,
        } => support::write(config.as_deref(), &url, &output, names),
        Command::Version => print(concat!("owlk8s ", env!("CARGO_PKG_VERSION"), "\n")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ended_by(&error),
    }
}

fn ended_by(error: &anyhow::Error) -> ExitCode {
    complain(error);
    ExitCode::from(if error.is::<ConfigError>() {
        USAGE
    } else {
        FAILED
    })
}

/// The chain, once, in one line.
fn complain(error: &anyhow::Error) {
    // With nowhere to complain to there is still the exit code.
    let _ = writeln!(std::io::stderr(), "owlk8s: {error:#}");
}

fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn print_config(path: Option<&Path>) -> anyhow::Result<()> {
    let config = effective(path)?;
    print(&toml::to_string_pretty(&config)?)
}

fn log(level: Option<&str>, url: &str) -> anyhow::Result<()> {
    let said = match level {
        Some(level) => client::put(url, "/log", level)?,
        None => client::get(url, "/log")?,
    };
    if level.is_some() {
        return print(&String::from_utf8_lossy(&said));
    }
    let log: serde_json::Value = serde_json::from_slice(&said)?;
    let mut text = client::log_lines(&log);
    let word = |key: &str| log[key].as_str().unwrap_or_default().to_owned();
    text += &format!("-- {} ({})\n", word("filter"), word("source"));
    print(&text)
}

/// Its exit code is for scripts: 1 where the agent could not work.
fn doctor(path: Option<&Path>, json: bool) -> ExitCode {
    let examined = effective(path)
        .map_err(anyhow::Error::from)
        .and_then(|config| {
            let report = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(doctor::examine(&config));
            print(&if json { report.json()? } else { report.text() })?;
            Ok(report)
        });
    match examined {
        Ok(report) if report.is_failed() => ExitCode::from(FAILED),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => ended_by(&error),
    }
}

/// Its exit code is for scripts: 1 where the plugin is not as it should be.
fn plugin(command: PluginCommand) -> ExitCode {
    let said = |text: anyhow::Result<String>| text.and_then(|text| print(&text)).map(|()| true);
    let judged = |verdict: anyhow::Result<(String, bool)>| {
        verdict.and_then(|(text, good)| print(&text).map(|()| good))
    };
    let done = match command {
        PluginCommand::Manifest { component, set } => {
            said(manifest::manifest(&component, set.as_deref()))
        }
        PluginCommand::Inspect { component, json } => judged(author::inspect(&component, json)),
        PluginCommand::Run(args) => author::run(&args),
        PluginCommand::Record(args) => said(author::record(&args)),
        PluginCommand::Test(args) => judged(author::test(&args)),
        PluginCommand::Bench(args) => judged(author::bench(&args)),
        PluginCommand::New(args) => said(author::new(&args)),
        PluginCommand::Build { folder } => said(author::build(&folder)),
        PluginCommand::Crash { sink, url, json } => said(plugin::crash(&sink, &url, json)),
        PluginCommand::Replay {
            report,
            plugin,
            config,
        } => judged(plugin::replay(&report, &plugin, config.as_deref())),
        PluginCommand::Precompile { components, to } => said(plugin::precompile(&components, &to)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILED),
        Err(error) => ended_by(&error),
    }
}

/// The file's, or the defaults.
fn effective(path: Option<&Path>) -> Result<Config, ConfigError> {
    match path {
        Some(path) => Config::load(path, &process_env),
        None => Config::parse("defaults", "", &process_env),
    }
}

fn run(path: &Path) -> anyhow::Result<()> {
    owlk8s_plugin_host::keep_heap_small();
    let config = Config::load(path, &process_env)?;
    logs::start(config.log, &process_env);
    privilege::settle()?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let mut stop = Stop::listen()?;
            // Before what takes long: SIGHUP would end it.
            let changes = Changes::follow(path, process_env)?;
            let mut running = Built::new(config).await?.spawn()?;
            running.follow(changes);
            owlk8s_plugin_host::let_go_when_settled();
            let ended = running.until(stop.asked()).await;
            running.drain().await;
            Ok(ended?)
        })
}

/// SIGTERM and SIGINT.
pub(crate) struct Stop {
    term: Signal,
    int: Signal,
}

impl Stop {
    /// From here on these signals end nothing by themselves.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }

    /// Comes back with the first of them.
    pub(crate) async fn asked(&mut self) {
        tokio::select! {
            _ = self.term.recv() => tracing::info!(signal = "SIGTERM", "stopping"),
            _ = self.int.recv() => tracing::info!(signal = "SIGINT", "stopping"),
        }
    }
}
