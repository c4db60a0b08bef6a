use crate::reading::{Counters, Direction, Row, TargetReading};
use crate::snapshot::{Snapshot, Status, TargetSnapshot, Temporality, Totals, Window};
use crate::{Reading, Target, TargetSet, UnixNanos};

/// The next snapshot: `reading` put under the names of `set`, in the window that follows `before`.
///
/// Counts never go down from `before` to the result while the target stays; a target that has no
/// reading is there with zeros and the status `waiting`. Probes are left out of the totals unless
/// `include_probes`.
pub fn fold(
    before: Option<&Snapshot>,
    node: &str,
    set: &TargetSet,
    reading: &Reading,
    include_probes: bool,
) -> Snapshot {
    let window = Window {
        start: before.map_or(reading.at, |b| b.window.end),
        end: reading.at,
        sequence: before.map_or(1, |b| b.window.sequence + 1),
        merged: 1,
    };
    let known = |target: &Target| {
        let before = before?;
        let at = before
            .targets
            .binary_search_by(|t| t.id.cmp(&target.id))
            .ok()?;
        Some(&before.targets[at])
    };
    let targets = set
        .targets
        .iter()
        .map(|target| {
            fold_target(
                window.start,
                known(target),
                target,
                reading.of(&target.id),
                include_probes,
            )
        })
        .collect();
    Snapshot {
        node: node.to_owned(),
        window,
        temporality: Temporality::Cumulative,
        targets_confirmed_at: set.confirmed_at,
        targets,
    }
}

fn fold_target(
    start: UnixNanos,
    before: Option<&TargetSnapshot>,
    target: &Target,
    reading: Option<&TargetReading>,
    include_probes: bool,
) -> TargetSnapshot {
    let mut now = TargetSnapshot {
        id: target.id.clone(),
        pod: target.pod.clone(),
        uid: target.uid.clone(),
        namespace: target.namespace.clone(),
        workload: target.workload.clone(),
        services: target.services.clone(),
        ips: target.ips.clone(),
        labels: target.labels.clone(),
        interface: target.interface.clone().unwrap_or_default(),
        since: before.map_or(start, |b| b.since),
        status: Status::Waiting,
        reason: String::new(),
        hook: None,
        hook_reason: String::new(),
        blind: false,
        // Counts stay while a target is out of reach for a while.
        totals: before.map_or_else(
            || Totals {
                coverage: 1.0,
                ..Totals::default()
            },
            |b| b.totals.clone(),
        ),
        rows: before.map(|b| b.rows.clone()).unwrap_or_default(),
        grpc: before.map(|b| b.grpc.clone()).unwrap_or_default(),
    };
    match reading {
        None => now.reason = "not attached yet".to_owned(),
        Some(TargetReading::Waiting(why)) => now.reason.clone_from(why),
        Some(TargetReading::Failed(why)) => {
            now.status = Status::Failed;
            now.reason.clone_from(why);
        }
        Some(TargetReading::Active {
            interface,
            hook,
            hook_reason,
            blind,
            counters,
            rows,
            grpc,
        }) => {
            now.interface = interface.to_string();
            now.hook = Some(*hook);
            now.hook_reason.clone_from(hook_reason);
            now.blind = blind.is_some();
            let before = before.map(|b| &b.totals);
            now = now.with_totals(totals(before, counters, rows, include_probes));
            now.rows.clone_from(rows);
            now.grpc.clone_from(grpc);
            (now.status, now.reason) = match blind {
                None => health(counters, &now.totals),
                Some(why) => (Status::Degraded, format!("blind: {why}")),
            };
        }
    }
    now
}

/// The audit: what began is counted, aborted, in flight or lost by name.
fn totals(
    before: Option<&Totals>,
    counters: &Counters,
    rows: &[Row],
    include_probes: bool,
) -> Totals {
    let counted = |row: &&Row| row.direction == Direction::Server && (include_probes || !row.probe);
    let sum = |keep: &dyn Fn(&Row) -> bool, of: &dyn Fn(&Row) -> u64| -> u64 {
        rows.iter()
            .filter(counted)
            .filter(|row| keep(row))
            .map(of)
            .sum()
    };
    let count = |row: &Row| row.count;
    let requests = sum(&|_| true, &count);
    let (started, aborted) = if include_probes {
        (counters.started, counters.aborted)
    } else {
        (
            counters.started.saturating_sub(counters.probe_started),
            counters.aborted.saturating_sub(counters.probe_aborted),
        )
    };
    let in_flight = started.saturating_sub(requests + aborted + counters.lost);
    let seen = requests + aborted + in_flight + counters.losses.values().sum::<u64>();
    let now = Totals {
        requests,
        err4: sum(&|row| (400..500).contains(&row.status), &count),
        err5: sum(&|row| (500..600).contains(&row.status), &count),
        aborted,
        in_flight,
        seen,
        coverage: Totals::coverage_of(seen, counters.losses.values().sum()),
        duration_last_ns: counters.duration_last_ns,
        duration_sum_ns: sum(&|_| true, &|row| row.duration_sum_ns),
        duration_count: requests,
        losses: counters.losses.clone(),
    };
    match before {
        Some(before) => now.not_below(before),
        None => now,
    }
}

impl Totals {
    fn not_below(mut self, before: &Self) -> Self {
        for (now, then) in [
            (&mut self.requests, before.requests),
            (&mut self.err4, before.err4),
            (&mut self.err5, before.err5),
            (&mut self.aborted, before.aborted),
            (&mut self.duration_sum_ns, before.duration_sum_ns),
            (&mut self.duration_count, before.duration_count),
        ] {
            *now = (*now).max(then);
        }
        self
    }
}

/// Coverage below this is not green.
const COVERAGE_GREEN: f64 = 0.999;

fn health(counters: &Counters, totals: &Totals) -> (Status, String) {
    if counters.tls > 0 && counters.started == 0 {
        return (Status::Degraded, "speaks TLS: RED not available".to_owned());
    }
    if totals.coverage < COVERAGE_GREEN {
        let worst = totals.losses.iter().max_by_key(|(_, count)| **count);
        let (name, count) = worst.map_or(("", 0), |(name, count)| (name.as_ref(), *count));
        return (
            Status::Degraded,
            format!(
                "coverage {:.4}: {count} of {} lost to {name}",
                totals.coverage, totals.seen
            ),
        );
    }
    (Status::Active, String::new())
}
