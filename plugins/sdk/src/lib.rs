//! Write owlk8s plugins in Rust.
//!
//! A plugin is a WebAssembly component. owlk8s calls it once a window with a [`Snapshot`] of the
//! node's HTTP numbers and does the rest: it delivers what a [`Formatter`] made, serves what a
//! [`Responder`] answered, hands on what a [`Filter`] kept. A whole formatter with its configuration:
//!
//! ```
#![doc = include_str!("../examples/busiest.rs")]
//! ```
//!
//! Its tests need no WebAssembly: see [`testing`].
//!
//! What an instance keeps in memory is gone with the window; what must last goes to [`state`]. A
//! panic ends the window of this sink only, and its message is in the sink's status.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test panics where it fails")
)]

pub mod bindings;
pub mod config;
pub mod export;
mod histogram;
pub mod http;
pub mod log;
mod manifest;
mod plugin;
pub mod semconv;
mod snapshot;
pub mod state;
mod tables;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use bindings::types::{Outcome, Payload, Rename, Request, Response, Verdict};
pub use histogram::{Bounds, Histogram};
pub use plugin::{Exporter, Filter, Formatter, Responder, Result};
pub use snapshot::{GrpcRow, Row, Snapshot, Source, Target, Texts};
pub use tables::{RowKey, TablesBuilder};

/// The records of the interface, as the host sends them.
pub mod records {
    pub use crate::bindings::snapshots::{
        Column, GrpcRow, Latency, Loss, Row, RowColumns, Status, Tables, Target, TargetColumns,
        TargetLoss, Temporality, Total, TotalColumns, Window,
    };
}

/// The guide's samples are tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Guide;
