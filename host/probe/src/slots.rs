//! Which elements of `SLOTS` are free. Slot 0 is never given: it means "none" in the kernel's tables.

/// The slots of one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotPair {
    /// For what the target answers.
    pub(crate) server: u32,
    /// For what it asks; 0: not counted.
    pub(crate) client: u32,
}

impl SlotPair {
    pub(crate) fn iter(self) -> impl Iterator<Item = u32> {
        [self.server, self.client]
            .into_iter()
            .filter(|&slot| slot != 0)
    }
}

/// Hands out slots; a slot comes back only when nothing in the kernel names it any more.
pub(crate) struct SlotPool {
    free: Vec<u32>,
    client: bool,
}

impl SlotPool {
    /// For `targets` targets.
    pub(crate) fn new(targets: u32, client: bool) -> Self {
        Self {
            free: (1..Self::elements(targets, client)).rev().collect(),
            client,
        }
    }

    /// How many elements `SLOTS` needs.
    pub(crate) fn elements(targets: u32, client: bool) -> u32 {
        targets * (1 + u32::from(client)) + 1
    }

    pub(crate) fn take(&mut self) -> Option<SlotPair> {
        let server = self.free.pop()?;
        let client = if self.client { self.free.pop()? } else { 0 };
        Some(SlotPair { server, client })
    }

    pub(crate) fn give_back(&mut self, slots: SlotPair) {
        self.free.extend(slots.iter());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_has_slots_of_its_own_until_all_are_taken() {
        let mut pool = SlotPool::new(3, true);
        let taken: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        let mut slots: Vec<_> = taken.iter().flat_map(|pair| pair.iter()).collect();
        slots.sort_unstable();
        assert_eq!(slots, [1, 2, 3, 4, 5, 6]);
        pool.give_back(taken[1]);
        let again = pool.take().unwrap();
        assert_eq!(
            [again.server, again.client].iter().sum::<u32>(),
            taken[1].iter().sum::<u32>()
        );
    }

    #[test]
    fn no_client_slot_where_clients_are_not_counted() {
        let mut pool = SlotPool::new(1, false);
        assert_eq!(
            pool.take(),
            Some(SlotPair {
                server: 1,
                client: 0
            })
        );
        assert_eq!(pool.take(), None);
    }
}
