//! Which members belong together where a state was restored from a backup.
//!
//! ```text
//! the lost trio            disk ids  "a1…"        "b2…"        "c3…"
//! the restored one         disk ids  "LINE.d4…"   "LINE.e5…"   "LINE.f6…"       who joins it later: "LINE.…"
//! ```
//!
//! - Guarantees: members of different lines refuse each other at the first word, so that one that was thought lost brings
//!   nothing back, and is given nothing. A new member, which has promised nothing to anybody, takes the line of the first
//!   that speaks to it.
//! - Errors: the marker of the data folder cannot be written.

use crate::disk::Disk;
use crate::error::Error;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Between the line and the disk itself.
const SEPARATOR: u8 = b'.';

/// What a member has promised so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promises {
    /// Nothing to anybody.
    None,
    /// Maybe something.
    Some,
}

/// This member's disk, as others know it.
pub(crate) struct OwnDisk {
    /// Where the marker is.
    dir: PathBuf,
    known: Mutex<Known>,
}

struct Known {
    disk: Disk,
    promises: Promises,
}

impl OwnDisk {
    /// Of the data folder `dir`.
    pub(crate) fn new(dir: PathBuf, disk: Disk, promises: Promises) -> Self {
        let known = Mutex::new(Known { disk, promises });
        Self { dir, known }
    }

    /// What requests and answers carry.
    pub(crate) fn id(&self) -> Vec<u8> {
        self.lock().disk.id()
    }

    /// Whether the disk of another member is of the same line. Blocks once in the life of a new member, which writes down
    /// where it belongs.
    pub(crate) fn belongs_with(&self, other: &[u8]) -> Result<bool, Error> {
        let mut known = self.lock();
        match line_of(other) {
            line if line == line_of(&known.disk.id()) => {}
            Some(line) if known.promises == Promises::None => {
                let line = String::from_utf8_lossy(line).into_owned();
                known.disk = known.disk.clone().join_line(&self.dir, line)?;
            }
            _ => return Ok(false),
        }
        known.promises = Promises::Some;
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The disk's id as others see it.
pub(crate) fn id_in(line: Option<&str>, disk: &str) -> Vec<u8> {
    match line {
        None => disk.as_bytes().to_vec(),
        Some(line) => [line.as_bytes(), &[SEPARATOR], disk.as_bytes()].concat(),
    }
}

fn line_of(id: &[u8]) -> Option<&[u8]> {
    let end = id.iter().position(|byte| *byte == SEPARATOR)?;
    id.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(dir: &std::path::Path, promises: Promises) -> OwnDisk {
        let disk = Disk::claim(dir, "shop", 4).unwrap();
        OwnDisk::new(dir.to_owned(), disk, promises)
    }

    #[test]
    fn a_new_member_takes_the_line_of_who_speaks_first_and_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let new = own(dir.path(), Promises::None);
        assert_eq!(line_of(&new.id()), None);
        assert!(new.belongs_with(b"one.aa").unwrap());
        assert_eq!(line_of(&new.id()), Some(b"one".as_slice()));
        for (other, belongs) in [("one.bb", true), ("two.aa", false), ("aa", false)] {
            assert_eq!(
                new.belongs_with(other.as_bytes()).unwrap(),
                belongs,
                "{other}"
            );
        }
        let again = own(dir.path(), Promises::Some);
        assert_eq!(again.id(), new.id());
    }

    #[test]
    fn who_has_promised_something_takes_no_line() {
        let dir = tempfile::tempdir().unwrap();
        let old = own(dir.path(), Promises::Some);
        assert!(!old.belongs_with(b"one.aa").unwrap());
        assert!(old.belongs_with(b"aa").unwrap());

        let dir = tempfile::tempdir().unwrap();
        let new = own(dir.path(), Promises::None);
        // The first that speaks to it has no line, so it has none either.
        assert!(new.belongs_with(b"aa").unwrap());
        assert!(!new.belongs_with(b"one.aa").unwrap());
    }
}
