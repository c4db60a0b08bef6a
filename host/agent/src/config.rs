//! The configuration: one TOML file. What was typed ([`raw`]) becomes what it means ([`Config`]); all
//! defaults are set here, and `owlk8s config` prints the result. A key that is not known is an error.
//!
//! Environment is read in this module only: `NODE_NAME` or `nodename`, `debug=true`, and the way to the Kubernetes API
//! server (`KUBERNETES_SERVICE_HOST` and `_PORT`, `KUBECONFIG`, `HOME`).

mod error;
mod raw;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use owlk8s_discover::{DiscoveryConfig, Surroundings};
use owlk8s_plugin_host::{PluginsConfig, Secret, SinkConfig};
use serde::{Deserialize, Serialize};

pub(crate) use error::ConfigError;
use error::{Source, value};

/// Everything that `owlk8s run` needs to know; printed by `owlk8s config` as it is here.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Config {
    /// This node's name in Kubernetes and in all that is shown; `NODE_NAME`, `nodename`, or the host's name.
    pub(crate) node: String,
    /// How often the counts are read and handed to the sinks; from 100ms to 1h.
    #[serde(with = "humantime_serde")]
    pub(crate) interval: Duration,
    /// What is logged; `RUST_LOG` and `debug=true` go before it.
    pub(crate) log: Level,
    /// Searched for `NAME.wasm` before the places where shipped plugins are.
    pub(crate) plugin_dirs: Vec<PathBuf>,
    /// Our own HTTP endpoints.
    pub(crate) admin: Admin,
    /// What is counted, and how much kernel memory it may take.
    pub(crate) probe: Probe,
    /// What is watched.
    pub(crate) discovery: DiscoveryConfig,
    /// What holds for all sinks together.
    pub(crate) plugins: PluginsConfig,
    /// Configured plugins, each with its endpoints.
    // Not printed where there is none: what is printed can be added to, and `sinks = []` could not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) sinks: Vec<SinkConfig>,
    /// Of the variables that endpoints name, those that are set; never printed.
    #[serde(skip)]
    pub(crate) secrets: BTreeMap<String, Secret>,
    /// What discovery needs to know of the environment; never printed.
    #[serde(skip)]
    pub(crate) around: Surroundings,
}

/// From which level on our own events are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl Level {
    pub(crate) const ALL: [Self; 5] = [
        Self::Error,
        Self::Warn,
        Self::Info,
        Self::Debug,
        Self::Trace,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Our own HTTP endpoints.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Admin {
    /// Whoever reaches it reads names and counts of all pods.
    pub(crate) listen: SocketAddr,
}

/// What is counted, and how much kernel memory it may take.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Probe {
    /// How many targets may be attached at once.
    pub(crate) targets: u32,
    /// How many combinations of target, protocol, method and status; 960 bytes each.
    pub(crate) rows: u32,
    /// How many connections are followed at once on this node; 1 KiB each while they are open.
    pub(crate) connections: u32,
    /// Count kubelet probes in the totals.
    pub(crate) include_probes: bool,
    /// Count what pods ask, too, as rows of direction `client`.
    pub(crate) client: bool,
}

/// Variables of the environment, by name; a parameter so that tests need not touch the process's own.
pub(crate) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The real environment; what is not UTF-8 counts as unset.
pub(crate) fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The seed's switch for more logs: `debug=true`.
pub(crate) fn debug(env: Env<'_>) -> bool {
    env("debug").is_some_and(|v| v == "true")
}

const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
/// Shorter would read faster than most sinks can follow; longer would overrun a 32-bit bucket
/// between two readings at rates that one node can serve.
const INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(3600);
const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9465);

