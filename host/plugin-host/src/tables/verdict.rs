use super::Tables;
use crate::bindings::snapshots as wit;
use crate::bindings::types::{Rename, Verdict};

impl Tables {
    /// What a filter's verdict leaves. A verdict that speaks of what is not there is the filter's
    /// fault; the text says what it was.
    pub(crate) fn apply(&self, verdict: Verdict) -> Result<Self, String> {
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
        fn kept<T: Clone>(all: &[T], keep: &[u32]) -> Vec<T> {
            keep.iter()
                .map(|&index| all[index as usize].clone())
                .collect()
        }
        self.targets = kept(&self.targets, keep);
        self.totals = kept(&self.totals, keep);
        for values in self.columns.values_mut() {
            *values = kept(values, keep);
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
        self.grpc_rows = self.grpc_rows.iter().filter_map(row).collect();
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
