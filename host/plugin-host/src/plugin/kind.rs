use wasmtime::component::Component;

use crate::bindings::{exporter, filter, formatter, responder};
use crate::engine::Runtime;
use crate::guest::Guest;
use crate::status::PluginKind;

/// A compiled component of one of the four worlds, linked.
#[derive(Clone)]
pub(crate) enum Pre {
    Filter(filter::FilterPre<Guest>),
    Formatter(formatter::FormatterPre<Guest>),
    Responder(responder::ResponderPre<Guest>),
    Exporter(exporter::ExporterPre<Guest>),
}

/// The export that makes a component one of its kind.
pub(crate) const KINDS: [(&str, PluginKind); 4] = [
    ("filter", PluginKind::Filter),
    ("format", PluginKind::Formatter),
    ("respond", PluginKind::Responder),
    ("export", PluginKind::Exporter),
];

/// What the host gives to a plugin.
const OURS: &str = "owlk8s:plugin/";
const WASI: [&str; 7] = [
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:http/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];

impl Pre {
    /// By what it exports; the error says what it is instead, and what is needed.
    pub(super) fn of(runtime: &Runtime, component: &Component) -> Result<Self, String> {
        let kind = kind(runtime, component)?;
        let linked = runtime.linker.instantiate_pre(component).map_err(|error| {
            let foreign = foreign_imports(runtime, component);
            if foreign.is_empty() {
                format!("its imports do not agree with {OURS}*@0.1.0 and WASI 0.2 ({error:#})")
            } else {
                format!(
                    "it imports {}, and {} gets {OURS}host, {OURS}snapshots{} 0.1.0 and WASI 0.2",
                    foreign.join(", "),
                    kind.with_article(),
                    if kind == PluginKind::Responder {
                        ", response-body"
                    } else {
                        ""
                    }
                )
            }
        })?;
        let wrong = |error: wasmtime::Error| {
            format!(
                "its exports are not those of the {} of owlk8s:plugin@0.1.0 ({error:#})",
                kind.name()
            )
        };
        Ok(match kind {
            PluginKind::Filter => Self::Filter(filter::FilterPre::new(linked).map_err(wrong)?),
            PluginKind::Formatter => {
                Self::Formatter(formatter::FormatterPre::new(linked).map_err(wrong)?)
            }
            PluginKind::Responder => {
                Self::Responder(responder::ResponderPre::new(linked).map_err(wrong)?)
            }
            PluginKind::Exporter => {
                Self::Exporter(exporter::ExporterPre::new(linked).map_err(wrong)?)
            }
        })
    }

    pub(super) fn kind(&self) -> PluginKind {
        match self {
            Self::Filter(_) => PluginKind::Filter,
            Self::Formatter(_) => PluginKind::Formatter,
            Self::Responder(_) => PluginKind::Responder,
            Self::Exporter(_) => PluginKind::Exporter,
        }
    }
}

fn kind(runtime: &Runtime, component: &Component) -> Result<PluginKind, String> {
    let exports: Vec<String> = component
        .component_type()
        .exports(&runtime.engine)
        .map(|(name, _)| name.to_owned())
        .collect();
    let kinds: Vec<PluginKind> = KINDS
        .iter()
        .filter(|(name, _)| exports.iter().any(|export| export == name))
        .map(|(_, kind)| *kind)
        .collect();
    match kinds[..] {
        [kind] if exports.iter().any(|export| export == "validate") => Ok(kind),
        _ => Err(format!(
            "it exports {}, and a plugin exports `validate` and one of `filter`, `format`, `respond`, `export` \
             (owlk8s:plugin@0.1.0)",
            list(&exports)
        )),
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn foreign_imports(runtime: &Runtime, component: &Component) -> Vec<String> {
    let ours = |name: &str| {
        let version = name.rsplit_once('@').map_or("", |(_, version)| version);
        (name.starts_with(OURS) && version == "0.1.0")
            || (WASI.iter().any(|wasi| name.starts_with(wasi)) && version.starts_with("0.2."))
    };
    component
        .component_type()
        .imports(&runtime.engine)
        .filter(|(name, _)| !ours(name))
        .map(|(name, _)| format!("`{name}`"))
        .collect()
}
