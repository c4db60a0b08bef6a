//! `cargo xtask reference`: the reference of the configuration, out of the code that reads it. Keys, types and what they
//! are for are those of the structs; defaults are what `owlk8s config` prints.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{announce, answer};
use crate::workspace::path;

const DOCUMENT: &str = "host/docs/configuration.md";

/// A table of the configuration: how it is written, the file and struct that read it, and where `owlk8s config` prints
/// the one of [`SAMPLE`].
type Table = (&'static str, &'static str, &'static str, &'static str);

const TABLES: &[Table] = &[
    ("", "host/agent/src/config.rs", "Config", ""),
    ("[admin]", "host/agent/src/config.rs", "Admin", "admin"),
    ("[probe]", "host/agent/src/config.rs", "Probe", "probe"),
    (
        "[discovery]",
        "host/discover/src/config.rs",
        "DiscoveryConfig",
        "discovery",
    ),
    (
        "discovery.static.targets = [{ ... }]",
        "host/discover/src/config.rs",
        "StaticTarget",
        "",
    ),
    (
        "[discovery.kubernetes]",
        "host/discover/src/config.rs",
        "KubernetesConfig",
        "discovery.kubernetes",
    ),
    (
        "[discovery.host]",
        "host/discover/src/config.rs",
        "HostConfig",
        "discovery.host",
    ),
    (
        "[plugins]",
        "host/plugin-host/src/config/plugins.rs",
        "PluginsConfig",
        "plugins",
    ),
    (
        "[plugins.ceiling]",
        "host/plugin-host/src/authority/grant.rs",
        "Ceiling",
        "plugins.ceiling",
    ),
    (
        "[[sinks]]",
        "host/plugin-host/src/config.rs",
        "SinkConfig",
        "sinks",
    ),
    (
        "select = { ... }",
        "host/pipeline/src/select.rs",
        "Select",
        "sinks.select",
    ),
    (
        "filters = [{ ... }]",
        "host/plugin-host/src/config.rs",
        "ConfiguredFilter",
        "",
    ),
    (
        "endpoints.NAME = { kind = \"file\", ... }",
        "host/plugin-host/src/config/endpoint/file.rs",
        "FileEndpoint",
        "sinks.endpoints.file",
    ),
    (
        "endpoints.NAME = { kind = \"http\", ... }",
        "host/plugin-host/src/config/endpoint/http.rs",
        "HttpEndpoint",
        "sinks.endpoints.http",
    ),
    (
        "basic = { ... }",
        "host/plugin-host/src/config/endpoint/http.rs",
        "BasicAuth",
        "",
    ),
    (
        "endpoints.NAME = { kind = \"serve\", ... }",
        "host/plugin-host/src/config/endpoint/serve.rs",
        "ServeEndpoint",
        "sinks.endpoints.serve",
    ),
    (
        "endpoints.NAME = { kind = \"udp\", ... }",
        "host/plugin-host/src/config/endpoint/socket.rs",
        "UdpEndpoint",
        "sinks.endpoints.udp",
    ),
    (
        "endpoints.NAME = { kind = \"tcp\", ... }",
        "host/plugin-host/src/config/endpoint/socket.rs",
        "TcpEndpoint",
        "sinks.endpoints.tcp",
    ),
    (
        "endpoints.NAME = { kind = \"unix\", ... }",
        "host/plugin-host/src/config/endpoint/socket.rs",
        "UnixEndpoint",
        "sinks.endpoints.unix",
    ),
    (
        "grant = { ... }",
        "host/plugin-host/src/authority/grant.rs",
        "Grant",
        "sinks.grant",
    ),
    (
        "grant.http = [{ ... }]",
        "host/plugin-host/src/authority/grant.rs",
        "HttpGrant",
        "",
    ),
    (
        "limits = { ... }",
        "host/plugin-host/src/config/limits.rs",
        "Limits",
        "sinks.limits",
    ),
    (
        "breaker = { ... }",
        "host/plugin-host/src/config/breaker.rs",
        "BreakerConfig",
        "sinks.breaker",
    ),
];

