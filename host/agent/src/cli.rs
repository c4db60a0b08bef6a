//! The command line as typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use owlk8s_top::{Column, Group};

use crate::author::{BenchArgs, NewArgs, RecordArgs, RunArgs, TestArgs};

/// Counts the HTTP requests of this node's pods in the kernel and hands the numbers to plugins.
#[derive(Parser)]
#[command(name = "owlk8s", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Watch the targets of a configuration until SIGTERM or Ctrl-C
    Run {
        /// The configuration, a TOML file; `owlk8s config` prints one with every default
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Watch three pods of its own making, with servers and clients in them, and show the live table
    Demo {
        /// End after this time, such as `30s`; without it on Ctrl-C
        #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
        duration: Option<Duration>,
    },
    /// Print the configuration as it is in effect, every default included
    Config {
        /// Without it: the defaults
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Look whether the agent can work here: kernel, capabilities, Kubernetes, and what an agent that runs says
    ///
    /// Ends with 0 when it can, with 1 when something that it cannot do without is missing.
    Doctor {
        /// The configuration that the agent shall run with; without it the defaults
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show rates, errors and durations of this node's services and pods, and what cannot be read, as a live table
    ///
    /// Where standard output is no terminal it prints one table, and what is wrong to standard error. Ends with 1 when no
    /// agent answers then.
    Top(Top),
    /// Show what an agent that runs logs, or change from which level on it does
    Log {
        /// error, warn, info, debug or trace; `default` for what environment and configuration say. Until the agent ends
        level: Option<String>,
        /// Where the agent's admin endpoints are
        #[arg(long, default_value = crate::client::ADMIN)]
        url: String,
    },
    /// Write what a person needs who shall help: one archive, with other names for what the cluster calls its things
    Support {
        /// The configuration that the agent runs with; without it the defaults
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Where the agent's admin endpoints are
        #[arg(long, default_value = crate::client::ADMIN)]
        url: String,
        /// The archive, a tar.gz; `-` writes it to standard output
        #[arg(long, value_name = "FILE", default_value = "owlk8s-support.tar.gz")]
        output: PathBuf,
        /// Leave names and addresses as they are
        #[arg(long)]
        names: bool,
    },
    /// Work with plugins
    Plugin {
        #[command(subcommand)]
        command: PluginCommand,
    },
    /// Print the version
    Version,
    /// The process that runs the plugins; started by the agent
    #[command(hide = true)]
    PluginHost,
    /// The process that compiles one component; started by the agent
    #[command(hide = true)]
    PluginCompile,
}

#[derive(Args)]
pub(crate) struct Top {
    /// Where the agent's admin endpoints are
    #[arg(long, default_value = crate::client::ADMIN)]
    pub(crate) url: String,
    /// Between two readings, `500ms` at least: the rates are of this time
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = interval)]
    pub(crate) interval: Duration,
    /// What a row is: services, workloads, pods or namespaces
    #[arg(long, default_value_t)]
    pub(crate) group: Group,
    /// name, rate, 5xx, 4xx, p50, p90, p99, in-flight, coverage or status
    #[arg(long, value_name = "COLUMN", default_value_t)]
    pub(crate) sort: Column,
    /// Only rows with these words in their names, namespaces, workloads or statuses
    #[arg(long, value_name = "WORDS", default_value = "")]
    pub(crate) filter: String,
    /// Print one table, and end
    #[arg(long)]
    pub(crate) once: bool,
    /// Print one table as JSON, and end
    #[arg(long)]
    pub(crate) json: bool,
}

/// Each reading costs the agent some.
fn interval(typed: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(typed).map_err(|error| error.to_string())?;
    match interval < Duration::from_millis(500) {
        true => Err("it is 500ms at least".to_owned()),
        false => Ok(interval),
    }
}

#[derive(Subcommand)]
pub(crate) enum PluginCommand {
    /// Print what a component says of itself and asks for; runs nothing of it
    Manifest {
        /// The component
        component: PathBuf,
        /// Give it this manifest, a JSON file, in place; for components whose toolchain cannot embed one
        #[arg(long, value_name = "FILE")]
        set: Option<PathBuf>,
    },
    /// Print what a component is and what it asks for, in words; runs nothing of it
    ///
    /// Ends with 0 when this host would run it, with 1 when not.
    Inspect {
        /// The component
        component: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a plugin once on a snapshot and print what it gives; in this process, without a capability
    ///
    /// Ends with 0 when it gave something for each window, with 1 when not.
    Run(RunArgs),
    /// Write snapshots of an agent to a file, with other names and addresses, to try plugins on
    Record(RecordArgs),
    /// Compare what a plugin gives with golden files, and try it on nothing, on odd names and on 50,000 rows
    ///
    /// Ends with 0 when all is as it was, with 1 when not.
    Test(TestArgs),
    /// Measure what a plugin costs a window: processor time, memory, bytes
    ///
    /// Ends with 1 when that is over the budget.
    Bench(BenchArgs),
    /// Begin a plugin: a folder that builds, with a test
    New(NewArgs),
    /// Build a plugin's folder by the toolchain of its language
    Build {
        /// The folder, with a `plugin.toml`
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// Print the crash reports of a sink, the newest last, as the agent on this node keeps them
    Crash {
        /// Name of the sink
        sink: String,
        /// Where the agent's admin endpoints are
        #[arg(long, default_value = crate::client::ADMIN)]
        url: String,
        /// Print the newest report as JSON, with the snapshot: what `replay` reads
        #[arg(long)]
        json: bool,
    },
    /// Call a plugin as it was called when it crashed; runs it in this process, without a capability
    ///
    /// Ends with 0 when it survives, with 1 when it crashes.
    Replay {
        /// A report of `owlk8s plugin crash --json`
        report: PathBuf,
        /// The component
        #[arg(long, value_name = "FILE")]
        plugin: PathBuf,
        /// The agent's configuration, for the plugin's own `config`; without it that is empty
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Compile components for an image; what lies in `/usr/lib/owlk8s/compiled` is not compiled on the node
    Precompile {
        /// The components, of one's own: they are compiled without fences
        #[arg(required = true)]
        components: Vec<PathBuf>,
        /// The folder, made where it is not there
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
    },
}
