//! Whether the member's disk has room.
//!
//! ```text
//! log, tables, snapshots --what found no room--> Room <--less than the reserve is free-- follow
//!                                                 |
//!                 no proposal is accepted, status and log say why
//! ```
//!
//! - Expected flow: whoever finds no room tells so, and tries again until there is some. Free space is looked at as well, so
//!   that nothing more is accepted before the tables find none.
//! - Guarantees: a member that lacks room stays readable, and goes on by itself when there is some.
//! - Assumptions: what found no room was not done, or can be done again.
//! - Errors: where there is room by now and RocksDB still finds none, it is tried no more: the state halts.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Less free space than this, and nothing more is accepted: what was accepted by then still has to become tables. Two
/// memory tables of 8 MiB, the same once more while tables are merged, and two segments of the log.
const RESERVE_BYTES: u64 = 64 << 20;
/// As much has to be free before anything is accepted again: merging tables takes and gives back some of it all the time.
const ENOUGH_BYTES: u64 = 80 << 20;
/// How often free space is looked at: within this a leader takes some ten thousand commands.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How long what found no room rests before it is tried again.
const REST: Duration = Duration::from_millis(500);
/// Tries without room in a row, while there is enough of it, before it is given up: a minute. RocksDB looks every five
/// seconds whether it can go on.
const TRIES_WITH_ROOM_MAX: u32 = 120;

/// What lacks room, in a member. Clones are of the same member.
#[derive(Clone)]
pub(crate) struct Room {
    lacking: Arc<Mutex<BTreeMap<Part, String>>>,
    /// The member stops: nothing is waited for any more.
    stop: CancellationToken,
    look: Arc<dyn Fn() + Send + Sync>,
}

/// What needs room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// The next segment of the log.
    Log,
    /// What is applied.
    Tables,
    /// What is applied, before the log of it is purged.
    Purge,
    /// A snapshot that is taken.
    Snapshot,
    /// A snapshot that is installed.
    Install,
    /// The reserve.
    Reserve,
}

/// Whether what finds no room is given up some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// When it finds none although there is enough for it.
    GivesUp,
    /// Never: it may need more than anybody knows.
    Endless,
}

impl Room {
    /// `look` has the log look whether it finds room now; nobody waits for room after `stop`.
    pub(crate) fn new(stop: CancellationToken, look: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            lacking: Arc::default(),
            stop,
            look: Arc::new(look),
        }
    }

    /// What lacks room and what the disk said, while there is none: nothing more should be proposed.
    pub(crate) fn lacking(&self) -> Option<String> {
        self.lock().values().next().cloned()
    }

    /// As [`Self::lacking`], and has it looked at again.
    pub(crate) fn lacking_still(&self) -> Option<String> {
        let lacking = self.lacking();
        if lacking.is_some() {
            (self.look)();
        }
        lacking
    }

    /// Whether what finds no room may wait for some.
    pub(crate) fn may_wait(&self) -> bool {
        !self.stop.is_cancelled()
    }

    pub(crate) fn lacks(&self, part: Part) -> bool {
        self.lock().contains_key(&part)
    }

    /// Remembers why a part lacks room, or that it does not.
    pub(crate) fn tell(&self, part: Part, lacking: Option<String>) {
        let mut all = self.lock();
        let first = all.is_empty();
        match lacking {
            Some(reason) => {
                if first {
                    tracing::error!(
                        reason,
                        "the disk is full: this member accepts no more; make room on it, and the member goes on by itself"
                    );
                } else if !all.contains_key(&part) {
                    tracing::warn!(reason, "the full disk is in the way of more");
                }
                all.insert(part, reason);
            }
            None => {
                if all.remove(&part).is_some() && all.is_empty() {
                    tracing::info!("the disk has room again");
                }
            }
        }
    }

    /// Does what needs room in the folder `path`, again and again until it finds some, or until the member stops.
    ///
    /// # Errors
    /// What else stands against it, and that there is no room when it is tried no more.
    pub(crate) async fn until_done<T, F>(
        &self,
        (part, persistence): (Part, Persistence),
        path: &Path,
        mut attempt: impl FnMut() -> F,
    ) -> io::Result<T>
    where
        F: Future<Output = io::Result<T>>,
    {
        let mut tries_with_room = 0;
        loop {
            let error = match attempt().await {
                Err(error) if is_full(&error) => error,
                done => {
                    self.tell(part, None);
                    return done;
                }
            };
            self.tell(part, Some(with_free(&error.to_string(), path)));
            match persistence == Persistence::GivesUp && has_room(path, ENOUGH_BYTES) {
                true => tries_with_room += 1,
                false => tries_with_room = 0,
            }
            let stopped = tokio::time::timeout(REST, self.stop.cancelled())
                .await
                .is_ok();
            if stopped || tries_with_room > TRIES_WITH_ROOM_MAX {
                return Err(error);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Part, String>> {
        self.lacking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at the free space of the folder `path`, and at what lacked room.
pub(crate) async fn follow(room: Room, path: PathBuf) {
    let mut every = tokio::time::interval(LOOK_INTERVAL);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = room.stop.cancelled() => return,
            _ = every.tick() => {}
        }
        let needed = match room.lacks(Part::Reserve) {
            true => ENOUGH_BYTES,
            false => RESERVE_BYTES,
        };
        let lacking = match free(&path) {
            Ok(free) if free.bytes < needed => Some(format!(
                "{} are free in {}, {} have to be",
                size(free.bytes),
                path.display(),
                size(needed)
            )),
            // A disk that cannot tell is found full when it is.
            _ => None,
        };
        room.tell(Part::Reserve, lacking);
        // Also a follower, whom nobody asks, notices that there is room again.
        room.lacking_still();
    }
}

/// Refuses to write so many bytes to the folder `path` where they would use up the reserve: what was accepted needs it.
pub(crate) fn check_fits(path: &Path, bytes: u64) -> io::Result<()> {
    // A disk that cannot tell is found full when it is.
    if has_room(path, RESERVE_BYTES + bytes) || free(path).is_err() {
        return Ok(());
    }
    let said = format!(
        "{} more would leave less than {}",
        size(bytes),
        size(RESERVE_BYTES)
    );
    Err(io::Error::new(
        io::ErrorKind::StorageFull,
        with_free(&said, path),
    ))
}

/// Whether it failed for want of room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::StorageFull
}

/// What the disk said, with what is free in the folder `path`.
pub(crate) fn with_free(said: &str, path: &Path) -> String {
    match free(path) {
        Ok(free) => format!(
            "{said}; {} are free in {}",
            size(free.bytes),
            path.display()
        ),
        Err(_) => said.to_owned(),
    }
}

/// What is free in the folder `path`, behind a space and in brackets; nothing when the disk does not tell.
pub(crate) fn free_in_brackets(path: &Path) -> String {
    free(path).map_or_else(
        |_| String::new(),
        |free| format!(" ({} are free)", size(free.bytes)),
    )
}

fn has_room(path: &Path, bytes: u64) -> bool {
    free(path).is_ok_and(|free| free.bytes >= bytes && free.takes_files)
}

struct Free {
    bytes: u64,
    takes_files: bool,
}

fn free(path: &Path) -> io::Result<Free> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(Free {
        bytes: disk.f_bavail.saturating_mul(disk.f_frsize),
        // Some count no files.
        takes_files: disk.f_files == 0 || disk.f_favail > 0,
    })
}

