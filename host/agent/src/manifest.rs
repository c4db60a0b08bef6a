//! `owlk8s plugin manifest`: what a component says of itself, and how it comes to say it.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use owlk8s_plugin_host::Manifest;

/// The manifest of a component as JSON, after `set`, a file with one, was put into it.
pub(crate) fn manifest(component: &Path, set: Option<&Path>) -> anyhow::Result<String> {
    let of_component = || format!("component {}", component.display());
    let bytes = std::fs::read(component).with_context(of_component)?;
    let manifest = match set {
        Some(path) => {
            let json =
                std::fs::read(path).with_context(|| format!("manifest {}", path.display()))?;
            let manifest =
                Manifest::parse(&json).with_context(|| format!("manifest {}", path.display()))?;
            let with = manifest.set(&bytes).with_context(of_component)?;
            replace(component, &with).with_context(of_component)?;
            manifest
        }
        None => match Manifest::of_component(&bytes).with_context(of_component)? {
            Some(manifest) => manifest,
            None => bail!(
                "component {} has no manifest, so it asks for nothing: give it one with --set",
                component.display()
            ),
        },
    };
    Ok(serde_json::to_string_pretty(&manifest)? + "\n")
}

/// In one step: an agent that watches the file never reads half of it.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension("wasm.new");
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(bytes)?;
    file.set_permissions(std::fs::metadata(path)?.permissions())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty component: its preamble.
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn manifest_that_is_set_is_printed_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (component, json) = (dir.path().join("x.wasm"), dir.path().join("manifest.json"));
        std::fs::write(&component, COMPONENT).unwrap();
        let error = manifest(&component, None).unwrap_err().to_string();
        assert!(error.ends_with("has no manifest, so it asks for nothing: give it one with --set"));
        std::fs::write(
            &json,
            r#"{"manifest": 1, "name": "mine", "asks": {"http": ["a.example.com"]}}"#,
        )
        .unwrap();
        let set = manifest(&component, Some(&json)).unwrap();
        assert_eq!(manifest(&component, None).unwrap(), set);
        assert!(set.contains("\"https://a.example.com:443\""), "{set}");
        assert!(std::fs::read(&component).unwrap().starts_with(COMPONENT));
    }

    #[test]
    fn what_is_no_manifest_or_no_component_is_named_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (component, json) = (dir.path().join("x.wasm"), dir.path().join("manifest.json"));
        std::fs::write(&component, COMPONENT).unwrap();
        std::fs::write(&json, r#"{"manifest": 1, "name": "mine", "ask": 1}"#).unwrap();
        let error = format!("{:#}", manifest(&component, Some(&json)).unwrap_err());
        assert!(
            error.contains("manifest.json: its manifest is not in form 1: unknown field `ask`"),
            "{error}"
        );
        assert_eq!(std::fs::read(&component).unwrap(), COMPONENT);
        std::fs::write(&json, r#"{"manifest": 1, "name": "mine"}"#).unwrap();
        std::fs::write(&component, "text").unwrap();
        let error = format!("{:#}", manifest(&component, Some(&json)).unwrap_err());
        assert!(
            error.contains("x.wasm: the component cannot be read"),
            "{error}"
        );
        assert_eq!(std::fs::read(&component).unwrap(), b"text");
    }
}
