//! Answers with the requests of each pod, one a line.

use owlk8s_plugin::{Request, Responder, Response, Result, Snapshot, export_responder, manifest};

struct Plugin;

/// The sink's `config` table. Give every key a default.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// Pods with fewer requests are left out.
    at_least: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { at_least: 1 }
    }
}

impl Responder for Plugin {
    type Config = Config;

    fn respond(config: &Config, _: &Request, snapshot: &Snapshot<'_>) -> Result<Response> {
        let mut text = String::new();
        for target in snapshot.targets() {
            let requests = target.total().requests;
            if requests >= config.at_least {
                text += &format!("{} {requests}\n", target.full_name());
            }
        }
        Ok(Response::new(200, "text/plain; charset=utf-8", text))
    }
}

export_responder!(Plugin);

manifest!({ "description": "Answers with the requests of each pod" });
