//! Filter: drops targets without requests, so that a node's quiet pods cost no line.
//!
//! A target is idle where nothing began in the window and nothing waits for an answer: answered,
//! aborted and lost requests all count as life. A sink that reads differences (mode `delta`) is told
//! so by the window itself. For one that reads counts since discovery the filter remembers each
//! target's last count in the sink's state, 16 bytes a target (4,096 targets in the default 64 KiB):
//! a window that failed moves nothing, and in the first one every target that ever had a request is kept.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test panics where it fails")
)]

mod memory;

use owlk8s_plugin::{Filter, Result, Snapshot, Verdict, export_filter, manifest, state};
use serde::Deserialize;

use memory::Memory;

struct DropIdle;

/// The filter's `config` table.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    without_requests: Since,
}

/// How long a target must have been without requests to be dropped.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Since {
    /// In this window.
    #[default]
    Window,
    /// Ever: once it had one it stays, so a time series that began does not end.
    Ever,
}

impl Filter for DropIdle {
    type Config = Config;

    fn filter(config: &Config, snapshot: &Snapshot<'_>) -> Result<Verdict> {
        let before = Memory::from_bytes(&state::get());
        let now = before.after(snapshot);
        let keep = snapshot
            .targets()
            .filter(|target| match config.without_requests {
                Since::Window => {
                    target.total().in_flight > 0 || now.seen(target.id()) > before.seen(target.id())
                }
                Since::Ever => now.seen(target.id()) > 0,
            });
        let verdict = Verdict::keep_targets(keep.map(|target| target.index()));
        state::set(&now.to_bytes())?;
        Ok(verdict)
    }
}

export_filter!(DropIdle);

manifest!({
    "description": "Leaves out pods without requests",
    "config": {
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "without_requests": { "enum": ["window", "ever"], "default": "window" }
        }
    }
});

#[cfg(test)]
mod tests;
