use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use super::build::index;
use crate::bindings::snapshots as wit;

/// Records in both forms that guests ask for: a list, and columns.
#[derive(Debug)]
pub(super) struct List<T: Record> {
    records: Arc<Vec<T>>,
    /// Made when a guest first asks for them.
    columns: Arc<OnceLock<Arc<T::Columns>>>,
}

/// What is handed to guests in columns as well.
pub(super) trait Record: Clone {
    /// One list for each of its fields.
    type Columns;

    fn columns(records: &[Self]) -> Self::Columns;
}

impl<T: Record> List<T> {
    pub(super) fn records(&self) -> Arc<Vec<T>> {
        Arc::clone(&self.records)
    }

    pub(super) fn columns(&self) -> Arc<T::Columns> {
        let columns = || Arc::new(T::columns(&self.records));
        Arc::clone(self.columns.get_or_init(columns))
    }

    /// To be changed.
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.columns = Arc::default();
        Arc::make_mut(&mut self.records).get_mut(index)
    }
}

impl<T: Record> Clone for List<T> {
    fn clone(&self) -> Self {
        Self {
            records: Arc::clone(&self.records),
            columns: Arc::clone(&self.columns),
        }
    }
}

impl<T: Record> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.records
    }
}

impl<T: Record> From<Vec<T>> for List<T> {
    fn from(records: Vec<T>) -> Self {
        Self {
            records: Arc::new(records),
            columns: Arc::default(),
        }
    }
}

impl<T: Record> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(records: I) -> Self {
        records.into_iter().collect::<Vec<_>>().into()
    }
}

/// Of each record one value.
fn column<T, V>(records: &[T], value: impl Fn(&T) -> V) -> Vec<V> {
    records.iter().map(value).collect()
}

impl Record for wit::Target {
    type Columns = wit::TargetColumns;

    fn columns(targets: &[Self]) -> wit::TargetColumns {
        let (mut texts, mut ends, mut before) = (String::new(), Vec::new(), Vec::new());
        for target in targets {
            before.push(index(ends.len()));
            let own = [
                &target.id,
                &target.pod,
                &target.uid,
                &target.namespace,
                &target.node,
                &target.workload_kind,
                &target.workload_name,
                &target.reason,
            ];
            for text in own.into_iter().chain(&target.services).chain(&target.ips) {
                texts.push_str(text);
                ends.push(index(texts.len()));
            }
        }
        wit::TargetColumns {
            texts,
            ends,
            before,
            services: column(targets, |target| index(target.services.len())),
            ips: column(targets, |target| index(target.ips.len())),
            since_unix_ns: column(targets, |target| target.since_unix_ns),
            status: column(targets, |target| target.status),
        }
    }
}

impl Record for wit::Total {
    type Columns = wit::TotalColumns;

    fn columns(totals: &[Self]) -> wit::TotalColumns {
        let losses = |(target, total): (u32, &Self)| {
            let loss = move |loss: &wit::Loss| wit::TargetLoss {
                target,
                name: loss.name.clone(),
                count: loss.count,
            };
            total.losses.iter().map(loss).collect::<Vec<_>>()
        };
        wit::TotalColumns {
            requests: column(totals, |total| total.requests),
            err4: column(totals, |total| total.err4),
            err5: column(totals, |total| total.err5),
            aborted: column(totals, |total| total.aborted),
            in_flight: column(totals, |total| total.in_flight),
            seen: column(totals, |total| total.seen),
            coverage: column(totals, |total| total.coverage),
            duration_last_ns: column(totals, |total| total.duration_last_ns),
            duration_sum_ns: column(totals, |total| total.duration_sum_ns),
            duration_count: column(totals, |total| total.duration_count),
            losses: (0..).zip(totals).flat_map(losses).collect(),
        }
    }
}

impl Record for wit::Row {
    type Columns = wit::RowColumns;

