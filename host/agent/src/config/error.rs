//! What is wrong with a configuration file, in one line each: where, what, what is known, what was
//! probably meant.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// Why there is no configuration. All of them are the user's to mend: exit code 2.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// No such file, or it may not be read.
    #[error("cannot read configuration file {}: name a readable file with --config", path.display())]
    Open {
        /// As given.
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A key that this table does not have.
    #[error("{place}: unknown key \"{key}\"{} (known here: {})", meant(key, known), known.join(", "))]
    UnknownKey {
        place: Place,
        key: String,
        known: Vec<String>,
    },
    /// A word that is none of those allowed.
    #[error("{place}: unknown word \"{word}\"{} in `{line}` (known: {})", meant(word, known), known.join(", "))]
    UnknownWord {
        place: Place,
        word: String,
        line: String,
        known: Vec<String>,
    },
    /// A value out of what its key takes.
    #[error("{place}: {key} = {typed} is not {wants}")]
    Value {
        place: Place,
        key: &'static str,
        typed: String,
        wants: String,
    },
    /// TOML's or a type's own complaint.
    #[error("{place}: {problem} in `{line}`")]
    Parse {
        place: Place,
        problem: String,
        line: String,
    },
    /// Nothing to watch, or not like this.
    #[error("{}: what [discovery] says cannot be watched", path.display())]
    Discovery {
        path: PathBuf,
        #[source]
        source: owlk8s_discover::DiscoverError,
    },
    /// Plugins or sinks that cannot be meant as they are written.
    #[error("{}: {}", path.display(), problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Plugins {
        path: PathBuf,
        problems: Vec<owlk8s_plugin_host::ConfigError>,
    },
    /// Two sinks of one name.
    #[error(
        "{place}: sink \"{name}\" is there already, in line {first}: give each [[sinks]] a name of its own"
    )]
    DuplicateSink {
        place: Place,
        name: String,
        first: usize,
    },
}

/// `file:line`, counted from 1.
#[derive(Debug)]
pub(crate) struct Place {
    file: String,
    pub(super) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A file's name and text, to turn byte offsets into places.
pub(super) struct Source<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
}

impl Source<'_> {
    pub(super) fn place(&self, span: Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        Place {
            file: self.name.to_owned(),
            line: before.matches('\n').count() + 1,
        }
    }

    fn line(&self, place: &Place) -> String {
        self.text
            .lines()
            .nth(place.line - 1)
            .unwrap_or_default()
            .trim()
            .to_owned()
    }

    /// serde and toml speak of fields and variants; users of keys and words.
    pub(super) fn explain(&self, error: &toml::de::Error) -> ConfigError {
        let place = self.place(error.span().unwrap_or(0..0));
        let line = self.line(&place);
        let message = error.message();
        let mut words = message.split('`').skip(1).step_by(2).map(str::to_owned);
        if message.starts_with("unknown field `") {
            let key = words.next().unwrap_or_default();
            return ConfigError::UnknownKey {
                place,
                key,
                known: words.collect(),
            };
        }
        if message.starts_with("unknown variant `") {
            let word = words.next().unwrap_or_default();
            return ConfigError::UnknownWord {
                place,
                word,
                line,
                known: words.collect(),
            };
        }
        let problem = match message
            .strip_prefix("missing field `")
            .and_then(|rest| rest.strip_suffix('`'))
        {
            Some(key) => format!("key \"{key}\" is missing"),
            None => message.lines().collect::<Vec<_>>().join(", "),
        };
        ConfigError::Parse {
            place,
            problem,
            line,
        }
    }
}

/// A value that parsed and does not do.
pub(super) fn value<T: fmt::Debug>(
    source: &Source<'_>,
    key: &'static str,
    typed: &toml::Spanned<T>,
    wants: &str,
) -> ConfigError {
    let place = source.place(typed.span());
    ConfigError::Value {
        place,
        key,
        typed: format!("{:?}", typed.get_ref()),
        wants: wants.to_owned(),
    }
}

/// Below this likeness a guess would only confuse; `port` for `listen` is 0.
const LIKE: f64 = 0.8;

fn meant(typed: &str, known: &[String]) -> String {
    let likeness = |k: &String| strsim::jaro_winkler(typed, k);
    let best = known
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match best {
        Some(best) if likeness(best) >= LIKE => format!(", did you mean \"{best}\"?"),
        _ => String::new(),
    }
}
