//! Which interface is which target's: the kernel program's two tables as one.

use owlk8s_ebpf_abi::{NEAR, TargetEntry};

use crate::ProbeError;
use crate::sys::KernelMap;

/// All entries, and the latest of those that share a place: see [`TargetEntry`].
pub(crate) struct TargetTable {
    all: KernelMap<u32, TargetEntry>,
    near: KernelMap<u32, TargetEntry>,
}

impl TargetTable {
    pub(crate) fn new(all: KernelMap<u32, TargetEntry>, near: KernelMap<u32, TargetEntry>) -> Self {
        Self { all, near }
    }

    /// Enters an interface, whose packets the program must not see yet.
    pub(crate) fn insert(&self, entry: &TargetEntry) -> Result<(), ProbeError> {
        self.all.insert(&entry.interface, entry)?;
        self.near.insert(&(entry.interface % NEAR), entry)
    }

    /// Takes an interface out, whose packets the program no longer sees.
    pub(crate) fn remove(&self, interface: u32) -> Result<(), ProbeError> {
        let place = interface % NEAR;
        if self
            .near
            .get(&place)?
            .is_some_and(|entry| entry.interface == interface)
        {
            self.near.insert(&place, &TargetEntry::default())?;
        }
        self.all.remove(&interface).map(|_| ())
    }

    /// All interfaces.
    #[cfg(feature = "test-run")]
    pub(crate) fn keys(&self) -> Result<Vec<u32>, ProbeError> {
        self.all.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Interface, Options, Probe};

    #[test]
    fn interfaces_that_share_a_place_are_each_found() {
        let mut probe = Probe::load_with(Options::default()).expect("needs root");
        for index in [5, 5 + NEAR] {
            let interface = Interface {
                name: format!("veth{index}").into(),
                index,
            };
            probe
                .attach_without_socket(&index.to_string().as_str().into(), interface)
                .unwrap();
        }
        let table = &probe.maps.targets;
        let near = || table.near.get(&5).unwrap().unwrap().interface;
        let all = |index| table.all.get(&index).unwrap().map(|entry| entry.interface);
        assert_eq!(
            (all(5), all(5 + NEAR), near()),
            (Some(5), Some(5 + NEAR), 5 + NEAR)
        );
        table.remove(5).unwrap();
        assert_eq!((all(5), near()), (None, 5 + NEAR));
        table.remove(5 + NEAR).unwrap();
        assert_eq!((all(5 + NEAR), near()), (None, 0));
    }
}
