//! Rows in the dimensions of OpenTelemetry's HTTP conventions, for backends that follow them.
//! <https://opentelemetry.io/docs/specs/semconv/http/http-metrics/>

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{Histogram, Row};

/// Methods that the conventions know; any other is `_OTHER`.
pub const METHODS: [&str; 10] = [
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE",
];

/// What a series of durations is told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exchange<'s> {
    /// `http.request.method`: one of [`METHODS`], or `_OTHER`.
    pub method: &'s str,
    /// `http.response.status_code`.
    pub status: u16,
    /// `network.protocol.version`: `1.0`, `1.1` or `2`.
    pub version: &'s str,
}

/// How long the requests of one series took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durations {
    /// How many.
    ///
    /// The kernel counts a request and its bucket in two steps: a reading between them holds one bucket more
    /// or less, and the next is whole again.
    pub count: u64,
    /// Nanoseconds.
    pub sum_ns: u64,
    /// The buckets.
    pub latency: Histogram,
}

impl Durations {
    /// Their sum.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_ns)
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.sum_ns += other.sum_ns;
        self.latency.add(&other.latency);
    }
}

/// Adds up rows that differ only in what the conventions do not tell apart.
pub fn exchanges<'s>(rows: impl Iterator<Item = Row<'s>>) -> BTreeMap<Exchange<'s>, Durations> {
    let mut sums: BTreeMap<_, Durations> = BTreeMap::new();
    for row in rows {
        let of_row = Durations {
            count: row.count,
            sum_ns: row.duration_sum_ns,
            latency: row.latency(),
        };
        sums.entry(Exchange::of(&row))
            .and_modify(|sum| sum.add(&of_row))
            .or_insert(of_row);
    }
    sums
}

impl<'s> Exchange<'s> {
    /// The dimensions of one row.
    pub fn of(row: &Row<'s>) -> Self {
        let (method, protocol) = (row.method(), row.protocol());
        Self {
            method: if METHODS.contains(&method) {
                method
            } else {
                "_OTHER"
            },
            status: row.status,
            version: protocol
                .split_once('/')
                .map_or(protocol, |(_, version)| version),
        }
    }
}
