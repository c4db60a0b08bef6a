//! One call of one guest: a fresh instance, the sink's limits around it, and its end as a value.
//!
//! After a trap, a limit or a dropped call the instance is gone with its memory; nothing of it is used
//! again. What lasts is the plugin's state, and that only from a call that succeeded.

mod fault;

use std::sync::Arc;
use std::time::Duration;

use wasmtime::Store;
use wasmtime::component::Resource;

pub(crate) use fault::Fault;

use crate::bindings::types::{Outcome, Payload, Request, Response, Verdict};
use crate::config::Limits;
use crate::engine::Runtime;
use crate::guest::{Guest, Said, World};
use crate::metered::{Used, bounded};
use crate::plugin::{Plugin, Pre};
use crate::status::PluginKind;
use crate::tables::{Lent, Tables};

/// Wall time of a call where the sink's limits say nothing.
const WALL: Duration = Duration::from_secs(2);
/// The same for a plugin that speaks to the network.
const WALL_EXPORTER: Duration = Duration::from_secs(10);
/// Over the output limit: names and headers around the bytes.
const LIFT_SLACK: usize = 64 << 10;

/// What to ask of a guest.
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

/// A finished call.
pub(crate) struct Called {
    pub(crate) result: Result<Answer, Fault>,
    pub(crate) said: Said,
    /// What it wrote to its standard streams.
    pub(crate) output: String,
    pub(crate) used: Used,
    /// To be kept for the next call.
    pub(crate) new_state: Option<Vec<u8>>,
}

/// Call `plugin` once.
pub(crate) async fn call(
    runtime: &Runtime,
    plugin: &Plugin,
    config: &str,
    limits: &Limits,
    state: Vec<u8>,
    world: World,
    ask: Ask,
) -> Called {
    let mut store = store(runtime, limits, state, world);
    let wall = limits
        .wall
        .unwrap_or(if plugin.kind() == PluginKind::Exporter {
            WALL_EXPORTER
        } else {
            WALL
        });
    let ticking = runtime.ticking();
    let (result, used) = bounded(limits, wall, run(&mut store, &plugin.pre, config, ask)).await;
    drop(ticking);
    let guest = store.into_data();
    let output = guest.output.text();
    let result = match result {
        Err(stopped) => Err(Fault::from(stopped)),
        Ok(Err(error)) => Err(Fault::of_trap(
            &error,
            &output,
            guest.limiter.refused,
            limits,
        )),
        Ok(Ok(Err(refused))) => Err(Fault::Refused(refused)),
        Ok(Ok(Ok(answer))) => answer.within(limits),
    };
    let new_state = guest.new_state.filter(|_| result.is_ok());
    Called {
        result,
        said: guest.said,
        output,
        used,
        new_state,
    }
}

fn store(runtime: &Runtime, limits: &Limits, state: Vec<u8>, world: World) -> Store<Guest> {
    let mut store = Store::new(&runtime.engine, Guest::new(limits, state, world));
    store.limiter(|guest| &mut guest.limiter);
    store.set_epoch_deadline(1);
    store.epoch_deadline_async_yield_and_update(1);
    store.set_hostcall_fuel(limits.output.bytes().saturating_add(LIFT_SLACK));
    store
}

/// A trap, or the guest's own answer.
type Ran = wasmtime::Result<Result<Answer, String>>;

async fn run(store: &mut Store<Guest>, pre: &Pre, config: &str, ask: Ask) -> Ran {
    match pre {
        Pre::Filter(pre) => {
            let guest = pre.instantiate_async(&mut *store).await?;
            match ask {
                Ask::Validate => valid(guest.call_validate(store, config).await?),
                Ask::Run(tables, _) => {
                    let snapshot = lend(store, tables)?;
                    Ok(guest
                        .call_filter(store, config, snapshot)
                        .await?
                        .map(Answer::Verdict))
                }
            }
        }
        Pre::Formatter(pre) => {
            let guest = pre.instantiate_async(&mut *store).await?;
            match ask {
                Ask::Validate => valid(guest.call_validate(store, config).await?),
                Ask::Run(tables, _) => {
                    let snapshot = lend(store, tables)?;
                    Ok(guest
                        .call_format(store, config, snapshot)
                        .await?
                        .map(Answer::Payloads))
                }
            }
        }
        Pre::Responder(pre) => {
            let guest = pre.instantiate_async(&mut *store).await?;
            match ask {
                Ask::Run(tables, Some(request)) => {
                    let snapshot = lend(store, tables)?;
                    Ok(guest
                        .call_respond(store, config, &request, snapshot)
                        .await?
                        .map(Answer::Response))
                }
                _ => valid(guest.call_validate(store, config).await?),
            }
        }
        Pre::Exporter(pre) => {
            let guest = pre.instantiate_async(&mut *store).await?;
            match ask {
                Ask::Validate => valid(guest.call_validate(store, config).await?),
                Ask::Run(tables, _) => {
                    let snapshot = lend(store, tables)?;
                    Ok(Ok(Answer::Outcome(
                        guest.call_export(store, config, snapshot).await?,
                    )))
                }
            }
        }
    }
}

fn valid(answer: Result<(), String>) -> Ran {
    Ok(answer.map(|()| Answer::Valid))
}

/// The guest borrows it for the call; the host's entry goes with the store.
fn lend(store: &mut Store<Guest>, tables: Arc<Tables>) -> wasmtime::Result<Resource<Lent>> {
    let owned = store.data_mut().table.push(Lent(tables))?;
    Ok(Resource::new_borrow(owned.rep()))
}

impl Answer {
    /// The bytes it makes the host hold are within the sink's limit.
    fn within(self, limits: &Limits) -> Result<Self, Fault> {
        let bytes: usize = match &self {
            Self::Payloads(payloads) => payloads.iter().map(|payload| payload.body.len()).sum(),
            Self::Response(response) => response.body.len(),
            Self::Valid | Self::Verdict(_) | Self::Outcome(_) => 0,
        };
        if bytes > limits.output.bytes() {
            Err(Fault::Output(limits.output))
        } else {
            Ok(self)
        }
    }
}
