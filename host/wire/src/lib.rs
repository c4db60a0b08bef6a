//! The kernel program against a reference model: generated conversations, cut, repeated and reordered, must count
//! exactly what the model says.
//!
//! The flow: a [`Plan`] is drawn from a seed (messages, and what TCP does to them) and rendered to a [`Case`], a list
//! of packets that people can read. [`expected`] reassembles the streams of a case and reads them by the RFCs, with no
//! code of the kernel program; [`Kernel::run`] feeds the same packets to the real program by `BPF_PROG_TEST_RUN`. Both
//! give [`Counts`], which must be equal. A plan whose counts differ is made smaller by [`shrink`] and its case kept in
//! `corpus/`, where a test replays it for ever.
//!
//! No conversation is generated where the protocols leave the count open (a request that crosses a reset, a refused
//! `Expect` whose body comes all the same, a method token of more than 23 bytes).

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test panics where it fails")
)]

mod case;
mod counts;
mod kernel;
mod model;
mod plan;
mod shrink;

pub use case::{Case, CaseError, Form, Line};
pub use counts::{Counts, RowName};
pub use kernel::Kernel;
pub use model::expected;
pub use plan::Plan;
pub use shrink::shrink;
