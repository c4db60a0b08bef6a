use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// What one call of a plugin may use. Over one of them the call ends as the plugin's fault; the next
/// window begins with a fresh instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// All linear memories of the guest.
    pub memory: Size,
    /// Processor time.
    #[serde(with = "humantime_serde")]
    pub cpu: Duration,
    /// Elapsed time; by default 2 s, and 10 s for an exporter.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub wall: Option<Duration>,
    /// All payloads of a window, or one response.
    pub output: Size,
    /// What `set-state` keeps.
    pub state: Size,
    /// Log lines; those over it are dropped and counted.
    pub log_lines: usize,
    /// One log line; the rest is cut.
    pub log_line: Size,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: Size(64 << 20),
            cpu: Duration::from_secs(1),
            wall: None,
            output: Size(8 << 20),
            state: Size(64 << 10),
            log_lines: 50,
            log_line: Size(2 << 10),
        }
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
