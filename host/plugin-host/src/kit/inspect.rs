use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use wasmparser::{Parser, Payload};

use crate::authority::{Asks, HttpAsk, Manifest};
use crate::plugin::{KINDS, check_header};
use crate::status::PluginKind;

/// The package that worlds of plugins are in.
const OURS: &str = "owlk8s:plugin/";
/// Where our WIT has been released.
const VERSIONS: [&str; 1] = ["0.1.0"];

/// What a component is, as far as it can be read without compiling or running it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// As given.
    pub file: String,
    /// Bytes.
    pub size: u64,
    /// `sha256:` and 64 hex digits: what a sink's `digest` takes.
    pub digest: String,
    /// What it exports makes it one of the four; none where it is no plugin.
    pub world: Option<PluginKind>,
    /// Versions of `owlk8s:plugin` that it imports; mostly one.
    pub wit: Vec<String>,
    /// Interfaces beside ours that it imports; the host gives those of WASI 0.2, with nothing behind them.
    pub imports: Vec<String>,
    /// What it says of itself; none where it says nothing, and asks for nothing.
    pub manifest: Option<Manifest>,
    /// Sentences: what it asks for, and what a sink must say for it.
    pub asks: Vec<String>,
    /// Sentences: why this host would not run it.
    pub problems: Vec<String>,
}

impl Inspection {
    /// Of the component in `bytes`; the error says what it is instead.
    pub fn of(file: &str, bytes: &[u8]) -> Result<Self, String> {
        check_header(file, bytes).map_err(|error| error.to_string())?;
        let manifest =
            Manifest::of_component(bytes).map_err(|error| format!("plugin {file}: {error}"))?;
        let names = Names::of(bytes).map_err(|error| format!("plugin {file}: {error}"))?;
        let kinds: Vec<PluginKind> = KINDS
            .iter()
            .filter(|(name, _)| names.exports.contains(*name))
            .map(|(_, kind)| *kind)
            .collect();
        let world = match kinds[..] {
            [kind] if names.exports.contains("validate") => Some(kind),
            _ => None,
        };
        let (ours, imports): (Vec<&String>, Vec<&String>) = names
            .imports
            .iter()
            .filter(|name| name.contains(':'))
            .partition(|name| name.starts_with(OURS));
        let version = |name: &&String| Some(name.rsplit_once('@')?.1.to_owned());
        let wit: BTreeSet<String> = ours.iter().filter_map(version).collect();
        let mut inspection = Self {
            file: file.to_owned(),
            size: bytes.len() as u64,
            digest: format!("sha256:{:x}", Sha256::digest(bytes)),
            world,
            wit: wit.into_iter().collect(),
            imports: imports.into_iter().cloned().collect(),
            manifest,
            asks: Vec::new(),
            problems: Vec::new(),
        };
        inspection.judge(&names.exports);
        Ok(inspection)
    }

    fn judge(&mut self, exports: &BTreeSet<String>) {
        if self.world.is_none() {
            let exports: Vec<&str> = exports.iter().map(String::as_str).collect();
            self.problems.push(format!(
                "it exports {}, and a plugin exports `validate` and one of `filter`, `format`, `respond`, `export`",
                if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") }
            ));
        }
        for version in &self.wit {
            if !VERSIONS.contains(&version.as_str()) {
                self.problems.push(format!(
                    "it is built for owlk8s:plugin@{version}, and this owlk8s has {}: build it with the WIT of this version, \
                     or run a newer owlk8s",
                    VERSIONS.join(", ")
                ));
            }
        }
        for import in &self.imports {
            let wasi = import.starts_with("wasi:") && import.contains("@0.2.");
            if !wasi {
                self.problems.push(format!(
                    "it imports {import}, and the host gives owlk8s:plugin and WASI 0.2 only"
                ));
            }
        }
        let none = Asks::default();
        let asks = self.manifest.as_ref().map_or(&none, |it| &it.asks);
        for ask in &asks.http {
            self.asks.push(match ask {
                HttpAsk::To(pattern) => format!(
                    "to send HTTP requests to {pattern} (grant.http = [\"{pattern}\"])"
                ),
                HttpAsk::Config(key) => format!(
                    "to send HTTP requests to where its config key `{key}` points (grant.http = [that origin])"
                ),
            });
            if self.world.is_some_and(|kind| kind != PluginKind::Exporter) {
                self.problems
                    .push("it asks for HTTP, and only an exporter has a network".to_owned());
            }
        }
        for column in &asks.columns {
            self.asks.push(match column.as_str() {
                "label:*" => "to read whatever labels the sink lists (columns = [...])".to_owned(),
                column => format!("to read the column {column} (columns = [\"{column}\"])"),
            });
        }
        for (what, size) in [("memory", asks.memory), ("state", asks.state)] {
            if let Some(size) = size {
                self.asks
                    .push(format!("for {size} of {what} (limits.{what} = \"{size}\", where that is more than the default)"));
            }
        }
        if self.asks.is_empty() {
            self.asks.push(match self.manifest {
                Some(_) => "for nothing".to_owned(),
                None => "for nothing: it has no manifest (`owlk8s plugin manifest FILE --set FILE` gives it one)".to_owned(),
            });
        }
    }

    /// What a person reads in a terminal.
    pub fn text(&self) -> String {
        let about = self.manifest.clone().unwrap_or_default();
        let mut text = format!("{}\n\n", self.file);
        let mut line = |key: &str, value: &str| {
            let _ = writeln!(text, "  {key:9} {value}");
        };
        if !about.name.is_empty() {
            line("name", format!("{} {}", about.name, about.version).trim());
        }
        if !about.description.is_empty() {
            line("does", &about.description);
        }
        line(
            "world",
            self.world.map_or("none of owlk8s:plugin", PluginKind::name),
        );
        line(
            "wit",
            &match self.wit.as_slice() {
                [] => "imports nothing of owlk8s:plugin".to_owned(),
                versions => format!("owlk8s:plugin@{}", versions.join(", ")),
            },
        );
        line("size", &size(self.size));
        line("digest", &self.digest);
        if about.config.is_some() {
            line("config", "is checked against the schema of its manifest");
        }
        for (index, ask) in self.asks.iter().enumerate() {
            line(if index == 0 { "asks" } else { "" }, ask);
        }
        if !self.imports.is_empty() {
            let interfaces = format!(
                "{} interfaces of WASI, with nothing behind them",
                self.imports.len()
            );
            line("imports", &interfaces);
        }
        for (index, problem) in self.problems.iter().enumerate() {
            line(if index == 0 { "problem" } else { "" }, problem);
        }
        text
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{:.0} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// What the outermost component imports and exports.
struct Names {
    imports: BTreeSet<String>,
    exports: BTreeSet<String>,
}

impl Names {
    fn of(bytes: &[u8]) -> Result<Self, wasmparser::BinaryReaderError> {
        let mut names = Self {
            imports: BTreeSet::new(),
            exports: BTreeSet::new(),
        };
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        names.imports.insert(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        names.exports.insert(export?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(names)
    }
}
