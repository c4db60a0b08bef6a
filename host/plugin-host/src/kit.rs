//! An author's workbench: the plugins of one sink in this process, with the compiler, the limits, the authority and
//! the endpoints of the plugin process, and without the agent. What a plugin does here it does there.
//!
//! Snapshots come in as values ([`read_snapshots`], [`Made`](made)); what the plugin gives comes out as a [`Given`],
//! with what it cost. A guest runs in this process: whoever calls drops its privileges first.

mod inspect;
mod made;
mod snapshots;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use owlk8s_model::{Snapshot, Temporality};
use owlk8s_pipeline::{Mode, View, Windows};
use serde::Serialize;
use thiserror::Error;

pub use inspect::Inspection;
pub use made::node;
pub use snapshots::{BUILT_IN, SnapshotError, built_in, read_snapshots, redacted};

use crate::authority::view;
use crate::bindings::types::{Outcome, Payload, Request, Response};
use crate::call::{Answer, Ask, Call, Called, Fault};
use crate::chain::{Bounds, Equipment};
use crate::config::{FilterConfig, PluginConfig, PluginsConfig, Secret, SinkConfig, json};
use crate::desk::{Desk, Outbox, desks};
use crate::endpoints::{Delivery, Outlet, Progress};
use crate::engine::Runtime;
use crate::frames::{Level, SinkReport};
use crate::guest::printable;
use crate::plugin::{Fetcher, Plugin, find, search_path};
use crate::status::{PluginKind, SinkStatus};
use crate::tables::Tables;

/// Why a plugin cannot be tried.
#[derive(Debug, Error)]
pub enum KitError {
    /// wasmtime cannot be set up.
    #[error("cannot set up wasmtime: {0}")]
    Runtime(String),
    /// A plugin cannot be loaded, may not do what it asks for, or has a config that it does not take.
    #[error("{0}")]
    Load(String),
    /// An endpoint cannot be opened.
    #[error("endpoints.{name}: {problem}")]
    Endpoint {
        /// Its name.
        name: String,
        /// What to do.
        problem: String,
    },
}

/// The compiler, and what it made: a component is compiled once, however many sinks it is tried in.
pub struct Workshop {
    runtime: Runtime,
    /// By their files.
    plugins: BTreeMap<String, Plugin>,
}

/// The plugins of one sink, ready to be called.
pub struct Workbench {
    runtime: Runtime,
    sink: SinkConfig,
    /// Its filters in order, then its plugin.
    stages: Vec<Stage>,
    outlets: BTreeMap<String, Outlet>,
    view: View,
    windows: Windows,
    desk: Desk,
    outbox: Outbox,
}

struct Stage {
    plugin: Plugin,
    equipment: Equipment,
    config: String,
    state: Vec<u8>,
}

/// What came of one window.
#[derive(Debug)]
pub struct Tried {
    /// What the plugin gave, or its fault with its name.
    pub given: Result<Given, String>,
    /// What it and its filters logged, and what the host had to say of them: `warn: text`.
    pub log: Vec<String>,
    /// What the calls cost together.
    pub cost: Cost,
}

/// What a plugin gives for a window.
#[derive(Debug, PartialEq)]
pub enum Given {
    /// A formatter's, in order.
    Payloads(Vec<Sent>),
    /// A responder's.
    Response {
        /// HTTP status code.
        status: u16,
        /// As the plugin gave them.
        headers: Vec<(String, String)>,
        /// As the plugin gave it.
        body: Vec<u8>,
    },
    /// An exporter's answer: `delivered`, `retry after 500 ms`, ...
    Outcome(String),
    /// What a filter leaves.
    Left(Box<Snapshot>),
}

/// A formatter's payload.
#[derive(Debug, PartialEq)]
pub struct Sent {
    /// Name of the endpoint.
    pub endpoint: String,
    /// MIME type.
    pub content_type: String,
    /// What the endpoint gets.
    pub body: Vec<u8>,
}