impl Config {
    /// From a file.
    pub(crate) fn load(path: &Path, env: Env<'_>) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Open {
            path: path.to_owned(),
            source,
        })?;
        Self::read(path, &text, env)
    }

    /// From the text of a file.
    pub(crate) fn read(path: &Path, text: &str, env: Env<'_>) -> Result<Self, ConfigError> {
        let config = Self::parse(&path.display().to_string(), text, env)?;
        config
            .discovery
            .validate()
            .map_err(|source| ConfigError::Discovery {
                path: path.to_owned(),
                source,
            })?;
        let mut problems = config.plugins.check(&config.sinks);
        problems.extend(owlk8s_plugin_host::check(&config.sinks));
        if !problems.is_empty() {
            return Err(ConfigError::Plugins {
                path: path.to_owned(),
                problems,
            });
        }
        Ok(config)
    }

    /// From `text`; `name` is what messages call it.
    pub(crate) fn parse(name: &str, text: &str, env: Env<'_>) -> Result<Self, ConfigError> {
        let source = Source { name, text };
        let room = owlk8s_probe::Options::default();
        let raw: raw::Config = toml::from_str(text).map_err(|e| source.explain(&e))?;
        let sinks = unique(&source, raw.sinks)?;
        let node = raw
            .node
            .or_else(|| env("NODE_NAME"))
            .or_else(|| env("nodename"))
            .unwrap_or_else(host_name);
        Ok(Self {
            around: Surroundings {
                node: node.clone(),
                kubernetes_service: kubernetes_service(env),
                kubeconfig: kubeconfig(env),
            },
            node,
            interval: raw
                .interval
                .map_or(Ok(DEFAULT_INTERVAL), |typed| interval(&source, &typed))?,
            log: raw.log,
            plugin_dirs: raw.plugin_dirs,
            admin: Admin {
                listen: raw
                    .admin
                    .listen
                    .map_or(Ok(DEFAULT_LISTEN), |typed| listen(&source, &typed))?,
            },
            probe: Probe {
                targets: bounded(
                    &source,
                    "targets",
                    raw.probe.targets,
                    1..=16_384,
                    room.targets,
                )?,
                rows: bounded(&source, "rows", raw.probe.rows, 64..=262_144, room.rows)?,
                connections: bounded(
                    &source,
                    "connections",
                    raw.probe.connections,
                    1_024..=1_048_576,
                    room.connections,
                )?,
                include_probes: raw.probe.include_probes,
                client: raw.probe.client,
            },
            discovery: raw.discovery,
            plugins: raw.plugins,
            secrets: secrets(&sinks, env),
            sinks,
        })
    }
}

impl Config {
    /// Take from `wanted` what can change while the agent runs; the rest stays in effect.
    pub(crate) fn adopt(&mut self, wanted: Self) {
        self.interval = wanted.interval;
        self.log = wanted.log;
        self.discovery.fixed = wanted.discovery.fixed;
        self.plugin_dirs = wanted.plugin_dirs;
        self.plugins.max = wanted.plugins.max;
        self.plugins.ceiling = wanted.plugins.ceiling;
        self.sinks = wanted.sinks;
        self.secrets = wanted.secrets;
    }
}

/// The API server's address as the kubelet tells its pods.
fn kubernetes_service(env: Env<'_>) -> Option<String> {
    let (host, port) = (
        env("KUBERNETES_SERVICE_HOST")?,
        env("KUBERNETES_SERVICE_PORT")?,
    );
    Some(if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    })
}

/// The first file that KUBECONFIG names, or the one in the home directory where there is one.
fn kubeconfig(env: Env<'_>) -> Option<PathBuf> {
    let named = env("KUBECONFIG").unwrap_or_default();
    let first = named.split(':').find(|path| !path.is_empty());
    first.map(PathBuf::from).or_else(|| {
        let home = Path::new(&env("HOME")?).join(".kube/config");
        home.exists().then_some(home)
    })
}

fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

fn interval(source: &Source<'_>, typed: &toml::Spanned<String>) -> Result<Duration, ConfigError> {
    let wants = "a duration from \"100ms\" to \"1h\", such as \"500ms\", \"10s\" or \"1m30s\"";
    match humantime::parse_duration(typed.get_ref()) {
        Ok(duration) if INTERVALS.contains(&duration) => Ok(duration),
        _ => Err(value(source, "interval", typed, wants)),
    }
}

fn listen(source: &Source<'_>, typed: &toml::Spanned<String>) -> Result<SocketAddr, ConfigError> {
    let wants = "an address with a port, such as \"127.0.0.1:9465\" or \"[::1]:9465\"";
    typed
        .get_ref()
        .parse()
        .map_err(|_| value(source, "listen", typed, wants))
}

fn bounded(
    source: &Source<'_>,
    key: &'static str,
    typed: Option<toml::Spanned<i64>>,
    range: std::ops::RangeInclusive<u32>,
    default: u32,
) -> Result<u32, ConfigError> {
    let Some(typed) = typed else {
        return Ok(default);
    };
    match u32::try_from(*typed.get_ref()) {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(value(
            source,
            key,
            &typed,
            &format!("a number from {} to {}", range.start(), range.end()),
        )),
    }
}

fn secrets(sinks: &[SinkConfig], env: Env<'_>) -> BTreeMap<String, Secret> {
    let wanted = sinks.iter().flat_map(SinkConfig::wanted_env);
    wanted
        .filter_map(|name| Some((name.to_owned(), Secret::from(env(name)?))))
        .collect()
}

/// Each sink under a name of its own.
fn unique(
    source: &Source<'_>,
    typed: Vec<toml::Spanned<SinkConfig>>,
) -> Result<Vec<SinkConfig>, ConfigError> {
    for (at, sink) in typed.iter().enumerate() {
        let name = &sink.get_ref().name;
        if let Some(first) = typed[..at]
            .iter()
            .find(|other| other.get_ref().name == *name)
        {
            return Err(ConfigError::DuplicateSink {
                place: source.place(sink.span()),
                name: name.clone(),
                first: source.place(first.span()).line,
            });
        }
    }
    Ok(typed.into_iter().map(toml::Spanned::into_inner).collect())
}

#[cfg(test)]
mod tests;
