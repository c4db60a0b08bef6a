//! What the benchmark calls: one plugin in this process, without endpoints, windows and the process boundary.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use owlk8s_model::Snapshot;

use crate::bindings::types::Request;
use crate::call::{Answer, Ask, Call, Instance};
use crate::config::Limits;
use crate::engine::Runtime;
use crate::guest::World;
use crate::plugin::{Fetcher, Plugin};
use crate::status::PluginKind;
use crate::tables::Tables;

/// A plugin, compiled.
pub struct Guest {
    runtime: Runtime,
    plugin: Plugin,
    limits: Limits,
    kept: Option<Instance>,
}

/// A snapshot in the form that guests read.
#[derive(Clone)]
pub struct Window(Arc<Tables>);

impl Window {
    /// What the host does once a window for each sink.
    pub fn new(snapshot: &Snapshot) -> Option<Self> {
        Some(Self(Arc::new(Tables::of_snapshot(snapshot.clone())?)))
    }
}

impl Guest {
    /// Find and compile it; how long that took.
    pub fn load(component: &Path) -> Result<(Self, Duration), String> {
        let runtime = Runtime::new(Fetcher::Here).map_err(|error| format!("{error:#}"))?;
        let began = Instant::now();
        let reference = component.display().to_string();
        let plugin = Plugin::load(&runtime, &reference, None)?;
        let took = began.elapsed();
        let limits = Limits {
            memory: crate::Size(1 << 30),
            output: crate::Size(256 << 20),
            cpu: Duration::from_secs(60),
            wall: Some(Duration::from_secs(60)),
            ..Limits::default()
        };
        let guest = Self {
            runtime,
            plugin,
            limits,
            kept: None,
        };
        Ok((guest, took))
    }

    /// One call; how many bytes it made. With `reuse` the instance is kept for the next.
    pub async fn call(
        &mut self,
        window: &Window,
        gzip: bool,
        reuse: bool,
    ) -> Result<usize, String> {
        let encoding = ("accept-encoding".to_owned(), "gzip".to_owned());
        let request = (self.plugin.kind() == PluginKind::Responder).then(|| Request {
            method: "GET".to_owned(),
            target: "/metrics".to_owned(),
            headers: if gzip { vec![encoding] } else { Vec::new() },
        });
        let ask = Ask::Run(Arc::clone(&window.0), request);
        let call = Call {
            runtime: &self.runtime,
            plugin: &self.plugin,
            config: "{}",
            limits: &self.limits,
            state: Vec::new(),
            world: World::fixed(&ask),
            ask,
            instance: self.kept.take().filter(|_| reuse),
        };
        let called = call.make().await;
        self.kept = called.instance;
        match called.result.map_err(|fault| fault.to_string())? {
            Answer::Payloads(payloads) => Ok(payloads.iter().map(|p| p.body.len()).sum()),
            Answer::Response(response) => Ok(response.body.len()),
            Answer::Valid | Answer::Verdict(_) | Answer::Outcome(_) => Ok(0),
        }
    }
}