/// What a call cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Processor time, nanoseconds.
    pub cpu_ns: u64,
    /// Elapsed time, nanoseconds.
    pub wall_ns: u64,
    /// Bytes of linear memory, of the plugin that has most.
    pub memory: u64,
    /// Calls of the host.
    pub host_calls: u64,
}

/// A request for a responder.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Workshop {
    /// With nothing compiled yet.
    pub fn new() -> Result<Self, KitError> {
        let runtime =
            Runtime::new(Fetcher::Here).map_err(|error| KitError::Runtime(format!("{error:#}")))?;
        Ok(Self {
            runtime,
            plugins: BTreeMap::new(),
        })
    }

    fn plugin(&mut self, file: String) -> Result<Plugin, String> {
        if let Some(plugin) = self.plugins.get(&file) {
            return Ok(plugin.clone());
        }
        let plugin = Plugin::load(&self.runtime, &file, None)?;
        self.plugins.insert(file, plugin.clone());
        Ok(plugin)
    }
}

impl Workbench {
    /// Find, compile and equip the plugins of `sink`, as the plugin process does. Blocks for as long as the compiler takes.
    pub fn load(
        workshop: &mut Workshop,
        sink: SinkConfig,
        plugins: &PluginsConfig,
        plugin_dirs: &[PathBuf],
        secrets: &BTreeMap<String, Secret>,
    ) -> Result<Self, KitError> {
        let (desks, outbox) = desks();
        let desk = desks.open(SinkReport {
            status: SinkStatus::starting(&sink),
            revision: 0,
            attempting: None,
            acknowledged: None,
            states: Vec::new(),
        });
        let program = std::env::current_exe().ok();
        let dirs = search_path(plugin_dirs, program.as_deref());
        let mut stage = |reference: &str, config: &PluginConfig| {
            let path = find(reference, &dirs).map_err(|error| error.to_string())?;
            let mut plugin = workshop.plugin(path.display().to_string())?;
            let bounds = Bounds {
                ceiling: &plugins.ceiling,
                secrets,
            };
            let equipment = Equipment::of(&mut plugin, config, &sink, bounds, &desk)?;
            Ok::<_, String>(Stage {
                plugin,
                equipment,
                config: json(config),
                state: Vec::new(),
            })
        };
        let mut stages = Vec::new();
        let filters = sink.filters.iter();
        let filters = filters.map(|filter| (FilterConfig::plugin(filter), filter.config()));
        for (reference, config) in filters.chain([(sink.plugin.as_str(), sink.config.clone())]) {
            stages.push(stage(reference, &config).map_err(KitError::Load)?);
        }
        let before_last = stages.iter().rev().skip(1);
        if let Some(wrong) = before_last
            .map(|stage| &stage.plugin)
            .find(|plugin| plugin.kind() != PluginKind::Filter)
        {
            return Err(KitError::Load(format!(
                "plugin {} stands among the filters, and is a {}",
                wrong.name,
                wrong.kind().name()
            )));
        }
        let mut outlets = BTreeMap::new();
        for (name, endpoint) in &sink.endpoints {
            if endpoint.serve_path().is_none() {
                let outlet =
                    Outlet::open(endpoint, secrets).map_err(|problem| KitError::Endpoint {
                        name: name.clone(),
                        problem,
                    })?;
                outlets.insert(name.clone(), outlet);
            }
        }
        Ok(Self {
            runtime: workshop.runtime.clone(),
            view: view(&sink, &plugins.ceiling),
            windows: Windows::new(sink.mode, sink.queue),
            stages,
            outlets,
            sink,
            desk,
            outbox,
        })
    }

    /// What the sink's plugin does.
    pub fn kind(&self) -> PluginKind {
        self.last().plugin.kind()
    }

    /// Name of the sink's plugin.
    pub fn name(&self) -> &str {
        &self.last().plugin.name
    }

