//! What the log holds, in memory: where each entry is, the values, the open segments. Recovery and the writer change it
//! by the same steps.

use crate::disk::DiskFile;
use crate::error::Error;
use crate::format::Values;
use crate::operation::{Bounds, Operation};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The index gives memory back after a purge when it has room for this many times what it holds, and more than
/// `INDEX_SPARE_ENTRIES`.
const INDEX_SLACK: usize = 4;
const INDEX_SPARE_ENTRIES: usize = 4096;

/// Where the record of an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    /// Bytes of the entry.
    pub(crate) length: u32,
}

/// What the log holds.
#[derive(Default)]
pub(crate) struct Content {
    bounds: Bounds,
    /// The index of the first of `locations`. Above `bounds.first` only while recovery reads segments that begin after
    /// entries which a later segment purges.
    located_from: u64,
    locations: VecDeque<Location>,
    values: Values,
    /// The segments that hold entries, and the one that is written.
    pub(crate) segments: BTreeMap<u64, Arc<dyn DiskFile>>,
}

impl Content {
    /// What the head of the oldest segment tells, before anything in it is read.
    pub(crate) fn restored(bounds: Bounds, values: Values) -> Self {
        Self {
            bounds,
            located_from: bounds.next,
            values,
            ..Self::default()
        }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        self.bounds
    }

    pub(crate) fn values(&self) -> &Values {
        &self.values
    }

    /// Takes one step, whose record is at `offset` of `segment`.
    ///
    /// # Errors
    /// As [`Bounds`] says; nothing has changed then.
    pub(crate) fn apply(
        &mut self,
        operation: &Operation<'_>,
        segment: u64,
        offset: u64,
    ) -> Result<(), Error> {
        match *operation {
            Operation::Append { index, bytes } => {
                self.bounds.append(index)?;
                if self.locations.is_empty() {
                    self.located_from = index;
                }
                self.locations.push_back(Location {
                    segment,
                    offset,
                    length: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
                });
            }
            Operation::TruncateFrom { index } => {
                self.bounds.truncate_from(index);
                self.follow_bounds();
            }
            Operation::PurgeTo { index } => {
                self.bounds.purge_to(index)?;
                self.follow_bounds();
            }
            Operation::Set { key, bytes } => {
                self.values.insert(key.to_vec(), bytes.to_vec());
            }
        }
        Ok(())
    }

    /// Forgets where entries are that are no longer there.
    fn follow_bounds(&mut self) {
        let Bounds { first, next, .. } = self.bounds;
        let kept = usize::try_from(next.saturating_sub(self.located_from)).unwrap_or(usize::MAX);
        self.locations.truncate(kept);
        let gone = usize::try_from(first.saturating_sub(self.located_from)).unwrap_or(usize::MAX);
        self.locations.drain(..gone.min(self.locations.len()));
        self.located_from = self.located_from.clamp(first, next);
        if self.locations.capacity() > INDEX_SPARE_ENTRIES + INDEX_SLACK * self.locations.len() {
            self.locations.shrink_to_fit();
        }
    }

    /// The entries that should be there and are in no segment: from, and up to before.
    pub(crate) fn missing(&self) -> Option<(u64, u64)> {
        (self.bounds.first < self.located_from).then_some((self.bounds.first, self.located_from))
    }

    pub(crate) fn location(&self, index: u64) -> Option<Location> {
        let place = usize::try_from(index.checked_sub(self.located_from)?).ok()?;
        self.locations.get(place).copied()
    }

    /// The first entry that is in a newer segment than this one.
    pub(crate) fn first_after(&self, segment: u64) -> Option<u64> {
        let older = self.locations.partition_point(|it| it.segment <= segment);
        (older < self.locations.len()).then(|| self.located_from + older as u64)
    }

    /// The oldest segment that still holds an entry.
    pub(crate) fn oldest_needed(&self) -> Option<u64> {
        self.locations.front().map(|location| location.segment)
    }
}

/// The content, shared by the writer and its readers.
#[derive(Clone)]
pub(crate) struct Shared(Arc<RwLock<Content>>);

impl Shared {
    pub(crate) fn new(content: Content) -> Self {
        Self(Arc::new(RwLock::new(content)))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Content> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Content> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
