//! The same values with other names in them, or as they are.

use owlk8s_model::Snapshot;
use owlk8s_plugin_host::{Redaction, Texts as Replacements};
use serde_json::Value;

use crate::config::Config;

/// Stands for what may hold a secret.
const LEFT_OUT: &str = "(left out)";
/// Keys whose value, or whose values, name something of the cluster or of who runs it.
const NAMED: [&str; 13] = [
    "node",
    "namespaces",
    "workloads",
    "services",
    "targets",
    "labels",
    "columns",
    "url",
    "to",
    "http",
    "address",
    "user_agent",
    "tls_name",
];
/// Labels of `/metrics` that do.
const LABELS: [&str; 3] = ["namespace", "pod", "node"];

/// Names that were met so far.
pub(super) struct Names(Option<Redaction>);

/// For texts that speak of them.
pub(super) struct Texts(Option<Replacements>);

impl Names {
    pub(super) fn new(as_they_are: bool) -> Self {
        Self((!as_they_are).then(Redaction::new))
    }

    pub(super) fn snapshot(&mut self, snapshot: Snapshot) -> Snapshot {
        match &mut self.0 {
            Some(names) => names.snapshot(snapshot),
            None => snapshot,
        }
    }

    /// Without the plugins' own `config`, texts of headers, and credentials in URLs, whatever names it has.
    pub(super) fn config(&mut self, config: &Config) -> anyhow::Result<Value> {
        let mut value = serde_json::to_value(config)?;
        without_secrets(&mut value);
        if let Some(names) = &mut self.0 {
            rename(names, &mut value, false);
        }
        drop_nulls(&mut value);
        Ok(value)
    }

    /// A page of metrics; its labels are exact where texts would leave a short name.
    pub(super) fn metrics(&mut self, page: &str) -> String {
        let Some(names) = &mut self.0 else {
            return page.to_owned();
        };
        let lines = page.lines().map(|line| {
            let mut line = line.to_owned();
            for label in LABELS {
                line = relabelled(names, &line, label);
            }
            line + "\n"
        });
        lines.collect()
    }

    pub(super) fn texts(&self) -> Texts {
        Texts(self.0.as_ref().map(Redaction::texts))
    }
}

impl Texts {
    pub(super) fn text(&self, text: &str) -> String {
        match &self.0 {
            Some(texts) => texts.text(text),
            None => text.to_owned(),
        }
    }
}

fn relabelled(names: &mut Redaction, line: &str, label: &str) -> String {
    let opening = format!("{label}=\"");
    let starts = |before: &str| before.ends_with(['{', ',']);
    match line.split_once(&opening) {
        Some((before, rest)) if starts(before) => match rest.split_once('"') {
            Some((name, after)) => format!("{before}{opening}{}\"{after}", names.name(name)),
            None => line.to_owned(),
        },
        _ => line.to_owned(),
    }
}

fn without_secrets(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(without_secrets),
        Value::Object(table) => {
            for (key, value) in table {
                match key.as_str() {
                    "config" => blank(value),
                    "headers" => texts_of(value, |text| *text = LEFT_OUT.to_owned()),
                    "url" | "to" => texts_of(value, |url| *url = without_credentials(url)),
                    _ => without_secrets(value),
                }
            }
        }
        _ => {}
    }
}

/// Its keys stay: they tell what was set.
fn blank(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(blank),
        Value::Object(table) => table.values_mut().for_each(blank),
        Value::String(text) => *text = LEFT_OUT.to_owned(),
        _ => {}
    }
}

/// Of a value, or of the values of a table; what a table in it says of files and variables stays.
fn texts_of(value: &mut Value, mut change: impl FnMut(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Object(table) => table.values_mut().for_each(|value| {
            if let Value::String(text) = value {
                change(text);
            }
        }),
        _ => {}
    }
}

