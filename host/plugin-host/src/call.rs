//! One call of one guest: the sink's limits around it, and its end as a value.
//!
//! After a trap, a limit or a dropped call the instance is gone with its memory; nothing of it is used
//! again. What lasts is the plugin's state, and that only from a call that succeeded; and where the sink
//! reuses instances, the instance of a call that succeeded.

mod fault;
mod hooks;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use wasmtime::Store;
use wasmtime::component::Resource;

pub(crate) use fault::Fault;
pub(crate) use hooks::Crossed;
pub use trace::CrashFrame;

use crate::bindings::types::{Outcome, Payload, Request, Response, Verdict};
use crate::bindings::{exporter, filter, formatter, responder};
use crate::config::{Limit, Limits};
use crate::engine::Runtime;
use crate::guest::{Guest, Said, World};
use crate::metered::{Stopped, Used, bounded};
use crate::plugin::{Plugin, Pre};
use crate::status::PluginKind;
use crate::tables::{Lent, Tables};

/// What to ask of a guest.
#[derive(Clone)]
pub(crate) enum Ask {
    Validate,
    /// What its world is for, with a window and, for a responder, the request.
    Run(Arc<Tables>, Option<Request>),
}

/// What a guest answered.
pub(crate) enum Answer {
    Valid,
    Verdict(Verdict),
    Payloads(Vec<Payload>),
    Response(Response),
    Outcome(Outcome),
}

/// A call to be made.
pub(crate) struct Call<'a> {
    pub(crate) runtime: &'a Runtime,
    pub(crate) plugin: &'a Plugin,
    pub(crate) config: &'a str,
    pub(crate) limits: &'a Limits,
    pub(crate) state: Vec<u8>,
    pub(crate) world: World,
    pub(crate) ask: Ask,
    /// Of an earlier call; without it there is a fresh one.
    pub(crate) instance: Option<Instance>,
}

/// A finished call.
pub(crate) struct Called {
    pub(crate) result: Result<Answer, Fault>,
    pub(crate) said: Said,
    /// What it wrote to its standard streams.
    pub(crate) output: String,
    pub(crate) used: Used,
    /// To be kept for the next call.
    pub(crate) new_state: Option<Vec<u8>>,
    /// Where it trapped, the innermost function first.
    pub(crate) backtrace: Vec<CrashFrame>,
    /// How often each limit was crossed; what ended the call included.
    pub(crate) crossed: Vec<(Limit, u64)>,
    /// After a call that succeeded: may be used again.
    pub(crate) instance: Option<Instance>,
}

/// A guest between two calls.
pub(crate) struct Instance {
    store: Store<Guest>,
    exports: Exports,
}

enum Exports {
    Filter(filter::Filter),
    Formatter(formatter::Formatter),
    Responder(responder::Responder),
    Exporter(exporter::Exporter),
}

impl Call<'_> {
    /// Make it.
    pub(crate) async fn make(self) -> Called {
        let Self {
            runtime,
            plugin,
            config,
            limits,
            state,
            world,
            ask,
            instance,
        } = self;
        let (mut store, mut exports) = match instance {
            Some(Instance { mut store, exports }) => {
                store.data_mut().begin(limits, state, world);
                (store, Some(exports))
            }
            None => {
                let guest = Guest::new(limits, state, world);
                (hooks::store(&runtime.engine, limits, guest), None)
            }
        };
        let wall = wall(limits, plugin.kind());
        let meter = store.data().meter.clone();
        let ticking = runtime.ticking();
        let (result, mut used) = bounded(&meter, wall, async {
            let exports = match &exports {
                Some(exports) => exports,
                None => exports.insert(plugin.pre.instantiate(&mut store).await?),
            };
            exports.run(&mut store, config, ask).await
        })
        .await;
        drop(ticking);
        let guest = store.data_mut();
        (used.memory, used.host_calls) = (guest.limiter.memory(), guest.host_calls);
        let (output, output_dropped) = guest.output.take();
        let mut backtrace = Vec::new();
        let result = match result {
            Err(Stopped::Cpu) => Err(Fault::over(Limit::Cpu, limits, wall)),
            Err(Stopped::Wall) => Err(Fault::over(Limit::Wall, limits, wall)),
            Ok(Err(error)) => {
                backtrace = trace::backtrace(&error);
                let refused = guest.limiter.refused;
                Err(Fault::of_trap(&error, &output, refused, limits, wall))
            }
            Ok(Ok(Err(refused))) => Err(Fault::Refused(refused)),
            Ok(Ok(Ok(answer))) => answer.within(limits, wall),
        };
        let mut crossed = vec![
            (Limit::CpuWarn, u64::from(used.cpu > limits.cpu_warn)),
            (Limit::State, guest.states_refused),
            (Limit::LogLines, guest.said.dropped),
            (Limit::LogLine, guest.said.cut),
            (Limit::Stdio, u64::from(output_dropped > 0)),
        ];
        if let Err(Fault::Limit(limit, _)) = &result {
            crossed.push((*limit, 1));
        }
        crossed.retain(|(_, times)| *times > 0);
        let said = std::mem::take(&mut guest.said);
        let new_state = guest.new_state.take().filter(|_| result.is_ok());
        let instance = exports
            .filter(|_| result.is_ok())
            .map(|exports| Instance { store, exports });
        Called {
            result,
            said,
            output,
            used,
            new_state,
            backtrace,
            crossed,
            instance,
        }
    }
}