    /// What each plugin was found to be allowed, and what in the sink has no effect.
    pub fn authority(&mut self) -> Vec<String> {
        lines(&mut self.outbox)
    }

    /// Let each plugin judge its config.
    pub async fn validate(&mut self) -> Result<(), String> {
        for index in 0..self.stages.len() {
            let called = self.call(index, Ask::Validate).await;
            let plugin = &self.stages[index].plugin.name;
            called.result.map_err(|fault| match fault {
                Fault::Refused(why) => format!(
                    "plugin {plugin} refuses its config: {}",
                    printable(&why, 1000)
                ),
                fault => fault.of_plugin(plugin),
            })?;
        }
        Ok(())
    }

    /// As before the first window: no state, nothing that arrived.
    pub fn reset(&mut self) {
        self.windows = Windows::new(self.sink.mode, self.sink.queue);
        for stage in &mut self.stages {
            stage.state.clear();
        }
    }

    /// Call the plugins with a window as the sink's mode, selection and columns make it. A window that succeeds counts as
    /// arrived: in `delta` the next one counts from it, and states stay.
    pub async fn try_on(&mut self, snapshot: &Snapshot, asked: Option<&Asked>) -> Tried {
        let before: Vec<_> = self.stages.iter().map(|it| it.state.clone()).collect();
        let (given, cost) = self.windowed(snapshot, asked).await;
        if given.is_err() {
            for (stage, state) in self.stages.iter_mut().zip(before) {
                stage.state = state;
            }
        }
        Tried {
            given,
            cost,
            log: lines(&mut self.outbox),
        }
    }

    async fn windowed(
        &mut self,
        snapshot: &Snapshot,
        asked: Option<&Asked>,
    ) -> (Result<Given, String>, Cost) {
        let mut cost = Cost::default();
        let cut = self.view.cut(snapshot);
        // What is a delta already is given as it is.
        let mut alone = Windows::new(Mode::Latest, 1);
        let windows = match snapshot.temporality {
            Temporality::Delta => &mut alone,
            Temporality::Cumulative => &mut self.windows,
        };
        windows.offer(cut);
        let Some(attempt) = windows.take() else {
            let sequence = snapshot.window.sequence;
            let why = format!(
                "window {sequence} is not newer than the one before: `window.sequence` must rise"
            );
            return (Err(why), cost);
        };
        let mut tables = Arc::new(Tables::build(&attempt, &self.sink.columns));
        for index in 0..self.stages.len() {
            let is_last = index + 1 == self.stages.len();
            let request = asked
                .filter(|_| is_last && self.kind() == PluginKind::Responder)
                .map(request);
            let called = self
                .call(index, Ask::Run(Arc::clone(&tables), request))
                .await;
            cost.add(&called);
            // What a sink would try again, or give up, did not arrive.
            let arrived = !matches!(
                called.result,
                Ok(Answer::Outcome(Outcome::Retry(_) | Outcome::Rejected(_)))
            );
            let answer = called.result.and_then(|answer| match answer {
                Answer::Verdict(verdict) => {
                    tables = Arc::new(tables.apply(verdict).map_err(Fault::Nonsense)?);
                    Ok(is_last.then(|| Given::Left(Box::new(tables.snapshot()))))
                }
                answer => Ok(Some(given(answer))),
            });
            match answer {
                Ok(None) => {}
                Ok(Some(given)) => {
                    if snapshot.temporality == Temporality::Cumulative && arrived {
                        self.windows.acknowledge(&attempt);
                    }
                    return (Ok(given), cost);
                }
                Err(fault) => {
                    let plugin = &self.stages[index].plugin.name;
                    return (Err(fault.of_plugin(plugin)), cost);
                }
            }
        }
        unreachable!("the last stage gives something")
    }