/// `https://user:password@host/path?key=...` without the user, the password and the query.
fn without_credentials(url: &str) -> String {
    let (address, query) = match url.split_once('?') {
        Some((address, _)) => (address, true),
        None => (url, false),
    };
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let (host, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let (credentials, host) = host.rsplit_once('@').unwrap_or(("", host));
    let mut shown = String::new();
    if !scheme.is_empty() {
        shown += &format!("{scheme}://");
    }
    if !credentials.is_empty() {
        shown += &format!("{LEFT_OUT}@");
    }
    shown += host;
    shown += path;
    if query {
        shown += &format!("?{LEFT_OUT}");
    }
    shown
}

fn rename(names: &mut Redaction, value: &mut Value, below: bool) {
    match value {
        Value::String(text) if below => *text = renamed(names, text),
        Value::Array(values) => values.iter_mut().for_each(|v| rename(names, v, below)),
        Value::Object(table) => table
            .iter_mut()
            .for_each(|(key, value)| rename(names, value, below || NAMED.contains(&key.as_str()))),
        _ => {}
    }
}

/// An address, a URL, `Kind/name` and a pattern keep what makes them such.
fn renamed(names: &mut Redaction, text: &str) -> String {
    if let Ok(address) = text.parse() {
        return names.address(address).to_string();
    }
    let (head, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    let parts = rest.split('/').map(|part| match part {
        "" | "*" | LEFT_OUT => part.to_owned(),
        "Deployment" | "StatefulSet" | "DaemonSet" | "CronJob" | "Job" => part.to_owned(),
        part => names.name(part),
    });
    head + &parts.collect::<Vec<_>>().join("/")
}

/// TOML has none.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(drop_nulls),
        Value::Object(table) => {
            table.retain(|_, value| !value.is_null());
            table.values_mut().for_each(drop_nulls);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
node = "worker-in-berlin"
[discovery.static]
targets = [{ pod = "cart-0", namespace = "shop", ips = ["10.77.0.11"] }]
[[sinks]]
name = "push"
plugin = "json-log"
select = { namespaces = ["shop", "warehouse"] }
endpoints.out = { kind = "http", url = "https://me:s3cr3t@collector.example/v1?key=s3cr3t-too", headers = { "x-key" = "s3cr3t-key", "y" = { env = "Y" } } }
config = { token = "s3cr3t-token", depth = 3 }
"#;

    fn shown(as_they_are: bool) -> String {
        let config = Config::parse("test", CONFIG, &|_| None).unwrap();
        let mut names = Names::new(as_they_are);
        toml::to_string(&names.config(&config).unwrap()).unwrap()
    }

    #[test]
    fn no_secret_of_a_configuration_is_shown_with_names_or_without() {
        for as_they_are in [true, false] {
            let text = shown(as_they_are);
            assert!(!text.contains("s3cr3t"), "{text}");
            assert!(text.contains("depth = 3"), "{text}");
            assert!(text.contains("token = \"(left out)\""), "{text}");
        }
    }

    #[test]
    fn names_are_other_ones_unless_asked_for() {
        let text = shown(false);
        for name in [
            "berlin",
            "cart-0",
            "shop",
            "warehouse",
            "10.77.0.11",
            "collector",
        ] {
            assert!(!text.contains(name), "{name} in {text}");
        }
        assert!(shown(true).contains("collector.example/v1?(left out)"));
        assert!(shown(true).contains("warehouse"));
    }

    #[test]
    fn labels_of_metrics_lose_even_short_names() {
        let page = "owlk8s_losses_total{namespace=\"a\",pod=\"b1\",reason=\"hole\"} 3\n";
        let shown = Names::new(false).metrics(page);
        assert!(
            !shown.contains("pod=\"b1\"") || !shown.contains("namespace=\"a\""),
            "{shown}"
        );
        assert!(shown.ends_with("reason=\"hole\"} 3\n"), "{shown}");
        assert_eq!(Names::new(true).metrics(page), page);
    }
}
