//! A sink's plugins in order: filters, then the one that makes or sends something.

mod equipment;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::bindings::types::{Payload, Request, Response};
use crate::call::{Answer, Ask, Call, Called, Fault, Instance};
use crate::config::{Endpoint, FilterConfig, Limits, PluginConfig, SinkConfig, json};
use crate::crash::{Crash, Signature};
use crate::desk::Desk;
use crate::endpoints::serve;
use crate::engine::Runtime;
use crate::frames::Level;
use crate::guest::printable;
use crate::plugin::Plugin;
use crate::status::{PluginKind, PluginStatus};
use crate::tables::Tables;
pub(crate) use equipment::Bounds;
pub(crate) use equipment::Equipment;

/// Instances that a plugin keeps where its sink reuses them: a responder has several calls at once.
const KEPT: usize = 4;

/// The plugins of one sink.
pub(crate) struct Chain {
    runtime: Runtime,
    limits: Limits,
    reuse: bool,
    filters: Vec<Stage>,
    last: Stage,
    desk: Desk,
    /// While it runs; the agent hears nothing of the states that other calls leave.
    live: AtomicBool,
}

struct Stage {
    plugin: Plugin,
    equipment: Equipment,
    config: String,
    state: Mutex<Vec<u8>>,
    slow: AtomicBool,
    /// Between two calls, where the sink reuses them.
    instances: Mutex<Vec<Instance>>,
    /// How it crashed last.
    crashed: Mutex<Option<Signature>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Chain {
    /// Have all plugins of `sink` found and compiled. Blocks. The error says what a person has to do.
    pub(crate) fn load(
        runtime: Runtime,
        sink: &SinkConfig,
        states: &[Vec<u8>],
        bounds: Bounds<'_>,
        desk: Desk,
    ) -> Result<Self, String> {
        let stage = |index: usize, reference: &str, digest: Option<&str>, config: &PluginConfig| {
            let mut plugin = Plugin::load(&runtime, reference, digest)?;
            let equipment = Equipment::of(&mut plugin, config, sink, bounds, &desk)?;
            let state = Mutex::new(states.get(index).cloned().unwrap_or_default());
            Ok::<_, String>(Stage {
                plugin,
                equipment,
                config: json(config),
                state,
                slow: AtomicBool::new(false),
                instances: Mutex::default(),
                crashed: Mutex::default(),
            })
        };
        let mut filters = Vec::new();
        for (index, filter) in sink.filters.iter().enumerate() {
            let stage = stage(index, filter.plugin(), filter.digest(), &filter.config())?;
            if stage.plugin.kind() != PluginKind::Filter {
                return Err(format!(
                    "filters[{index}]: plugin {} is a component of another world: it is a {}, and a filter is needed",
                    filter.plugin(),
                    stage.plugin.kind().name()
                ));
            }
            filters.push(stage);
        }
        let last = stage(
            filters.len(),
            &sink.plugin,
            sink.digest.as_deref(),
            &sink.config,
        )?;
        if last.plugin.kind() == PluginKind::Filter {
            return Err(format!(
                "plugin {} is a component of another world: it is a filter, and a sink needs a formatter, responder or \
                 exporter (name it under `filters`)",
                sink.plugin
            ));
        }
        Ok(Self {
            runtime,
            limits: sink.limits.clone(),
            reuse: sink.reuse,
            filters,
            last,
            desk,
            live: AtomicBool::new(false),
        })
    }

    /// What the sink's plugin does.
    pub(crate) fn kind(&self) -> PluginKind {
        self.last.plugin.kind()
    }

    pub(crate) fn has_filters(&self) -> bool {
        !self.filters.is_empty()
    }

    pub(crate) fn status(&self) -> Vec<PluginStatus> {
        self.stages()
            .map(|stage| stage.plugin.status.clone())
            .collect()
    }

    /// Let each plugin judge its `config`.
    pub(crate) async fn validate(&self) -> Result<(), String> {
        for stage in self.stages() {
            self.call(stage, Ask::Validate).await.map_err(|fault| {
                let plugin = &stage.plugin.name;
                match fault {
                    Fault::Refused(why) => format!(
                        "plugin {plugin} refuses its config: {}",
                        printable(&why, 1000)
                    ),
                    fault => fault.of_plugin(plugin),
                }
            })?;
        }
        Ok(())
    }

    /// What the filters leave of a window. The error is a plugin's fault, with its name.
    pub(crate) async fn filter(&self, mut tables: Arc<Tables>) -> Result<Arc<Tables>, String> {
        for stage in &self.filters {
            let answer = self.call(stage, Ask::Run(Arc::clone(&tables), None)).await;
            let left = answer.and_then(|answer| match answer {
                Answer::Verdict(verdict) => tables.apply(verdict).map_err(Fault::Nonsense),
                _ => unreachable!("a filter gives a verdict"),
            });
            tables = Arc::new(left.map_err(|fault| fault.of_plugin(&stage.plugin.name))?);
        }
        Ok(tables)
    }

    /// Call the sink's plugin. The error is its fault, with its name.
    pub(crate) async fn run(
        &self,
        tables: Arc<Tables>,
        request: Option<Request>,
    ) -> Result<Answer, String> {
        let answer = self.call(&self.last, Ask::Run(tables, request)).await;
        answer.map_err(|fault| fault.of_plugin(&self.last.plugin.name))
    }

    /// Call the plugins as for a real window and throw away what they give. An exporter is not called: it
    /// would send. The error is a plugin's fault, with its name.
    pub(crate) async fn rehearse(
        &self,
        tables: Arc<Tables>,
        endpoints: &BTreeMap<String, Endpoint>,
    ) -> Result<(), String> {
        let states = self.states();
        let tables = self.filter(tables).await?;
        match self.kind() {
            PluginKind::Exporter => {}
            PluginKind::Responder => {
                for path in endpoints.values().filter_map(Endpoint::serve_path) {
                    let request = Request {
                        method: "GET".to_owned(),
                        target: path.to_owned(),
                        headers: vec![("accept".to_owned(), "*/*".to_owned())],
                    };
                    let answer = self.run(Arc::clone(&tables), Some(request)).await?;
                    if let Answer::Response(response) = answer {
                        self.legal(response)?;
                    }
                }
            }
            PluginKind::Formatter | PluginKind::Filter => {
                if let Answer::Payloads(payloads) = self.run(tables, None).await? {
                    self.known_endpoints(&payloads, endpoints.keys())?;
                }
            }
        }
        self.restore(states);
        Ok(())
    }

    /// Every payload is for an endpoint of the sink.
    pub(crate) fn known_endpoints<'a>(
        &self,
        payloads: &[Payload],
        endpoints: impl Iterator<Item = &'a String> + Clone,
    ) -> Result<(), String> {
        let unknown = |payload: &&Payload| !endpoints.clone().any(|name| *name == payload.endpoint);
        match payloads.iter().find(unknown) {
            None => Ok(()),
            Some(payload) => Err(format!(
                "plugin {} sends to endpoint {:?}, and the sink has {} (name it under `endpoints`)",
                self.plugin(),
                printable(&payload.endpoint, 100),
                endpoints.cloned().collect::<Vec<_>>().join(", ")
            )),
        }
    }

