//! What a batch may say, and the arithmetic of which entries there are.

use crate::error::Error;

/// Bytes that one entry, or one value with its key, holds at most: far beyond any command, and its frame counts in 32 bits.
pub const ENTRY_BYTES_MAX: usize = 64 << 20;
/// Bytes that the records of one batch take at most: a batch is encoded in memory and its length counted in 32 bits.
pub const BATCH_BYTES_MAX: usize = 1 << 30;
/// Bytes that all keys and values take together at most: every segment begins with a copy of them.
pub const VALUES_BYTES_MAX: usize = 64 << 10;
/// Bytes of the longest key: its length is kept in one byte.
pub const KEY_BYTES_MAX: usize = u8::MAX as usize;
/// The highest index of an entry: the one after it must be a number too.
pub const INDEX_MAX: u64 = u64::MAX - 1;

/// One step of a batch. Steps take effect in the order they stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// Puts an entry behind the last one. The index must be [`Bounds::next`]; a log that has no entries and was never
    /// purged takes any.
    Append {
        /// The number of the entry, at most [`INDEX_MAX`].
        index: u64,
        /// What it holds, at most [`ENTRY_BYTES_MAX`]. Nothing is a content too.
        bytes: &'a [u8],
    },
    /// Forgets the entry with this index and all behind it. Does nothing where there are none.
    TruncateFrom {
        /// The first entry that goes.
        index: u64,
    },
    /// Forgets the entries up to this one, inclusive, for good: the next entry has a higher index, also when the log
    /// did not reach that far. Does nothing when they are gone already.
    PurgeTo {
        /// The last entry that goes, at most [`INDEX_MAX`].
        index: u64,
    },
    /// Gives a named value a new content.
    Set {
        /// Its name, at most [`KEY_BYTES_MAX`].
        key: &'a [u8],
        /// Its content. All keys and values together: at most [`VALUES_BYTES_MAX`].
        bytes: &'a [u8],
    },
}

/// Whether a batch is on the disk when its write returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It is, and every batch before it.
    Synced,
    /// It is written, and lost by a crash of the machine unless a later batch was synced.
    NotYet,
}

/// Which entries there are: `first <= index < next`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The lowest index that is there, if any is.
    pub first: u64,
    /// The index that the next entry gets.
    pub next: u64,
    /// Everything up to here was purged, inclusive.
    pub purged_to: Option<u64>,
}

impl Bounds {
    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.first == self.next
    }

    /// The highest index, if there is an entry.
    pub fn last(&self) -> Option<u64> {
        (!self.is_empty()).then(|| self.next - 1)
    }

    /// Takes one more entry.
    ///
    /// # Errors
    /// [`Error::OutOfOrder`], [`Error::IndexTooHigh`].
    pub(crate) fn append(&mut self, index: u64) -> Result<(), Error> {
        check_index(index)?;
        let starts_anywhere = self.is_empty() && self.purged_to.is_none();
        if starts_anywhere {
            self.first = index;
        } else if index != self.next {
            return Err(Error::OutOfOrder {
                index,
                expected: self.next,
            });
        }
        self.next = index + 1;
        Ok(())
    }

    pub(crate) fn truncate_from(&mut self, index: u64) {
        if index < self.next {
            self.next = index.max(self.first);
        }
    }

    /// # Errors
    /// [`Error::IndexTooHigh`].
    pub(crate) fn purge_to(&mut self, index: u64) -> Result<(), Error> {
        check_index(index)?;
        let known = self.purged_to.is_some_and(|purged| index <= purged);
        let was_empty = self.is_empty();
        if known || (!was_empty && index + 1 < self.first) {
            return Ok(());
        }
        self.purged_to = Some(index);
        self.first = index + 1;
        self.next = match was_empty {
            true => self.first,
            false => self.next.max(self.first),
        };
        Ok(())
    }
}

fn check_index(index: u64) -> Result<(), Error> {
    if index > INDEX_MAX {
        return Err(Error::IndexTooHigh { index });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(first: u64, next: u64, purged_to: Option<u64>) -> Bounds {
        Bounds {
            first,
            next,
            purged_to,
        }
    }

    fn check(before: Bounds, change: impl FnOnce(&mut Bounds), expected: Bounds) {
        let mut after = before;
        change(&mut after);
        assert_eq!(after, expected, "from {before:?}");
    }

    #[test]
    fn a_log_that_was_never_used_starts_anywhere_and_goes_on_from_there() {
        check(
            Bounds::default(),
            |bounds| bounds.append(7).unwrap(),
            bounds(7, 8, None),
        );
        let mut used = bounds(7, 8, None);
        let error = used.append(9).unwrap_err();
        assert_eq!(error.to_string(), "entry 9 cannot follow: 8 is the next");
        assert_eq!(used, bounds(7, 8, None));
    }

    #[test]
    fn after_a_purge_the_next_entry_follows_it() {
        let mut purged = bounds(11, 11, Some(10));
        assert!(purged.append(10).is_err());
        assert!(purged.append(12).is_err());
        purged.append(11).unwrap();
        assert_eq!(purged, bounds(11, 12, Some(10)));
    }

    #[test]
    fn truncating_forgets_what_is_there_and_never_what_was_purged() {
        let before = bounds(5, 9, Some(4));
        check(before, |b| b.truncate_from(7), bounds(5, 7, Some(4)));
        check(before, |b| b.truncate_from(2), bounds(5, 5, Some(4)));
        check(before, |b| b.truncate_from(9), before);
    }

    #[test]
    fn purging_goes_beyond_the_last_and_never_back() {
        let purge = |index| move |b: &mut Bounds| b.purge_to(index).unwrap();
        check(bounds(5, 9, None), purge(6), bounds(7, 9, Some(6)));
        check(bounds(5, 9, None), purge(20), bounds(21, 21, Some(20)));
        check(bounds(7, 9, Some(6)), purge(3), bounds(7, 9, Some(6)));
        check(bounds(5, 9, None), purge(2), bounds(5, 9, None));
        check(bounds(5, 5, None), purge(2), bounds(3, 3, Some(2)));
    }

    #[test]
    fn the_highest_number_is_no_index() {
        let mut log = Bounds::default();
        assert!(log.append(u64::MAX).is_err());
        assert!(log.purge_to(u64::MAX).is_err());
        log.append(INDEX_MAX).unwrap();
        assert_eq!(log.last(), Some(INDEX_MAX));
    }
}
