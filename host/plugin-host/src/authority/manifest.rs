//! What a plugin says of itself and asks for: JSON in a custom section of its component, read before any
//! of its code runs. The form is frozen with its number (see `host/docs/adr`).

use serde::{Deserialize, Serialize};
use thiserror::Error;
use wasm_encoder::{ComponentSection, CustomSection};
use wasmparser::{Parser, Payload};

use super::origin::{Origin, OriginPattern};
use crate::config::{PluginConfig, Size};

/// Name of the custom section.
pub const SECTION: &str = "owlk8s:manifest";
/// The form that is read here.
const FORM: u32 = 1;
/// Of the section: a schema with a page of text in it has some KB.
const SECTION_MAX: usize = 64 << 10;
/// Origins and columns that one plugin may ask for, each.
const ASKS_MAX: usize = 32;
/// Of a name, a version and a description; the status of a sink holds them.
const TEXT_MAX: usize = 200;

/// A plugin's own words about itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Of the form: 1.
    pub manifest: u32,
    /// What its author calls it.
    pub name: String,
    /// Of the plugin.
    #[serde(default)]
    pub version: String,
    /// One sentence.
    #[serde(default)]
    pub description: String,
    /// What it needs to work.
    #[serde(default)]
    pub asks: Asks,
    /// JSON Schema (2020-12) of its `config`; references within it only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Value>,
}

/// What a plugin needs to work. A plugin without a manifest asks for nothing, and gets nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Asks {
    /// Where it sends by HTTP.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpAsk>,
    /// Columns that it reads: `label:team`, or `label:*` for whatever the sink lists. One without `*` must be granted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Linear memory that it needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// State that it keeps from window to window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Size>,
}

/// Somewhere that a plugin sends to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HttpAsk {
    /// Known to its author.
    To(OriginPattern),
    /// That of the URL in its `config` under this key, with dots between tables: `config:backend.url`.
    Config(String),
}

/// Why a manifest cannot be read.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// It is no component.
    #[error("the component cannot be read")]
    Parse(#[source] wasmparser::BinaryReaderError),
    /// Two modules in it say different things.
    #[error(
        "it has several manifests that differ; set one by `owlk8s plugin manifest FILE --set FILE`"
    )]
    Several,
    /// It is larger than this.
    #[error("its manifest of {0} bytes is over the limit of {SECTION_MAX}")]
    TooLarge(usize),
    /// It is not what a manifest is.
    #[error("its manifest is not in form {FORM}: {0}")]
    Form(String),
}

impl Manifest {
    /// The manifest of a component; none where it has none. Runs nothing of it, and takes time and memory
    /// in proportion to its size.
    pub fn of_component(bytes: &[u8]) -> Result<Option<Self>, ManifestError> {
        let mut depth = 0_usize;
        let (mut outer, mut inner) = (None, None);
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(ManifestError::Parse)? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::CustomSection(section) if section.name() == SECTION => {
                    if depth == 0 {
                        outer = Some(section.data());
                    } else if inner
                        .replace(section.data())
                        .is_some_and(|other| other != section.data())
                    {
                        return Err(ManifestError::Several);
                    }
                }
                _ => {}
            }
        }
        // What was set last on the finished component stands before what its toolchain carried into it.
        outer.or(inner).map(Self::parse).transpose()
    }

    /// From JSON.
    pub fn parse(json: &[u8]) -> Result<Self, ManifestError> {
        if json.len() > SECTION_MAX {
            return Err(ManifestError::TooLarge(json.len()));
        }
        let manifest: Self =
            serde_json::from_slice(json).map_err(|error| ManifestError::Form(error.to_string()))?;
        manifest.check().map_err(ManifestError::Form)?;
        Ok(manifest)
    }

    /// The component with this manifest behind it, which counts instead of an earlier one.
    pub fn set(&self, component: &[u8]) -> Result<Vec<u8>, ManifestError> {
        self.check().map_err(ManifestError::Form)?;
        let json = serde_json::to_vec(self)
            .unwrap_or_else(|_| unreachable!("a manifest has string keys only"));
        if json.len() > SECTION_MAX {
            return Err(ManifestError::TooLarge(json.len()));
        }
        // Of what is no component nothing should look like one.
        Self::of_component(component)?;
        let mut bytes = component.to_vec();
        let section = CustomSection {
            name: SECTION.into(),
            data: json.into(),
        };
        section.append_to_component(&mut bytes);
        Ok(bytes)
    }

    fn check(&self) -> Result<(), String> {
        if self.manifest != FORM {
            return Err(format!(
                "`manifest` is {}, and this version of owlk8s reads {FORM}",
                self.manifest
            ));
        }
        if self.name.is_empty() {
            return Err("`name` is empty".to_owned());
        }
        for (key, text) in [
            ("name", &self.name),
            ("version", &self.version),
            ("description", &self.description),
        ] {
            if text.len() > TEXT_MAX || text.chars().any(char::is_control) {
                return Err(format!(
                    "`{key}` is longer than {TEXT_MAX} bytes or has control characters"
                ));
            }
        }
        for (key, count) in [
            ("asks.http", self.asks.http.len()),
            ("asks.columns", self.asks.columns.len()),
        ] {
            if count > ASKS_MAX {
                return Err(format!(
                    "`{key}` has {count} entries, and {ASKS_MAX} are the most"
                ));
            }
        }
        match self
            .asks
            .columns
            .iter()
            .find(|column| column.strip_prefix(crate::LABEL).is_none_or(str::is_empty))
        {
            Some(column) => Err(format!(
                "{column:?} in `asks.columns` is no column; write `label:NAME` or `label:*`"
            )),
            None => Ok(()),
        }
    }
}

impl HttpAsk {
    /// The origins that are meant, with this `config`; none where it does not say.
    pub(super) fn resolve(&self, config: &PluginConfig) -> Result<Option<OriginPattern>, String> {
        let key = match self {
            Self::To(pattern) => return Ok(Some(pattern.clone())),
            Self::Config(key) => key,
        };
        let mut parts = key.split('.');
        let first = parts.next().and_then(|part| config.get(part));
        match parts
            .try_fold(first, |value, part| Some(value?.get(part)))
            .flatten()
        {
            None | Some(serde_json::Value::Null) => Ok(None),
            Some(serde_json::Value::String(url)) => Origin::of_url(url)
                .map(|origin| Some(OriginPattern::from(&origin)))
                .map_err(|why| format!("config key `{key}`: {why}")),
            Some(_) => Err(format!("config key `{key}`: a URL is needed, as a string")),
        }
    }
}

impl TryFrom<String> for HttpAsk {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.strip_prefix("config:") {
            Some("") => Err("\"config:\" names no key; write `config:url`".to_owned()),
            Some(key) => Ok(Self::Config(key.to_owned())),
            None => text.parse().map(Self::To),
        }
    }
}

impl From<HttpAsk> for String {
    fn from(ask: HttpAsk) -> Self {
        match ask {
            HttpAsk::To(pattern) => pattern.to_string(),
            HttpAsk::Config(key) => format!("config:{key}"),
        }
    }
}

#[cfg(test)]
mod tests;