    fn columns(rows: &[Self]) -> wit::RowColumns {
        wit::RowColumns {
            target: column(rows, |row| row.target),
            kind: column(rows, |row| u8::from(row.client) | u8::from(row.probe) << 1),
            protocol: column(rows, |row| row.protocol),
            method: column(rows, |row| row.method),
            status: column(rows, |row| row.status),
            count: column(rows, |row| row.count),
            duration_sum_ns: column(rows, |row| row.duration_sum_ns),
            bucket_offset: column(rows, |row| row.bucket_offset),
            bucket_start: column(rows, |row| row.bucket_start),
            bucket_count: column(rows, |row| row.bucket_count),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::bindings::snapshots as wit;
    use crate::bindings::types::{Rename, Verdict};
    use crate::tables::Tables;
    use crate::tables::fixtures::tables;

    /// Each text of a target, read as a guest reads it.
    fn texts(columns: &wit::TargetColumns, target: usize) -> Vec<&str> {
        let first = columns.before[target] as usize;
        let count = 8 + columns.services[target] + columns.ips[target];
        (first..first + count as usize)
            .map(|nth| {
                let begin = nth.checked_sub(1).map_or(0, |before| columns.ends[before]);
                &columns.texts[begin as usize..columns.ends[nth] as usize]
            })
            .collect()
    }

    /// With all that a target and a total can have.
    fn full() -> Tables {
        let mut tables = tables(&["a", "b"]);
        let mut targets = tables.targets.to_vec();
        targets[0] = wit::Target {
            id: "id".to_owned(),
            pod: "pod".to_owned(),
            uid: "uid".to_owned(),
            namespace: "größe".to_owned(),
            node: "node".to_owned(),
            workload_kind: "kind".to_owned(),
            workload_name: "name".to_owned(),
            services: vec!["s1".to_owned(), "s2".to_owned()],
            ips: vec!["10.0.0.1".to_owned()],
            since_unix_ns: 5,
            status: wit::Status::Failed,
            reason: "why".to_owned(),
        };
        let mut totals = tables.totals.to_vec();
        totals[1].losses = vec![wit::Loss {
            name: "late".to_owned(),
            count: 3,
        }];
        let mut rows = tables.rows.to_vec();
        (rows[1].client, rows[1].probe) = (true, true);
        (tables.targets, tables.totals, tables.rows) = (targets.into(), totals.into(), rows.into());
        tables
    }

    #[test]
    fn columns_say_what_the_records_say() {
        let tables = full();
        let targets = tables.targets.columns();
        assert_eq!(
            texts(&targets, 0),
            [
                "id", "pod", "uid", "größe", "node", "kind", "name", "why", "s1", "s2", "10.0.0.1"
            ]
        );
        assert_eq!(texts(&targets, 1)[..2], ["b", "b"]);
        assert_eq!(targets.since_unix_ns, [5, 0]);
        assert_eq!(targets.status, [wit::Status::Failed, wit::Status::Active]);
        let totals = tables.totals.columns();
        assert_eq!(
            (&*totals.requests, &*totals.seen),
            (&[1, 2][..], &[1, 2][..])
        );
        let losses: Vec<_> = totals
            .losses
            .iter()
            .map(|loss| (loss.target, loss.name.as_str(), loss.count))
            .collect();
        assert_eq!(losses, [(1, "late", 3)]);
        let rows = tables.rows.columns();
        assert_eq!((&*rows.kind, &*rows.count), (&[0, 3][..], &[1, 2][..]));
    }

    /// Columns that were made before would show it as it was.
    #[test]
    fn columns_follow_what_a_filter_changes() {
        let before = tables(&["a", "b"]);
        let _made = (before.targets.columns(), before.rows.columns());
        let renamed = before
            .apply(Verdict {
                replace: None,
                targets: Some(vec![1]),
                rows: None,
                renames: vec![Rename {
                    target: 1,
                    pod: Some("new".to_owned()),
                    namespace: None,
                    workload_name: None,
                }],
            })
            .unwrap();
        let targets = renamed.targets.columns();
        assert_eq!((targets.before.len(), texts(&targets, 0)[1]), (1, "new"));
        assert_eq!(renamed.rows.columns().count, [2]);
        assert_eq!(texts(&before.targets.columns(), 1)[1], "b");
    }

    #[test]
    fn columns_follow_a_rename_alone() {
        let before = tables(&["a"]);
        let _made = before.targets.columns();
        let mut renamed = before.targets.clone();
        renamed.get_mut(0).unwrap().pod = "new".to_owned();
        assert_eq!(texts(&renamed.columns(), 0)[1], "new");
    }
}
