//! `/log`: the last lines, and from which level on lines are written.

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde_json::json;

use super::{Answer, json, text};
use crate::config::Level;
use crate::logs;

/// A word, and a line's end.
const BODY_MAX: usize = 64;
/// Takes back what was asked for.
const DEFAULT: &str = "default";

pub(super) fn get() -> Answer {
    let (filter, source) = logs::in_effect();
    let (lines, left_out) = logs::recent();
    json(&json!({"filter": filter, "source": source, "left_out": left_out, "lines": lines}))
}

/// From `near`, this machine, only: what is logged names pods, and much of it costs.
pub(super) async fn put(request: Request<Incoming>, near: bool) -> Answer {
    if !near {
        let why =
            "the log level is changed from the node itself only: `owlk8s log LEVEL` in the pod\n";
        return text(StatusCode::FORBIDDEN, why.to_owned());
    }
    let body = Limited::new(request.into_body(), BODY_MAX).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let word = String::from_utf8_lossy(&body).trim().to_owned();
    let level = Level::ALL.into_iter().find(|level| level.name() == word);
    if level.is_none() && word != DEFAULT {
        let known: Vec<&str> = Level::ALL.into_iter().map(Level::name).collect();
        let known = known.join(", ");
        let why = format!("{word:?} is no level; there are {known}, and {DEFAULT}\n");
        return text(StatusCode::BAD_REQUEST, why);
    }
    logs::ask(level);
    let (filter, source) = logs::in_effect();
    tracing::info!(filter, source, "log level changed");
    text(StatusCode::OK, format!("{filter} ({source})\n"))
}