fn size(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{bytes} bytes"),
        mebibytes => format!("{mebibytes} MiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn room() -> Room {
        Room::new(CancellationToken::new(), || {})
    }

    fn full() -> io::Error {
        io::Error::new(io::ErrorKind::StorageFull, "no room")
    }

    #[test]
    fn the_disk_has_room_when_every_part_has() {
        let room = room();
        room.tell(Part::Snapshot, Some("a".to_owned()));
        room.tell(Part::Log, Some("b".to_owned()));
        assert_eq!(room.lacking().as_deref(), Some("b"));
        room.tell(Part::Log, None);
        assert_eq!(room.lacking().as_deref(), Some("a"));
        room.tell(Part::Snapshot, None);
        assert_eq!(room.lacking(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_finds_no_room_is_tried_until_it_does_and_told_meanwhile() {
        let (room, tries) = (room(), AtomicU32::new(0));
        let done = room.until_done(
            (Part::Tables, Persistence::Endless),
            Path::new("/"),
            || async {
                let tried = tries.fetch_add(1, Ordering::Relaxed);
                assert_eq!(room.lacks(Part::Tables), tried > 0);
                match tried {
                    0..1_000 => Err(full()),
                    other => Ok(other),
                }
            },
        );
        assert_eq!(done.await.unwrap(), 1_000);
        assert_eq!(room.lacking(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_finds_no_room_although_there_is_enough_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        assert!(
            has_room(dir.path(), ENOUGH_BYTES),
            "this test needs a disk that is not full"
        );
        let (room, tries) = (room(), AtomicU32::new(0));
        let done =
            room.until_done::<(), _>((Part::Tables, Persistence::GivesUp), dir.path(), || async {
                tries.fetch_add(1, Ordering::Relaxed);
                Err(full())
            });
        assert!(is_full(&done.await.unwrap_err()));
        assert_eq!(tries.into_inner(), TRIES_WITH_ROOM_MAX + 1);
        assert!(room.lacking().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn another_error_is_not_waited_for_and_a_stop_ends_the_waiting() {
        let room = room();
        let part = (Part::Log, Persistence::Endless);
        let other = room.until_done::<(), _>(part, Path::new("/"), || async {
            Err(io::Error::other("something else"))
        });
        assert_eq!(other.await.unwrap_err().to_string(), "something else");
        room.stop.cancel();
        let none = room.until_done::<(), _>(part, Path::new("/"), || async { Err(full()) });
        assert!(is_full(&none.await.unwrap_err()));
    }

    #[test]
    fn sizes_are_told_in_bytes_or_mebibytes() {
        assert_eq!(size(12_288), "12288 bytes");
        assert_eq!(size(80 << 20), "80 MiB");
    }
}
