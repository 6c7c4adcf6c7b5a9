//! What a member is made to suffer from inside: a clock that jumps, a disk that is slow, fails, or forgets.
//!
//! ```text
//! FOLDER/clock  milliseconds that the member's clock is off
//! FOLDER/disk   `slow MS`: each sync takes so long;   `fail`: each sync fails;   absent: neither
//! ```
//!
//! The files are read each time, so that whoever writes them changes a member that runs. [`ForgetfulDisk`] keeps what is
//! not synced in the memory of the process: killing it loses that, as the crash of a machine does, and what was
//! answered before its sync is found out.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use regraft_wal::{Disk, DiskFile};

use crate::clock;

const CLOCK: &str = "clock";
const DISK: &str = "disk";
const SLOW: &str = "slow";
const FAIL: &str = "fail";

/// Where somebody says what is to be suffered.
#[derive(Clone, Debug)]
pub(crate) struct Faults(PathBuf);

/// What the disk does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskFault {
    /// Each sync takes so long.
    Slow(Duration),
    /// Each sync fails.
    Fail,
}

impl Faults {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// The member's clock, milliseconds since the epoch.
    pub(crate) fn wall_ms(&self) -> i64 {
        let text = std::fs::read_to_string(self.0.join(CLOCK)).unwrap_or_default();
        let off: i64 = text.trim().parse().unwrap_or_default();
        clock::wall_ms().saturating_add(off)
    }

    /// The disk of the member's log.
    pub(crate) fn above(&self, below: Arc<dyn Disk>) -> Arc<dyn Disk> {
        Arc::new(ForgetfulDisk {
            below,
            faults: self.clone(),
        })
    }

    /// Sets the member's clock off by so many milliseconds.
    pub(crate) fn set_clock(&self, off_ms: i64) -> io::Result<()> {
        self.write(CLOCK, &off_ms.to_string())
    }

    /// Has the disk misbehave, or behave.
    pub(crate) fn set_disk(&self, fault: Option<DiskFault>) -> io::Result<()> {
        match fault {
            Some(DiskFault::Slow(time)) => {
                self.write(DISK, &format!("{SLOW} {}", time.as_millis()))
            }
            Some(DiskFault::Fail) => self.write(DISK, FAIL),
            None => match std::fs::remove_file(self.0.join(DISK)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        }
    }

    fn disk(&self) -> Option<DiskFault> {
        let text = std::fs::read_to_string(self.0.join(DISK)).ok()?;
        match text.split_once(' ') {
            Some((SLOW, ms)) => Some(DiskFault::Slow(Duration::from_millis(ms.parse().ok()?))),
            _ => (text == FAIL).then_some(DiskFault::Fail),
        }
    }

    /// Whole or not at all: the member may read at any time.
    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        std::fs::create_dir_all(&self.0)?;
        let beside = self.0.join(format!("{name}.new"));
        std::fs::write(&beside, text)?;
        std::fs::rename(&beside, self.0.join(name))
    }
}

/// A disk that loses what was not synced when its process ends.
struct ForgetfulDisk {
    below: Arc<dyn Disk>,
    faults: Faults,
}

/// One of its files.
struct ForgetfulFile {
    below: Arc<dyn DiskFile>,
    faults: Faults,
    /// Written and not synced: offsets and bytes, in order.
    unsynced: Mutex<Vec<(u64, Vec<u8>)>>,
}

impl ForgetfulDisk {
    fn file(&self, below: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(ForgetfulFile {
            below,
            faults: self.faults.clone(),
            unsynced: Mutex::default(),
        })
    }
}

/// Takes as long as the fault says, or fails.
fn suffer(faults: &Faults) -> io::Result<()> {
    match faults.disk() {
        Some(DiskFault::Slow(time)) => {
            // Woken early it is only less slow.
            std::thread::park_timeout(time);
            Ok(())
        }
        Some(DiskFault::Fail) => Err(io::Error::other("this sync was made to fail")),
        None => Ok(()),
    }
}

