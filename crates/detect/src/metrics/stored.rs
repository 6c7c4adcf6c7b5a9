//! How a watch is stored, and what one that is read has to be.
//!
//! Expected flow: [`Watch::to_bytes`] now and then, [`Watch::from_bytes`] after a restart, and on with the samples.
//!
//! Guarantees: a watch that was stored and read back says and stores from then on what it would have without that. Bytes
//! that were cut off or changed are refused, or are those of a watch that samples could have led to; reading them never
//! panics and takes memory in proportion to their number. That a sound number became another sound one is not noticed:
//! whatever keeps the bytes has to check that it gives back what it was given.

use super::baseline::{Baseline, Strangeness};
use super::pace::Pace;
use super::watch::Watch;
use crate::{Error, Stored};

/// Version of what is written, the first byte of it. A newer one is refused.
pub const FORMAT: u8 = 1;

impl Watch {
    /// Everything it knows: [`FORMAT`], then its fields as postcard writes them.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.size_bytes());
        bytes.push(FORMAT);
        postcard::to_extend(self, bytes)
            .expect("a vector takes every byte, and every length is known")
    }

    /// What [`Self::to_bytes`] has written.
    ///
    /// # Errors
    /// [`Error::NewerFormat`]; [`Error::Stored`] for bytes that no watch has written.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let corrupt = |problem| Stored::Watch.broken(problem);
        let (format, rest) = bytes.split_first().ok_or(corrupt("nothing is there"))?;
        Stored::Watch.check_format(u32::from(*format), u32::from(FORMAT))?;
        let (mut watch, after): (Self, _) = postcard::take_from_bytes(rest)
            .map_err(|_| corrupt("the bytes are cut off, or not those of a watch"))?;
        if !after.is_empty() {
            return Err(corrupt("bytes follow its end"));
        }
        if !watch.is_sound() {
            return Err(corrupt("no samples lead to its numbers"));
        }
        watch.pace = Pace::new(watch.cadence.step_ms(), watch.settings.history_days);
        Ok(watch)
    }

    /// Bytes it takes in memory, with everything it owns; without what an allocator adds.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let names: usize = self.names.iter().map(String::capacity).sum();
        let baselines: usize = self.baselines.iter().map(Baseline::heap_bytes).sum();
        size_of::<Self>()
            + self.names.capacity() * size_of::<String>()
            + names
            + self.baselines.capacity() * size_of::<Baseline>()
            + baselines
            + self.tail.heap_bytes()
            + self.recurrence.heap_bytes()
            + self.strange.capacity() * size_of::<(usize, Strangeness)>()
    }
}
