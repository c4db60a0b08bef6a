//! How it stands with each sink: what `/plugins` shows. The plugin process reports it, the agent keeps
//! it: counters survive the plugin process.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use owlk8s_pipeline::{BreakerState, Mode};
use serde::{Deserialize, Serialize};

use crate::authority::Authority;
use crate::config::Limit;
use crate::frames::{PARTS_MAX, PATHS_MAX, at_most};

/// How it stands with a sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SinkState {
    /// Its plugins are read and compiled, or wait for the plugin process.
    #[default]
    Starting,
    /// Takes windows.
    Active,
    /// Waits before it tries again; the reason says why.
    Backoff,
    /// Its plugin faulted so often that it is called no more until it is loaded anew: by a changed
    /// configuration, a new file, or a restart of the agent.
    Quarantined,
    /// Was taken out of the configuration, and delivers what waits.
    Draining,
    /// Cannot run; the reason says why and what to do.
    Failed,
    /// Switched off in the configuration.
    Disabled,
}

/// What a plugin does, as its exports tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginKind {
    /// Chooses rows and targets.
    Filter,
    /// Makes bytes that the host delivers.
    Formatter,
    /// Answers requests that the host takes.
    Responder,
    /// Sends by itself.
    Exporter,
}

impl PluginKind {
    /// The world's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Formatter => "formatter",
            Self::Responder => "responder",
            Self::Exporter => "exporter",
        }
    }

    /// For a sentence: "a formatter", "an exporter".
    pub(crate) fn with_article(self) -> String {
        let article = if self == Self::Exporter { "an" } else { "a" };
        format!("{article} {}", self.name())
    }
}

/// One component of a sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginStatus {
    /// As configured.
    pub plugin: String,
    /// Where it was found.
    pub path: String,
    /// What it does.
    pub kind: PluginKind,
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// Of the component.
    pub size_bytes: u64,
    /// What its author calls it, with its version and what it is; empty without a manifest.
    pub manifest_name: String,
    /// The same.
    pub version: String,
    /// The same.
    pub description: String,
    /// What it may do in this sink.
    pub authority: Authority,
}

impl PluginStatus {
    /// As its author calls it, or else its file's name.
    fn short_name(&self) -> &str {
        let file = Path::new(&self.plugin).file_stem();
        match &*self.manifest_name {
            "" => file.and_then(OsStr::to_str).unwrap_or_default(),
            name => name,
        }
    }
}

/// What happened to a sink. They go on over restarts of either process, where there is a `state_dir`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SinkCounters {
    /// Windows that arrived; for a responder, those that it could answer from.
    pub windows_delivered: u64,
    /// Windows that arrived with a gap before them: nothing was counted since the last window that an
    /// earlier agent delivered.
    pub gaps: u64,
    /// Windows whose counts arrived with those of a later one; in mode `delta`.
    pub windows_merged: u64,
    /// Windows that never arrived: overtaken, over the queue, or given up.
    pub windows_dropped: u64,
    /// Calls of its plugins, filters included.
    pub calls: u64,
    /// Processor time of those calls.
    pub cpu_ns: u64,
    /// Elapsed time of those calls.
    pub wall_ns: u64,
    /// Calls that ended by a trap, a limit, or the plugin's own error.
    pub plugin_faults: u64,
    /// Deliveries that the endpoint, or the exporter's backend, failed or refused.
    pub sink_faults: u64,
    /// Payload bytes that arrived.
    pub bytes_delivered: u64,
    /// Payloads that an endpoint refused for good.
    pub payloads_refused: u64,
    /// Lines of payloads that no datagram of the endpoint holds.
    pub lines_left_out: u64,
    /// Rows that a backend refused for good.
    pub rows_rejected: u64,
    /// Requests answered by the responder, errors included.
    pub requests_served: u64,
    /// HTTP requests of an exporter that were answered.
    pub http_requests: u64,
    /// Those that it was not allowed.
    pub http_denied: u64,
    /// Log lines of the plugin over its limit.
    pub log_lines_dropped: u64,
    /// Generations that were refused while an older one ran on.
    pub generations_refused: u64,
}

/// Why the newest configuration of a sink does not run, while an older one does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What a person has to do.
    pub reason: String,
    /// When, in Unix nanoseconds.
    pub at_unix_ns: u64,
}

/// How it stands with a sink's breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerStatus {
    /// Whether its plugins are called.
    pub state: BreakerState,
    /// How often it opened since a plugin's last success.
    pub openings: u32,
}

