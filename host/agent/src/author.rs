//! `owlk8s plugin inspect|run|record|test|bench|new|build`: what the author of a plugin needs, from an empty folder to a
//! component that is measured.
//!
//! Guests run in this process by the same code as in the plugin process ([`owlk8s_plugin_host::Workbench`]), after it gave
//! up its capabilities.

mod bench;
mod build;
mod case;
mod live;
mod project;
mod run;
mod show;
mod stand_in;

use std::path::Path;

use anyhow::{Context as _, bail};
use clap::Args;
use owlk8s_model::Snapshot;
use owlk8s_plugin_host::{
    BUILT_IN, Inspection, PluginsConfig, Secret, SinkConfig, Workbench, Workshop, built_in,
    read_snapshots,
};

pub(crate) use bench::{BenchArgs, bench};
pub(crate) use build::build;
pub(crate) use case::{TestArgs, test};
pub(crate) use live::{RecordArgs, record};
pub(crate) use project::{NewArgs, new};
pub(crate) use run::{RunArgs, run};

/// The sink around a plugin that is tried.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SinkArgs {
    /// The plugin's own `config`, as JSON
    #[arg(long, value_name = "JSON")]
    config: Option<String>,
    /// Deliver to this endpoint, in the form of the configuration: 'out={ kind = "file", path = "/tmp/out" }'
    #[arg(long = "endpoint", value_name = "NAME=TABLE")]
    endpoints: Vec<String>,
    /// A further line of the sink in the configuration: 'grant.http = ["https://api.example.com"]', 'mode = "delta"'
    #[arg(long = "set", value_name = "LINE")]
    lines: Vec<String>,
}

/// What a component is and asks for; whether this host would run it.
pub(crate) fn inspect(component: &Path, json: bool) -> anyhow::Result<(String, bool)> {
    let shown = component.display().to_string();
    let bytes = std::fs::read(component).with_context(|| format!("cannot read {shown}"))?;
    let inspection = Inspection::of(&shown, &bytes).map_err(anyhow::Error::msg)?;
    let text = match json {
        true => serde_json::to_string_pretty(&inspection)? + "\n",
        false => inspection.text(),
    };
    Ok((text, inspection.problems.is_empty()))
}

/// A sink with this plugin, from what was typed.
fn sink(component: &Path, args: &SinkArgs, server: Option<&str>) -> anyhow::Result<SinkConfig> {
    let fill = |text: &str| text.replace("{server}", server.unwrap_or("{server}"));
    let mut text = String::new();
    for line in &args.lines {
        text += &fill(line);
        text.push('\n');
    }
    for endpoint in &args.endpoints {
        let Some((name, table)) = endpoint.split_once('=') else {
            bail!(
                "--endpoint {endpoint:?} must be NAME=TABLE, such as 'out={{ kind = \"stderr\" }}'"
            );
        };
        text += &format!("endpoints.{} = {}\n", name.trim(), fill(table.trim()));
    }
    let table: toml::Table = text.parse().with_context(|| {
        format!("--set and --endpoint must be lines of a sink in TOML:\n{text}")
    })?;
    let mut sink = sink_of(component, table)?;
    if let Some(json) = &args.config {
        sink.config = serde_json::from_str(&fill(json))
            .context("--config must be a JSON object, such as '{\"limit\": 5}'")?;
    }
    Ok(sink)
}

/// A sink with this plugin and these keys of the configuration.
fn sink_of(component: &Path, mut table: toml::Table) -> anyhow::Result<SinkConfig> {
    let name = component.file_stem().unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    table.insert("name".to_owned(), name.into());
    table.insert("plugin".to_owned(), as_path(component).into());
    table.try_into().context("the sink's configuration")
}

/// A name without a slash would be a shipped plugin's.
fn as_path(component: &Path) -> String {
    let path = component.display().to_string();
    match path.contains('/') {
        true => path,
        false => format!("./{path}"),
    }
}

/// Its plugins, compiled and equipped.
fn workbench(workshop: &mut Workshop, sink: SinkConfig) -> anyhow::Result<Workbench> {
    let variable = |name: &str| Some((name.to_owned(), Secret::from(std::env::var(name).ok()?)));
    let secrets = sink.wanted_env().filter_map(variable).collect();
    Ok(Workbench::load(
        workshop,
        sink,
        &PluginsConfig::default(),
        &[],
        &secrets,
    )?)
}

/// Snapshots of a file, or one that is built in.
fn snapshots(of: &str) -> anyhow::Result<Vec<Snapshot>> {
    if let Some(snapshot) = built_in(of) {
        return Ok(vec![snapshot]);
    }
    let text = std::fs::read_to_string(of).with_context(|| {
        format!(
            "cannot read the snapshot {of}; give a file, or one of {}",
            BUILT_IN.join(", ")
        )
    })?;
    read_snapshots(&text).with_context(|| of.to_owned())
}
