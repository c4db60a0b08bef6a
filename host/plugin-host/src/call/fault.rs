use std::time::Duration;

use thiserror::Error;
use wasmtime::Trap;
use wasmtime::component::ResourceTableError;

use super::hooks::Crossed;
use crate::config::{Limit, Limits};
use crate::guest::printable;

/// How a call ended that gave no answer: the plugin's fault, never the endpoint's. The plugin's name
/// comes before it where it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Fault {
    /// Over a limit; the text names it, its value and its line in the configuration.
    #[error("{1}")]
    Limit(Limit, String),
    #[error("panicked: {0}")]
    Panicked(String),
    #[error("trapped: {0}")]
    Trapped(String),
    #[error("says: {0}")]
    Refused(String),
    #[error("gave an answer that makes no sense: {0}")]
    Nonsense(String),
}

/// Of a message that a guest wrote.
const TEXT_MAX: usize = 500;

impl Fault {
    /// Over `limit`; `wall` is the time that this kind of plugin has.
    pub(super) fn over(limit: Limit, limits: &Limits, wall: Duration) -> Self {
        let value = limits.value(limit);
        let text = match limit {
            Limit::Memory => format!("wanted more memory than {value}"),
            Limit::TableElements => format!("wanted a table of more than {value} elements"),
            Limit::Instances => format!("has more than {value} core instances"),
            Limit::Tables => format!("has more than {value} tables"),
            Limit::Memories => format!("has more than {value} memories"),
            Limit::Stack => format!("recursed deeper than its stack of {value}"),
            Limit::Cpu => format!("was stopped: it used the processor for {value}"),
            Limit::Wall => format!("was stopped: it took {}", humantime::format_duration(wall)),
            Limit::Output => format!("made more output than {value}"),
            Limit::Payloads => format!("made more than {value} payloads"),
            Limit::HostCalls => format!("called the host more than {value} times"),
            Limit::Handles => format!("held more than {value} handles"),
            Limit::CpuWarn | Limit::State | Limit::LogLines | Limit::LogLine | Limit::Stdio => {
                unreachable!("{} ends no call", limit.name())
            }
        };
        let key = if limit == Limit::Stack {
            "and that is fixed".to_owned()
        } else {
            format!("limits.{}", limit.name())
        };
        Self::Limit(limit, format!("{text} ({key})"))
    }

    /// From a trap, what the guest wrote before it, and what it was refused.
    pub(super) fn of_trap(
        error: &wasmtime::Error,
        wrote: &str,
        refused: Option<Limit>,
        limits: &Limits,
        wall: Duration,
    ) -> Self {
        let wrote = printable(wrote.trim(), TEXT_MAX);
        let limit = crossed(error).or(refused);
        if let Some(limit) = limit {
            return match Self::over(limit, limits, wall) {
                Self::Limit(limit, text) if !wrote.is_empty() => {
                    Self::Limit(limit, format!("{text}: {wrote}"))
                }
                fault => fault,
            };
        }
        let root = error.root_cause().to_string();
        match error.downcast_ref::<Trap>() {
            Some(Trap::UnreachableCodeReached) if !wrote.is_empty() => Self::Panicked(wrote),
            Some(trap) => Self::Trapped(with_words(&trap.to_string(), &wrote)),
            None => Self::Trapped(with_words(&printable(&root, TEXT_MAX), &wrote)),
        }
    }

    /// Its text with the plugin's name in front.
    pub(crate) fn of_plugin(&self, plugin: &str) -> String {
        match self {
            Self::Refused(text) => format!("plugin {plugin}: {}", printable(text, TEXT_MAX)),
            other => format!("plugin {plugin} {other}"),
        }
    }
}

/// The limit that an error of wasmtime speaks of.
fn crossed(error: &wasmtime::Error) -> Option<Limit> {
    if let Some(Crossed(limit)) = error.downcast_ref() {
        return Some(*limit);
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref() {
        return Some(Limit::Handles);
    }
    if let Some(Trap::StackOverflow) = error.downcast_ref() {
        return Some(Limit::Stack);
    }
    // wasmtime has no types for these.
    let root = error.root_cause().to_string();
    let says = |words: &str| root.contains(words);
    if says("fuel allocated for hostcalls") {
        Some(Limit::Output)
    } else if says("store handle limit exceeded") || says("resource table has no free keys") {
        Some(Limit::Handles)
    } else if says("resource limit exceeded: instance count") {
        Some(Limit::Instances)
    } else if says("resource limit exceeded: table count") {
        Some(Limit::Tables)
    } else if says("resource limit exceeded: memory count") {
        Some(Limit::Memories)
    } else {
        None
    }
}

fn with_words(trap: &str, wrote: &str) -> String {
    if wrote.is_empty() {
        trap.to_owned()
    } else {
        format!("{trap}; it wrote: {wrote}")
    }
}
