use std::collections::BTreeMap;
use std::sync::Arc;

use super::Tables;
use super::build::PROTOCOLS;
use crate::bindings::snapshots as wit;

impl Tables {
    /// The snapshot that a filter made in place of this one. What the next plugin reads of it must hold together:
    /// the error says what does not.
    pub(super) fn replace(&self, made: wit::Tables) -> Result<Self, String> {
        made.check(&self.columns)?;
        Ok(Self {
            window: self.window,
            node: self.node.clone(),
            temporality: made.temporality,
            targets: made.targets.into(),
            totals: made.totals.into(),
            rows: made.rows.into(),
            grpc_rows: Arc::new(made.grpc_rows),
            buckets: Arc::new(made.bucket_counts),
            methods: Arc::new(made.methods),
            columns: made
                .columns
                .into_iter()
                .map(|column| (column.name, Arc::new(column.values)))
                .collect(),
        })
    }
}

impl wit::Tables {
    fn check(&self, granted: &BTreeMap<String, Arc<Vec<String>>>) -> Result<(), String> {
        let targets = self.targets.len();
        if self.totals.len() != targets {
            return Err(format!(
                "makes {targets} targets, and {} totals for them",
                self.totals.len()
            ));
        }
        if let Some(total) = self
            .totals
            .iter()
            .find(|total| !(0.0..=1.0).contains(&total.coverage))
        {
            return Err(format!("makes a coverage of {}", total.coverage));
        }
        sorted("rows", self.rows.iter().map(|row| row.target), targets)?;
        sorted(
            "gRPC rows",
            self.grpc_rows.iter().map(|row| row.target),
            targets,
        )?;
        for (index, row) in self.rows.iter().enumerate() {
            let known = |name: &str, at: u32, of: usize| match (at as usize) < of {
                true => Ok(()),
                false => Err(format!("makes row {index} with {name} {at} of {of}")),
            };
            known("protocol", row.protocol, PROTOCOLS.len())?;
            known("method", row.method, self.methods.len())?;
            let end = u64::from(row.bucket_start) + u64::from(row.bucket_count);
            if end > self.bucket_counts.len() as u64 {
                return Err(format!(
                    "makes row {index} with buckets up to {end} of {}",
                    self.bucket_counts.len()
                ));
            }
        }
        for column in &self.columns {
            if !granted.contains_key(&column.name) {
                return Err(format!(
                    "makes a column {:?}, which the snapshot does not have",
                    crate::guest::printable(&column.name, 100)
                ));
            }
            if column.values.len() != targets {
                return Err(format!(
                    "makes {targets} targets, and {} values of a column for them",
                    column.values.len()
                ));
            }
        }
        Ok(())
    }
}

fn sorted(
    what: &str,
    targets: impl Iterator<Item = u32> + Clone,
    known: usize,
) -> Result<(), String> {
    if !targets.clone().is_sorted() {
        return Err(format!("makes {what} that are not sorted by target"));
    }
    match targets.last() {
        Some(last) if last as usize >= known => Err(format!(
            "makes {what} of target {last}, and {known} targets"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::types::Verdict;
    use crate::tables::fixtures::tables;

    /// The tables themselves, as a filter would hand them on.
    fn made(tables: &Tables) -> wit::Tables {
        wit::Tables {
            temporality: tables.temporality,
            targets: tables.targets.to_vec(),
            totals: tables.totals.to_vec(),
            rows: tables.rows.to_vec(),
            grpc_rows: tables.grpc_rows.to_vec(),
            bucket_counts: tables.buckets.to_vec(),
            methods: tables.methods.to_vec(),
            columns: tables
                .columns
                .iter()
                .map(|(name, values)| wit::Column {
                    name: name.clone(),
                    values: values.to_vec(),
                })
                .collect(),
        }
    }

    fn verdict(made: wit::Tables) -> Verdict {
        Verdict {
            replace: Some(made),
            targets: None,
            rows: None,
            renames: Vec::new(),
        }
    }

    #[test]
    fn a_filter_s_own_snapshot_takes_the_place_of_the_one_it_was_given() {
        let given = tables(&["a", "b"]);
        let mut one = made(&given);
        one.targets.truncate(1);
        one.totals.truncate(1);
        one.rows.truncate(1);
        one.columns[0].values.truncate(1);
        one.targets[0].pod = "all".to_owned();
        one.totals[0].requests = 3;
        one.rows[0].count = 3;
        let left = given.apply(verdict(one)).unwrap();
        assert_eq!(
            (left.targets.len(), left.targets[0].pod.as_str()),
            (1, "all")
        );
        assert_eq!((left.totals[0].requests, left.rows[0].count), (3, 3));
        assert_eq!(*left.columns["label:team"], ["team-a"]);
        assert_eq!(left.window.sequence, given.window.sequence);
    }

    #[test]
    fn what_does_not_hold_together_is_the_filter_s_fault_with_words() {
        let given = tables(&["a", "b"]);
        type Break = fn(&mut wit::Tables);
        let cases: [(Break, &str); 10] = [
            (
                |t| t.totals.truncate(1),
                "makes 2 targets, and 1 totals for them",
            ),
            (
                |t| t.totals[0].coverage = f64::NAN,
                "makes a coverage of NaN",
            ),
            (
                |t| t.rows.reverse(),
                "makes rows that are not sorted by target",
            ),
            (
                |t| t.rows[1].target = 2,
                "makes rows of target 2, and 2 targets",
            ),
            (
                |t| {
                    t.grpc_rows.push(wit::GrpcRow {
                        target: 9,
                        client: false,
                        status: 0,
                        count: 1,
                    });
                },
                "makes gRPC rows of target 9, and 2 targets",
            ),
            (|t| t.rows[0].method = 1, "makes row 0 with method 1 of 1"),
            (
                |t| t.rows[1].protocol = 3,
                "makes row 1 with protocol 3 of 3",
            ),
            (
                |t| (t.rows[1].bucket_start, t.rows[1].bucket_count) = (u32::MAX, u32::MAX),
                "makes row 1 with buckets up to 8589934590 of 2",
            ),
            (
                |t| t.columns[0].name = "label:secret".to_owned(),
                "makes a column \"label:secret\", which the snapshot does not have",
            ),
            (
                |t| t.columns[0].values.truncate(1),
                "makes 2 targets, and 1 values of a column for them",
            ),
        ];
        for (break_it, message) in cases {
            let mut broken = made(&given);
            break_it(&mut broken);
            assert_eq!(given.apply(verdict(broken)).unwrap_err(), message);
        }
        let both = Verdict {
            rows: Some(Vec::new()),
            ..verdict(made(&given))
        };
        assert_eq!(
            given.apply(both).unwrap_err(),
            "replaces the snapshot, and keeps or renames parts of it too"
        );
    }
}
