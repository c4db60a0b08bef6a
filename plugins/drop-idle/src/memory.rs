use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use owlk8s_plugin::Snapshot;
use owlk8s_plugin::records::Temporality;

/// How many requests were seen of each target up to a window; targets by the hash of their id, since
/// a uid's text would take the larger part of the state.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Memory(BTreeMap<u64, u64>);

impl Memory {
    /// What `to_bytes` wrote; bytes behind the last whole pair are left.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        let (pairs, _) = words.as_chunks::<2>();
        Self(
            pairs
                .iter()
                .map(|[key, seen]| (u64::from_le_bytes(*key), u64::from_le_bytes(*seen)))
                .collect(),
        )
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0
            .iter()
            .flat_map(|(key, seen)| [key.to_le_bytes(), seen.to_le_bytes()].concat())
            .collect()
    }

    /// The memory after this window. Targets that are gone are forgotten.
    pub(crate) fn after(&self, snapshot: &Snapshot<'_>) -> Self {
        let seen = snapshot.targets().map(|target| {
            let seen = target.total().seen;
            let all = match snapshot.temporality() {
                Temporality::Cumulative => seen,
                Temporality::Delta => self.seen(target.id()) + seen,
            };
            (key(target.id()), all)
        });
        Self(seen.collect())
    }

    pub(crate) fn seen(&self, target: &str) -> u64 {
        self.0.get(&key(target)).copied().unwrap_or(0)
    }
}

fn key(target: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    target.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::{Memory, key};

    #[test]
    fn a_memory_reads_back_what_it_wrote_and_survives_a_broken_tail() {
        let memory = Memory([(key("a"), 7), (key("b"), u64::MAX)].into());
        let mut bytes = memory.to_bytes();
        assert_eq!((bytes.len(), Memory::from_bytes(&bytes)), (32, memory));
        bytes.truncate(31);
        assert_eq!(Memory::from_bytes(&bytes).0.len(), 1);
        assert_eq!(Memory::from_bytes(b""), Memory::default());
    }
}
