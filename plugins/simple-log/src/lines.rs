use std::fmt::Write;

use owlk8s_plugin::Snapshot;

use crate::{Units, printable};

/// A line for each pod; `SVC` has its services joined by commas.
pub(crate) fn format(units: Units, snapshot: &Snapshot<'_>) -> String {
    let mut text = String::new();
    for target in snapshot.targets() {
        let total = target.total();
        let _ = writeln!(
            text,
            "IP: {}, OwnerObj: {}, Pod: {}, NS: {}, SVC: {}, Duration: {}, Requests: {}, Err4: {}, Err5: {}",
            target.ips().first().unwrap_or_default(),
            printable(target.workload_name()),
            printable(target.pod()),
            printable(target.namespace()),
            printable(&target.services().join(",")),
            units.show(total.duration_last()),
            total.requests,
            total.err4,
            total.err5,
        );
    }
    text
}
