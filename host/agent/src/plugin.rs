//! `owlk8s plugin`: what is left of a plugin that crashed, and the same call again.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use owlk8s_plugin_host::{CrashReport, FilterConfig, replay as replay_crash};

use crate::client;
use crate::config::{Config, process_env};
use crate::privilege;

/// All reports of a sink in words, or the newest as JSON.
pub(crate) fn crash(sink: &str, url: &str, json: bool) -> anyhow::Result<String> {
    let path = format!("/plugins/{sink}/crashes");
    let answer = client::get(url, &path)?;
    let reports: Vec<CrashReport> = serde_json::from_slice(&answer).with_context(|| {
        format!("{url}{path} is no list of crash reports: is it of another version?")
    })?;
    let Some(newest) = reports.last() else {
        bail!("no plugin of sink {sink} has crashed since the agent's start");
    };
    if json {
        return Ok(serde_json::to_string_pretty(newest)? + "\n");
    }
    let texts: Vec<String> = reports.iter().map(CrashReport::text).collect();
    Ok(texts.join("\n----\n\n"))
}

/// The same call again: what became of it, and whether the plugin survived.
pub(crate) fn replay(
    report: &Path,
    component: &Path,
    config: Option<&Path>,
) -> anyhow::Result<(String, bool)> {
    let shown = report.display();
    let text = std::fs::read(report).with_context(|| format!("cannot read {shown}"))?;
    let report: CrashReport = serde_json::from_slice(&text).with_context(|| {
        format!("{shown} is no crash report: make one by `owlk8s plugin crash SINK --json`")
    })?;
    let config = match config {
        Some(path) => plugin_config(&report, &Config::load(path, &process_env)?)?,
        None => "{}".to_owned(),
    };
    privilege::drop_all()?;
    let replayed = client::runtime()?.block_on(replay_crash(&report, component, &config))?;
    let mut text = String::new();
    if !replayed.same_component {
        text += "note: the component is another one than the one that crashed\n";
    }
    if !replayed.same_config {
        text +=
            "note: the plugin's config is another one than it had (--config FILE of the agent)\n";
    }
    if report.targets_left_out > 0 {
        text += &format!(
            "note: {} targets did not find room in the report\n",
            report.targets_left_out
        );
    }
    if report.state_bytes > 0 {
        text += "note: the plugin had a state, which is not in the report\n";
    }
    match &replayed.report {
        Some(again) => text += &again.text(),
        None => text += "the plugin survived\n",
    }
    Ok((text, replayed.report.is_none()))
}

/// The `config` of the plugin that crashed, from the sink that the report names.
fn plugin_config(report: &CrashReport, config: &Config) -> anyhow::Result<String> {
    let sink = config.sinks.iter().find(|sink| sink.name == report.sink);
    let sink = sink.with_context(|| format!("the configuration has no sink {}", report.sink))?;
    let of_filter = sink.filters.iter().find_map(|filter| match filter {
        FilterConfig::Configured(filter) if is_named(&filter.plugin, &report.plugin) => {
            Some(&filter.config)
        }
        _ => None,
    });
    let config = if is_named(&sink.plugin, &report.plugin) {
        Some(&sink.config)
    } else {
        of_filter
    };
    Ok(match config {
        Some(config) => serde_json::to_string(config)?,
        None => "{}".to_owned(),
    })
}

fn is_named(reference: &str, name: &str) -> bool {
    let stem = Path::new(reference).file_stem();
    stem.is_some_and(|stem| stem.to_string_lossy() == name)
}

/// Machine code of components for an image; how many.
pub(crate) fn precompile(components: &[PathBuf], folder: &Path) -> anyhow::Result<String> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    owlk8s_plugin_host::precompile(components, folder)?;
    let count = components.len();
    Ok(format!(
        "{count} components compiled into {}\n",
        folder.display()
    ))
}
