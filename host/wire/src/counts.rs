//! What a case counts: the model's word and the kernel's, in the same form.

use std::collections::BTreeMap;

use owlk8s_probe::testrun::Seen;

/// Protocol version, method, status, and whether it is a kubelet probe.
pub type RowName = (&'static str, String, u16, bool);

/// Everything that is counted, but durations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answered requests.
    pub answered: BTreeMap<RowName, u64>,
    /// gRPC calls by status.
    pub grpc: BTreeMap<u16, u64>,
    /// Requests whose first line (or header block) was seen whole.
    pub started: u64,
    /// Of these, kubelet probes.
    pub probe_started: u64,
    /// Started and never answered.
    pub aborted: u64,
    /// Of these, kubelet probes.
    pub probe_aborted: u64,
    /// Started and still waiting.
    pub in_flight: u64,
    /// What could not be counted, by reason; reasons with 0 are left out.
    pub losses: BTreeMap<String, u64>,
}

impl Counts {
    /// One more of `row`.
    pub(crate) fn answer(&mut self, row: RowName) {
        *self.answered.entry(row).or_default() += 1;
    }

    /// What was counted from `before` to `after`.
    pub(crate) fn between(before: &Seen, after: &Seen) -> Self {
        let (old, new) = (Self::of(before), Self::of(after));
        Self {
            answered: less(new.answered, &old.answered),
            grpc: less(new.grpc, &old.grpc),
            started: new.started - old.started,
            probe_started: new.probe_started - old.probe_started,
            aborted: new.aborted - old.aborted,
            probe_aborted: new.probe_aborted - old.probe_aborted,
            in_flight: new.in_flight.wrapping_sub(old.in_flight),
            losses: less(new.losses, &old.losses),
        }
    }

    fn of(seen: &Seen) -> Self {
        let row = |row: &owlk8s_model::Row| {
            let name = (
                row.protocol.version(),
                row.method.0.to_string(),
                row.status,
                row.probe,
            );
            (name, row.count)
        };
        let answered: BTreeMap<_, _> = seen.rows.iter().map(row).collect();
        let counters = &seen.counters;
        // The audit equation: a count that breaks it shows as an absurd number in flight.
        let settled = answered.values().sum::<u64>() + counters.aborted + counters.lost;
        Self {
            in_flight: counters.started.wrapping_sub(settled),
            answered,
            grpc: seen
                .grpc
                .iter()
                .map(|row| (row.status, row.count))
                .collect(),
            started: counters.started,
            probe_started: counters.probe_started,
            aborted: counters.aborted,
            probe_aborted: counters.probe_aborted,
            losses: counters
                .losses
                .iter()
                .map(|(name, n)| (name.to_string(), *n))
                .collect(),
        }
    }
}

fn less<K: Ord>(new: BTreeMap<K, u64>, old: &BTreeMap<K, u64>) -> BTreeMap<K, u64> {
    let rest = new.into_iter().map(|(key, n)| {
        let before = old.get(&key).copied().unwrap_or(0);
        (key, n - before)
    });
    rest.filter(|(_, n)| *n != 0).collect()
}
