//! Exporter: how fast each service burns its error budget, as one JSON POST a window.
//!
//! The budget is `1 - objective`, and the burn rate is the share of requests that fail over that budget: at 1 the budget is
//! used up just at the end of the objective's period, at 14.4 a budget of 30 days is gone in two. Two windows tell more than
//! one (a long one that it matters, a short one that it still goes on): the last counts are kept in the sink's state.
//!
//! Needs the sink's mode `delta`. What is not delivered is kept nowhere here: the next window covers it.

use std::collections::BTreeMap;

use owlk8s_plugin::{
    Exporter, Outcome, Result, Snapshot, export_exporter, http, manifest, records::Temporality,
    state,
};
use serde::{Deserialize, Serialize};

struct Slo;

/// The sink's `config` table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Where to; the sink must grant its origin.
    url: String,
    /// Share of requests that must succeed.
    #[serde(default = "objective")]
    objective: f64,
    /// Windows of the short and of the long span.
    #[serde(default = "short")]
    short: usize,
    #[serde(default = "long")]
    long: usize,
}

fn objective() -> f64 {
    0.999
}

fn short() -> usize {
    6
}

fn long() -> usize {
    60
}

/// Requests and failed ones of the last windows, the newest last, by service.
type Past = BTreeMap<String, Vec<(u64, u64)>>;

#[derive(Serialize)]
struct Message<'a> {
    at_unix_ms: u64,
    node: &'a str,
    objective: f64,
    services: Vec<Burn<'a>>,
}

#[derive(Serialize)]
struct Burn<'a> {
    service: &'a str,
    requests: u64,
    errors: u64,
    burn_short: f64,
    burn_long: f64,
}

impl Exporter for Slo {
    type Config = Config;

    fn validate(config: &Config) -> Result<()> {
        if !(0.0..1.0).contains(&config.objective) {
            return Err("objective must be from 0 up to, but not including, 1".into());
        }
        if config.short == 0 || config.short > config.long || config.long > 360 {
            return Err("short must be 1 or more, and long from short to 360".into());
        }
        Ok(())
    }

    fn export(config: &Config, snapshot: &Snapshot<'_>) -> Outcome {
        if snapshot.temporality() != Temporality::Delta {
            return Outcome::Rejected("it needs mode = \"delta\"".to_owned());
        }
        let mut past: Past = state::load().unwrap_or_default();
        let mut now: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for target in snapshot.targets() {
            for service in target.services().iter() {
                let sum = now.entry(format!("{}/{service}", target.namespace()));
                let sum = sum.or_default();
                sum.0 += target.total().requests;
                sum.1 += target.total().err5;
            }
        }
        past.retain(|service, _| now.contains_key(service));
        for (service, sum) in now {
            let windows = past.entry(service).or_default();
            windows.push(sum);
            let over = windows.len().saturating_sub(config.long);
            windows.drain(..over);
        }
        let services = past.iter().map(|(service, windows)| {
            let (requests, errors) = windows.last().copied().unwrap_or_default();
            Burn {
                service,
                requests,
                errors,
                burn_short: burn(windows, config.short, config.objective),
                burn_long: burn(windows, config.long, config.objective),
            }
        });
        let message = Message {
            at_unix_ms: snapshot.window().end_unix_ms(),
            node: snapshot.node(),
            objective: config.objective,
            services: services.collect(),
        };
        match send(&config.url, &message) {
            // What was delivered is remembered; a window that comes again is not counted twice.
            Outcome::Delivered => match state::save(&past) {
                Ok(()) => Outcome::Delivered,
                Err(why) => Outcome::Rejected(why),
            },
            outcome => outcome,
        }
    }
}

/// Over the last `windows` of them.
fn burn(past: &[(u64, u64)], windows: usize, objective: f64) -> f64 {
    let last = &past[past.len().saturating_sub(windows)..];
    let requests: u64 = last.iter().map(|(requests, _)| requests).sum();
    let errors: u64 = last.iter().map(|(_, errors)| errors).sum();
    if requests == 0 {
        return 0.0;
    }
    let rate = errors as f64 / requests as f64 / (1.0 - objective);
    (rate * 1000.0).round() / 1000.0
}

fn send(url: &str, message: &Message<'_>) -> Outcome {
    let body = match serde_json::to_vec(message) {
        Ok(body) => body,
        Err(error) => return Outcome::Rejected(error.to_string()),
    };
    let sent = http::post(url)
        .header("content-type", "application/json")
        .body(body)
        .send();
    match sent {
        Ok(answer) if answer.is_success() => Outcome::Delivered,
        Ok(answer) if answer.status == 429 || answer.status >= 500 => Outcome::Retry(1_000),
        Ok(answer) => Outcome::Rejected(format!("{url} answers {}", answer.status)),
        Err(http::Error::Denied(why)) => Outcome::Rejected(why),
        Err(http::Error::Failed(_)) => Outcome::Retry(1_000),
    }
}

export_exporter!(Slo);

manifest!({
    "description": "How fast each service burns its error budget",
    "asks": { "http": ["config:url"] },
    "config": {
        "type": "object",
        "properties": {
            "url": { "type": "string" },
            "objective": { "type": "number", "minimum": 0, "exclusiveMaximum": 1 },
            "short": { "type": "integer", "minimum": 1 },
            "long": { "type": "integer", "minimum": 1, "maximum": 360 }
        },
        "required": ["url"],
        "additionalProperties": false
    }
});
