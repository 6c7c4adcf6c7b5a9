//! The directories of the state: one is current, a fresh one takes its place as a whole.
//!
//! ```text
//! state/CURRENT      "db-7"          state/db-7/   RocksDB
//! ```

use crate::database::{self, Closed, Keeps, Open};
use crate::error::Error;
use rocksdb::DB;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

const POINTER: &str = "CURRENT";
const POINTER_NEW: &str = "CURRENT.new";
const PREFIX: &str = "db-";

/// One database directory.
pub(crate) struct Generation {
    pub(crate) db: DB,
    /// After `db`: removes the directory once the database is closed.
    place: Place,
}

/// All directories of one state.
pub(crate) struct Generations {
    dir: PathBuf,
    current: RwLock<Arc<Generation>>,
    next: AtomicU64,
    open: Open,
    closed: Closed,
}

struct Place {
    path: PathBuf,
    retired: AtomicBool,
    _open: Open,
}

impl Generation {
    pub(crate) fn path(&self) -> &Path {
        &self.place.path
    }
}

impl Generations {
    /// Opens the current directory, and removes what an interrupted replacement left behind.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let failed = |source| Error::WriteFile {
            path: dir.to_owned(),
            source,
        };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let number = match named(dir) {
            Ok(number) => number.ok_or_else(|| Error::DamagedDatabase {
                path: dir.join(POINTER),
                reason: "it does not name a directory of the state".to_owned(),
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                point_to(dir, 1).map_err(failed)?;
                1
            }
            Err(source) => {
                return Err(Error::ReadFile {
                    path: dir.join(POINTER),
                    source,
                });
            }
        };
        remove_others(dir, number).map_err(failed)?;
        let (open, closed) = database::open_and_closed();
        let current = Arc::new(open_generation(dir, number, &open)?);
        Ok(Self {
            dir: dir.to_owned(),
            current: RwLock::new(current),
            next: AtomicU64::new(number + 1),
            open,
            closed,
        })
    }

    pub(crate) fn current(&self) -> Arc<Generation> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A new, empty database that is not current yet; it goes with who gives it up.
    pub(crate) fn fresh(&self) -> Result<Generation, Error> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let fresh = open_generation(&self.dir, number, &self.open).inspect_err(|_| {
            // What there is of it is in nobody's way but a full disk's; otherwise the next start removes it.
            let _ = std::fs::remove_dir_all(path_of(&self.dir, number));
        })?;
        fresh.place.retired.store(true, Ordering::Release);
        Ok(fresh)
    }

    /// Makes a flushed database the current one. Readers of the old one keep it until they are done.
    pub(crate) fn replace(&self, fresh: Generation) -> io::Result<()> {
        let number = fresh
            .path()
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(number_of)
            .ok_or_else(|| io::Error::other("a generation lost its number"))?;
        // From here on it may be what the next start opens.
        fresh.place.retired.store(false, Ordering::Release);
        if let Err(error) = point_to(&self.dir, number) {
            let unnamed = named(&self.dir).is_ok_and(|named| named != Some(number));
            fresh.place.retired.store(unnamed, Ordering::Release);
            return Err(error);
        }
        let old = {
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, Arc::new(fresh))
        };
        // Closing and removing it may take long: nobody who wants the current one waits for that.
        old.place.retired.store(true, Ordering::Release);
        Ok(())
    }

    /// What keeps [`Generations::closed`] waiting.
    pub(crate) fn open_guard(&self) -> Open {
        self.open.clone()
    }

    /// Tells when every database is closed, also those that readers keep.
    pub(crate) fn closed(&self) -> Closed {
        self.closed.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.retired.load(Ordering::Acquire)
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            // The next start removes it.
            tracing::warn!(path = %self.path.display(), %error, "an old state stays on disk");
        }
    }
}

fn open_generation(dir: &Path, number: u64, open: &Open) -> Result<Generation, Error> {
    let path = path_of(dir, number);
    Ok(Generation {
        db: database::open(&path, Keeps::AllUpToSomePoint)?,
        place: Place {
            path,
            retired: AtomicBool::new(false),
            _open: open.clone(),
        },
    })
}

fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{number}"))
}

/// What the pointer names; none when that is no directory of the state.
fn named(dir: &Path) -> io::Result<Option<u64>> {
    let text = std::fs::read_to_string(dir.join(POINTER))?;
    Ok(number_of(text.trim()))
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

fn point_to(dir: &Path, number: u64) -> io::Result<()> {
    let beside = dir.join(POINTER_NEW);
    let mut file = std::fs::File::create(&beside)?;
    writeln!(file, "{PREFIX}{number}")?;
    file.sync_all()?;
    std::fs::rename(&beside, dir.join(POINTER))?;
    database::sync_dir(dir)
}

fn remove_others(dir: &Path, number: u64) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let other = entry
            .file_name()
            .to_str()
            .and_then(number_of)
            .is_some_and(|found| found != number);
        if other {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
