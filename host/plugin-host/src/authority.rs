//! What a plugin may do: what its manifest asks for, as far as the sink grants it and the cluster's ceiling
//! allows it. Decided, and told, before any of its code runs. Everything here is a function of values.
//!
//! Which targets and labels a sink sees at all is decided by the same rules on the agent's side ([`view`]),
//! where no plugin can look.

mod grant;
mod manifest;
mod origin;
mod schema;

use std::collections::BTreeSet;

use owlk8s_pipeline::{View, matches};
use serde::{Deserialize, Serialize};

pub use grant::{Ceiling, Grant, HttpGrant};
pub use manifest::{Asks, HttpAsk, Manifest, ManifestError, SECTION};
pub(crate) use origin::{Host, Scheme};
pub use origin::{Origin, OriginPattern};
pub(crate) use schema::check_config;

use crate::config::{PluginConfig, SinkConfig};
use crate::status::PluginKind;

/// What one plugin of a sink may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// Origins that it may send to by HTTP.
    pub http: Vec<OriginPattern>,
    /// Addresses beside public ones that these may have: `private`, `loopback`, `link_local`, `translated`.
    pub addresses: Vec<String>,
    /// Columns that it may read.
    pub columns: Vec<String>,
}

/// A decision: what the plugin may do, and what in the configuration has no effect.
#[derive(Debug, PartialEq)]
pub(crate) struct Decision {
    pub(crate) authority: Authority,
    /// Sentences for the log.
    pub(crate) notices: Vec<String>,
}

/// Who asks.
pub(crate) struct Asker<'a> {
    /// The plugin's name, for messages.
    pub(crate) plugin: &'a str,
    pub(crate) kind: PluginKind,
    pub(crate) manifest: Option<&'a Manifest>,
    /// The plugin's own table.
    pub(crate) config: &'a PluginConfig,
}

/// What the plugin may do in this sink. The error is one sentence for a person: which rule forbids it,
/// where that is set, and the line that would allow it.
pub(crate) fn decide(
    asker: &Asker<'_>,
    sink: &SinkConfig,
    ceiling: &Ceiling,
) -> Result<Decision, String> {
    let ceilings = ceiling.over(sink.plugins());
    let none = Asks::default();
    let asks = asker.manifest.map_or(&none, |manifest| &manifest.asks);
    let mut notices = Vec::new();
    check_sizes(asker, asks, sink, &ceilings)?;
    check_namespaces(sink, &ceilings)?;
    Ok(Decision {
        authority: Authority {
            http: http(asker, asks, sink, &ceilings, &mut notices)?,
            addresses: addresses(asker, sink, &ceilings)?,
            columns: columns(asker, asks, sink, &ceilings, &mut notices)?,
        },
        notices,
    })
}

/// What of a snapshot reaches the sink. What the plugins' manifests do not ask for is left out later: the
/// agent does not read components.
pub(crate) fn view(sink: &SinkConfig, ceiling: &Ceiling) -> View {
    let ceilings = ceiling.over(sink.plugins());
    let granted = |column: &&String| {
        ceilings
            .iter()
            .all(|(_, ceiling)| within(ceiling.columns.as_deref(), column))
    };
    View {
        select: sink.select.clone(),
        within: ceilings
            .iter()
            .filter_map(|(_, ceiling)| ceiling.namespaces.clone())
            .collect(),
        labels: sink
            .columns
            .iter()
            .filter(granted)
            .filter_map(|column| Some(column.strip_prefix(crate::LABEL)?.to_owned()))
            .collect(),
    }
}

const NO_MANIFEST: &str = "has no manifest, so it asks for nothing (`manifest!` of the SDK gives it one, or `owlk8s \
                           plugin manifest FILE --set FILE`)";

type Ceilings<'a> = [(String, &'a Ceiling)];

/// Whether the list, where there is one, has a pattern for this name.
fn within(list: Option<&[String]>, name: &str) -> bool {
    list.is_none_or(|list| list.iter().any(|pattern| matches(pattern, name)))
}