/// One of each, with only what must be said.
const SAMPLE: &str = r#"
node = "(the host's name)"
[discovery.kubernetes]
[discovery.host]
[[sinks]]
name = "sample"
plugin = "sample"
endpoints.file = { kind = "file", path = "/required" }
endpoints.http = { kind = "http", url = "http://required" }
endpoints.serve = { kind = "serve", listen = "127.0.0.1:1" }
endpoints.udp = { kind = "udp", address = "required:1" }
endpoints.tcp = { kind = "tcp", address = "required:1" }
endpoints.unix = { kind = "unix", path = "/required" }
"#;

const HEAD: &str = "\
# Configuration

All keys of the configuration file, which is TOML. This page is made from the code by `cargo xtask reference`; the gate compares it.
A key that is not here is an error that names the line. `owlk8s config --config FILE` prints a file with every default.
Durations are written `\"500ms\"`, `\"10s\"`, `\"1m30s\"`; sizes `\"64MiB\"`, or a number of bytes. What can be changed while the agent
runs: [README](../../README.md#change-it-while-it-runs). How endpoints, grants and filters work together:
[plugins/README.md](../../plugins/README.md).

From the environment come only `NODE_NAME` (or `nodename`), `RUST_LOG`, `debug=true`, `KUBERNETES_SERVICE_HOST` and `_PORT`, `KUBECONFIG`,
`HOME`, and the variables that endpoints name.
";

/// Writes the document, or with `check` compares it.
pub(crate) fn reference(check: bool) -> Result<()> {
    let wanted = document()?;
    let file = path(DOCUMENT);
    if !check {
        announce(DOCUMENT);
        return fs::write(&file, wanted).with_context(|| format!("cannot write {DOCUMENT}"));
    }
    if fs::read_to_string(&file).unwrap_or_default() != wanted {
        bail!("{DOCUMENT} is not what the code says: run `cargo xtask reference` and commit");
    }
    Ok(())
}

fn document() -> Result<String> {
    let printed = printed()?;
    let mut text = HEAD.to_owned();
    for (heading, file, name, place) in TABLES {
        let source =
            fs::read_to_string(path(file)).with_context(|| format!("cannot read {file}"))?;
        let (about, keys) = read_struct(&source, name)
            .with_context(|| format!("{file} has no struct {name}: mend TABLES"))?;
        let shown = if heading.is_empty() {
            "At the beginning of the file".to_owned()
        } else {
            format!("`{heading}`")
        };
        text += &format!("\n## {shown}\n\n");
        if !heading.is_empty() && !about.is_empty() {
            text += &format!("{about}\n\n");
        }
        text += "| key | type | default | what |\n|---|---|---|---|\n";
        let defaults = printed
            .get(*place)
            .filter(|_| !place.is_empty() || heading.is_empty());
        for key in keys {
            let default = defaults.and_then(|table| table.get(&key.name));
            let default = match default {
                Some(value)
                    if value.contains("required")
                        || value == "\"sample\""
                        || value == "\"127.0.0.1:1\"" =>
                {
                    "must be given".to_owned()
                }
                Some(value) => format!("`{}`", value.replace('|', "\\|")),
                None if key.kind.ends_with("table") || key.kind.ends_with("tables") => {
                    "below".to_owned()
                }
                None if key.required => "must be given".to_owned(),
                None => "none".to_owned(),
            };
            text += &format!(
                "| `{}` | {} | {default} | {} |\n",
                key.name, key.kind, key.about
            );
        }
    }
    Ok(text)
}

/// What `owlk8s config` prints of the sample: by table, by key.
fn printed() -> Result<BTreeMap<String, BTreeMap<String, String>>> {
    let file = path("target/reference.toml");
    fs::write(&file, SAMPLE).with_context(|| format!("cannot write {}", file.display()))?;
    let binary = path("target/release/owlk8s");
    let said = answer(
        Command::new(&binary)
            .args(["config", "--config"])
            .arg(&file),
    );
    let said = said.with_context(|| {
        format!(
            "`{} config` refuses the sample, or is missing: run `make build`",
            binary.display()
        )
    })?;
    Ok(tables(&said))
}

fn tables(toml: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut tables: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut place = String::new();
    for line in toml.lines() {
        if let Some(name) = line.strip_prefix('[') {
            place = name.trim_matches(['[', ']']).to_owned();
        } else if let Some((key, value)) = line.split_once(" = ") {
            let table = tables.entry(place.clone()).or_default();
            table.insert(key.to_owned(), value.to_owned());
        }
    }
    tables
}

#[derive(Debug, PartialEq, Eq)]
struct Key {
    name: String,
    kind: String,
    about: String,
    required: bool,
}

/// What is said above a struct, and its keys.
fn read_struct(source: &str, name: &str) -> Option<(String, Vec<Key>)> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let at = lines.iter().position(|line| {
        line.ends_with('{')
            && line.split_whitespace().rev().nth(1) == Some(name)
            && line.contains("struct ")
    })?;
    let above = lines[..at].iter().rposition(|line| line.is_empty())?;
    let about = doc(&lines[above..at]);
    // All have a default where the struct has one.
    let all = lines[above..at]
        .iter()
        .any(|line| line.starts_with("#[serde(") && line.contains("default"));
    let mut keys = Vec::new();
    let mut before = Vec::new();
    for line in &lines[at + 1..] {
        if *line == "}" {
            break;
        }
        let field = line
            .trim_start_matches("pub(crate) ")
            .trim_start_matches("pub ");
        match field.split_once(": ") {
            Some((field, kind)) if line.starts_with("pub") => {
                keys.extend(key(field, kind.trim_end_matches(','), &before, all));
                before.clear();
            }
            _ => before.push(*line),
        }
    }
    Some((about, keys))
}

