//! What a filter's verdict leaves of a snapshot, as the host makes it for the next plugin.

use super::SnapshotData;
use crate::Verdict;

impl SnapshotData {
    /// The snapshot after this verdict.
    ///
    /// # Panics
    /// Where the verdict speaks of what is not there, which the host would count as the filter's fault.
    #[must_use]
    pub fn filtered(&self, verdict: Verdict) -> Self {
        let mut left = self.clone();
        if let Some(made) = verdict.replace {
            assert_eq!(
                made.targets.len(),
                made.totals.len(),
                "a total for each target"
            );
            return Self {
                temporality: made.temporality,
                targets: made.targets,
                totals: made.totals,
                rows: made.rows,
                grpc_rows: made.grpc_rows,
                latency: crate::records::Latency {
                    counts: made.bucket_counts,
                    ..left.latency
                },
                methods: made.methods,
                columns: made
                    .columns
                    .into_iter()
                    .map(|column| (column.name, column.values))
                    .collect(),
                ..left
            };
        }
        for rename in verdict.renames {
            let target = &mut left.targets[rename.target as usize];
            for (name, new) in [
                (&mut target.pod, rename.pod),
                (&mut target.namespace, rename.namespace),
                (&mut target.workload_name, rename.workload_name),
            ] {
                if let Some(new) = new {
                    *name = new;
                }
            }
        }
        if let Some(rows) = verdict.rows {
            left.rows = rows.iter().map(|&row| self.rows[row as usize]).collect();
        }
        if let Some(targets) = verdict.targets {
            left.keep(&targets);
        }
        left
    }

    fn keep(&mut self, targets: &[u32]) {
        assert!(targets.is_sorted_by(|a, b| a < b), "indexes must rise");
        fn kept<T: Clone>(all: &[T], targets: &[u32]) -> Vec<T> {
            targets.iter().map(|&at| all[at as usize].clone()).collect()
        }
        self.targets = kept(&self.targets, targets);
        self.totals = kept(&self.totals, targets);
        for values in self.columns.values_mut() {
            *values = kept(values, targets);
        }
        let new_index = |old: u32| targets.binary_search(&old).ok().map(|new| new as u32);
        self.rows
            .retain_mut(|row| new_index(row.target).map(|new| row.target = new).is_some());
        self.grpc_rows
            .retain_mut(|row| new_index(row.target).map(|new| row.target = new).is_some());
    }
}
