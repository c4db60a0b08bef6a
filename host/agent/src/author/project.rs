//! `owlk8s plugin new`: a plugin's folder that builds, with a test. What such a folder is says its `plugin.toml`.

mod templates;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use templates::{File, template};

#[derive(Args, Clone, Debug)]
pub(crate) struct NewArgs {
    /// The language
    #[arg(long)]
    lang: Lang,
    /// What the plugin does
    #[arg(long, default_value = "formatter")]
    world: World,
    /// Name of the plugin and of its folder: letters, digits and `-`
    name: String,
    /// The folder `plugins/sdk` of a checkout of owlk8s, for Rust; without it the one that this program was built in
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
}

/// A language that plugins can be begun in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Lang {
    Rust,
    Python,
    Js,
    C,
    Go,
}

/// One of `owlk8s:plugin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum World {
    Formatter,
    Filter,
    Responder,
    Exporter,
}

impl World {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Formatter => "formatter",
            Self::Filter => "filter",
            Self::Responder => "responder",
            Self::Exporter => "exporter",
        }
    }
}

/// `plugin.toml`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    name: String,
    lang: Lang,
    world: World,
}

/// A plugin's folder.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) folder: PathBuf,
    pub(crate) name: String,
    pub(crate) lang: Lang,
    pub(crate) world: World,
}

impl Project {
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("plugin.toml");
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "cannot read {}: a plugin's folder has one, as `owlk8s plugin new` makes it",
                path.display()
            )
        })?;
        let About { name, lang, world } =
            toml::from_str(&text).with_context(|| path.display().to_string())?;
        check_name(&name)?;
        Ok(Self {
            folder: folder.to_owned(),
            name,
            lang,
            world,
        })
    }

    /// Where `build` puts what it built.
    pub(crate) fn component(&self) -> PathBuf {
        self.folder.join(&self.name).with_extension("wasm")
    }
}

/// Makes the folder; what to do next.
pub(crate) fn new(args: &NewArgs) -> anyhow::Result<String> {
    let name = args.name.as_str();
    check_name(name)?;
    let folder = Path::new(name);
    if folder.exists() {
        bail!("{name} is there already: choose another name, or take it away");
    }
    let sdk = match (args.lang, &args.sdk) {
        (Lang::Rust, Some(sdk)) => checked_sdk(sdk)?,
        (Lang::Rust, None) => checked_sdk(Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../plugins/sdk"
        )))?,
        _ => PathBuf::new(),
    };
    let files = template(args.lang, args.world)?;
    let about = About {
        name: name.to_owned(),
        lang: args.lang,
        world: args.world,
    };
    write(
        &folder.join("plugin.toml"),
        toml::to_string(&about)?.as_bytes(),
    )?;
    for File { path, bytes } in files {
        match std::str::from_utf8(bytes) {
            Ok(text) => {
                let text = text.replace("{{name}}", name);
                let text = text.replace("{{sdk}}", &sdk.display().to_string());
                write(&folder.join(path), text.as_bytes())?;
            }
            Err(_) => write(&folder.join(path), bytes)?,
        }
    }
    Ok(format!(
        "{name}: a {} in {}\n\n  owlk8s plugin build {name}\n  owlk8s plugin test {name}\n  owlk8s plugin run {name}/{name}.wasm\n",
        args.world.name(),
        templates::source(args.lang)
    ))
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let in_folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(in_folder)
        .and_then(|()| std::fs::write(path, bytes))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn checked_sdk(sdk: &Path) -> anyhow::Result<PathBuf> {
    let absolute = sdk.canonicalize().ok();
    let found = absolute.filter(|sdk| sdk.join("Cargo.toml").is_file());
    found.with_context(|| {
        format!(
            "the SDK is not in {}: give the folder plugins/sdk of a checkout of owlk8s by --sdk",
            sdk.display()
        )
    })
}

/// It names a folder, a crate, a file and a sink.
fn check_name(name: &str) -> anyhow::Result<()> {
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if begins && name.chars().all(rest) && name.len() <= 60 {
        return Ok(());
    }
    bail!("{name:?} is no name for a plugin: up to 60 of a-z, 0-9 and `-`, the first a letter")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_all_languages_take() {
        for name in ["csv", "per-team-2"] {
            check_name(name).unwrap();
        }
        for name in ["", "2csv", "Csv", "a/b", "a b", "../x"] {
            let error = check_name(name).unwrap_err().to_string();
            assert!(error.contains("no name for a plugin"), "{error}");
        }
    }
}
