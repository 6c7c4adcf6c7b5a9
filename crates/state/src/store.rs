//! The ordered key-value store the machine reads from and the batch it hands back.
//!
//! `apply` never writes: it reads through [`Read`] and returns a [`Batch`], so that whoever owns the
//! store can write data and `last_applied` in one atomic step (RocksDB in `replica`, a `BTreeMap` in `sim`).

use std::collections::BTreeMap;
use std::ops::Bound;

/// Read access to an ordered key-value store. Keys sort bytewise.
pub trait Read {
    /// The value at `key`, none when there is none. Errors: the store cannot be read.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError>;
    /// Visits every pair whose key starts with `prefix`, in key order, until `visit` returns [`Walk::Stop`]. Errors:
    /// the store cannot be read; what was visited by then is not all.
    fn scan(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Walk,
    ) -> Result<(), ReadError>;
    /// As [`Read::scan`], but only pairs whose keys are greater than `after`. Passes over all before, unless a store knows
    /// better.
    fn scan_after(
        &self,
        prefix: &[u8],
        after: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Walk,
    ) -> Result<(), ReadError> {
        self.scan(prefix, &mut |key, value| match key > after {
            true => visit(key, value),
            false => Walk::Continue,
        })
    }
}

/// Whether a scan goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// Visit the next pair.
    Continue,
    /// Stop here.
    Stop,
}

/// The store could not be read. The machine must halt: a missing answer is not "no value".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("state store cannot be read: {0}")]
pub struct ReadError(pub String);

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Set `key` to `value`.
    Put {
        /// Key.
        key: Vec<u8>,
        /// Value.
        value: Vec<u8>,
    },
    /// Remove `key`.
    Delete {
        /// Key.
        key: Vec<u8>,
    },
}

impl Write {
    /// The key that is written.
    pub fn key(&self) -> &[u8] {
        match self {
            Write::Put { key, .. } | Write::Delete { key } => key,
        }
    }
}

/// Writes of one applied command, in order; later writes to a key win.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The writes.
    pub writes: Vec<Write>,
}

/// A store in memory, for the simulation and for tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory(pub BTreeMap<Vec<u8>, Vec<u8>>);

impl Memory {
    /// Writes a batch.
    pub fn write(&mut self, batch: Batch) {
        for write in batch.writes {
            match write {
                Write::Put { key, value } => {
                    self.0.insert(key, value);
                }
                Write::Delete { key } => {
                    self.0.remove(&key);
                }
            }
        }
    }
}

impl Read for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Walk,
    ) -> Result<(), ReadError> {
        for (key, value) in self.0.range(prefix.to_vec()..) {
            if !key.starts_with(prefix) || visit(key, value) == Walk::Stop {
                break;
            }
        }
        Ok(())
    }

    fn scan_after(
        &self,
        prefix: &[u8],
        after: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Walk,
    ) -> Result<(), ReadError> {
        // A key after `after` and not before those below the prefix.
        let from = match after < prefix {
            true => Bound::Included(prefix.to_vec()),
            false => Bound::Excluded(after.to_vec()),
        };
        for (key, value) in self.0.range((from, Bound::Unbounded)) {
            if !key.starts_with(prefix) || visit(key, value) == Walk::Stop {
                break;
            }
        }
        Ok(())
    }
}
