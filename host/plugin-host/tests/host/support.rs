//! Short words for the tests: a host with sinks, windows with counts, and waiting for what must come.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use owlk8s_model::{
    Direction, Histogram, Method, Protocol, Row, Snapshot, Status, TargetSnapshot, Temporality,
    Totals, UnixNanos, Window,
};
use owlk8s_plugin_host::{HostOptions, PluginHost, PluginsConfig, Program, SinkConfig, SinkStatus};
use serde::Deserialize;

/// For what takes milliseconds: this machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A component from `target/plugins`, or a fixture from `target/plugins/fixtures`.
pub(crate) fn component(name: &str) -> String {
    let plugins = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/plugins"));
    let file = format!("{name}.wasm");
    let path = [plugins.join("fixtures").join(&file), plugins.join(&file)]
        .into_iter()
        .find(|path| path.is_file());
    let path = path.unwrap_or_else(|| {
        panic!(
            "{file} is not in {}: run `cargo xtask build-plugins`",
            plugins.display()
        )
    });
    path.display().to_string()
}

pub(crate) struct Host {
    pub(crate) host: PluginHost,
    pub(crate) dir: tempfile::TempDir,
}

/// A host with these sinks. `{dir}` in the text is a fresh directory, `{NAME}` a component.
pub(crate) fn start(sinks: &str) -> Host {
    start_in(sinks, tempfile::tempdir().unwrap())
}

/// The same in a directory that has something in it already.
pub(crate) fn start_in(sinks: &str, dir: tempfile::TempDir) -> Host {
    let host = PluginHost::start(options(sinks, &dir)).unwrap();
    Host { host, dir }
}

pub(crate) fn options(sinks: &str, dir: &tempfile::TempDir) -> HostOptions {
    #[derive(Deserialize)]
    struct File {
        sinks: Vec<SinkConfig>,
    }
    let mut text = sinks.replace("{dir}", &dir.path().display().to_string());
    for name in placeholders(&text) {
        text = text.replace(&format!("{{{name}}}"), &component(&name));
    }
    HostOptions {
        plugins: PluginsConfig {
            cache_dir: dir.path().join("cache"),
            state_dir: dir.path().join("state"),
            ..PluginsConfig::default()
        },
        sinks: toml::from_str::<File>(&text).unwrap().sinks,
        plugin_dirs: vec![dir.path().to_owned()],
        secrets: BTreeMap::new(),
        program: Program {
            path: env!("CARGO_BIN_EXE_owlk8s-plugin-process").into(),
            args: Vec::new(),
        },
    }
}

/// Each `{NAME}` once.
fn placeholders(text: &str) -> BTreeSet<String> {
    let parts = text.split('{').skip(1);
    let names = parts.filter_map(|part| Some(part.split_once('}')?.0));
    let is_name = |name: &&str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    names.filter(is_name).map(str::to_owned).collect()
}

impl Host {
    /// Run these sinks from now on.
    pub(crate) fn reload(&self, sinks: &str) {
        self.host.reload(options(sinks, &self.dir)).unwrap();
    }

    pub(crate) fn sink(&self, name: &str) -> SinkStatus {
        self.host
            .status()
            .into_iter()
            .find(|sink| sink.name == name)
            .unwrap()
    }

    /// Wait until the sink's status is as wanted.
    pub(crate) async fn until(
        &self,
        name: &str,
        wanted: impl Fn(&SinkStatus) -> bool,
    ) -> SinkStatus {
        let began = Instant::now();
        loop {
            let status = self.sink(name);
            if wanted(&status) {
                return status;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "sink {name} does not come to it: {status:#?}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Wait until the sink has window `sequence`.
    pub(crate) async fn delivered(&self, name: &str, sequence: u64) -> SinkStatus {
        self.until(name, |status| status.last_sequence >= sequence)
            .await
    }

    pub(crate) fn offer(&self, sequence: u64, requests: u64) {
        self.host.offer(window(sequence, &[("cart-0", requests)]));
    }

    pub(crate) fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(file)).unwrap()
    }
}

/// A cumulative window in which each target answered so many GETs with 200, in 1 ms each.
pub(crate) fn window(sequence: u64, targets: &[(&str, u64)]) -> Arc<Snapshot> {
    let second = 1_000_000_000;
    let at = |sequence: u64| UnixNanos((1_800_000_000 + sequence) * second);
    Arc::new(Snapshot {
        node: "node".to_owned(),
        window: Window {
            start: at(sequence - 1),
            end: at(sequence),
            sequence,
            merged: 1,
        },
        temporality: Temporality::Cumulative,
        targets_confirmed_at: at(sequence),
        targets: targets
            .iter()
            .map(|(pod, requests)| target(pod, *requests))
            .collect(),
    })
}

fn target(pod: &str, requests: u64) -> TargetSnapshot {
    let row = Row {
        direction: Direction::Server,
        protocol: Protocol::Http11,
        method: Method("GET".into()),
        status: 200,
        probe: false,
        count: requests,
        duration_sum_ns: requests * 1_000_000,
        latency: Histogram::trimmed(-80, &[requests]),
    };
    TargetSnapshot {
        id: pod.into(),
        pod: pod.to_owned(),
        uid: String::new(),
        namespace: "shop".to_owned(),
        workload: None,
        services: vec!["cart".to_owned()],
        ips: vec!["10.77.0.11".parse().unwrap()],
        labels: BTreeMap::from([("team".to_owned(), "red".to_owned())]),
        interface: "vhp1".to_owned(),
        status: Status::Active,
        reason: String::new(),
        hook: None,
        hook_reason: String::new(),
        blind: false,
        totals: Totals {
            requests,
            seen: requests,
            coverage: 1.0,
            duration_sum_ns: requests * 1_000_000,
            duration_count: requests,
            ..Totals::default()
        },
        rows: vec![row],
        grpc: Vec::new(),
    }
}
