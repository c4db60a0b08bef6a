//! What a sink is offered and when it is tried again, as pure logic: no clock, no runtime, no guest.
//!
//! [`Windows`] is a sink's mailbox: snapshots go in by `offer`, come out as [`Attempt`]s in the way of
//! the sink's [`Mode`], and end by `acknowledge` or `abandon`. [`View`] cuts a snapshot down to what a
//! sink may see. [`Backoff`] and [`Breaker`] say when to try again. Time and chance are arguments.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test panics where it fails")
)]

mod backoff;
mod breaker;
mod delta;
mod select;
mod sum;
mod view;
mod windows;

pub use backoff::Backoff;
pub use breaker::{Borne, Breaker, BreakerState};
pub use delta::{DEPARTED_MAX, departures};
pub use select::{LabelSelector, Select, matches};
pub use view::View;
pub use windows::{Acknowledged, Attempt, Mode, Windows};
