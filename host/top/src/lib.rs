//! `owlk8s top`: what an agent counts as a live table on a terminal, or once as plain text or JSON.
//!
//! An agent's answers come in through a closure ([`Ask`]) and keys through the terminal; this room opens no socket, reads no
//! environment and knows no agent. [`Model`] is pure: two [`Seen`] in, rates out, time from the snapshots. It holds
//! [`WINDOWS`] rates for each target, and one copy of them while the table is paused.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test panics where it fails")
)]

mod app;
mod ask;
mod counts;
mod draw;
mod model;
mod once;
mod seen;
mod table;
mod terminal;
#[cfg(test)]
mod testing;
mod words;

pub use app::App;
pub use ask::{Answer, Ask};
pub use model::{Model, WINDOWS};
pub use once::{Document, once, plain, troubles};
pub use seen::{Seen, Sink};
pub use table::{Column, Group, Order};
pub use terminal::{TerminalError, live};
