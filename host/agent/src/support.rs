//! `owlk8s support`: one archive with all that a person needs who was not there. What the cluster calls its things is
//! called otherwise in it, equal things equally, by the same means as in crash reports; secrets are in it in no case.
//!
//! An agent that does not answer is a finding as well: the archive holds what could be had, and says what could not.

mod redacted;

use std::io::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use owlk8s_model::Snapshot;
use serde_json::{Value, json};

use crate::client;
use crate::config::{Config, process_env};
use crate::doctor;
use redacted::Names;

/// Everything lies in a folder of this name.
const FOLDER: &str = "owlk8s-support";

/// One file of the archive.
struct Entry {
    name: String,
    text: String,
}

/// Writes the archive to `output`.
pub(crate) fn write(
    path: Option<&Path>,
    url: &str,
    output: &Path,
    as_they_are: bool,
) -> anyhow::Result<()> {
    let entries = collect(path, url, as_they_are)?;
    let archive = pack(&entries)?;
    if output == Path::new("-") {
        std::io::stdout().write_all(&archive)?;
        return Ok(());
    }
    let shown = output.display();
    std::fs::write(output, &archive)
        .with_context(|| format!("cannot write {shown}: name a file elsewhere by --output"))?;
    let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    let kept = if as_they_are {
        "names are as they are: give it only to people of yours"
    } else {
        "names and addresses are other ones; look through it before you give it away"
    };
    let said = format!("{shown}: {}\n{kept}\n", names.join(", "));
    crate::print(&said)
}

fn collect(path: Option<&Path>, url: &str, as_they_are: bool) -> anyhow::Result<Vec<Entry>> {
    // A configuration that is refused is what help is needed for.
    let config = crate::effective(path);
    let in_effect = match &config {
        Ok(config) => config.clone(),
        Err(_) => Config::parse("defaults", "", &process_env)?,
    };
    let examined = client::runtime()?.block_on(doctor::examine(&in_effect));
    let mut missing = Vec::new();
    let mut ask = |path: &str| {
        let answer = client::get(url, path);
        answer
            .map(|body| String::from_utf8_lossy(&body).into_owned())
            .map_err(|error| missing.push(format!("{path}: {error:#}")))
            .ok()
    };
    let (snapshot, plugins) = (ask("/snapshot"), ask("/plugins"));
    let (metrics, log) = (ask("/metrics"), ask("/log"));
    let sinks: Value = parsed(plugins.as_deref());
    let crashes: Vec<(String, String)> = sinks
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|sink| sink["name"].as_str())
        .filter_map(|sink| Some((sink.to_owned(), ask(&format!("/plugins/{sink}/crashes"))?)))
        .filter(|(_, reports)| reports.trim() != "[]")
        .collect();

    let mut names = Names::new(as_they_are);
    // Its names first: the other texts speak of them.
    let snapshot = snapshot
        .and_then(|text| serde_json::from_str::<Snapshot>(&text).ok())
        .map(|snapshot| names.snapshot(snapshot));
    let config = match config {
        Ok(config) => toml::to_string_pretty(&names.config(&config)?)?,
        Err(error) => {
            missing.push(format!("the configuration: {error}"));
            String::new()
        }
    };
    let metrics = metrics.map(|page| names.metrics(&page));
    let texts = names.texts();
    let mut entries = Vec::new();
    let mut add = |name: &str, text: String| {
        entries.push(Entry {
            name: name.to_owned(),
            text,
        });
    };
    add("versions.json", pretty(&versions())?);
    add("doctor.json", texts.text(&examined.json()?));
    if !config.is_empty() {
        add("config.toml", texts.text(&config));
    }
    if let Some(snapshot) = &snapshot {
        add("snapshot.json", pretty(snapshot)?);
    }
    if !sinks.is_null() {
        add("plugins.json", texts.text(&pretty(&sinks)?));
    }
    for (sink, reports) in crashes {
        // The plugin process gave them other names already.
        add(&format!("crashes/{sink}.json"), reports);
    }
    if let Some(metrics) = metrics {
        add("metrics.txt", texts.text(&metrics));
    }
    if let Some(log) = log {
        let log: Value = parsed(Some(&log));
        add("log.txt", texts.text(&client::log_lines(&log)));
    }
    let missing: String = missing.iter().map(|why| format!("{why}\n")).collect();
    add("missing.txt", texts.text(&missing));
    Ok(entries)
}

fn versions() -> Value {
    let kernel = rustix::system::uname();
    let word = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    json!({
        "owlk8s": env!("CARGO_PKG_VERSION"),
        "kernel": word(kernel.release()),
        "kernel_version": word(kernel.version()),
        "machine": word(kernel.machine()),
        "at_unix_s": unix_seconds(),
    })
}

fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

fn parsed(text: Option<&str>) -> Value {
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or(Value::Null)
}

fn pretty(value: &impl serde::Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

fn pack(entries: &[Entry]) -> anyhow::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(entry.text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(unix_seconds());
        let path = format!("{FOLDER}/{}", entry.name);
        archive
            .append_data(&mut header, path, entry.text.as_bytes())
            .with_context(|| format!("cannot pack {}", entry.name))?;
    }
    Ok(archive.into_inner()?.finish()?)
}
