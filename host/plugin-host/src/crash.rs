//! What is kept of a call that a plugin did not survive: enough to find the fault and to see it again
//! elsewhere, and nothing that must not leave the node.
//!
//! A report is made in the plugin process and kept by the agent, a few for each sink. Names and addresses
//! of the cluster are replaced; a plugin's `config` is there as a digest only.

mod redact;
mod replay;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::UNIX_EPOCH;

use owlk8s_model::{Snapshot, TargetSnapshot, UnixNanos};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::call::{Ask, Called, CrashFrame, Fault};
use crate::config::{Limit, Limits};
use crate::guest::printable;
use crate::plugin::Plugin;
use crate::status::PluginKind;
pub use redact::{Redaction, Texts};
pub use replay::{ReplayError, Replayed, replay};

/// Bytes of a report's snapshot as JSON; targets over it are left out and counted.
const SNAPSHOT_MAX: usize = 512 << 10;
/// Of a whole report: the rest of it is bounded by the limits of log, streams and names.
const REPORT_MAX: usize = 1 << 20;
/// Of the last lines of the log.
const LINES_MAX: usize = 20;
/// Of one of a report's texts.
const TEXT_MAX: usize = 4 << 10;

/// What is known of a call that trapped or crossed a limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CrashReport {
    /// Of owlk8s.
    pub owlk8s: String,
    /// Name of the sink.
    pub sink: String,
    /// Name of the plugin; it may be a filter of the sink.
    pub plugin: String,
    /// Of the plugin, as its manifest says; empty where there is none.
    pub version: String,
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// What it does.
    pub kind: PluginKind,
    /// The function that was called: `validate`, `filter`, `format`, `respond` or `export`.
    pub call: String,
    /// Sequence of the window; 0 for `validate`.
    pub window: u64,
    /// When it happened first, Unix nanoseconds.
    pub at: UnixNanos,
    /// When it happened last in the same way, Unix nanoseconds.
    pub last_at: UnixNanos,
    /// How often it happened in the same way.
    pub times: u64,
    /// What ended the call; begins with the plugin's name.
    pub fault: String,
    /// The limit that it crossed.
    pub limit: Option<Limit>,
    /// What it wrote to its standard streams: a panic's text.
    pub output: String,
    /// Where it was, the innermost function first; empty where it was dropped while it waited.
    pub backtrace: Vec<CrashFrame>,
    /// The last lines that it logged in this call.
    pub log: Vec<String>,
    /// `sha256:` of the plugin's `config` as JSON.
    pub config_digest: String,
    /// Bytes of the plugin's state before the call.
    pub state_bytes: u64,
    /// What it was allowed.
    pub limits: Limits,
    /// Processor time that it used, nanoseconds.
    pub cpu_ns: u64,
    /// Elapsed time, nanoseconds.
    pub wall_ns: u64,
    /// Bytes of its linear memories.
    pub memory: u64,
    /// A responder's request, method and path: `GET /metrics`; empty for other plugins.
    pub request: String,
    /// What it was given, with other names and addresses: equal ones are still equal, and counts are the true ones. In
    /// the form of `/snapshot`; none for `validate`.
    pub snapshot: Option<Snapshot>,
    /// Targets that did not find room in `snapshot`.
    pub targets_left_out: u64,
}

impl CrashReport {
    /// What a person reads in a terminal.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{}\n\n  sink      {}\n  plugin    {} {}\n  digest    {}\n  call      {}, window {}\n  times     {}\n  used      \
             {:.3} s of processor time, {:.3} s, {} KiB of memory\n  config    {}\n",
            self.fault,
            self.sink,
            self.plugin,
            if self.version.is_empty() {
                "(no version)"
            } else {
                &self.version
            },
            self.digest,
            self.call,
            self.window,
            self.times,
            self.cpu_ns as f64 / 1e9,
            self.wall_ns as f64 / 1e9,
            self.memory >> 10,
            self.config_digest,
        );
        if !self.request.is_empty() {
            text += &format!("  request   {}\n", self.request);
        }
        text += "\nbacktrace, the innermost function first:\n";
        if self.backtrace.is_empty() {
            text += "  none: it was ended where it waited\n";
        }
        for (index, frame) in self.backtrace.iter().enumerate() {
            text += &format!("  {index:2}  {:#08x}  {}\n", frame.offset, frame.function);
            if !frame.file.is_empty() {
                text += &format!("                {}:{}\n", frame.file, frame.line);
            }
        }
        for (title, lines) in [
            (
                "standard output and error",
                self.output.lines().collect::<Vec<_>>(),
            ),
            (
                "last lines of its log",
                self.log.iter().map(String::as_str).collect(),
            ),
        ] {
            if !lines.is_empty() {
                text += &format!("\n{title}:\n");
                lines.iter().for_each(|line| text += &format!("  {line}\n"));
            }
        }
        text
    }

    /// From the plugin process, which is not trusted.
    pub(crate) fn received(json: &str) -> Result<Self, String> {
        if json.len() > REPORT_MAX {
            return Err(format!("its {} bytes are over {REPORT_MAX}", json.len()));
        }
        serde_json::from_str(json).map_err(|error| error.to_string())
    }
}

