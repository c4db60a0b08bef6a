//! What responders import to hand on their body in pieces. By hand, where the generated trait would want a copy of each
//! piece: the body takes it from the guest's memory.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, WasmList};

use super::Guest;
use crate::call::Crossed;
use crate::config::Limit;
use crate::heap;

/// Of the package in `wit/0.1.0`.
const INTERFACE: &str = "owlk8s:plugin/response-body@0.1.0";

/// A body of so many bytes is a large one,
const LARGE: usize = 1 << 20;
/// and then there is room for so many, as far as the sink's limit allows.
const ROOM: usize = 16 << 20;

/// Gives guests the interface `response-body`.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.instance(INTERFACE)?.func_wrap("write", write)
}

fn write(mut store: StoreContextMut<'_, Guest>, (bytes,): (WasmList<u8>,)) -> wasmtime::Result<()> {
    let guest = store.data_mut().called();
    let Some(mut body) = guest.body.take() else {
        wasmtime::bail!("it wrote a response's body while it was asked for none");
    };
    let bytes = bytes.as_le_slice(&store);
    let (max, len) = (store.data().output_max, body.len() + bytes.len());
    if len > max {
        return Err(Crossed(Limit::Output).into());
    }
    if body.len() < LARGE && len >= LARGE {
        heap::make_room(&mut body, ROOM.min(max));
    }
    body.extend_from_slice(bytes);
    store.data_mut().body = Some(body);
    Ok(())
}
