//! What the kernel itself counts of an interface.

use std::fs;

/// Packets of an interface on the node, whatever they carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// Sent through it: to the pod.
    pub(crate) to_pod: u64,
    /// Received from it: from the pod.
    pub(crate) from_pod: u64,
}

/// Of an interface of the calling thread's network namespace; None where it is gone.
pub(crate) fn passed(interface: &str) -> Option<Passed> {
    of(
        &fs::read_to_string("/proc/thread-self/net/dev").ok()?,
        interface,
    )
}

fn of(table: &str, interface: &str) -> Option<Passed> {
    let (_, counts) = table
        .lines()
        .filter_map(|line| line.trim_start().rsplit_once(':'))
        .find(|(name, _)| *name == interface)?;
    let mut counts = counts.split_ascii_whitespace();
    Some(Passed {
        from_pod: counts.nth(1)?.parse().ok()?,
        to_pod: counts.nth(7)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_an_interface_are_found_by_its_whole_name() {
        let table = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 98 7 0 0 0 0 0 0 98 7 0 0 0 0 0 0
 veth1: 1200 23 0 0 0 0 0 0 4000 34 0 0 0 0 0 0
 veth1:a: 5 6 0 0 0 0 0 0 7 8 0 0 0 0 0 0
";
        let found = |name| of(table, name).map(|passed| (passed.to_pod, passed.from_pod));
        assert_eq!(found("veth1"), Some((34, 23)));
        assert_eq!(found("veth1:a"), Some((8, 6)));
        assert_eq!(found("veth"), None);
        assert!(passed("lo").is_some());
    }
}
