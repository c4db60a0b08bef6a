//! Formatter: a line of CSV (RFC 4180) for each pod, to endpoint `out`.

use std::time::Duration;

use owlk8s_plugin::{Formatter, Payload, Result, Snapshot, export_formatter, manifest};

struct Csv;

/// The sink's `config` table.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// Between two fields; one ASCII character.
    separator: char,
    /// Write the names of the columns before each window.
    header: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            separator: ',',
            header: false,
        }
    }
}

impl Formatter for Csv {
    type Config = Config;

    fn validate(config: &Config) -> Result<()> {
        if !config.separator.is_ascii() || "\"\r\n".contains(config.separator) {
            return Err("separator must be one ASCII character, and no quote or line break".into());
        }
        Ok(())
    }

    fn format(config: &Config, snapshot: &Snapshot<'_>) -> Result<Vec<Payload>> {
        let mut text = String::new();
        if config.header {
            let names = "time_ms namespace pod workload requests err4 err5 p50_ms p99_ms";
            line(&mut text, config, names.split(' ').map(str::to_owned));
        }
        let time = snapshot.window().end_unix_ms();
        for target in snapshot.targets() {
            let (total, latency) = (target.total(), target.latency());
            let quantile = |q| latency.quantile(q).map_or(String::new(), millis);
            let fields = [
                time.to_string(),
                target.namespace().to_owned(),
                target.pod().to_owned(),
                target.workload(),
                total.requests.to_string(),
                total.err4.to_string(),
                total.err5.to_string(),
                quantile(0.5),
                quantile(0.99),
            ];
            line(&mut text, config, fields);
        }
        Ok(vec![Payload::new(
            "out",
            "text/csv; charset=utf-8",
            text.into_bytes(),
        )])
    }
}

fn millis(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64() * 1e3)
}

/// Quoted where it must be.
fn line(text: &mut String, config: &Config, fields: impl IntoIterator<Item = String>) {
    for (index, field) in fields.into_iter().enumerate() {
        if index > 0 {
            text.push(config.separator);
        }
        if field.contains([config.separator, '"', '\r', '\n']) {
            *text += &format!("\"{}\"", field.replace('"', "\"\""));
        } else {
            *text += &field;
        }
    }
    text.push('\n');
}

export_formatter!(Csv);

manifest!({
    "description": "A line of CSV for each pod",
    "config": {
        "type": "object",
        "properties": { "separator": { "type": "string" }, "header": { "type": "boolean" } },
        "additionalProperties": false
    }
});