/// What two crashes of one kind have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signature(u64);

/// A call that ended by a fault, and all that a report takes from it.
pub(crate) struct Crash<'a> {
    pub(crate) sink: &'a str,
    pub(crate) plugin: &'a Plugin,
    pub(crate) config: &'a str,
    pub(crate) limits: &'a Limits,
    pub(crate) given: &'a Ask,
    pub(crate) state_bytes: usize,
    pub(crate) called: &'a Called,
    pub(crate) fault: &'a Fault,
}

impl Crash<'_> {
    /// None where the plugin only said no: that is an answer.
    pub(crate) fn signature(&self) -> Option<Signature> {
        let kind = match self.fault {
            Fault::Refused(_) | Fault::Nonsense(_) => return None,
            Fault::Limit(limit, _) => limit.name(),
            Fault::Panicked(_) => "panicked",
            Fault::Trapped(_) => "trapped",
        };
        let mut hasher = DefaultHasher::new();
        (kind, self.call()).hash(&mut hasher);
        let places = self.called.backtrace.iter();
        // A loop is stopped anywhere in it.
        match self.fault {
            Fault::Limit(..) => places.for_each(|frame| frame.function.hash(&mut hasher)),
            _ => places.for_each(|frame| frame.offset.hash(&mut hasher)),
        }
        Some(Signature(hasher.finish()))
    }

    fn call(&self) -> &'static str {
        match (self.given, self.plugin.kind()) {
            (Ask::Validate, _) => "validate",
            (_, PluginKind::Filter) => "filter",
            (_, PluginKind::Formatter) => "format",
            (_, PluginKind::Responder) => "respond",
            (_, PluginKind::Exporter) => "export",
        }
    }

    /// Costs some milliseconds for a thousand targets.
    pub(crate) fn report(&self) -> CrashReport {
        let mut redaction = Redaction::new();
        redaction.hide_config(self.config);
        let (snapshot, request) = match self.given {
            Ask::Validate => (None, String::new()),
            Ask::Run(tables, request) => {
                let request = request.as_ref().map(|request| {
                    let path = request.target.split('?').next().unwrap_or_default();
                    printable(&format!("{} {path}", request.method), 200)
                });
                let snapshot = redaction.snapshot(tables.snapshot());
                (Some(snapshot), request.unwrap_or_default())
            }
        };
        let window = snapshot.as_ref().map_or(0, |s| s.window.sequence);
        let (snapshot, targets_left_out) = match snapshot {
            Some(snapshot) => {
                let (snapshot, left_out) = bounded(snapshot);
                (Some(snapshot), left_out)
            }
            None => (None, 0),
        };
        let texts = redaction.texts();
        let text = |text: &str| {
            let lines = text.lines().map(|line| printable(line, TEXT_MAX));
            texts.text(&lines.collect::<Vec<_>>().join("\n"))
        };
        let lines = &self.called.said.lines;
        let last = lines.len().saturating_sub(LINES_MAX);
        let limit = match self.fault {
            Fault::Limit(limit, _) => Some(*limit),
            _ => None,
        };
        CrashReport {
            owlk8s: env!("CARGO_PKG_VERSION").to_owned(),
            sink: self.sink.to_owned(),
            plugin: self.plugin.name.clone(),
            version: self.plugin.status.version.clone(),
            digest: self.plugin.status.digest.clone(),
            kind: self.plugin.kind(),
            call: self.call().to_owned(),
            window,
            at: now(),
            last_at: now(),
            times: 1,
            fault: text(&self.fault.of_plugin(&self.plugin.name)),
            limit,
            output: text(&self.called.output),
            backtrace: self.called.backtrace.clone(),
            log: lines[last..].iter().map(|(_, line)| text(line)).collect(),
            config_digest: config_digest(self.config),
            state_bytes: self.state_bytes as u64,
            limits: self.limits.clone(),
            cpu_ns: nanos(self.called.used.cpu),
            wall_ns: nanos(self.called.used.wall),
            memory: self.called.used.memory,
            request,
            snapshot,
            targets_left_out,
        }
    }
}

/// `sha256:` of a plugin's `config` as JSON.
pub(crate) fn config_digest(config: &str) -> String {
    format!("sha256:{:x}", Sha256::digest(config))
}

/// The first targets that find room, and how many do not.
fn bounded(mut snapshot: Snapshot) -> (Snapshot, u64) {
    let size = |target: &TargetSnapshot| {
        serde_json::to_vec(target).map_or(SNAPSHOT_MAX, |json| json.len() + 1)
    };
    let mut sum = 0;
    let fits = snapshot.targets.iter().position(|target| {
        sum += size(target);
        sum > SNAPSHOT_MAX
    });
    let keep = fits.unwrap_or(snapshot.targets.len());
    let left_out = (snapshot.targets.len() - keep) as u64;
    snapshot.targets.truncate(keep);
    (snapshot, left_out)
}

pub(crate) fn now() -> UnixNanos {
    UnixNanos(nanos(UNIX_EPOCH.elapsed().unwrap_or_default()))
}

fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
