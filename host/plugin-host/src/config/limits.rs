use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// What one call of a plugin may use. Over one of them the call ends as the plugin's fault, or where
/// [`Limit::ends_the_call`] says otherwise, the rest is left out and counted. A window has one call of each
/// plugin in the chain; a responder one for each request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// All linear memories of the guest.
    pub memory: Size,
    /// Elements of one table.
    pub table_elements: usize,
    /// Core instances.
    pub instances: usize,
    /// Tables.
    pub tables: usize,
    /// Linear memories.
    pub memories: usize,
    /// Processor time, of the thread that the guest runs on.
    #[serde(with = "humantime_serde")]
    pub cpu: Duration,
    /// Processor time that is worth a warning.
    #[serde(with = "humantime_serde")]
    pub cpu_warn: Duration,
    /// Elapsed time; by default 2 s, and 10 s for an exporter.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub wall: Option<Duration>,
    /// All payloads of a window, or one response; and what one call of the host is given.
    pub output: Size,
    /// Payloads of a window.
    pub payloads: usize,
    /// Calls of the host, WASI's functions among them.
    pub host_calls: u64,
    /// Resources that are held at once.
    pub handles: usize,
    /// What `set-state` keeps.
    pub state: Size,
    /// Log lines; those over it are dropped and counted.
    pub log_lines: usize,
    /// One log line; the rest is cut.
    pub log_line: Size,
    /// Kept of standard output and error; the rest is dropped and counted.
    pub stdio: Size,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: Size(64 << 20),
            // A Rust or C guest has some thousands.
            table_elements: 100_000,
            // A component of five languages has some tens of each.
            instances: 200,
            tables: 200,
            memories: 200,
            cpu: Duration::from_secs(1),
            cpu_warn: Duration::from_millis(200),
            wall: None,
            output: Size(8 << 20),
            payloads: 1_000,
            // The shipped plugins need some tens for a window of 1,000 targets.
            host_calls: 100_000,
            handles: 10_000,
            state: Size(64 << 10),
            log_lines: 50,
            log_line: Size(2 << 10),
            // Enough for a panic and its message.
            stdio: Size(4 << 10),
        }
    }
}

impl Limits {
    /// Elapsed time for an exporter's call where `wall` says nothing.
    pub const WALL_EXPORTER: Duration = Duration::from_secs(10);
    /// The same for other plugins.
    pub const WALL: Duration = Duration::from_secs(2);
    /// Stack of one guest. All sinks share the engine that was built with it, so it is the same for all.
    pub const STACK: Size = Size(512 << 10);

    /// As it is written in the configuration.
    pub fn value(&self, limit: Limit) -> String {
        let time = |duration: Duration| humantime::format_duration(duration).to_string();
        match limit {
            Limit::Memory => self.memory.to_string(),
            Limit::TableElements => self.table_elements.to_string(),
            Limit::Instances => self.instances.to_string(),
            Limit::Tables => self.tables.to_string(),
            Limit::Memories => self.memories.to_string(),
            Limit::Stack => Self::STACK.to_string(),
            Limit::Cpu => time(self.cpu),
            Limit::CpuWarn => time(self.cpu_warn),
            Limit::Wall => time(self.wall.unwrap_or(Self::WALL)),
            Limit::Output => self.output.to_string(),
            Limit::Payloads => self.payloads.to_string(),
            Limit::HostCalls => self.host_calls.to_string(),
            Limit::Handles => self.handles.to_string(),
            Limit::State => self.state.to_string(),
            Limit::LogLines => self.log_lines.to_string(),
            Limit::LogLine => self.log_line.to_string(),
            Limit::Stdio => self.stdio.to_string(),
        }
    }
}

/// One of [`Limits`], to be named and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the field of `Limits` of that name")]
pub enum Limit {
    Memory,
    TableElements,
    Instances,
    Tables,
    Memories,
    /// [`Limits::STACK`].
    Stack,
    Cpu,
    CpuWarn,
    Wall,
    Output,
    Payloads,
    HostCalls,
    Handles,
    State,
    LogLines,
    LogLine,
    Stdio,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Memory,
        Self::TableElements,
        Self::Instances,
        Self::Tables,
        Self::Memories,
        Self::Stack,
        Self::Cpu,
        Self::CpuWarn,
        Self::Wall,
        Self::Output,
        Self::Payloads,
        Self::HostCalls,
        Self::Handles,
        Self::State,
        Self::LogLines,
        Self::LogLine,
        Self::Stdio,
    ];

    /// Its key under `limits`, and the value of the metric's label `limit`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::TableElements => "table_elements",
            Self::Instances => "instances",
            Self::Tables => "tables",
            Self::Memories => "memories",
            Self::Stack => "stack",
            Self::Cpu => "cpu",
            Self::CpuWarn => "cpu_warn",
            Self::Wall => "wall",
            Self::Output => "output",
            Self::Payloads => "payloads",
            Self::HostCalls => "host_calls",
            Self::Handles => "handles",
            Self::State => "state",
            Self::LogLines => "log_lines",
            Self::LogLine => "log_line",
            Self::Stdio => "stdio",
        }
    }

    /// Whether a call that crosses it is over. At the others something is cut, dropped or only told.
    pub fn ends_the_call(self) -> bool {
        !matches!(
            self,
            Self::CpuWarn | Self::State | Self::LogLines | Self::LogLine | Self::Stdio
        )
    }
}

/// Bytes; written `64MiB`, `512KiB` or as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "ByteSize", into = "String")]
pub struct Size(pub u64);

impl Size {
    /// On this machine's address width.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl From<ByteSize> for Size {
    fn from(size: ByteSize) -> Self {
        Self(size.as_u64())
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.to_string()
    }
}

/// Exact, unlike `ByteSize`: what is printed means the same when it is read.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
            if self.0 >= unit && self.0.is_multiple_of(unit) {
                return write!(f, "{}{name}", self.0 / unit);
            }
        }
        write!(f, "{}B", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a message names is what a person can write.
    #[test]
    fn each_limit_but_the_engines_is_a_key_with_its_value() {
        let defaults = Limits {
            wall: Some(Limits::WALL),
            ..Limits::default()
        };
        let written = serde_json::to_value(&defaults).unwrap();
        let keys = written.as_object().unwrap();
        assert_eq!(keys.len(), Limit::ALL.len() - 1, "{written}");
        for limit in Limit::ALL
            .into_iter()
            .filter(|limit| *limit != Limit::Stack)
        {
            let value = match &keys[limit.name()] {
                serde_json::Value::String(text) => text.clone(),
                number => number.to_string(),
            };
            assert_eq!(value, defaults.value(limit), "{}", limit.name());
            assert_eq!(
                serde_json::to_value(limit).unwrap(),
                serde_json::json!(limit.name())
            );
        }
    }

    #[test]
    fn the_guides_table_has_each_limit_with_its_default() {
        let guide = include_str!("../../../../plugins/README.md");
        let table = guide.split("\n## Limits\n").nth(1).unwrap();
        let table = table.split("\n## ").next().unwrap();
        let defaults = Limits::default();
        for limit in Limit::ALL {
            let row = match limit {
                Limit::Stack => format!("The stack has `{}`", Limits::STACK),
                limit => format!("\n| `{}` | `{}` |", limit.name(), defaults.value(limit)),
            };
            assert!(table.contains(&row), "{row} is missing");
        }
    }
}
