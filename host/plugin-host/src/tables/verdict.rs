use std::sync::Arc;

use super::Tables;
use crate::bindings::snapshots as wit;
use crate::bindings::types::{Rename, Verdict};

impl Tables {
    /// What a filter's verdict leaves. A verdict that speaks of what is not there is the filter's
    /// fault; the text says what it was.
    pub(crate) fn apply(&self, verdict: Verdict) -> Result<Self, String> {
        if let Some(made) = verdict.replace {
            if verdict.targets.is_some() || verdict.rows.is_some() || !verdict.renames.is_empty() {
                return Err(
                    "replaces the snapshot, and keeps or renames parts of it too".to_owned(),
                );
            }
            return self.replace(made);
        }
        let mut left = self.clone();
        for rename in verdict.renames {
            left.rename(rename)?;
        }
        if let Some(rows) = verdict.rows {
            check("rows", &rows, self.rows.len())?;
            left.rows = rows.iter().map(|&row| self.rows[row as usize]).collect();
        }
        if let Some(targets) = verdict.targets {
            check("targets", &targets, self.targets.len())?;
            left.keep_targets(&targets);
        }
        Ok(left)
    }

    fn rename(&mut self, rename: Rename) -> Result<(), String> {
        let known = self.targets.len();
        let Some(target) = self.targets.get_mut(rename.target as usize) else {
            return Err(format!(
                "renames target {}, and the snapshot has {known}",
                rename.target
            ));
        };
        for (field, new) in [
            (&mut target.pod, rename.pod),
            (&mut target.namespace, rename.namespace),
            (&mut target.workload_name, rename.workload_name),
        ] {
            if let Some(new) = new {
                *field = new;
            }
        }
        Ok(())
    }

    /// `keep` is checked: rising and in range.
    fn keep_targets(&mut self, keep: &[u32]) {
        let new_index = |old: u32| {
            keep.binary_search(&old)
                .ok()
                .and_then(|new| u32::try_from(new).ok())
        };
        fn kept<T: Clone>(all: &[T], keep: &[u32]) -> impl Iterator<Item = T> {
            keep.iter().map(|&index| all[index as usize].clone())
        }
        self.targets = kept(&self.targets, keep).collect();
        self.totals = kept(&self.totals, keep).collect();
        for values in self.columns.values_mut() {
            *values = Arc::new(kept(values, keep).collect());
        }
        let row = |row: &wit::Row| {
            Some(wit::Row {
                target: new_index(row.target)?,
                ..*row
            })
        };
        self.rows = self.rows.iter().filter_map(row).collect();
        let row = |row: &wit::GrpcRow| {
            Some(wit::GrpcRow {
                target: new_index(row.target)?,
                ..*row
            })
        };
        self.grpc_rows = Arc::new(self.grpc_rows.iter().filter_map(row).collect());
    }
}

fn check(what: &str, indexes: &[u32], known: usize) -> Result<(), String> {
    if let Some(pair) = indexes.windows(2).find(|pair| pair[0] >= pair[1]) {
        return Err(format!(
            "keeps {what} {} and then {}: indexes must rise",
            pair[0], pair[1]
        ));
    }
    match indexes.last() {
        Some(&last) if last as usize >= known => {
            Err(format!("keeps {what} {last}, and the snapshot has {known}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::fixtures::tables;

    fn verdict(targets: Option<Vec<u32>>, rows: Option<Vec<u32>>) -> Verdict {
        Verdict {
            replace: None,
            targets,
            rows,
            renames: Vec::new(),
        }
    }

    fn pods(tables: &Tables) -> Vec<&str> {
        tables
            .targets
            .iter()
            .map(|target| target.pod.as_str())
            .collect()
    }

    #[test]
    fn rows_and_columns_go_with_their_targets_and_indexes_follow() {
        let left = tables(&["a", "b", "c"])
            .apply(verdict(Some(vec![0, 2]), None))
            .unwrap();
        assert_eq!(pods(&left), ["a", "c"]);
        assert_eq!(
            left.rows
                .iter()
                .map(|row| (row.target, row.count))
                .collect::<Vec<_>>(),
            [(0, 1), (1, 3)]
        );
        assert_eq!(
            left.totals
                .iter()
                .map(|total| total.requests)
                .collect::<Vec<_>>(),
            [1, 3]
        );
        assert_eq!(*left.columns["label:team"], ["team-a", "team-c"]);
        let last = &left.rows[1];
        assert_eq!(
            left.buckets[last.bucket_start as usize], 3,
            "a row still finds its buckets"
        );
    }

    #[test]
    fn kept_rows_are_of_the_snapshot_and_dropped_targets_take_theirs_along() {
        let left = tables(&["a", "b", "c"])
            .apply(verdict(Some(vec![1]), Some(vec![0, 1])))
            .unwrap();
        assert_eq!(
            left.rows
                .iter()
                .map(|row| (row.target, row.count))
                .collect::<Vec<_>>(),
            [(0, 2)]
        );
        let none = tables(&["a"])
            .apply(verdict(Some(Vec::new()), None))
            .unwrap();
        assert!(none.targets.is_empty() && none.rows.is_empty());
        let all = tables(&["a", "b"]).apply(verdict(None, None)).unwrap();
        assert_eq!((pods(&all), all.rows.len()), (vec!["a", "b"], 2));
    }

    #[test]
    fn verdict_on_what_is_not_there_is_a_fault_with_words() {
        let apply = |targets, rows| {
            tables(&["a", "b"])
                .apply(verdict(targets, rows))
                .unwrap_err()
        };
        assert_eq!(
            apply(Some(vec![2]), None),
            "keeps targets 2, and the snapshot has 2"
        );
        assert_eq!(
            apply(Some(vec![1, 1]), None),
            "keeps targets 1 and then 1: indexes must rise"
        );
        assert_eq!(
            apply(None, Some(vec![u32::MAX])),
            "keeps rows 4294967295, and the snapshot has 2"
        );
        let rename = Rename {
            target: 9,
            pod: Some("x".to_owned()),
            namespace: None,
            workload_name: None,
        };
        let renamed = tables(&["a"]).apply(Verdict {
            renames: vec![rename],
            ..verdict(None, None)
        });
        assert_eq!(
            renamed.unwrap_err(),
            "renames target 9, and the snapshot has 1"
        );
    }
}
