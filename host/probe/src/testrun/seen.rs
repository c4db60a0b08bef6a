//! What was counted, in the words of a test.

use owlk8s_model::{Counters, Direction, GrpcRow, Row};

/// One reading of a [`super::Wire`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Unsplit counters.
    pub counters: Counters,
    /// Answered requests by their dimensions.
    pub rows: Vec<Row>,
    /// gRPC calls by status.
    pub grpc: Vec<GrpcRow>,
}

impl Seen {
    /// Requests that the pod answered, probes among them.
    pub fn requests(&self) -> u64 {
        self.sum(|row| row.direction == Direction::Server)
    }

    /// Of these, with this status.
    pub fn status(&self, status: u16) -> u64 {
        self.sum(|row| row.direction == Direction::Server && row.status == status)
    }

    /// Of these, with this method and status.
    pub fn method(&self, method: &str, status: u16) -> u64 {
        self.sum(|row| {
            row.direction == Direction::Server && row.method.0 == method && row.status == status
        })
    }

    /// Kubelet probes that the pod answered.
    pub fn probes(&self) -> u64 {
        self.sum(|row| row.direction == Direction::Server && row.probe)
    }

    /// Requests of the pod that others answered.
    pub fn asked(&self) -> u64 {
        self.sum(|row| row.direction == Direction::Client)
    }

    /// Started, and nothing is known of how it ended.
    pub fn in_flight(&self) -> u64 {
        let Counters {
            started,
            aborted,
            lost,
            ..
        } = self.counters;
        started - self.requests() - aborted - lost
    }

    /// Of one reason, by its name.
    pub fn loss(&self, name: &str) -> u64 {
        self.counters.losses.get(name).copied().unwrap_or(0)
    }

    /// gRPC calls with this status.
    pub fn grpc(&self, status: u16) -> u64 {
        self.grpc
            .iter()
            .filter(|row| row.status == status)
            .map(|row| row.count)
            .sum()
    }

    fn sum(&self, keep: impl Fn(&Row) -> bool) -> u64 {
        self.rows
            .iter()
            .filter(|row| keep(row))
            .map(|row| row.count)
            .sum()
    }
}
