use std::time::Duration;

use thiserror::Error;
use wasmtime::Trap;

use crate::config::{Limits, Size};
use crate::guest::printable;
use crate::metered::Stopped;

/// How a call ended that gave no answer: the plugin's fault, never the endpoint's. The plugin's name
/// comes before it where it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Fault {
    #[error("was stopped: it used the processor for {} (limits.cpu)", humantime(*.0))]
    Cpu(Duration),
    #[error("was stopped: it took {} (limits.wall)", humantime(*.0))]
    Wall(Duration),
    #[error("wanted more memory than {0} (limits.memory){1}")]
    Memory(Size, String),
    #[error("made more output than {0} (limits.output)")]
    Output(Size),
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
    /// From a trap, what the guest wrote before it, and whether it was refused memory.
    pub(super) fn of_trap(
        error: &wasmtime::Error,
        output: &str,
        refused_memory: bool,
        limits: &Limits,
    ) -> Self {
        let wrote = printable(output.trim(), TEXT_MAX);
        if refused_memory {
            let text = if wrote.is_empty() {
                String::new()
            } else {
                format!(": {wrote}")
            };
            return Self::Memory(limits.memory, text);
        }
        let trap = format!("{error:#}");
        // wasmtime has no type for it: "too many bytes transferred from guest to host".
        if trap.contains("fuel allocated for hostcalls") {
            return Self::Output(limits.output);
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::UnreachableCodeReached) if !wrote.is_empty() => Self::Panicked(wrote),
            Some(trap) => Self::Trapped(with_words(&trap.to_string(), &wrote)),
            None => Self::Trapped(with_words(&printable(&trap, TEXT_MAX), &wrote)),
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

impl From<Stopped> for Fault {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Cpu(max) => Self::Cpu(max),
            Stopped::Wall(max) => Self::Wall(max),
        }
    }
}

fn with_words(trap: &str, wrote: &str) -> String {
    if wrote.is_empty() {
        trap.to_owned()
    } else {
        format!("{trap}; it wrote: {wrote}")
    }
}

fn humantime(duration: Duration) -> String {
    format!("{duration:?}")
}
