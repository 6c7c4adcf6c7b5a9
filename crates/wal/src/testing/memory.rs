//! A disk in memory that keeps the rules of a real one at their worst.

use super::Dice;
use crate::disk::{Disk, DiskFile};
use crate::format::SECTOR_BYTES;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// How likely it is that a sector, or a change of the folder, outlives a crash though it was not synced, in percent; each
/// crash has one of these.
const SURVIVAL_PERCENT: [u64; 5] = [0, 10, 50, 90, 100];

/// A disk in memory. What is not synced is lost in a crash, by sectors and in any part; what a failed sync was to make
/// durable stays in memory, and a later sync does not bring it to the disk unless it is written again. Clones are the
/// same disk.
///
/// It does the same for the same calls and seeds. Files that were open before a crash fail ever after.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Default)]
struct State {
    /// The folder as it is seen.
    names: BTreeMap<String, u64>,
    /// The folder as it was synced.
    durable_names: BTreeMap<String, u64>,
    changes: Vec<Change>,
    files: BTreeMap<u64, Contents>,
    next_file: u64,
    /// Rises with each crash: who opened a file before is not served any more.
    boots: u64,
    operations: u64,
    faults: Faults,
}

#[derive(Default)]
struct Faults {
    /// Operations until the power goes.
    power: Option<u64>,
    is_off: bool,
    /// Syncs until one fails.
    sync: Option<u64>,
    /// Writes until one fails.
    write: Option<u64>,
    /// Deletions until one fails.
    delete: Option<u64>,
    /// Bytes that all files may take.
    room_bytes: Option<u64>,
    /// Syncs wait.
    held: bool,
}

/// A change of the folder that is not synced.
enum Change {
    Link { name: String, file: u64 },
    Rename { from: String, to: String },
    Unlink { name: String },
}

#[derive(Default)]
struct Contents {
    bytes: Vec<u8>,
    durable_length: usize,
    /// What the disk holds of the sectors that differ in memory.
    behind: BTreeMap<usize, Behind>,
}

struct Behind {
    on_disk: Vec<u8>,
    /// The next sync brings it to the disk. Not so after a failed one.
    is_dirty: bool,
}

struct MemoryFile {
    disk: MemoryDisk,
    file: u64,
    boot: u64,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// The power goes and comes back: what was not synced survives in part, as the seed has it. Faults that were asked
    /// for are over.
    pub fn crash(&self, seed: u64) {
        let mut dice = Dice::new(seed);
        let mut state = self.lock();
        state.boots += 1;
        let room_bytes = state.faults.room_bytes;
        state.faults = Faults {
            room_bytes,
            ..Faults::default()
        };
        let place = dice.below(SURVIVAL_PERCENT.len() as u64);
        let survival = SURVIVAL_PERCENT[usize::try_from(place).unwrap_or(0)];
        let mut names = std::mem::take(&mut state.durable_names);
        for change in std::mem::take(&mut state.changes) {
            if dice.percent(survival) {
                change.apply(&mut names);
            }
        }
        for contents in state.files.values_mut() {
            contents.crash(&mut dice, survival);
        }
        state.names.clone_from(&names);
        state.durable_names = names;
        state.drop_unnamed();
        self.0.released.notify_all();
    }

    /// After this many more operations that change something, the power goes: that one is done in part, and nothing more
    /// until [`Self::crash`].
    pub fn cut_power_after(&self, operations: u64) {
        self.lock().faults.power = Some(operations);
    }

    /// Whether the power is on.
    pub fn has_power(&self) -> bool {
        !self.lock().faults.is_off
    }

    /// How many operations there were that change something.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Lets the nth sync of a file from now fail: 1 is the next.
    pub fn fail_sync(&self, nth: u64) {
        self.lock().faults.sync = Some(nth);
    }

    /// Lets the nth write from now fail, half done, up to the end of a sector: 1 is the next.
    pub fn fail_write(&self, nth: u64) {
        self.lock().faults.write = Some(nth);
    }

    /// Lets the nth deletion from now fail: 1 is the next.
    pub fn fail_delete(&self, nth: u64) {
        self.lock().faults.delete = Some(nth);
    }

    /// Whether something that was to fail has not yet.
    pub fn will_fail(&self) -> bool {
        let faults = &self.lock().faults;
        let counts = [faults.power, faults.sync, faults.write, faults.delete];
        counts.iter().any(Option::is_some)
    }

