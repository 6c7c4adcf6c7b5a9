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
use crate::error::with_causes;
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
    /// Where the marker is; none is written without.
    dir: Option<PathBuf>,
    known: Mutex<Known>,
}

struct Known {
    id: Vec<u8>,
    disk: Option<Disk>,
    promises: Promises,
}

impl OwnDisk {
    /// Of the data folder `dir`.
    pub(crate) fn new(dir: PathBuf, disk: Disk, promises: Promises) -> Self {
        let known = Known {
            id: disk.id(),
            disk: Some(disk),
            promises,
        };
        Self {
            dir: Some(dir),
            known: Mutex::new(known),
        }
    }

    /// What requests and answers carry.
    pub(crate) fn id(&self) -> Vec<u8> {
        self.lock().id.clone()
    }

    /// Whether the disk of another member is of the same line. Blocks once in the life of a new member, which writes down
    /// where it belongs.
    pub(crate) fn belongs_with(&self, other: &[u8]) -> Result<bool, String> {
        let mut known = self.lock();
        let line = line_of(other);
        if line == line_of(&known.id) {
            known.promises = Promises::Some;
            return Ok(true);
        }
        let (Promises::None, Some(line), Some(dir)) = (known.promises, line, &self.dir) else {
            return Ok(false);
        };
        let line = String::from_utf8_lossy(line).into_owned();
        let Some(disk) = known.disk.take() else {
            return Ok(false);
        };
        match disk.clone().join_line(dir, line) {
            Ok(joined) => {
                known.id = joined.id();
                known.disk = Some(joined);
                known.promises = Promises::Some;
                Ok(true)
            }
            Err(error) => {
                known.disk = Some(disk);
                Err(with_causes(&error))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A disk without a folder, which belongs to one line for good.
impl From<Vec<u8>> for OwnDisk {
    fn from(id: Vec<u8>) -> Self {
        let known = Known {
            id,
            disk: None,
            promises: Promises::Some,
        };
        Self {
            dir: None,
            known: Mutex::new(known),
        }
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
        assert_eq!(new.belongs_with(b"one.aa"), Ok(true));
        assert_eq!(line_of(&new.id()), Some(b"one".as_slice()));
        for (other, belongs) in [("one.bb", true), ("two.aa", false), ("aa", false)] {
            assert_eq!(new.belongs_with(other.as_bytes()), Ok(belongs), "{other}");
        }
        let again = own(dir.path(), Promises::Some);
        assert_eq!(again.id(), new.id());
    }

    #[test]
    fn who_has_promised_something_takes_no_line() {
        let dir = tempfile::tempdir().unwrap();
        let old = own(dir.path(), Promises::Some);
        assert_eq!(old.belongs_with(b"one.aa"), Ok(false));
        assert_eq!(old.belongs_with(b"aa"), Ok(true));

        let dir = tempfile::tempdir().unwrap();
        let new = own(dir.path(), Promises::None);
        // The first that speaks to it has no line, so it has none either.
        assert_eq!(new.belongs_with(b"aa"), Ok(true));
        assert_eq!(new.belongs_with(b"one.aa"), Ok(false));
    }
}