    /// A response that is HTTP.
    pub(crate) fn legal(&self, response: Response) -> Result<Response, String> {
        match serve::fault(&response) {
            None => Ok(response),
            Some(fault) => Err(format!("plugin {} {fault}", self.plugin())),
        }
    }

    /// The sink's plugin, for messages.
    pub(crate) fn plugin(&self) -> &str {
        &self.last.plugin.name
    }

    fn stages(&self) -> impl Iterator<Item = &Stage> {
        self.filters.iter().chain([&self.last])
    }

    async fn call(&self, stage: &Stage, ask: Ask) -> Result<Answer, Fault> {
        let state = lock(&stage.state).clone();
        let (given, state_bytes) = (ask.clone(), state.len());
        let call = Call {
            runtime: &self.runtime,
            plugin: &stage.plugin,
            config: &stage.config,
            limits: &self.limits,
            state,
            world: stage.equipment.world(&ask),
            ask,
            instance: lock(&stage.instances).pop(),
        };
        let began = Instant::now();
        let mut called = call.make().await;
        let live = self.live.load(Ordering::Relaxed);
        if live {
            let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            self.desk.count(|counters| {
                counters.calls += 1;
                counters.cpu_ns += ns(called.used.cpu);
                counters.wall_ns += ns(began.elapsed());
            });
        }
        self.tell(stage, &called);
        self.tell_crash(stage, &given, state_bytes, &called);
        if let Some(new) = called.new_state {
            *lock(&stage.state) = new;
            if live {
                self.desk.states(self.states());
            }
        }
        if let Some(instance) = called.instance.take().filter(|_| self.reuse) {
            let mut kept = lock(&stage.instances);
            if kept.len() < KEPT {
                kept.push(instance);
            }
        }
        called.result
    }

