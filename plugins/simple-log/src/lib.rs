//! Formatter: a line for each pod, or a table with aligned columns, for people to read.
//!
//! The lines have the fields of the Go library's simple log. A name is written as it is but for
//! control characters, which are escaped, so a pod is always one line.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test panics where it fails")
)]

mod lines;
mod rate;
mod table;

use std::time::Duration;

use owlk8s_plugin::{Formatter, Payload, Result, Snapshot, export_formatter, manifest};
use serde::Deserialize;

struct SimpleLog;

/// The sink's `config` table.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    style: Style,
    units: Units,
    /// Tables only: clear the terminal before each.
    clear: bool,
}

/// How a snapshot looks.
#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Style {
    #[default]
    Lines,
    Table,
}

/// In which unit durations are written.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Units {
    #[default]
    Us,
    Ms,
    S,
}

impl Formatter for SimpleLog {
    type Config = Config;

    fn validate(config: &Config) -> Result<()> {
        match config.style {
            Style::Lines if config.clear => {
                Err("config key `clear` needs `style = \"table\"`".into())
            }
            _ => Ok(()),
        }
    }

    fn format(config: &Config, snapshot: &Snapshot<'_>) -> Result<Vec<Payload>> {
        let text = match config.style {
            Style::Lines => lines::format(config.units, snapshot),
            Style::Table => table::format(config.units, config.clear, snapshot),
        };
        Ok(vec![Payload::text("out", text)])
    }
}

export_formatter!(SimpleLog);

manifest!({
    "description": "A line, or a table row, for each pod",
    "config": {
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "style": { "enum": ["lines", "table"], "default": "lines" },
            "units": { "enum": ["us", "ms", "s"], "default": "us", "description": "of durations" },
            "clear": { "type": "boolean", "default": false, "description": "clear the terminal before each table" }
        }
    }
});

impl Units {
    /// To the microsecond.
    fn show(self, duration: Duration) -> String {
        match self {
            Self::Us => format!("{}us", duration.as_micros()),
            Self::Ms => format!("{:.3}ms", duration.as_secs_f64() * 1e3),
            Self::S => format!("{:.6}s", duration.as_secs_f64()),
        }
    }
}

/// The name with what would leave its line escaped: control characters, and those that turn the
/// direction of what follows.
fn printable(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => text.extend(c.escape_unicode()),
            c if c.is_control() => text.extend(c.escape_default()),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests;
