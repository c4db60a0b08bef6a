//! What a sink is offered and when it is tried again, as pure logic: no clock, no runtime, no guest.
//!
//! [`Windows`] is a sink's mailbox: snapshots go in by `offer`, come out as [`Attempt`]s in the way of
//! the sink's [`Mode`], and end by `acknowledge` or `abandon`. [`Select`] cuts a snapshot down to the
//! targets of a sink. [`Backoff`] and [`Breaker`] say when to try again. Time and chance are arguments.

mod backoff;
mod breaker;
mod delta;
mod select;
mod sum;
mod windows;

pub use backoff::Backoff;
pub use breaker::{Borne, Breaker, BreakerState};
pub use select::Select;
pub use windows::{Acknowledged, Attempt, Mode, Windows};
