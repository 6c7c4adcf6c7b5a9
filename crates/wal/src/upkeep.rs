//! Prepares the next segment ahead of need, and deletes what is purged.
//!
//! - Expected flow: after each sync the writer says what it wants: a spare with the next number, segments gone. With
//!   [`Upkeep::Beside`] a thread does it while the writer goes on; with [`Upkeep::Within`] it is done on the spot.
//! - Guarantees: a spare is whole, all zeros and durable with its name when it is handed out. Segments are deleted oldest
//!   first, each for good before the next: those left over always follow one another.
//! - Errors: kept, not thrown: the writer tells them when it needs the spare. Everything that failed is tried again when
//!   it is asked for again, never by itself.

use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::segment;
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

const THREAD: &str = "wal-upkeep";

/// Who prepares segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upkeep {
    /// A thread of its own, while the writer goes on.
    #[default]
    Beside,
    /// The writer, within [`crate::Writer::write`]: slower, and the same at every run, as simulations want it.
    Within,
}

/// A segment that nothing was written to.
pub(crate) struct Spare {
    pub(crate) number: u64,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) bytes: u64,
}

/// Asks for spares and deletions, and takes what became of it.
pub(crate) struct Keeper {
    shared: Arc<Inner>,
    /// `None`: done on the spot.
    thread: Option<JoinHandle<()>>,
}

struct Inner {
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    spare: Option<Spare>,
    /// The number of the spare that is to be prepared.
    wanted: Option<u64>,
    /// To be deleted.
    purged: BTreeSet<u64>,
    /// There is something to try that was not tried since it was asked for.
    asked: bool,
    working: bool,
    /// The thread is to end.
    ending: bool,
    /// It has.
    ended: bool,
    no_spare: Option<io::Error>,
    not_deleted: Option<io::Error>,
}

impl Keeper {
    pub(crate) fn start(
        disk: Arc<dyn Disk>,
        segment_bytes: u64,
        upkeep: Upkeep,
        spare: Option<Spare>,
    ) -> Result<Self, Error> {
        let shared = Arc::new(Inner {
            disk,
            segment_bytes,
            state: Mutex::new(State {
                spare,
                ..State::default()
            }),
            changed: Condvar::new(),
        });
        let thread = match upkeep {
            Upkeep::Within => None,
            Upkeep::Beside => {
                let inner = Arc::clone(&shared);
                let thread = std::thread::Builder::new()
                    .name(THREAD.to_owned())
                    .spawn(move || inner.work_until_the_end())
                    .map_err(|source| Error::Thread { source })?;
                Some(thread)
            }
        };
        Ok(Self { shared, thread })
    }

    /// Asks for a spare with this number unless there is one, and for these segments to go. Returns at once, when a
    /// thread does it. What failed before is not tried again.
    pub(crate) fn ask(&self, number: u64, purged: impl IntoIterator<Item = u64>) {
        let mut state = self.shared.lock();
        let known = state.purged.len();
        state.purged.extend(purged);
        let new_spare = state.spare.is_none() && state.wanted.is_none();
        if new_spare {
            state.wanted = Some(number);
        }
        if new_spare || state.purged.len() > known {
            self.go(state);
        }
    }

    /// As [`Self::ask`], and tries again what failed.
    pub(crate) fn ask_again(&self, number: u64) {
        let mut state = self.shared.lock();
        if state.spare.is_none() {
            state.wanted = Some(number);
        }
        if state.wanted.is_some() || !state.purged.is_empty() {
            self.go(state);
        }
    }

