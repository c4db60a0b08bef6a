//! Responder: a live page of the node for a browser: services, workloads and pods with their rates, errors and
//! latencies, a heat map of all durations, and in plain sight what cannot be read.
//!
//! The page is three files in the component and needs nothing else: no network but to this listener, and its
//! headers forbid any other. It asks for `api/live` once a window and computes differences by itself, so the
//! sink's mode must be `latest`. What was asked for is remembered in the sink's state, so that a page that is opened
//! later has a past; while nobody looks, nothing is remembered. How it stands with the node's sinks is the host's to
//! tell, where the endpoint says `plugins = true`.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test panics where it fails")
)]

mod history;
mod live;

use owlk8s_plugin::records::Temporality;
use owlk8s_plugin::{Request, Responder, Response, Result, Snapshot, export_responder, manifest};
use serde::Deserialize;

struct Dashboard;

/// The sink's `config` table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// Where the page is; ends with a slash.
    path: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
        }
    }
}

/// Path below the page's, content type, content.
const FILES: [(&str, &str, &str); 3] = [
    (
        "",
        "text/html; charset=utf-8",
        include_str!("../page/index.html"),
    ),
    (
        "style.css",
        "text/css; charset=utf-8",
        include_str!("../page/style.css"),
    ),
    (
        "app.js",
        "text/javascript; charset=utf-8",
        include_str!("../page/app.js"),
    ),
];

/// The page may load what is here, and nothing else from anywhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

impl Responder for Dashboard {
    type Config = Config;

    fn validate(config: &Config) -> Result<()> {
        if config.path.starts_with('/') && config.path.ends_with('/') {
            return Ok(());
        }
        Err(format!(
            "config key `path` must begin and end with a slash, and is {:?}",
            config.path
        )
        .into())
    }

    fn respond(config: &Config, request: &Request, snapshot: &Snapshot<'_>) -> Result<Response> {
        if !matches!(request.method.as_str(), "GET" | "HEAD") {
            return Ok(
                Response::new(405, "text/plain", "only GET\n").with_header("allow", "GET, HEAD")
            );
        }
        let path = request.path();
        let Some(below) = path.strip_prefix(&config.path) else {
            return Ok(elsewhere(config, path));
        };
        if below == "api/live" {
            return live(request, snapshot);
        }
        if below == "plugins" {
            // The host answers this where the endpoint says `plugins = true`.
            return Ok(Response::new(204, "text/plain", ""));
        }
        let file = FILES.iter().find(|(name, _, _)| *name == below);
        Ok(match file {
            None => elsewhere(config, path),
            Some((_, content_type, content)) => Response::new(200, content_type, *content)
                .with_header("cache-control", "no-cache")
                .with_header("content-security-policy", POLICY)
                .with_header("referrer-policy", "no-referrer")
                .with_header("x-content-type-options", "nosniff"),
        })
    }
}

export_responder!(Dashboard);

manifest!({
    "description": "A live page of the node for a browser"
});

fn live(request: &Request, snapshot: &Snapshot<'_>) -> Result<Response> {
    if snapshot.temporality() == Temporality::Delta {
        return Err(
            "the page computes differences by itself: set the sink's `mode` to \"latest\"".into(),
        );
    }
    let history = history::follow(snapshot);
    let wanted = request.target.contains("history=1").then_some(history);
    let body = serde_json::to_vec(&live::Live::of(snapshot, wanted))?;
    Ok(Response::new(200, "application/json", body).with_header("cache-control", "no-store"))
}

/// The page's address without its last slash leads to the page.
fn elsewhere(config: &Config, path: &str) -> Response {
    if config.path.strip_suffix('/') == Some(path) {
        return Response::new(
            308,
            "text/plain",
            format!("the page is at {}\n", config.path),
        )
        .with_header("location", &config.path);
    }
    Response::new(
        404,
        "text/plain",
        format!("the page is at {}\n", config.path),
    )
}

#[cfg(test)]
mod tests;
