//! `api/live`: the snapshot as the page reads it. Private to the page; `GET /snapshot` of the agent is the
//! public one.

use std::collections::BTreeMap;

use owlk8s_plugin::{Histogram, Snapshot, Target};
use serde::Serialize;

use crate::history::{self, History};

#[derive(Serialize)]
pub(crate) struct Live<'s> {
    node: &'s str,
    version: &'static str,
    sequence: u64,
    start_ms: u64,
    end_ms: u64,
    targets: Vec<Watched<'s>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<Vec<Past<'s>>>,
}

#[derive(Serialize)]
struct Watched<'s> {
    id: &'s str,
    pod: &'s str,
    namespace: &'s str,
    workload: String,
    services: Vec<&'s str>,
    ips: Vec<&'s str>,
    status: &'static str,
    reason: &'s str,
    /// Its numbers are not available, and its zeros mean nothing.
    blind: bool,
    since_ms: u64,
    requests: u64,
    err4: u64,
    err5: u64,
    aborted: u64,
    in_flight: u64,
    seen: u64,
    lost: u64,
    coverage: f64,
    latency: Buckets,
    rows: Vec<Row<'s>>,
}

#[derive(Serialize)]
struct Buckets {
    offset: i32,
    counts: Vec<u64>,
}

#[derive(Serialize)]
struct Row<'s> {
    client: bool,
    probe: bool,
    protocol: &'s str,
    method: &'s str,
    status: u16,
    count: u64,
}

/// One window of the past; counts are its own.
#[derive(Serialize)]
struct Past<'s> {
    end_ms: u64,
    seconds: f64,
    latency: Buckets,
    /// Requests, and answers with 5xx, by target.
    targets: BTreeMap<&'s str, [u64; 2]>,
}

impl<'s> Live<'s> {
    pub(crate) fn of(snapshot: &'s Snapshot<'s>, history: Option<History>) -> Self {
        let window = snapshot.window();
        let targets: Vec<Target<'s>> = snapshot.targets().collect();
        Self {
            node: snapshot.node(),
            version: env!("CARGO_PKG_VERSION"),
            sequence: window.sequence,
            start_ms: window.start_unix_ns / 1_000_000,
            end_ms: window.end_unix_ms(),
            history: history.map(|history| past(&history, &targets)),
            targets: targets.iter().map(Watched::of).collect(),
        }
    }
}

impl<'s> Watched<'s> {
    fn of(target: &Target<'s>) -> Self {
        let total = target.total();
        Self {
            id: target.id(),
            pod: target.pod(),
            namespace: target.namespace(),
            workload: target.workload(),
            services: target.services().iter().collect(),
            ips: target.ips().iter().collect(),
            status: target.status().name(),
            reason: target.reason(),
            blind: target.reason().starts_with("blind:"),
            since_ms: target.since_unix_ns() / 1_000_000,
            requests: total.requests,
            err4: total.err4,
            err5: total.err5,
            aborted: total.aborted,
            in_flight: total.in_flight,
            seen: total.seen,
            lost: total.lost(),
            coverage: total.coverage,
            latency: target.latency().into(),
            rows: target
                .rows()
                .map(|row| Row {
                    client: row.client,
                    probe: row.probe,
                    protocol: row.protocol(),
                    method: row.method(),
                    status: row.status,
                    count: row.count,
                })
                .collect(),
        }
    }
}

/// Targets that are gone are left out: the page has no row for them.
fn past<'s>(history: &History, targets: &[Target<'s>]) -> Vec<Past<'s>> {
    let named: Vec<(u64, &'s str)> = targets
        .iter()
        .map(|target| (history::key(target.id()), target.id()))
        .collect();
    let of = |window: &history::Window| Past {
        end_ms: window.end_ms,
        seconds: f64::from(window.ms) / 1e3,
        latency: Buckets {
            offset: window.offset,
            counts: window.buckets.clone(),
        },
        targets: named
            .iter()
            .filter_map(|(key, id)| Some((*id, history.counts(window, *key)?)))
            .collect(),
    };
    history.windows().map(of).collect()
}

impl From<Histogram> for Buckets {
    fn from(histogram: Histogram) -> Self {
        Self {
            offset: histogram.offset,
            counts: histogram.counts,
        }
    }
}
