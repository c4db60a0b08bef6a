//! Posts the requests of each pod, one a line, to the URL of its config.

use owlk8s_plugin::{Exporter, Outcome, Snapshot, export_exporter, http, manifest};

struct Plugin;

/// The sink's `config` table.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Where to; the sink must grant its origin.
    url: String,
}

impl Exporter for Plugin {
    type Config = Config;

    fn export(config: &Config, snapshot: &Snapshot<'_>) -> Outcome {
        let lines = snapshot
            .targets()
            .map(|target| format!("{} {}\n", target.full_name(), target.total().requests));
        let sent = http::post(&config.url)
            .header("content-type", "text/plain; charset=utf-8")
            .body(lines.collect::<String>())
            .send();
        match sent {
            Ok(answer) if answer.is_success() => Outcome::Delivered,
            // Its server is busy: the same window again in a second, at the earliest.
            Ok(answer) if answer.status >= 500 => Outcome::Retry(1_000),
            Ok(answer) => Outcome::Rejected(format!("{} answers {}", config.url, answer.status)),
            Err(http::Error::Denied(why)) => Outcome::Rejected(why),
            Err(http::Error::Failed(_)) => Outcome::Retry(1_000),
        }
    }
}

export_exporter!(Plugin);

manifest!({
    "description": "Posts the requests of each pod",
    "asks": { "http": ["config:url"] }
});