    /// Lets all files together take no more than this; `None`: as much as they want.
    pub fn set_room(&self, bytes: Option<u64>) {
        self.lock().faults.room_bytes = bytes;
    }

    /// Bytes that all files take.
    pub fn used_bytes(&self) -> u64 {
        self.lock().used_bytes()
    }

    /// Lets syncs wait until [`Self::release_syncs`]: a slow disk without a clock.
    pub fn hold_syncs(&self) {
        self.lock().faults.held = true;
    }

    /// Lets the syncs that wait go on.
    pub fn release_syncs(&self) {
        self.lock().faults.held = false;
        self.0.released.notify_all();
    }

    /// Turns one bit over, in memory and on the disk. Nothing happens where there is none.
    pub fn flip_bit(&self, name: &str, bit: u64) {
        let mut state = self.lock();
        let byte = usize::try_from(bit / 8).unwrap_or(usize::MAX);
        let mask = 1 << (bit % 8);
        let Some(contents) = state.contents(name) else {
            return;
        };
        if let Some(found) = contents.bytes.get_mut(byte) {
            *found ^= mask;
        }
        if let Some(behind) = contents.behind.get_mut(&(byte / SECTOR_BYTES))
            && let Some(found) = behind.on_disk.get_mut(byte % SECTOR_BYTES)
        {
            *found ^= mask;
        }
    }

    /// The names and lengths of all files.
    pub fn files(&self) -> Vec<(String, u64)> {
        let state = self.lock();
        let length = |file| {
            let contents: Option<&Contents> = state.files.get(file);
            contents.map_or(0, |contents| contents.bytes.len() as u64)
        };
        state
            .names
            .iter()
            .map(|(name, file)| (name.clone(), length(file)))
            .collect()
    }

    /// What is in a file.
    pub fn contents_of(&self, name: &str) -> Option<Vec<u8>> {
        let mut state = self.lock();
        state.contents(name).map(|contents| contents.bytes.clone())
    }

    /// Puts a file there, durably, in place of one that has the name.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut state = self.lock();
        let file = state.next_file;
        state.next_file += 1;
        state.files.insert(
            file,
            Contents {
                durable_length: bytes.len(),
                bytes,
                behind: BTreeMap::new(),
            },
        );
        state.names.insert(name.to_owned(), file);
        state.durable_names.insert(name.to_owned(), file);
    }

    /// Takes a file away, durably.
    pub fn take_away(&self, name: &str) {
        let mut state = self.lock();
        state.names.remove(name);
        state.durable_names.remove(name);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, file: u64, boot: u64) -> Arc<dyn DiskFile> {
        Arc::new(MemoryFile {
            disk: self.clone(),
            file,
            boot,
        })
    }
}

impl Disk for MemoryDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.lock();
        state.check_power()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        state.change_something()?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = state.next_file;
        state.next_file += 1;
        state.files.insert(file, Contents::default());
        state.change_folder(Change::Link {
            name: name.to_owned(),
            file,
        });
        Ok(self.file(file, state.boots))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.lock();
        state.check_power()?;
        let file = state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(*file, state.boots))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.change_something()?;
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_folder(Change::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        });
        Ok(())
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.check_power()?;
        if !state.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_something()?;
        if count_down(&mut state.faults.delete) {
            return Err(io::Error::other("a deletion that was to fail"));
        }
        state.change_folder(Change::Unlink {
            name: name.to_owned(),
        });
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.change_something()?;
        state.durable_names = state.names.clone();
        state.changes.clear();
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn length(&self) -> io::Result<u64> {
        let mut state = self.disk.lock();
        Ok(state.open_file(self)?.bytes.len() as u64)
    }

    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        let powered = state.change_something();
        let before = state.files.get(&self.file).map_or(0, |c| c.bytes.len());
        let after = usize::try_from(bytes)
            .map_err(io::Error::other)?
            .max(before);
        let used = state.used_bytes() + (after - before) as u64;
        if state.faults.room_bytes.is_some_and(|room| used > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let boot = state.boots;
        let Some(contents) = state
            .files
            .get_mut(&self.file)
            .filter(|_| boot == self.boot)
        else {
            return Err(gone());
        };
        let reached = match powered {
            Ok(()) => after,
            Err(_) => before.midpoint(after),
        };
        contents.bytes.resize(reached, 0);
        contents.durable_length = reached;
        powered
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        let was_on = state.check_power();
        let mut outcome = state.change_something();
        if count_down(&mut state.faults.write) {
            outcome = Err(io::Error::other("a write that was to fail"));
        }
        was_on?;
        let contents = state.open_file_unpowered(self)?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let written = match outcome {
            Ok(()) => bytes,
            Err(_) => {
                let middle = (offset + bytes.len() / 2) / SECTOR_BYTES * SECTOR_BYTES;
                &bytes[..middle.saturating_sub(offset)]
            }
        };
        contents.write(written, offset);
        outcome
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        let contents = state.open_file(self)?;
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let found = contents.bytes.get(start..start + buffer.len());
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        while state.faults.held {
            state = self
                .disk
                .0
                .released
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.change_something()?;
        let fails = count_down(&mut state.faults.sync);
        let contents = state.open_file(self)?;
        if fails {
            for behind in contents.behind.values_mut() {
                behind.is_dirty = false;
            }
            return Err(io::Error::other("a sync that was to fail"));
        }
        contents.behind.retain(|_, behind| !behind.is_dirty);
        contents.durable_length = contents.bytes.len();
        Ok(())
    }
}