fn check_sizes(
    asker: &Asker<'_>,
    asks: &Asks,
    sink: &SinkConfig,
    ceilings: &Ceilings<'_>,
) -> Result<(), String> {
    let plugin = asker.plugin;
    for (what, asked, key, limit) in [
        ("memory", asks.memory, "limits.memory", sink.limits.memory),
        ("state", asks.state, "limits.state", sink.limits.state),
    ] {
        if let Some(asked) = asked.filter(|asked| *asked > limit) {
            return Err(format!(
                "plugin {plugin} asks for {asked} of {what}, and {key} of the sink is {limit}: set {key} = \"{asked}\""
            ));
        }
    }
    for (table, ceiling) in ceilings {
        if let Some(most) = ceiling.memory.filter(|most| sink.limits.memory > *most) {
            return Err(format!(
                "limits.memory is {}, and {table} allows {most}: lower it, or raise `memory` there",
                sink.limits.memory
            ));
        }
    }
    Ok(())
}

/// A namespace that is named and not allowed would be a sink that never sees anything.
fn check_namespaces(sink: &SinkConfig, ceilings: &Ceilings<'_>) -> Result<(), String> {
    for namespace in sink
        .select
        .namespaces
        .iter()
        .filter(|name| !name.contains('*'))
    {
        for (table, ceiling) in ceilings {
            if !within(ceiling.namespaces.as_deref(), namespace) {
                return Err(format!(
                    "select.namespaces: {table} does not allow {namespace:?}: add it to `namespaces` there, or take it out"
                ));
            }
        }
    }
    Ok(())
}

fn http(
    asker: &Asker<'_>,
    asks: &Asks,
    sink: &SinkConfig,
    ceilings: &Ceilings<'_>,
    notices: &mut Vec<String>,
) -> Result<Vec<OriginPattern>, String> {
    let plugin = asker.plugin;
    if let Some(ask) = asks
        .http
        .first()
        .filter(|_| asker.kind != PluginKind::Exporter)
    {
        return Err(format!(
            "plugin {plugin} asks for HTTP to {}, and {} has no network: only an exporter has; deliver through an \
             endpoint of kind http instead",
            String::from(ask.clone()),
            asker.kind.with_article()
        ));
    }
    let mut allowed = BTreeSet::new();
    let mut met = BTreeSet::new();
    // Of several origins that a plugin may use one is enough; a single one that it names is needed.
    let mut refused = None;
    for ask in &asks.http {
        let asked = ask
            .resolve(asker.config)
            .map_err(|why| format!("plugin {plugin} sends where its config says, and {why}"))?;
        let Some(asked) = asked else {
            continue;
        };
        let granted: Vec<OriginPattern> = sink
            .grant
            .http
            .iter()
            .enumerate()
            .filter_map(|(index, grant)| {
                let both = grant.to.meet(&asked)?;
                met.insert(index);
                Some(both)
            })
            .collect();
        let asking = format!("plugin {plugin} asks for HTTP to {asked}{}", from(ask));
        let example = example(&asked);
        let why = if granted.is_empty() {
            Some(format!(
                "{asking}, and the sink does not grant it: add grant.http = [\"{example}\"]"
            ))
        } else {
            let (within, over) = under(granted, ceilings);
            allowed.extend(within);
            over.map(|table| {
                format!(
                    "{asking}, the sink grants it, and {table} does not allow it: add \"{example}\" to `http` there"
                )
            })
        };
        match why {
            Some(why) if asked.is_one() => return Err(why),
            Some(why) => refused = refused.or(Some(why)),
            None => {}
        }
    }
    if let Some(why) = refused.filter(|_| allowed.is_empty()) {
        return Err(why);
    }
    let idle = (0..)
        .zip(&sink.grant.http)
        .filter(|(index, _)| !met.contains(index));
    // A filter shares its sink with a plugin that may have a network.
    for (index, grant) in idle.filter(|_| asker.kind != PluginKind::Filter) {
        notices.push(format!(
            "grant.http[{index}]: {} has no effect: plugin {plugin} {}",
            grant.to,
            match (asker.kind, asker.manifest) {
                (PluginKind::Exporter, Some(_)) => "does not ask for it in its manifest",
                (PluginKind::Exporter, None) => NO_MANIFEST,
                _ => "has no network: only an exporter has",
            }
        ));
    }
    Ok(allowed.into_iter().collect())
}

