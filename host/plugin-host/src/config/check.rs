use std::collections::BTreeMap;

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::Method;
use thiserror::Error;

use super::{Endpoint, HttpEndpoint, SinkConfig, Size};

/// Something in the configuration of plugins that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{table}: {field}: {problem}")]
pub struct ConfigError {
    /// `sink NAME`, or `[plugins]`.
    pub table: String,
    /// Path of the field in that table.
    pub field: String,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

/// The longest name of a sink.
const NAME_MAX: usize = 63;

/// All that is wrong with these sinks, without looking at files, plugins or the network.
pub fn check(sinks: &[SinkConfig]) -> Vec<ConfigError> {
    let mut errors: Vec<ConfigError> = sinks.iter().flat_map(check_sink).collect();
    let mut names = BTreeMap::new();
    let mut listeners = BTreeMap::new();
    for sink in sinks {
        if names.insert(&sink.name, ()).is_some() {
            errors.push(error(
                sink,
                "name",
                "another sink has the same name; names must differ",
            ));
        }
        for (name, endpoint) in sink.endpoints.iter().filter(|_| sink.enabled) {
            if let Endpoint::Serve { listen, .. } = endpoint
                && let Some(other) = listeners
                    .insert(*listen, &sink.name)
                    .filter(|_| listen.port() != 0)
            {
                let problem =
                    format!("sink {other} listens on {listen} already; choose another port");
                errors.push(error(sink, &format!("endpoints.{name}.listen"), problem));
            }
        }
    }
    errors
}

fn error(sink: &SinkConfig, field: &str, problem: impl Into<String>) -> ConfigError {
    ConfigError {
        table: format!("sink {}", sink.name),
        field: field.to_owned(),
        problem: problem.into(),
    }
}

fn check_sink(sink: &SinkConfig) -> Vec<ConfigError> {
    let mut problems: Vec<(String, String)> = Vec::new();
    let mut problem = |field: &str, text: String| problems.push((field.to_owned(), text));
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if sink.name.is_empty() || sink.name.len() > NAME_MAX || !sink.name.chars().all(plain) {
        problem(
            "name",
            format!(
                "must be 1 to {NAME_MAX} letters, digits, `.`, `_` or `-`, and is {:?}",
                sink.name
            ),
        );
    }
    check_reference("plugin", &sink.plugin, &mut problem);
    check_digest("digest", sink.digest.as_deref(), &mut problem);
    for (index, filter) in sink.filters.iter().enumerate() {
        let field = format!("filters[{index}]");
        check_reference(&field, filter.plugin(), &mut problem);
        check_digest(&format!("{field}.digest"), filter.digest(), &mut problem);
    }
    for (index, column) in sink.columns.iter().enumerate() {
        if column.strip_prefix(crate::LABEL).is_none_or(str::is_empty) {
            problem(
                &format!("columns[{index}]"),
                format!("{column:?} is no column; write `label:NAME`"),
            );
        }
    }
    if sink.queue == 0 {
        problem("queue", "0 windows is no queue; 1 is the least".to_owned());
    }
    check_limits(sink, &mut problem);
    for (name, endpoint) in &sink.endpoints {
        check_endpoint(&format!("endpoints.{name}"), endpoint, &mut problem);
    }
    problems
        .into_iter()
        .map(|(field, text)| error(sink, &field, text))
        .collect()
}

fn check_reference(field: &str, plugin: &str, problem: &mut impl FnMut(&str, String)) {
    if plugin.is_empty() {
        problem(
            field,
            "is empty; give a shipped plugin's name or a path to a component".to_owned(),
        );
    } else if plugin.starts_with("oci://") {
        problem(
            field,
            format!(
                "{plugin}: this version does not pull from registries; give a path to the component"
            ),
        );
    }
}

/// As `sha256sum` prints it, with the algorithm in front.
fn check_digest(field: &str, digest: Option<&str>, problem: &mut impl FnMut(&str, String)) {
    let is_hex =
        |hex: &str| hex.len() == 64 && hex.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    if let Some(digest) = digest
        && !digest.strip_prefix("sha256:").is_some_and(is_hex)
    {
        problem(
            field,
            format!(
                "{digest:?} is no digest; write \"sha256:\" and what `sha256sum` prints for the component"
            ),
        );
    }
}

fn check_limits(sink: &SinkConfig, problem: &mut impl FnMut(&str, String)) {
    let limits = &sink.limits;
    for (name, size, least) in [
        ("memory", limits.memory, Size(1 << 20)),
        ("output", limits.output, Size(1)),
        ("log_line", limits.log_line, Size(16)),
    ] {
        if size < least {
            problem(
                &format!("limits.{name}"),
                format!("{size} is too little; {least} is the least"),
            );
        }
    }
    let host_calls = usize::try_from(limits.host_calls).unwrap_or(usize::MAX);
    for (name, number, least) in [
        ("table_elements", limits.table_elements, 1_000),
        ("instances", limits.instances, 10),
        ("tables", limits.tables, 10),
        ("memories", limits.memories, 10),
        ("payloads", limits.payloads, 1),
        ("host_calls", host_calls, 100),
        ("handles", limits.handles, 100),
    ] {
        if number < least {
            problem(
                &format!("limits.{name}"),
                format!("{number} is too few; {least} is the least"),
            );
        }
    }
    let breaker = &sink.breaker;
    if breaker.faults == 0 {
        problem(
            "breaker.faults",
            "0 would never call the plugin; the default is 3".to_owned(),
        );
    }
    if breaker.first.is_zero() || breaker.first > breaker.max {
        problem(
            "breaker.first",
            format!(
                "must be above 0 and up to breaker.max = {:?}; the default is 5s",
                breaker.max
            ),
        );
    }
    if limits.cpu.is_zero() {
        problem(
            "limits.cpu",
            "0 lets no plugin run; the default is 1s".to_owned(),
        );
    }
    if limits.wall.is_some_and(|wall| wall.is_zero()) {
        problem(
            "limits.wall",
            "0 lets no plugin run; the default is 2s".to_owned(),
        );
    }
}

fn check_endpoint(field: &str, endpoint: &Endpoint, problem: &mut impl FnMut(&str, String)) {
    match endpoint {
        Endpoint::Stdout {} | Endpoint::Stderr {} => {}
        Endpoint::File { path } => {
            if path.file_name().is_none() {
                problem(
                    &format!("{field}.path"),
                    format!("{:?} names no file", path.display().to_string()),
                );
            }
        }
        Endpoint::Serve { path, .. } => {
            if !path.starts_with('/') {
                problem(
                    &format!("{field}.path"),
                    format!("{path:?} must begin with `/`, like `/metrics`"),
                );
            }
        }
        Endpoint::Http(http) => check_http(field, http, problem),
    }
}

fn check_http(field: &str, http: &HttpEndpoint, problem: &mut impl FnMut(&str, String)) {
    let url_field = format!("{field}.url");
    match http.url.parse::<Uri>() {
        Err(why) => problem(&url_field, format!("{:?} is no URL: {why}", http.url)),
        Ok(url) => match (url.scheme_str(), url.authority()) {
            (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => {
                problem(
                    &url_field,
                    "holds a user or password; use headers, bearer_token_file or bearer_token_env"
                        .to_owned(),
                )
            }
            (Some("http" | "https"), Some(_)) => {}
            _ => problem(
                &url_field,
                format!(
                    "{:?} must begin with http:// or https:// and a host",
                    http.url
                ),
            ),
        },
    }
    if Method::from_bytes(http.method.as_bytes()).is_err() {
        problem(
            &format!("{field}.method"),
            format!("{:?} is no HTTP method", http.method),
        );
    }
    for (name, value) in &http.headers {
        if HeaderName::from_bytes(name.as_bytes()).is_err() || HeaderValue::from_str(value).is_err()
        {
            problem(
                &format!("{field}.headers"),
                format!("{name:?} is no HTTP header field with a legal value"),
            );
        }
    }
    if http.bearer_token_file.is_some() && http.bearer_token_env.is_some() {
        problem(
            field,
            "has both bearer_token_file and bearer_token_env; keep one".to_owned(),
        );
    }
    if http.timeout.is_zero() {
        problem(
            &format!("{field}.timeout"),
            "0 lets no request through; the default is 10s".to_owned(),
        );
    }
}
