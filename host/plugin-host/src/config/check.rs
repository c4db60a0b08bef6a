mod endpoint;

use std::collections::BTreeMap;

use hyper::header::{HeaderName, HeaderValue};
use thiserror::Error;

use super::{Endpoint, SinkConfig, Size};
use endpoint::check_endpoint;

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

/// Entries of one grant: each has a client with connections of its own.
const HTTP_GRANTS_MAX: usize = 32;

/// The longest name of a sink.
const NAME_MAX: usize = 63;

/// All that is wrong with these sinks, without looking at files, plugins or the network.
pub fn check(sinks: &[SinkConfig]) -> Vec<ConfigError> {
    let mut errors: Vec<ConfigError> = sinks.iter().flat_map(check_sink).collect();
    let mut names = BTreeMap::new();
    let mut listeners = BTreeMap::new();
    let mut files = BTreeMap::new();
    for sink in sinks {
        if names.insert(&sink.name, ()).is_some() {
            errors.push(error(
                sink,
                "name",
                "another sink has the same name; names must differ",
            ));
        }
        for (name, endpoint) in sink.endpoints.iter().filter(|_| sink.enabled) {
            let (field, problem) = match endpoint {
                Endpoint::Serve(serve) => {
                    let listen = serve.listen;
                    let other = listeners.insert(listen, &sink.name);
                    let other = other.filter(|_| listen.port() != 0);
                    let text = |other| {
                        format!("sink {other} listens on {listen} already; choose another port")
                    };
                    ("listen", other.map(text))
                }
                Endpoint::File(file) => {
                    let other = files.insert(&file.path, &sink.name);
                    let other = other.filter(|_| !file.path.starts_with("/dev"));
                    let text = |other| {
                        format!(
                            "sink {other} writes {} already: each would rotate it away from the other; choose another file",
                            file.path.display()
                        )
                    };
                    ("path", other.map(text))
                }
                _ => continue,
            };
            if let Some(problem) = problem {
                errors.push(error(sink, &format!("endpoints.{name}.{field}"), problem));
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
    check_grant(sink, &mut problem);
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

fn check_grant(sink: &SinkConfig, problem: &mut impl FnMut(&str, String)) {
    let grant = &sink.grant;
    if grant.http.len() > HTTP_GRANTS_MAX {
        problem(
            "grant.http",
            format!(
                "{} entries are too many; {HTTP_GRANTS_MAX} are the most (`*.example.com` is one)",
                grant.http.len()
            ),
        );
    }
    for (index, http) in grant.http.iter().enumerate() {
        let field = format!("grant.http[{index}]");
        check_headers(&field, &http.headers, problem);
        if http.bearer_token_file.is_some() && http.bearer_token_env.is_some() {
            problem(
                &field,
                "has both bearer_token_file and bearer_token_env; keep one".to_owned(),
            );
        }
        if http.client_cert_file.is_some() != http.client_key_file.is_some() {
            problem(
                &field,
                "client_cert_file and client_key_file belong together; set both".to_owned(),
            );
        }
        if http.to.is_plain() && (http.ca_file.is_some() || http.client_cert_file.is_some()) {
            problem(
                &field,
                format!(
                    "{} goes without TLS, and certificates are set for it; write https",
                    http.to
                ),
            );
        }
    }
    for (name, zero) in [
        ("grant.connect_timeout", grant.connect_timeout.is_zero()),
        ("grant.read_timeout", grant.read_timeout.is_zero()),
    ] {
        if zero {
            problem(name, "0 lets no request through".to_owned());
        }
    }
}

fn check_headers(
    field: &str,
    headers: &BTreeMap<String, String>,
    problem: &mut impl FnMut(&str, String),
) {
    for (name, value) in headers {
        if HeaderName::from_bytes(name.as_bytes()).is_err() || HeaderValue::from_str(value).is_err()
        {
            problem(
                &format!("{field}.headers"),
                format!("{name:?} is no HTTP header field with a legal value"),
            );
        }
    }
}
