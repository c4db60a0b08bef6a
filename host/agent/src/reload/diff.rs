use toml::{Table, Value};

use crate::config::Config;

/// Keys whose new value is in effect at once; every other key waits for a restart.
const LIVE: [&str; 7] = [
    "discovery.static",
    "interval",
    "log",
    "plugin_dirs",
    "plugins.ceiling",
    "plugins.max",
    "sinks",
];

/// What a reload changes, by key.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Diff {
    /// In effect at once.
    pub(crate) live: Vec<String>,
    /// Waits for a restart.
    pub(crate) restart: Vec<String>,
}

impl Diff {
    /// From what is in effect to what is wanted.
    pub(crate) fn between(now: &Config, wanted: &Config) -> Result<Self, toml::ser::Error> {
        let mut changed = Vec::new();
        walk(
            "",
            &Table::try_from(now)?,
            &Table::try_from(wanted)?,
            &mut changed,
        );
        let is_live = |key: &String| {
            LIVE.iter().any(|live| {
                key.strip_prefix(live)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        let (live, restart) = changed.into_iter().partition(is_live);
        Ok(Self { live, restart })
    }
}

fn walk(prefix: &str, now: &Table, wanted: &Table, changed: &mut Vec<String>) {
    let new = wanted.keys().filter(|key| !now.contains_key(*key));
    for key in now.keys().chain(new) {
        let path = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}.{key}")
        };
        match (now.get(key), wanted.get(key)) {
            (old, new) if old == new => {}
            (Some(Value::Table(old)), Some(Value::Table(new))) => walk(&path, old, new, changed),
            _ => changed.push(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse("f", text, &|_| None).unwrap()
    }

    fn diff(now: &str, wanted: &str) -> (Vec<String>, Vec<String>) {
        let diff = Diff::between(&config(now), &config(wanted)).unwrap();
        (diff.live, diff.restart)
    }

    #[test]
    fn changed_keys_are_told_apart_by_what_they_need() {
        let sink = "[[sinks]]\nname = \"a\"\nplugin = \"p\"\n";
        assert_eq!(diff(sink, sink), (vec![], vec![]));
        assert_eq!(diff("", sink), (vec!["sinks".to_owned()], vec![]));
        let wanted = "interval = \"3s\"\nnode = \"n\"\n[admin]\nlisten = \"127.0.0.1:1\"\n[probe]\nrows = 64\n[plugins]\nmax = 3\nstate_dir = \"/x\"\n";
        assert_eq!(
            diff("node = \"m\"", wanted),
            (
                vec!["interval".to_owned(), "plugins.max".to_owned()],
                ["admin.listen", "node", "plugins.state_dir", "probe.rows"]
                    .map(str::to_owned)
                    .to_vec()
            )
        );
        let host = diff("", "[discovery.host]\n");
        assert_eq!(host, (vec![], vec!["discovery.host".to_owned()]));
    }
}