fn key(field: &str, kind: &str, before: &[&str], all: bool) -> Option<Key> {
    let attributes: String = before
        .iter()
        .filter(|line| !line.starts_with("///"))
        .copied()
        .collect();
    if attributes.contains("serde(skip)") {
        return None;
    }
    let renamed = attributes
        .split_once("rename = \"")
        .and_then(|(_, rest)| rest.split_once('"'));
    let optional = kind.starts_with("Option<");
    Some(Key {
        name: renamed.map_or(field, |(name, _)| name).to_owned(),
        kind: words(kind).to_owned(),
        about: doc(before).replace('|', "\\|"),
        required: !all && !optional && !attributes.contains("default"),
    })
}

fn words(kind: &str) -> &'static str {
    let inner = kind.trim_start_matches("Option<").trim_end_matches('>');
    match inner {
        "String" | "Level" | "Mode" | "Include" | "Compression" | "SocketKind"
        | "OriginPattern" => "text",
        "PathBuf" => "path",
        "Permissions" => "octal digits",
        "SocketAddr" => "address and port",
        "Duration" => "duration",
        "Size" => "size",
        "bool" => "true or false",
        "u32" | "u64" | "usize" => "number",
        other if other.starts_with("Vec<") && other.ends_with("Config") => "list of tables",
        other if other.starts_with("Vec<") => "list",
        _ => "table",
    }
}

fn doc(lines: &[&str]) -> String {
    let said = lines.iter().filter_map(|line| line.strip_prefix("///"));
    let text: Vec<&str> = said.map(str::trim).collect();
    // Links are for readers of the code.
    text.join(" ").replace("[`", "`").replace("`]", "`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_words_that_stand_above_them() {
        let source = "\n/// A table.\n#[derive(Clone)]\npub struct Table {\n    /// How long; see\n    /// [`Other`].\n    \
                      #[serde(default = \"ten\", with = \"x\")]\n    pub time: Duration,\n    /// Its name.\n    pub name: String,\n    \
                      /// Never.\n    #[serde(skip)]\n    pub hidden: String,\n}\n";
        let (about, keys) = read_struct(source, "Table").expect("it is there");
        assert_eq!(about, "A table.");
        let key = |name: &str, kind: &str, about: &str, required| Key {
            name: name.to_owned(),
            kind: kind.to_owned(),
            about: about.to_owned(),
            required,
        };
        assert_eq!(
            keys,
            [
                key("time", "duration", "How long; see `Other`.", false),
                key("name", "text", "Its name.", true),
            ]
        );
        assert!(read_struct(source, "Chair").is_none());
    }

    #[test]
    fn printed_configuration_is_found_by_table_and_key() {
        let tables = tables("node = \"x\"\n\n[admin]\nlisten = \"y\"\n[[sinks]]\nname = \"z\"\n");
        assert_eq!(tables[""]["node"], "\"x\"");
        assert_eq!(tables["admin"]["listen"], "\"y\"");
        assert_eq!(tables["sinks"]["name"], "\"z\"");
    }
}