    async fn call(&mut self, index: usize, ask: Ask) -> Called {
        let stage = &self.stages[index];
        let call = Call {
            runtime: &self.runtime,
            plugin: &stage.plugin,
            config: &stage.config,
            limits: &self.sink.limits,
            state: stage.state.clone(),
            world: stage.equipment.world(&ask),
            ask,
            instance: None,
        };
        let mut called = call.make().await;
        for (level, line) in &called.said.lines {
            self.desk.log(*level, line.clone());
        }
        for line in called.output.lines() {
            let line = printable(line, self.sink.limits.log_line.bytes());
            self.desk.log(Level::Info, line);
        }
        for (limit, times) in &called.crossed {
            let text = format!("crossed limits.{} ({times} times)", limit.name());
            self.desk.log(Level::Warn, text);
        }
        if let Some(state) = called.new_state.take() {
            self.stages[index].state = state;
        }
        called
    }

    /// The endpoints that are configured.
    pub fn has_endpoint(&self, name: &str) -> bool {
        self.outlets.contains_key(name)
    }

    /// Deliver to a configured endpoint, once, as the sink would. The error says what became of it instead.
    pub async fn deliver(&mut self, sent: &Sent) -> Result<(), String> {
        let Some(outlet) = self.outlets.get_mut(&sent.endpoint) else {
            return Err("it is not configured".to_owned());
        };
        let payload = Payload {
            endpoint: sent.endpoint.clone(),
            content_type: sent.content_type.clone(),
            body: sent.body.clone(),
        };
        match outlet.deliver(&payload, &mut Progress::default()).await {
            Delivery::Arrived => Ok(()),
            Delivery::ArrivedBut(lines, why) => Err(format!("{lines} lines were left out: {why}")),
            Delivery::Retry(why, _) => {
                Err(format!("not delivered, and would be tried again: {why}"))
            }
            Delivery::Refused(why) => Err(format!("refused: {why}")),
        }
    }

    fn last(&self) -> &Stage {
        self.stages
            .last()
            .unwrap_or_else(|| unreachable!("a sink has a plugin"))
    }
}

impl Given {
    /// How much of it would leave the host.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Payloads(payloads) => payloads.iter().map(|sent| sent.body.len()).sum(),
            Self::Response { body, .. } => body.len(),
            Self::Outcome(_) | Self::Left(_) => 0,
        }
    }
}

impl Cost {
    fn add(&mut self, called: &Called) {
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.cpu_ns += ns(called.used.cpu);
        self.wall_ns += ns(called.used.wall);
        self.memory = self.memory.max(called.used.memory);
        self.host_calls += called.used.host_calls;
    }
}

fn given(answer: Answer) -> Given {
    match answer {
        Answer::Payloads(payloads) => Given::Payloads(
            payloads
                .into_iter()
                .map(|payload| Sent {
                    endpoint: payload.endpoint,
                    content_type: payload.content_type,
                    body: payload.body,
                })
                .collect(),
        ),
        Answer::Response(Response {
            status,
            headers,
            body,
        }) => Given::Response {
            status,
            headers,
            body,
        },
        Answer::Outcome(outcome) => Given::Outcome(match outcome {
            Outcome::Delivered => "delivered".to_owned(),
            Outcome::Retry(after) => format!("retry after {after} ms"),
            Outcome::Partial(rows) => format!("delivered but for {rows} rows"),
            Outcome::Rejected(why) => format!("rejected: {}", printable(&why, 1000)),
        }),
        Answer::Valid | Answer::Verdict(_) => unreachable!("a window was given, and no filter"),
    }
}

fn request(asked: &Asked) -> Request {
    Request {
        method: asked.method.clone(),
        target: asked.target.clone(),
        headers: asked.headers.clone(),
    }
}

fn lines(outbox: &mut Outbox) -> Vec<String> {
    let word = |level| match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    };
    let logged = outbox.logged().into_iter();
    logged
        .map(|(level, line)| format!("{}: {line}", word(level)))
        .collect()
}