/// How it stands with one sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkStatus {
    /// As configured.
    pub name: String,
    /// As configured.
    pub plugin: String,
    /// As configured.
    pub mode: Mode,
    /// How it stands.
    pub state: SinkState,
    /// Why, when it is not active; else empty.
    pub reason: String,
    /// Its filters in order, then its plugin; empty until they are read.
    #[serde(deserialize_with = "at_most::<_, _, PARTS_MAX>")]
    pub chain: Vec<PluginStatus>,
    /// How many generations of it have run since the agent's start: it rises when its configuration or
    /// one of its plugins' files was changed and the change was good.
    pub generation: u64,
    /// The newest generation, where it was refused; none while the newest one runs.
    pub refused: Option<Refused>,
    /// Addresses that it listens on.
    #[serde(deserialize_with = "at_most::<_, _, PARTS_MAX>")]
    pub listening: Vec<String>,
    /// Sequence of the last window that arrived; 0 before the first.
    pub last_sequence: u64,
    /// When a window arrived last, in Unix nanoseconds; none before the first.
    pub last_success_unix_ns: Option<u64>,
    /// The last fault of plugin or endpoint; empty when there was none.
    pub last_error: String,
    /// When that was, in Unix nanoseconds.
    pub last_error_unix_ns: Option<u64>,
    /// The last HTTP request that an exporter was not allowed, why, and what would allow it.
    pub last_denial: String,
    /// What happened to it.
    pub counters: SinkCounters,
    /// How often its plugins crossed each limit since the agent's start; those never crossed are left out.
    pub limits_exceeded: BTreeMap<Limit, u64>,
    /// Keeps plugins that fault again and again from being called.
    pub breaker: BreakerStatus,
}

/// What the plugin process gave up before it ran any guest: it holds no capability, seccomp answers for its
/// system calls, and what differs from node to node is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxStatus {
    /// The user and group that it runs as.
    pub user: u32,
    /// The landlock ABI that guards its files; 0 where the kernel has none.
    pub landlock: u32,
    /// Files and directories that it may read, beside those that name resolution and TLS need.
    #[serde(deserialize_with = "at_most::<_, _, PATHS_MAX>")]
    pub reads: Vec<PathBuf>,
    /// Files that it may write, with the directory that each is in.
    #[serde(deserialize_with = "at_most::<_, _, PATHS_MAX>")]
    pub writes: Vec<PathBuf>,
    /// Where it is weaker than it could be: what, and the remedy.
    #[serde(deserialize_with = "at_most::<_, _, PARTS_MAX>")]
    pub weaknesses: Vec<String>,
}

/// What a page shows of a sink to whoever may see the page: not its paths, its rights, or where it listens.
#[derive(Debug, Serialize)]
pub(crate) struct Standing<'a> {
    name: &'a str,
    state: SinkState,
    reason: &'a str,
    /// Why its newest generation does not run, where an older one does.
    refused: Option<&'a str>,
    last_success_unix_ns: Option<u64>,
    last_error: &'a str,
    last_error_unix_ns: Option<u64>,
    /// Its filters in order, then its plugin.
    plugins: Vec<StandingPlugin<'a>>,
    counters: &'a SinkCounters,
}

#[derive(Debug, Serialize)]
struct StandingPlugin<'a> {
    name: &'a str,
    version: &'a str,
}

impl<'a> From<&'a SinkStatus> for Standing<'a> {
    fn from(status: &'a SinkStatus) -> Self {
        let plugins = status.chain.iter().map(|plugin| StandingPlugin {
            name: plugin.short_name(),
            version: &plugin.version,
        });
        Self {
            name: &status.name,
            state: status.state,
            reason: &status.reason,
            refused: status.refused.as_ref().map(|refused| &*refused.reason),
            last_success_unix_ns: status.last_success_unix_ns,
            last_error: &status.last_error,
            last_error_unix_ns: status.last_error_unix_ns,
            plugins: plugins.collect(),
            counters: &status.counters,
        }
    }
}

impl SinkStatus {
    pub(crate) fn starting(sink: &crate::SinkConfig) -> Self {
        Self {
            name: sink.name.clone(),
            plugin: sink.plugin.clone(),
            mode: sink.mode,
            state: if sink.enabled {
                SinkState::Starting
            } else {
                SinkState::Disabled
            },
            reason: String::new(),
            chain: Vec::new(),
            generation: 0,
            refused: None,
            listening: Vec::new(),
            last_sequence: 0,
            last_success_unix_ns: None,
            last_error: String::new(),
            last_error_unix_ns: None,
            last_denial: String::new(),
            counters: SinkCounters::default(),
            limits_exceeded: BTreeMap::new(),
            breaker: BreakerStatus::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_learns_a_plugin_s_name_and_not_where_it_is() {
        let sink = serde_json::json!({
            "name": "a", "plugin": "/secret/team-a.wasm",
            "endpoints": { "out": { "kind": "stdout" } },
        });
        let mut status = SinkStatus::starting(&serde_json::from_value(sink).unwrap());
        status.chain.push(PluginStatus {
            plugin: "/secret/team-a.wasm".to_owned(),
            path: "/secret/team-a.wasm".to_owned(),
            kind: PluginKind::Formatter,
            digest: String::new(),
            size_bytes: 0,
            manifest_name: String::new(),
            version: String::new(),
            description: String::new(),
            authority: Authority::default(),
        });
        let told = serde_json::to_value(Standing::from(&status)).unwrap();
        assert_eq!(told["plugins"][0]["name"], "team-a");
        assert!(!told.to_string().contains("secret"), "{told}");
        status.chain[0].manifest_name = "ours".to_owned();
        let told = serde_json::to_value(Standing::from(&status)).unwrap();
        assert_eq!(told["plugins"][0]["name"], "ours");
    }
}
