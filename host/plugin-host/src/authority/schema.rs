//! A plugin's `config` against the schema in its manifest. The schema is a stranger's: it may refer to
//! itself only, not in circles, and not so often that it grows without bound; patterns are matched in
//! linear time.

use std::collections::BTreeMap;
use std::error::Error;

use boon::{Compiler, Draft, ErrorKind, Schemas, UrlLoader, ValidationError};
use serde_json::Value;

use crate::config::PluginConfig;

/// Parts of a schema with all its references followed.
const PARTS_MAX: usize = 10_000;
/// What a schema is called while it is compiled; nothing is there.
const URL: &str = "https://owlk8s.invalid/config";
/// The only meta-schema that a schema may name.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Judge `config`. The error is for the person who wrote it, or says what is wrong with the schema.
pub(crate) fn check_config(
    plugin: &str,
    schema: &Value,
    config: &PluginConfig,
) -> Result<(), String> {
    let of_schema =
        |why: String| format!("plugin {plugin}: the schema of its manifest is of no use: {why}");
    measure(schema).map_err(of_schema)?;
    let mut schemas = Schemas::new();
    let mut compiler = Compiler::new();
    compiler.set_default_draft(Draft::V2020_12);
    compiler.use_loader(Box::new(Nowhere));
    compiler
        .add_resource(URL, schema.clone())
        .map_err(|error| of_schema(error.to_string()))?;
    let index = compiler
        .compile(URL, &mut schemas)
        .map_err(|error| of_schema(error.to_string()))?;
    let config = Value::Object(config.clone());
    schemas.validate(&config, index).map_err(|error| {
        let mut mistakes = Vec::new();
        explain(&error, schema, &mut mistakes);
        format!(
            "plugin {plugin} refuses its config: {}",
            mistakes.join("; ")
        )
    })
}

/// A schema is all that it needs: none is loaded from a file or from elsewhere.
struct Nowhere;

impl UrlLoader for Nowhere {
    fn load(&self, url: &str) -> Result<Value, Box<dyn Error>> {
        Err(format!("{url} is not part of the manifest").into())
    }
}

/// As the SDK words it: each mistake by its key.
fn explain(error: &ValidationError<'_, '_>, schema: &Value, mistakes: &mut Vec<String>) {
    for cause in &error.causes {
        explain(cause, schema, mistakes);
    }
    if !error.causes.is_empty() {
        return;
    }
    let key = error
        .instance_location
        .to_string()
        .trim_start_matches('/')
        .replace('/', ".");
    let within = |name: &str| {
        if key.is_empty() {
            format!("`{name}`")
        } else {
            format!("`{key}.{name}`")
        }
    };
    let list = |names: Vec<String>| names.join(", ");
    mistakes.push(match &error.kind {
        ErrorKind::AdditionalProperties { got } => {
            let names = got.iter().map(|name| within(name)).collect();
            let known = Some(schema)
                .filter(|_| key.is_empty())
                .and_then(|schema| schema.get("properties")?.as_object())
                .map(|known| list(known.keys().cloned().collect()))
                .filter(|known| !known.is_empty())
                .map(|known| format!(" (it knows {known})"))
                .unwrap_or_default();
            format!("config key {} is not known to it{known}", list(names))
        }
        ErrorKind::Required { want } => {
            let names = want.iter().map(|name| within(name)).collect();
            format!("config key {} is missing", list(names))
        }
        kind if key.is_empty() => format!("config: {kind}"),
        kind => format!("config key `{key}`: {kind}"),
    });
}

/// References lead to `#/$defs/NAME`, and all of them followed, the schema has not too many parts.
fn measure(schema: &Value) -> Result<(), String> {
    let mut sizes = BTreeMap::new();
    let parts = parts(schema, schema, &mut sizes)?;
    if parts > PARTS_MAX {
        return Err(format!(
            "it has more than {PARTS_MAX} parts with its references followed"
        ));
    }
    Ok(())
}

/// How many parts `value` has. `sizes` holds those of definitions; none while it is being found out.
fn parts(
    value: &Value,
    schema: &Value,
    sizes: &mut BTreeMap<String, Option<usize>>,
) -> Result<usize, String> {
    match value {
        Value::Array(items) => items.iter().try_fold(1_usize, |sum, item| {
            Ok(sum.saturating_add(parts(item, schema, sizes)?))
        }),
        Value::Object(keys) => keys.iter().try_fold(1_usize, |sum, (key, value)| {
            let part = match (key.as_str(), value) {
                ("$ref", Value::String(to)) => definition(to, schema, sizes)?,
                ("$schema", Value::String(draft)) if draft == DRAFT => 1,
                (
                    "$schema" | "$dynamicRef" | "$recursiveRef" | "$id" | "$anchor"
                    | "$dynamicAnchor",
                    Value::String(_),
                ) => {
                    return Err(format!("{key} is not supported"));
                }
                // Counted where it is referred to.
                ("$defs", _) => 0,
                _ => parts(value, schema, sizes)?,
            };
            Ok(sum.saturating_add(part))
        }),
        _ => Ok(1),
    }
}