impl Disk for ForgetfulDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.below.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.below.create(name).map(|file| self.file(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.below.open(name).map(|file| self.file(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.below.rename(from, to)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.below.delete(name)
    }

    fn sync_folder(&self) -> io::Result<()> {
        suffer(&self.faults)?;
        self.below.sync_folder()
    }
}

impl ForgetfulFile {
    fn unsynced(&self) -> MutexGuard<'_, Vec<(u64, Vec<u8>)>> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiskFile for ForgetfulFile {
    fn length(&self) -> io::Result<u64> {
        let ends = self.unsynced().iter().map(end).max().unwrap_or_default();
        Ok(self.below.length()?.max(ends))
    }

    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        suffer(&self.faults)?;
        self.below.preallocate(bytes)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.unsynced().push((offset, bytes.to_vec()));
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let unsynced = self.unsynced();
        let length = self.below.length()?;
        let behind = offset + buffer.len() as u64;
        let stored = length.clamp(offset, behind) - offset;
        let stored = usize::try_from(stored).unwrap_or(buffer.len());
        self.below.read_at(&mut buffer[..stored], offset)?;
        buffer[stored..].fill(0);
        if behind > length.max(unsynced.iter().map(end).max().unwrap_or_default()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (from, bytes) in unsynced.iter() {
            overlay(buffer, offset, bytes, *from);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        suffer(&self.faults)?;
        let mut unsynced = self.unsynced();
        for (offset, bytes) in unsynced.iter() {
            self.below.write_at(bytes, *offset)?;
        }
        self.below.sync()?;
        unsynced.clear();
        Ok(())
    }
}

fn end((offset, bytes): &(u64, Vec<u8>)) -> u64 {
    offset + bytes.len() as u64
}

/// Puts what of `bytes`, which begin at `from`, lies within the buffer, which begins at `offset`, into it.
fn overlay(buffer: &mut [u8], offset: u64, bytes: &[u8], from: u64) {
    let begin = from.max(offset);
    let end = (from + bytes.len() as u64).min(offset + buffer.len() as u64);
    if begin >= end {
        return;
    }
    let at = |place: u64, start: u64| usize::try_from(place - start).unwrap_or(usize::MAX);
    if let Some(into) = buffer.get_mut(at(begin, offset)..at(end, offset))
        && let Some(bytes) = bytes.get(at(begin, from)..at(end, from))
    {
        into.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regraft_wal::testing::MemoryDisk;

    fn faults() -> (tempfile::TempDir, Faults) {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::new(dir.path().join("faults"));
        (dir, faults)
    }

    fn read(file: &dyn DiskFile, offset: u64, count: usize) -> Vec<u8> {
        let mut buffer = vec![0; count];
        file.read_at(&mut buffer, offset).unwrap();
        buffer
    }

    #[test]
    fn what_is_not_synced_is_read_and_is_gone_with_the_process() {
        let (_dir, faults) = faults();
        let below: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let file = faults.above(Arc::clone(&below)).create("a").unwrap();
        file.preallocate(8).unwrap();
        file.write_at(b"abcd", 2).unwrap();
        file.sync().unwrap();
        file.write_at(b"XY", 3).unwrap();
        assert_eq!(read(&*file, 0, 8), b"\0\0aXYd\0\0");
        assert_eq!(read(&*file, 4, 2), b"Yd");
        drop(file);
        let file = faults.above(below).open("a").unwrap();
        assert_eq!(read(&*file, 0, 8), b"\0\0abcd\0\0");
    }

    #[test]
    fn a_sync_that_is_made_to_fail_writes_nothing() {
        let (_dir, faults) = faults();
        let below: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let file = faults.above(Arc::clone(&below)).create("a").unwrap();
        file.write_at(b"ab", 0).unwrap();
        faults.set_disk(Some(DiskFault::Fail)).unwrap();
        file.sync().unwrap_err();
        assert_eq!(below.open("a").unwrap().length().unwrap(), 0);
        faults.set_disk(None).unwrap();
        file.sync().unwrap();
        assert_eq!(below.open("a").unwrap().length().unwrap(), 2);
    }

    #[test]
    fn a_clock_is_off_by_what_was_said() {
        let (_dir, faults) = faults();
        faults.set_clock(-3_600_000).unwrap();
        let off = clock::wall_ms() - faults.wall_ms();
        assert!((3_600_000..3_660_000).contains(&off), "{off}");
    }
}
