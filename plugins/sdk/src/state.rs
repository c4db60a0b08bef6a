//! What lasts from window to window: bytes that the host keeps for the sink, 64 KiB by default.
//!
//! They are kept when the call of the window succeeds, and lost with the agent: state is a memory of
//! what was sent, not a store. In native tests each thread has its own.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The bytes of the last [`set`], empty at first.
pub fn get() -> Vec<u8> {
    host::get_state()
}

/// Replaces the state.
///
/// # Errors
/// The host's sentence where it is over the sink's limit; the old state stays.
pub fn set(state: &[u8]) -> Result<(), String> {
    host::set_state(state)
}

/// The value of the last [`save`]; none at first, and none where another version of the plugin left
/// what this one cannot read.
pub fn load<T: DeserializeOwned>() -> Option<T> {
    serde_json::from_slice(&get()).ok()
}

/// Replaces the state by this value, as JSON.
///
/// # Errors
/// As [`set`], and where the value cannot be JSON, such as a map whose keys are no strings.
pub fn save<T: Serialize>(value: &T) -> Result<(), String> {
    let bytes = serde_json::to_vec(value).map_err(|error| format!("state is no JSON: {error}"))?;
    set(&bytes)
}

#[cfg(target_family = "wasm")]
use crate::bindings::host;

/// The host of a native test.
#[cfg(not(target_family = "wasm"))]
mod host {
    use std::cell::RefCell;

    const LIMIT: usize = 64 << 10;

    thread_local!(static STATE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });

    pub(super) fn get_state() -> Vec<u8> {
        STATE.with_borrow(Clone::clone)
    }

    pub(super) fn set_state(state: &[u8]) -> Result<(), String> {
        if state.len() > LIMIT {
            return Err(format!(
                "state of {} bytes is over the limit of {LIMIT}",
                state.len()
            ));
        }
        STATE.set(state.to_owned());
        Ok(())
    }
}