fn definition(
    to: &str,
    schema: &Value,
    sizes: &mut BTreeMap<String, Option<usize>>,
) -> Result<usize, String> {
    match sizes.get(to) {
        Some(Some(parts)) => return Ok(*parts),
        Some(None) => return Err(format!("the reference to {to} leads back to itself")),
        None => {}
    }
    let target = to
        .strip_prefix("#/$defs/")
        .filter(|name| !name.contains(['/', '~', '%']))
        .and_then(|name| schema.get("$defs")?.get(name))
        .ok_or_else(|| {
            format!("the reference to {to:?} leads nowhere; it must be `#/$defs/NAME` and be there")
        })?;
    sizes.insert(to.to_owned(), None);
    let found = parts(target, schema, sizes)?;
    sizes.insert(to.to_owned(), Some(found));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(schema: &Value, config: Value) -> String {
        let Value::Object(config) = config else {
            panic!("a config is an object")
        };
        check_config("x", schema, &config).unwrap_err()
    }

    fn schema() -> Value {
        json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["url"],
            "properties": {
                "url": {"type": "string", "pattern": "^https?://"},
                "limit": {"type": "integer", "minimum": 1},
                "units": {"enum": ["us", "ms"]},
                "tls": {"$ref": "#/$defs/tls"},
            },
            "$defs": {"tls": {"type": "object", "additionalProperties": false, "properties": {"verify": {"type": "boolean"}}}},
        })
    }

    #[test]
    fn what_agrees_passes() {
        let config = json!({"url": "http://x", "limit": 1, "units": "ms", "tls": {"verify": true}});
        check_config("x", &schema(), config.as_object().unwrap()).unwrap();
    }

    #[test]
    fn mistakes_name_the_key() {
        for (config, text) in [
            (json!({}), "config key `url` is missing"),
            (
                json!({"url": "http://x", "unit": "ms"}),
                "config key `unit` is not known to it (it knows limit, tls, units, url)",
            ),
            (
                json!({"url": "http://x", "units": "ns"}),
                "config key `units`: value must be one of 'us', 'ms'",
            ),
            (
                json!({"url": "http://x", "limit": "ten"}),
                "config key `limit`: want integer, but got string",
            ),
            (
                json!({"url": "http://x", "tls": {"verify": 1}}),
                "config key `tls.verify`: want boolean, but got number",
            ),
            (
                json!({"url": "http://x", "tls": {"verfy": true}}),
                "config key `tls.verfy` is not known to it",
            ),
            (json!({"limit": 0}), "config key `url` is missing"),
        ] {
            let error = refused(&schema(), config.clone());
            assert!(
                error.starts_with("plugin x refuses its config: ") && error.contains(text),
                "{config}: {error}"
            );
        }
    }

    #[test]
    fn schema_that_could_hold_up_the_host_is_refused() {
        let doubling: serde_json::Map<String, Value> = (0..40)
            .map(|n| {
                let next = format!("#/$defs/d{}", n + 1);
                (
                    format!("d{n}"),
                    json!({"allOf": [{"$ref": next}, {"$ref": next}]}),
                )
            })
            .chain([("d40".to_owned(), json!(true))])
            .collect();
        for (schema, why) in [
            (
                json!({"$ref": "https://evil.example/schema"}),
                "leads nowhere",
            ),
            (json!({"$ref": "#"}), "leads nowhere"),
            (
                json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
                "leads back to itself",
            ),
            (
                json!({"$defs": doubling, "$ref": "#/$defs/d0"}),
                "more than 10000 parts",
            ),
            (json!({"$dynamicRef": "#x"}), "$dynamicRef is not supported"),
            (
                json!({"$schema": "file:///etc/passwd"}),
                "$schema is not supported",
            ),
            (json!({"type": "objekt"}), "of no use: "),
        ] {
            let error = refused(&schema, json!({}));
            assert!(error.contains(why), "{schema}: {error}");
        }
        // Backtracking would take longer than the universe has.
        let slow = json!({"properties": {"a": {"pattern": "^(a+)+$"}}});
        refused(&slow, json!({"a": format!("{}b", "a".repeat(5_000))}));
    }
}