/// What the ceilings leave of these, and the table that leaves nothing.
fn under(
    granted: Vec<OriginPattern>,
    ceilings: &Ceilings<'_>,
) -> (Vec<OriginPattern>, Option<String>) {
    let mut left = granted;
    let mut over = None;
    for (table, ceiling) in ceilings {
        let Some(bounds) = &ceiling.http else {
            continue;
        };
        let narrowed: Vec<OriginPattern> = left
            .iter()
            .flat_map(|one| bounds.iter().filter_map(|bound| one.meet(bound)))
            .collect();
        if narrowed.is_empty() && !left.is_empty() {
            over = Some(table.clone());
        }
        left = narrowed;
    }
    (left, over)
}

fn from(ask: &HttpAsk) -> String {
    match ask {
        HttpAsk::To(_) => String::new(),
        HttpAsk::Config(key) => format!(" (its config key `{key}`)"),
    }
}

/// A pattern is no advice: the person knows the host.
fn example(asked: &OriginPattern) -> String {
    if asked.is_one() {
        asked.to_string()
    } else {
        "the origin that you mean".to_owned()
    }
}

fn addresses(
    asker: &Asker<'_>,
    sink: &SinkConfig,
    ceilings: &Ceilings<'_>,
) -> Result<Vec<String>, String> {
    type Allows = fn(&Ceiling) -> Option<bool>;
    let grant = &sink.grant;
    let kinds: [(&str, bool, Allows); 4] = [
        ("private", grant.private, |ceiling| ceiling.private),
        ("loopback", grant.loopback, |ceiling| ceiling.loopback),
        ("link_local", grant.link_local, |ceiling| ceiling.link_local),
        ("translated", grant.translated, |ceiling| ceiling.translated),
    ];
    let mut granted = Vec::new();
    for (key, _, allows) in kinds.into_iter().filter(|(_, granted, _)| *granted) {
        if let Some((table, _)) = ceilings
            .iter()
            .find(|(_, ceiling)| allows(ceiling) == Some(false))
        {
            return Err(format!(
                "grant.{key} is true, and {table} has {key} = false: change one of them"
            ));
        }
        if asker.kind == PluginKind::Exporter {
            granted.push(key.to_owned());
        }
    }
    Ok(granted)
}

fn columns(
    asker: &Asker<'_>,
    asks: &Asks,
    sink: &SinkConfig,
    ceilings: &Ceilings<'_>,
    notices: &mut Vec<String>,
) -> Result<Vec<String>, String> {
    let plugin = asker.plugin;
    for column in &sink.columns {
        for (table, ceiling) in ceilings {
            if !within(ceiling.columns.as_deref(), column) {
                return Err(format!(
                    "columns: {table} does not allow {column:?}: add it to `columns` there, or take it out"
                ));
            }
        }
    }
    if let Some(missing) = asks
        .columns
        .iter()
        .find(|asked| !asked.contains('*') && !sink.columns.contains(asked))
    {
        return Err(format!(
            "plugin {plugin} asks for column {missing}, and the sink does not grant it: add columns = [\"{missing}\"]"
        ));
    }
    let (asked, idle): (Vec<&String>, Vec<&String>) = sink
        .columns
        .iter()
        .partition(|column| within(Some(&asks.columns), column));
    // A filter shares its sink with a plugin that may ask for them.
    if asker.kind != PluginKind::Filter {
        for column in idle {
            notices.push(format!(
                "columns: {column:?} has no effect: plugin {plugin} {}",
                match asker.manifest {
                    Some(_) => "does not ask for it in its manifest",
                    None => NO_MANIFEST,
                }
            ));
        }
    }
    Ok(asked.into_iter().cloned().collect())
}

impl Authority {
    /// For the log, in one line.
    pub(crate) fn text(&self) -> String {
        let list = |items: &[String]| {
            if items.is_empty() {
                "none".to_owned()
            } else {
                items.join(", ")
            }
        };
        let http: Vec<String> = self.http.iter().map(ToString::to_string).collect();
        format!(
            "http: {}; addresses beside public ones: {}; columns: {}",
            list(&http),
            list(&self.addresses),
            list(&self.columns)
        )
    }
}

#[cfg(test)]
mod tests;
