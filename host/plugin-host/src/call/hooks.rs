//! What bounds a running guest beside its memory: set on its store once, counted anew for each call.

use thiserror::Error;
use wasmtime::{Store, UpdateDeadline};

use crate::config::{Limit, Limits};
use crate::guest::Guest;

/// Over the output limit: names and headers around the bytes.
const LIFT_SLACK: usize = 64 << 10;

/// A limit that the running guest crossed.
#[derive(Clone, Copy, Debug, Error)]
#[error("it is over limits.{}", .0.name())]
pub(crate) struct Crossed(pub(crate) Limit);

/// A store with a guest that has done nothing yet.
pub(super) fn store(engine: &wasmtime::Engine, limits: &Limits, guest: Guest) -> Store<Guest> {
    let mut store = Store::new(engine, guest);
    store.limiter(|guest| &mut guest.limiter);
    store.set_epoch_deadline(1);
    let calls = limits.host_calls;
    // At each tick: what a loop can do in 10 ms is the most that it is over.
    store.epoch_deadline_callback(move |store| {
        let guest = store.data();
        if guest.host_calls > calls {
            Err(Crossed(Limit::HostCalls).into())
        } else if guest.meter.is_over() {
            Err(Crossed(Limit::Cpu).into())
        } else {
            Ok(UpdateDeadline::Yield(1))
        }
    });
    store.set_max_component_handles(limits.handles);
    store.set_hostcall_fuel(limits.output.bytes().saturating_add(LIFT_SLACK));
    store
}
