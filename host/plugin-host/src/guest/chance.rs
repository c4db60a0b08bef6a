use std::convert::Infallible;

use rand_core::TryRng;
use sha2::{Digest, Sha256};

/// Randomness that is fixed by what it was seeded with, for guests whose output must be, too: SHA-256 over
/// the seed and a counter.
#[derive(Debug)]
pub(crate) struct Chance {
    seed: Seed,
    blocks: u64,
    block: [u8; 32],
    used: usize,
}

/// What fixes a guest's randomness.
pub(crate) type Seed = [u8; 32];

impl Chance {
    /// Those of another `stream` are others.
    pub(crate) fn new(seed: &Seed, stream: u8) -> Self {
        let seed = Sha256::new().chain_update(seed).chain_update([stream]);
        Self {
            seed: seed.finalize().into(),
            blocks: 0,
            block: [0; 32],
            used: 32,
        }
    }

    fn byte(&mut self) -> u8 {
        if self.used == self.block.len() {
            let next = Sha256::new()
                .chain_update(self.seed)
                .chain_update(self.blocks.to_le_bytes());
            self.block = next.finalize().into();
            self.blocks += 1;
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }
}

impl TryRng for Chance {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.bytes()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.bytes()))
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        to.iter_mut().for_each(|byte| *byte = self.byte());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_and_stream_give_the_same_and_others_others() {
        let draw = |seed: u8, stream| Chance::new(&[seed; 32], stream).bytes::<100>();
        assert_eq!(draw(1, 0), draw(1, 0));
        assert_ne!(draw(1, 0), draw(2, 0));
        assert_ne!(draw(1, 0), draw(1, 1));
        let drawn = draw(1, 0);
        assert_ne!(drawn[..32], drawn[32..64], "blocks differ");
    }
}