    /// Takes the spare with this number, prepared now if need be, and at least `bytes` long.
    ///
    /// # Errors
    /// [`Error::DiskFull`], [`Error::Prepare`]. A spare that is there and too short stays for the next time.
    pub(crate) fn take(&self, number: u64, bytes: u64) -> Result<Spare, Error> {
        let mut state = self.shared.lock();
        if state.spare.is_none() && !state.asked && !state.working {
            drop(state);
            self.ask_again(number);
            state = self.shared.lock();
        }
        while state.spare.is_none() && (state.asked || state.working) && !state.ended {
            state = self
                .shared
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let needed_bytes = bytes.max(self.shared.segment_bytes);
        let Some(mut spare) = state.spare.take() else {
            let source = match &state.no_spare {
                Some(error) => copy(error),
                None => io::Error::other("the thread that prepares segments has ended"),
            };
            return Err(no_room(number, needed_bytes, source));
        };
        if spare.bytes < bytes {
            if let Err(source) = spare.file.preallocate(needed_bytes) {
                state.spare = Some(spare);
                return Err(no_room(number, needed_bytes, source));
            }
            spare.bytes = needed_bytes;
        }
        state.no_spare = None;
        Ok(spare)
    }

    /// Why there is no spare, when preparing one failed.
    pub(crate) fn no_spare(&self) -> Option<String> {
        let state = self.shared.lock();
        state.no_spare.as_ref().map(ToString::to_string)
    }

    /// How many purged segments could not be deleted, and why.
    pub(crate) fn not_deleted(&self) -> Option<(usize, String)> {
        let state = self.shared.lock();
        let reason = state.not_deleted.as_ref()?.to_string();
        Some((state.purged.len(), reason))
    }

    fn go(&self, mut state: MutexGuard<'_, State>) {
        state.asked = true;
        match &self.thread {
            Some(_) => self.shared.changed.notify_all(),
            None => self.shared.work(state),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.shared.lock().ending = true;
            self.shared.changed.notify_all();
            // Whoever opens the log next must be alone. A panic in the thread was told by its hook.
            let _ = thread.join();
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work_until_the_end(&self) {
        let _end = End(self);
        loop {
            let mut state = self.lock();
            while !state.asked && !state.ending {
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if state.ending {
                return;
            }
            self.work(state);
            self.changed.notify_all();
        }
    }

    /// Does what was asked for: deletes first, it makes room.
    fn work(&self, mut state: MutexGuard<'_, State>) {
        state.asked = false;
        state.working = true;
        let purged = state.purged.clone();
        let wanted = state.wanted;
        drop(state);
        let mut deleted = Vec::new();
        let mut deleting = Ok(());
        for number in purged {
            deleting = self.delete(number);
            if deleting.is_err() {
                break;
            }
            deleted.push(number);
        }
        let prepared = wanted.map(|number| self.prepare(number));
        let mut state = self.lock();
        state.working = false;
        for number in deleted {
            state.purged.remove(&number);
        }
        state.not_deleted = deleting.err();
        match prepared {
            None => {}
            Some(Ok(spare)) => {
                state.spare = Some(spare);
                state.wanted = None;
                state.no_spare = None;
            }
            Some(Err(source)) => state.no_spare = Some(source),
        }
    }

    fn delete(&self, number: u64) -> io::Result<()> {
        match self.disk.delete(&segment::file_name(number)) {
            // An earlier try got this far.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
        self.disk.sync_folder()
    }

    fn prepare(&self, number: u64) -> io::Result<Spare> {
        let unfinished = segment::unfinished_name(number);
        // An earlier try may have got as far as either.
        for name in [&unfinished, &segment::file_name(number)] {
            match self.disk.delete(name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result?,
            }
        }
        let file = self.disk.create(&unfinished)?;
        if let Err(error) = file.preallocate(self.segment_bytes) {
            // Room for others, who may be the reason that there is none.
            let _ = self.disk.delete(&unfinished);
            return Err(error);
        }
        self.disk.rename(&unfinished, &segment::file_name(number))?;
        self.disk.sync_folder()?;
        Ok(Spare {
            number,
            file,
            bytes: self.segment_bytes,
        })
    }
}

/// Tells who waits that the thread has ended, also when it did so in a panic.
struct End<'a>(&'a Inner);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}

fn no_room(number: u64, needed_bytes: u64, source: io::Error) -> Error {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match source.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => Error::DiskFull {
            needed_bytes,
            source,
        },
        _ => Error::Prepare {
            file: segment::file_name(number),
            source,
        },
    }
}

/// The same error for one more who is told.
fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
