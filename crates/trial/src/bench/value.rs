//! What is written: bytes that compression makes no smaller, for one kind compresses its tables and the other does not.

use regraft_wal::testing::Dice;

/// Values one after the other, each another.
pub(super) struct Values {
    dice: Dice,
    bytes: usize,
}

impl Values {
    /// Values of so many bytes; the same for the same seed.
    pub(super) fn new(seed: u64, bytes: usize) -> Self {
        Self {
            dice: Dice::new(seed),
            bytes,
        }
    }

    pub(super) fn next(&mut self) -> Vec<u8> {
        let words = self.bytes.div_ceil(size_of::<u64>());
        let mut value = Vec::with_capacity(words * size_of::<u64>());
        for _ in 0..words {
            value.extend(self.dice.any().to_le_bytes());
        }
        value.truncate(self.bytes);
        value
    }
}