impl State {
    fn check_power(&self) -> io::Result<()> {
        if self.faults.is_off {
            return Err(gone());
        }
        Ok(())
    }

    /// Counts an operation that changes something; an error when the power is off by then.
    fn change_something(&mut self) -> io::Result<()> {
        self.check_power()?;
        self.operations += 1;
        if count_down(&mut self.faults.power) {
            self.faults.is_off = true;
        }
        self.check_power()
    }

    fn change_folder(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }

    fn contents(&mut self, name: &str) -> Option<&mut Contents> {
        let file = self.names.get(name)?;
        self.files.get_mut(file)
    }

    fn open_file(&mut self, file: &MemoryFile) -> io::Result<&mut Contents> {
        self.check_power()?;
        self.open_file_unpowered(file)
    }

    fn open_file_unpowered(&mut self, file: &MemoryFile) -> io::Result<&mut Contents> {
        if self.boots != file.boot {
            return Err(gone());
        }
        self.files.get_mut(&file.file).ok_or_else(gone)
    }

    fn used_bytes(&self) -> u64 {
        let named = self.names.values();
        let lengths = named.filter_map(|file| self.files.get(file));
        lengths.map(|contents| contents.bytes.len() as u64).sum()
    }

    fn drop_unnamed(&mut self) {
        let Self { names, files, .. } = self;
        files.retain(|file, _| names.values().any(|named| named == file));
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Link { name, file } => {
                names.insert(name.clone(), *file);
            }
            Self::Rename { from, to } => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Self::Unlink { name } => {
                names.remove(name);
            }
        }
    }
}

impl Contents {
    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        if bytes.is_empty() {
            return;
        }
        for sector in offset / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES {
            let start = sector * SECTOR_BYTES;
            let sector_end = (start + SECTOR_BYTES).min(self.bytes.len());
            self.behind
                .entry(sector)
                .or_insert_with(|| Behind {
                    on_disk: self.bytes[start..sector_end].to_vec(),
                    is_dirty: true,
                })
                .is_dirty = true;
        }
        self.bytes[offset..end].copy_from_slice(bytes);
    }

    fn crash(&mut self, dice: &mut Dice, survival: u64) {
        for (sector, behind) in std::mem::take(&mut self.behind) {
            if dice.percent(survival) {
                continue;
            }
            let start = sector * SECTOR_BYTES;
            self.bytes[start..start + behind.on_disk.len()].copy_from_slice(&behind.on_disk);
        }
        if self.bytes.len() > self.durable_length && !dice.percent(survival) {
            self.bytes.truncate(self.durable_length);
        }
        self.durable_length = self.bytes.len();
    }
}

/// Counts down to a fault; true when it is time.
fn count_down(left: &mut Option<u64>) -> bool {
    let Some(count) = left else { return false };
    *count = count.saturating_sub(1);
    let now = *count == 0;
    if now {
        *left = None;
    }
    now
}

fn gone() -> io::Error {
    io::Error::other("the power is off, or was since the file was opened")
}
