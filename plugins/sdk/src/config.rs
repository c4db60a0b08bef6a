//! From the sink's `config` table to a plugin's own type, with an error that a user can act on.

use serde::de::DeserializeOwned;

/// Reads a plugin's configuration from the JSON text that the host passes.
///
/// A key that the type does not know is an error, also where the type itself would ignore it.
///
/// ```
/// #[derive(Debug, serde::Deserialize)]
/// struct Config { limit: Option<u64> }
///
/// let error = owlk8s_plugin::config::parse::<Config>(r#"{"limit": "ten"}"#).unwrap_err();
/// assert_eq!(error, r#"config key `limit`: invalid type: string "ten", expected u64"#);
///
/// let error = owlk8s_plugin::config::parse::<Config>(r#"{"limits": 10}"#).unwrap_err();
/// assert_eq!(error, "config key `limits` is not known to this plugin");
/// ```
///
/// # Errors
/// A sentence that names the key.
pub fn parse<C: DeserializeOwned>(json: &str) -> Result<C, String> {
    let value: serde_json::Value =
        serde_json::from_str(json).map_err(|error| format!("config is no JSON: {error}"))?;
    if !value.is_object() {
        return Err("config is no table".to_owned());
    }
    let mut unknown = None;
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
    let config = serde_ignored::deserialize(tracked, |path| {
        unknown.get_or_insert_with(|| path.to_string());
    });
    match (config, unknown) {
        (Ok(config), None) => Ok(config),
        (Ok(_), Some(key)) => Err(format!(
            "config key `{}` is not known to this plugin",
            key.replace(".?", "")
        )),
        (Err(error), _) => Err(match track.path() {
            path if path.iter().next().is_some() => format!("config key `{path}`: {error}"),
            _ => format!("config: {error}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Strict {
        #[serde(default)]
        units: Units,
        #[serde(default)]
        nested: Nested,
    }

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Units {
        #[default]
        Us,
        Ms,
    }

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    struct Nested {
        #[serde(default)]
        list: Vec<u8>,
    }

    #[test]
    fn no_config_is_all_defaults() {
        assert_eq!(
            parse::<Strict>("{}"),
            Ok(Strict {
                units: Units::Us,
                nested: Nested::default()
            })
        );
    }

    #[test]
    fn an_error_names_the_key_and_what_was_expected() {
        for (json, message) in [
            (
                r#"{"units": "ns"}"#,
                "config key `units`: unknown variant `ns`, expected `us` or `ms`",
            ),
            (
                r#"{"unit": "ms"}"#,
                "config key `unit`: unknown field `unit`, expected `units` or `nested`",
            ),
            (
                r#"{"nested": {"lists": []}}"#,
                "config key `nested.lists` is not known to this plugin",
            ),
            (
                r#"{"nested": {"list": [1, 300]}}"#,
                "config key `nested.list[1]`: invalid value: integer `300`, expected u8",
            ),
            ("[]", "config is no table"),
        ] {
            assert_eq!(parse::<Strict>(json).unwrap_err(), message);
        }
    }
}
