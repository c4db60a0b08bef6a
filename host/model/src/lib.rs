//! The values of owlk8s: what is watched ([`TargetSet`]), what the kernel said ([`Reading`]), and
//! what users see ([`Snapshot`]), with the pure [`fold`] from the first two to the last.
//!
//! No clock, no I/O, no runtime: time comes in as [`UnixNanos`], and every value here can be
//! serialised, compared and built by hand in a test. A finished snapshot never changes.

mod fold;
mod histogram;
mod reading;
mod snapshot;
mod target;

pub use fold::fold;
pub use histogram::{FIRST_BUCKET, Histogram, SCALE};
pub use reading::{
    Counters, Direction, GrpcRow, Hook, Losses, Method, Protocol, Reading, Row, TargetReading,
};
pub use snapshot::{Snapshot, Status, TargetSnapshot, Temporality, Totals, Window};
pub use target::{Target, TargetId, TargetSet, UnixNanos, Workload};