fn wall(limits: &Limits, kind: PluginKind) -> Duration {
    limits.wall.unwrap_or(if kind == PluginKind::Exporter {
        Limits::WALL_EXPORTER
    } else {
        Limits::WALL
    })
}

impl Pre {
    async fn instantiate(&self, store: &mut Store<Guest>) -> wasmtime::Result<Exports> {
        Ok(match self {
            Self::Filter(pre) => Exports::Filter(pre.instantiate_async(store).await?),
            Self::Formatter(pre) => Exports::Formatter(pre.instantiate_async(store).await?),
            Self::Responder(pre) => Exports::Responder(pre.instantiate_async(store).await?),
            Self::Exporter(pre) => Exports::Exporter(pre.instantiate_async(store).await?),
        })
    }
}

/// A trap, or the guest's own answer.
type Ran = wasmtime::Result<Result<Answer, String>>;

impl Exports {
    async fn run(&self, store: &mut Store<Guest>, config: &str, ask: Ask) -> Ran {
        let (tables, request) = match ask {
            Ask::Validate => return self.validate(store, config).await,
            Ask::Run(tables, request) => (tables, request),
        };
        let lent = store.data_mut().table.push(Lent(tables))?;
        let snapshot = Resource::new_borrow(lent.rep());
        let answer = match (self, request) {
            (Self::Filter(guest), _) => {
                let verdict = guest.call_filter(&mut *store, config, snapshot).await?;
                verdict.map(Answer::Verdict)
            }
            (Self::Formatter(guest), _) => {
                let payloads = guest.call_format(&mut *store, config, snapshot).await?;
                payloads.map(Answer::Payloads)
            }
            (Self::Responder(guest), Some(request)) => {
                store.data_mut().body = Some(Vec::new());
                let response = guest
                    .call_respond(&mut *store, config, &request, snapshot)
                    .await?;
                let written = store.data_mut().body.take().unwrap_or_default();
                response.map(|response| Answer::Response(after(written, response)))
            }
            (Self::Responder(_), None) => unreachable!("a responder is given a request"),
            (Self::Exporter(guest), _) => {
                let outcome = guest.call_export(&mut *store, config, snapshot).await?;
                Ok(Answer::Outcome(outcome))
            }
        };
        // The window's tables go now, however long the instance lives.
        store.data_mut().table.delete(lent)?;
        Ok(answer)
    }

    async fn validate(&self, store: &mut Store<Guest>, config: &str) -> Ran {
        let answer = match self {
            Self::Filter(guest) => guest.call_validate(store, config).await?,
            Self::Formatter(guest) => guest.call_validate(store, config).await?,
            Self::Responder(guest) => guest.call_validate(store, config).await?,
            Self::Exporter(guest) => guest.call_validate(store, config).await?,
        };
        Ok(answer.map(|()| Answer::Valid))
    }
}

/// The response, with what was written of its body before.
fn after(mut written: Vec<u8>, mut response: Response) -> Response {
    if !written.is_empty() {
        written.append(&mut response.body);
        response.body = written;
    }
    response
}

impl Answer {
    /// What it makes the host hold is within the sink's limits.
    fn within(self, limits: &Limits, wall: Duration) -> Result<Self, Fault> {
        let bytes: usize = match &self {
            Self::Payloads(payloads) if payloads.len() > limits.payloads => {
                return Err(Fault::over(Limit::Payloads, limits, wall));
            }
            Self::Payloads(payloads) => payloads.iter().map(|payload| payload.body.len()).sum(),
            Self::Response(response) => response.body.len(),
            Self::Valid | Self::Verdict(_) | Self::Outcome(_) => 0,
        };
        if bytes > limits.output.bytes() {
            Err(Fault::over(Limit::Output, limits, wall))
        } else {
            Ok(self)
        }
    }
}
