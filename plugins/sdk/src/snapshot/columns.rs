//! Records of columns: they come from the host in a few copies, and are read one by one.

use crate::records::{Loss, Row, RowColumns, Total, TotalColumns};

pub(super) fn totals(columns: TotalColumns) -> Vec<Total> {
    let total = |at: usize| Total {
        requests: columns.requests[at],
        err4: columns.err4[at],
        err5: columns.err5[at],
        aborted: columns.aborted[at],
        in_flight: columns.in_flight[at],
        seen: columns.seen[at],
        coverage: columns.coverage[at],
        duration_last_ns: columns.duration_last_ns[at],
        duration_sum_ns: columns.duration_sum_ns[at],
        duration_count: columns.duration_count[at],
        losses: Vec::new(),
    };
    let mut totals: Vec<_> = (0..columns.requests.len()).map(total).collect();
    for loss in columns.losses {
        let (name, count) = (loss.name, loss.count);
        totals[loss.target as usize]
            .losses
            .push(Loss { name, count });
    }
    totals
}

pub(super) fn row(columns: &RowColumns, at: usize) -> Row {
    Row {
        target: columns.target[at],
        client: columns.kind[at] & 1 != 0,
        probe: columns.kind[at] & 2 != 0,
        protocol: columns.protocol[at],
        method: columns.method[at],
        status: columns.status[at],
        count: columns.count[at],
        duration_sum_ns: columns.duration_sum_ns[at],
        bucket_offset: columns.bucket_offset[at],
        bucket_start: columns.bucket_start[at],
        bucket_count: columns.bucket_count[at],
    }
}
