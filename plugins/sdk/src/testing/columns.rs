//! Columns of records, as the host makes them.

use crate::records::{
    Loss, Row, RowColumns, Target, TargetColumns, TargetLoss, Total, TotalColumns,
};

/// Of each record one value.
fn column<T, V>(records: &[T], value: impl Fn(&T) -> V) -> Vec<V> {
    records.iter().map(value).collect()
}

pub(super) fn of_targets(targets: &[Target]) -> TargetColumns {
    let (mut texts, mut ends, mut before) = (String::new(), Vec::new(), Vec::new());
    for target in targets {
        before.push(ends.len() as u32);
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
            ends.push(texts.len() as u32);
        }
    }
    TargetColumns {
        texts,
        ends,
        before,
        services: column(targets, |target| target.services.len() as u32),
        ips: column(targets, |target| target.ips.len() as u32),
        since_unix_ns: column(targets, |target| target.since_unix_ns),
        status: column(targets, |target| target.status),
    }
}

pub(super) fn of_totals(totals: &[Total]) -> TotalColumns {
    let losses = |(target, total): (u32, &Total)| {
        let loss = move |loss: &Loss| TargetLoss {
            target,
            name: loss.name.clone(),
            count: loss.count,
        };
        total.losses.iter().map(loss).collect::<Vec<_>>()
    };
    TotalColumns {
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

pub(super) fn of_rows(rows: &[Row]) -> RowColumns {
    RowColumns {
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
