//! Short words for the tests: a host with sinks, windows with counts, and waiting for what must come.

use std::collections::BTreeMap;
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

/// The same in a directory, where positions are kept as well.
pub(crate) fn start_in(sinks: &str, dir: tempfile::TempDir) -> Host {
    std::fs::create_dir_all(dir.path().join("positions")).unwrap();
    let host = PluginHost::start(options(sinks, &dir)).unwrap();
    Host { host, dir }
}

pub(crate) fn options(sinks: &str, dir: &tempfile::TempDir) -> HostOptions {
    #[derive(Deserialize)]
    struct File {
        sinks: Vec<SinkConfig>,
    }
    let mut text = sinks.replace("{dir}", &dir.path().display().to_string());
    while let Some(name) = placeholder(&text) {
        text = text.replace(&format!("{{{name}}}"), &component(&name));
    }
    HostOptions {
        plugins: PluginsConfig {
            cache_dir: dir.path().join("cache"),
            state_dir: dir.path().join("positions"),
            // Writes into the directory that the test made.
            user: rustix::process::geteuid().as_raw(),
            ..PluginsConfig::default()
        },
        sinks: toml::from_str::<File>(&text).unwrap().sinks,
        plugin_dirs: vec![dir.path().to_owned()],
        secrets: BTreeMap::new(),
        program: Program {
            path: env!("CARGO_BIN_EXE_owlk8s-plugin-process").into(),
            args: Vec::new(),
            compiler_args: vec!["compile".to_owned()],
        },
    }
}

/// The first `{name}` in the text; a table of TOML has a space after its brace.
fn placeholder(text: &str) -> Option<String> {
    text.split('{').skip(1).find_map(|rest| {
        let (name, _) = rest.split_once('}')?;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        (!name.is_empty() && name.chars().all(plain)).then(|| name.to_owned())
    })
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
        mut wanted: impl FnMut(&SinkStatus) -> bool,
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

pub(crate) fn target(pod: &str, requests: u64) -> TargetSnapshot {
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
        since: UnixNanos(0),
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
