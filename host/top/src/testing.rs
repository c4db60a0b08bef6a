//! Answers of an agent that read as a sentence.

use owlk8s_model::{
    Direction, Histogram, Method, Protocol, Row, Snapshot, Status, TargetId, TargetSnapshot,
    Temporality, Totals, UnixNanos, Window, Workload,
};

use crate::{Seen, Sink};

/// Seconds after some midnight.
pub(crate) fn at(second: u64) -> UnixNanos {
    UnixNanos((1_790_000_000 + second) * 1_000_000_000)
}

/// Read in this second, in the window of the same number.
pub(crate) fn answer(second: u64, targets: Vec<Pod>) -> Seen {
    let mut targets: Vec<TargetSnapshot> = targets.into_iter().map(|pod| pod.0).collect();
    targets.sort_by(|a, b| a.id.cmp(&b.id));
    Seen {
        snapshot: Snapshot {
            node: "worker-1".to_owned(),
            window: Window {
                start: at(second - 1),
                end: at(second),
                sequence: second,
                merged: 1,
            },
            temporality: Temporality::Cumulative,
            targets_confirmed_at: at(second),
            targets,
        },
        sinks: vec![sink("prometheus", "active", "")],
    }
}

pub(crate) fn sink(name: &str, state: &str, reason: &str) -> Sink {
    Sink {
        name: name.to_owned(),
        plugin: name.to_owned(),
        state: state.to_owned(),
        reason: reason.to_owned(),
        ..Sink::default()
    }
}

pub(crate) struct Pod(TargetSnapshot);

/// Pod `NAME-0` of the service and Deployment `NAME` in the namespace `shop`.
pub(crate) fn target(name: &str) -> Pod {
    Pod(TargetSnapshot {
        id: TargetId::from(name),
        pod: format!("{name}-0"),
        uid: name.to_owned(),
        namespace: "shop".to_owned(),
        workload: Some(Workload {
            kind: "Deployment".to_owned(),
            name: name.to_owned(),
        }),
        services: vec![name.to_owned()],
        ips: Vec::new(),
        labels: Default::default(),
        interface: format!("veth-{name}"),
        since: at(0),
        status: Status::Active,
        reason: String::new(),
        hook: None,
        hook_reason: String::new(),
        blind: false,
        totals: Totals {
            coverage: 1.0,
            ..Totals::default()
        },
        rows: Vec::new(),
        grpc: Vec::new(),
    })
}

impl Pod {
    /// Answered with 200, each within about 4 ms.
    pub(crate) fn requests(mut self, count: u64) -> Self {
        self.0.totals.requests += count;
        self.0.totals.seen += count;
        self.row(200, count, -64)
    }

    /// Answered with 500, each within about 60 ms.
    pub(crate) fn failures(mut self, count: u64) -> Self {
        self.0.totals.requests += count;
        self.0.totals.seen += count;
        self.0.totals.err5 += count;
        self.row(500, count, -32)
    }

    fn row(mut self, status: u16, count: u64, bucket: i32) -> Self {
        self.0.rows.push(Row {
            direction: Direction::Server,
            protocol: Protocol::Http11,
            method: Method("GET".into()),
            status,
            probe: false,
            count,
            duration_sum_ns: 0,
            latency: Histogram::trimmed(bucket, &[count]),
        });
        self
    }

    pub(crate) fn since(mut self, second: u64) -> Self {
        self.0.since = at(second);
        self
    }

    pub(crate) fn namespace(mut self, namespace: &str) -> Self {
        self.0.namespace = namespace.to_owned();
        self
    }

    pub(crate) fn services(mut self, services: &[&str]) -> Self {
        self.0.services = services.iter().map(|&s| s.to_owned()).collect();
        self
    }

    pub(crate) fn lost(mut self, count: u64) -> Self {
        self.0.totals.losses.insert("map-full".into(), count);
        self.0.totals.seen += count;
        self
    }

    pub(crate) fn status(mut self, status: Status, reason: &str) -> Self {
        self.0.status = status;
        self.0.reason = reason.to_owned();
        self
    }

    pub(crate) fn blind(mut self) -> Self {
        self.0.blind = true;
        self.0.totals.coverage = 0.0;
        self.status(
            Status::Degraded,
            "blind: vh1 is bypassed: CAP_SYS_ADMIN is missing",
        )
    }
}
