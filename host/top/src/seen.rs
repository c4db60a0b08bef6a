//! What an agent says: `/snapshot`, and of `/plugins` what a person looks for.

use owlk8s_model::{Snapshot, Status, TargetSnapshot};
use serde::{Deserialize, Serialize};

/// One answer of an agent.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `/snapshot`.
    pub snapshot: Snapshot,
    /// `/plugins`.
    pub sinks: Vec<Sink>,
}

/// One sink of `/plugins`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sink {
    /// As configured.
    pub name: String,
    /// As configured.
    pub plugin: String,
    /// `active`, or what else it is.
    pub state: String,
    /// Why, where it is not active.
    pub reason: String,
    /// Why the newest configuration of it does not run.
    #[serde(default)]
    pub refused: Option<Refused>,
    /// Unix nanoseconds; none before the first window arrived.
    pub last_success_unix_ns: Option<u64>,
    /// Of plugin or endpoint; empty where there was none.
    pub last_error: String,
    /// Unix nanoseconds.
    pub last_error_unix_ns: Option<u64>,
    /// What happened to it.
    pub counters: SinkCounters,
}

/// A generation of a sink that was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What a person has to do.
    pub reason: String,
}

/// Of one sink, since its counters began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SinkCounters {
    /// Windows that arrived.
    pub windows_delivered: u64,
    /// Windows that never arrived.
    pub windows_dropped: u64,
    /// Calls that a plugin did not survive, or answered with an error.
    pub plugin_faults: u64,
    /// Deliveries that failed or were refused.
    pub sink_faults: u64,
}

impl Sink {
    /// Of a component's path its file's name, without `.wasm`.
    pub(crate) fn plugin_name(&self) -> &str {
        let (_, file) = self.plugin.rsplit_once('/').unwrap_or(("", &self.plugin));
        file.strip_suffix(".wasm").unwrap_or(file)
    }

    /// What is wrong with it, where something is.
    pub(crate) fn trouble(&self) -> Option<&str> {
        let last_failed = self.last_error_unix_ns > self.last_success_unix_ns;
        match self.state.as_str() {
            "disabled" => None,
            "starting" if self.reason.is_empty() => None,
            "active" | "starting" | "draining" => match &self.refused {
                Some(refused) => Some(&refused.reason),
                None => last_failed.then_some(self.last_error.as_str()),
            },
            _ if self.reason.is_empty() => Some(&self.last_error),
            _ => Some(&self.reason),
        }
    }
}

/// How it stands with a target, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Health {
    Active,
    Waiting,
    Degraded,
    Failed,
    /// Its packets go another way.
    Blind,
}

impl Health {
    /// The worst first.
    pub(crate) const TROUBLED: [Self; 4] =
        [Self::Blind, Self::Failed, Self::Degraded, Self::Waiting];

    pub(crate) fn of(target: &TargetSnapshot) -> Self {
        match target.status {
            _ if target.blind => Self::Blind,
            Status::Active => Self::Active,
            Status::Waiting => Self::Waiting,
            Status::Degraded => Self::Degraded,
            Status::Failed => Self::Failed,
        }
    }

    /// Whether it has numbers; where not, its zeros mean nothing.
    pub(crate) fn is_read(self) -> bool {
        matches!(self, Self::Active | Self::Degraded)
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Waiting => "waiting",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Blind => "blind",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Sink;

    #[test]
    fn a_component_is_called_by_its_file_and_a_shipped_plugin_by_its_name() {
        let named = |plugin: &str| {
            let plugin = plugin.to_owned();
            Sink {
                plugin,
                ..Sink::default()
            }
        };
        assert_eq!(named("/opt/plugins/acme.wasm").plugin_name(), "acme");
        assert_eq!(named("json-log").plugin_name(), "json-log");
    }
}