    /// A report for the agent; of a crash like the last one only that it happened again.
    fn tell_crash(&self, stage: &Stage, given: &Ask, state_bytes: usize, called: &Called) {
        let Err(fault) = &called.result else {
            return;
        };
        let crash = Crash {
            sink: self.desk.sink(),
            plugin: &stage.plugin,
            config: &stage.config,
            limits: &self.limits,
            given,
            state_bytes,
            called,
            fault,
        };
        let Some(signature) = crash.signature() else {
            return;
        };
        let before = lock(&stage.crashed).replace(signature);
        if before == Some(signature) {
            self.desk.crashed_again(&stage.plugin.name);
        } else {
            self.desk.crashed(&crash.report());
        }
    }

    /// Of its filters in order, then of its plugin.
    pub(crate) fn states(&self) -> Vec<Vec<u8>> {
        self.stages()
            .map(|stage| lock(&stage.state).clone())
            .collect()
    }

    /// Forget what calls left since these were its states, in instances that are kept as well.
    pub(crate) fn restore(&self, states: Vec<Vec<u8>>) {
        for (stage, state) in self.stages().zip(states) {
            *lock(&stage.state) = state;
            lock(&stage.instances).clear();
        }
    }

    /// Its plugins' states for another generation of the sink: a plugin keeps its own, wherever it stands.
    pub(crate) fn states_for(&self, sink: &SinkConfig) -> Vec<Vec<u8>> {
        let mut left: Vec<&Stage> = self.stages().collect();
        let references = sink.filters.iter().map(FilterConfig::plugin);
        references
            .chain([sink.plugin.as_str()])
            .map(|reference| {
                let known = |stage: &&Stage| stage.plugin.status.plugin == reference;
                let found = left.iter().position(known);
                found.map_or_else(Vec::new, |at| lock(&left.remove(at).state).clone())
            })
            .collect()
    }

    /// From here on its calls count. It goes on from the states that the generation before it has now.
    pub(crate) fn live(&self, before: Option<&Self>, sink: &SinkConfig) {
        if let Some(before) = before {
            before.live.store(false, Ordering::Relaxed);
            self.restore(before.states_for(sink));
        }
        self.live.store(true, Ordering::Relaxed);
        self.desk.states(self.states());
    }

    /// Pass on what the guest said, and whether it became slow.
    fn tell(&self, stage: &Stage, called: &Called) {
        let plugin = &stage.plugin.name;
        for (level, line) in &called.said.lines {
            self.desk.log(*level, format!("{plugin}: {line}"));
        }
        if called.result.is_ok() {
            for line in called.output.lines().take(self.limits.log_lines) {
                self.desk.log(
                    Level::Info,
                    format!(
                        "{plugin}: {}",
                        printable(line, self.limits.log_line.bytes())
                    ),
                );
            }
        }
        if called.said.dropped > 0 {
            self.desk
                .count(|counters| counters.log_lines_dropped += called.said.dropped);
        }
        if !called.crossed.is_empty() {
            self.desk.crossed(&called.crossed);
        }
        let slow = called.used.cpu > self.limits.cpu_warn;
        if slow && !stage.slow.swap(slow, Ordering::Relaxed) {
            let text = format!(
                "plugin {plugin} is slow: {:?} of processor time for one call, over {:?} (limits.cpu_warn)",
                called.used.cpu, self.limits.cpu_warn
            );
            self.desk.log(Level::Warn, text);
        } else if !slow {
            stage.slow.store(false, Ordering::Relaxed);
        }
    }
}
