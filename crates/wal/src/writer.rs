//! The one that writes: a batch is one write, and one sync where asked for.
//!
//! - Expected flow: [`Writer::write`] with all that waits; what it returns is the answer to all of it.
//! - Guarantees: an error for which the page says that nothing was written leaves the writer usable and the log as it
//!   was. Readers see a batch when its write returned, never a part of one.
//! - Assumptions: nobody else writes these files.
//! - Errors: after a failed write or sync nobody knows what the disk holds, and asking it again may be answered from
//!   memory. So the writer takes nothing more; opening the log again reads, and writes again, what there is.

use crate::content::Shared;
use crate::disk::DiskFile;
use crate::error::Error;
use crate::format::{self, Place, SegmentHead, VALUE_HEAD_BYTES, Values};
use crate::operation::{
    BATCH_BYTES_MAX, Durability, ENTRY_BYTES_MAX, KEY_BYTES_MAX, Operation, VALUES_BYTES_MAX,
};
use crate::planted::{self, Bug};
use crate::reader::Reader;
use crate::segment;
use crate::upkeep::Keeper;
use std::sync::Arc;

/// Room at the end of a segment that batches with entries leave to others: a full disk is freed by a purge, and the
/// purge has to be written. Enough for hundreds of such batches.
const RESERVE_BYTES: u64 = 64 << 10;
/// Of a small segment the reserve is one part in this many.
const RESERVE_PART: u64 = 16;
/// The buffer for a batch gives its memory back beyond this.
const BUFFER_BYTES_MAX: usize = 4 << 20;

/// How much room the log has ahead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Space {
    /// The next segment is ready, or about to be.
    Ample,
    /// The next segment cannot be prepared. What is free in the present one is all there is: stop accepting.
    Low {
        /// Bytes that batches with entries can still take.
        free_bytes: u64,
        /// What the disk said.
        reason: String,
    },
    /// As `Low`, and the last batch found no room, or none with an entry would. Purges still do.
    None {
        /// What the disk said.
        reason: String,
    },
}

/// Purged segments that could not be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotDeleted {
    /// How many.
    pub segments: usize,
    /// What the disk said.
    pub reason: String,
}

/// Writes the log.
pub struct Writer {
    shared: Shared,
    keeper: Keeper,
    /// `None` before the first batch of a new log.
    active: Option<Active>,
    /// The last batch.
    number: u64,
    /// The last batch that is known to be synced.
    synced: u64,
    /// The checksum of the last batch's head.
    previous: u32,
    buffer: Vec<u8>,
    offsets: Vec<u64>,
    poisoned: Option<String>,
    refused: bool,
}

/// The segment that is written.
pub(crate) struct Active {
    pub(crate) number: u64,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) bytes: u64,
    /// Where the next batch goes.
    pub(crate) end: u64,
}

/// Where recovery left the log; everything is synced.
pub(crate) struct Resume {
    pub(crate) active: Option<Active>,
    pub(crate) number: u64,
    pub(crate) previous: u32,
}

impl Writer {
    pub(crate) fn new(shared: Shared, keeper: Keeper, resume: Resume) -> Self {
        let writer = Self {
            shared,
            keeper,
            active: resume.active,
            number: resume.number,
            synced: resume.number,
            previous: resume.previous,
            buffer: Vec::new(),
            offsets: Vec::new(),
            poisoned: None,
            refused: false,
        };
        writer.keep_up();
        writer
    }

    /// Writes a batch: after a crash all of it is there, or nothing. An empty one, synced, proves everything before it.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::Sync`]: whether the batch is there is unknown until the log is opened again, and every
    /// later call is answered with [`Error::Poisoned`]. Nothing was written, and the writer stays usable, after
    /// [`Error::OutOfOrder`], [`Error::IndexTooHigh`], [`Error::TooLarge`], [`Error::DiskFull`], [`Error::Prepare`].
    pub fn write(&mut self, batch: &[Operation<'_>], durability: Durability) -> Result<(), Error> {
        if let Some(reason) = &self.poisoned {
            let reason = reason.clone();
            return Err(Error::Poisoned { reason });
        }
        self.check(batch)?;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_MAX);
        self.offsets.clear();
        self.place(batch)?;
        self.put(batch, durability)
            .inspect_err(|error| self.poisoned = Some(with_causes(error)))?;
        self.publish(batch);
        if durability == Durability::Synced || planted::has(Bug::EarlyRelease) {
            self.keep_up();
        }
        Ok(())
    }

    /// How much room there is. Tries again what failed, unless a batch waits for its sync: called from time to time, it
    /// notices when room has returned.
    pub fn space(&mut self) -> Space {
        let failed = self.keeper.no_spare().is_some() || self.keeper.not_deleted().is_some();
        if failed && self.all_synced() {
            self.keeper.ask_again(self.next_segment());
        }
        let Some(reason) = self.keeper.no_spare() else {
            self.refused = false;
            return Space::Ample;
        };
        let free_bytes = self.active.as_ref().map_or(0, |active| {
            (active.bytes - active.end).saturating_sub(reserve(active.bytes))
        });
        match free_bytes {
            0 => Space::None { reason },
            _ if self.refused => Space::None { reason },
            _ => Space::Low { free_bytes, reason },
        }
    }

    /// Purged segments that are still there because deleting failed; [`Self::space`] and the next purge try again.
    pub fn not_deleted(&self) -> Option<NotDeleted> {
        let (segments, reason) = self.keeper.not_deleted()?;
        Some(NotDeleted { segments, reason })
    }

    /// One that reads beside this, and also after it is gone.
    pub fn reader(&self) -> Reader {
        Reader::new(self.shared.clone())
    }

    /// Whether the batch may follow what there is.
    fn check(&self, batch: &[Operation<'_>]) -> Result<(), Error> {
        let content = self.shared.read();
        let mut bounds = content.bounds();
        let mut sets = false;
        for operation in batch {
            match *operation {
                Operation::Append { index, bytes } => {
                    at_most("an entry", bytes.len(), ENTRY_BYTES_MAX)?;
                    bounds.append(index)?;
                }
                Operation::TruncateFrom { index } => bounds.truncate_from(index),
                Operation::PurgeTo { index } => bounds.purge_to(index)?,
                Operation::Set { key, bytes } => {
                    at_most("a key", key.len(), KEY_BYTES_MAX)?;
                    at_most("a value", bytes.len(), VALUES_BYTES_MAX)?;
                    sets = true;
                }
            }
        }
        at_most("a batch", format::batch_bytes(batch), BATCH_BYTES_MAX)?;
        if sets {
            check_values(content.values(), batch)?;
        }
        Ok(())
    }

    /// Makes sure that there is room, in this segment or the next, which then begins in the buffer with its head.
    fn place(&mut self, batch: &[Operation<'_>]) -> Result<(), Error> {
        let bytes = format::batch_bytes(batch) as u64;
        let appends = batch
            .iter()
            .any(|operation| matches!(operation, Operation::Append { .. }));
        if let Some(active) = &self.active {
            let kept = if appends { reserve(active.bytes) } else { 0 };
            if active.end + bytes + kept <= active.bytes {
                return Ok(());
            }
        }
        // Recovery relies on it: whatever is in a segment, the one before it was synced.
        if !self.all_synced() && !planted::has(Bug::NoSyncBetweenSegments) {
            self.sync()
                .inspect_err(|error| self.poisoned = Some(with_causes(error)))?;
        }
        let mut head = {
            let content = self.shared.read();
            SegmentHead {
                number: self.next_segment(),
                bytes: 0,
                first_batch: self.number + 1,
                previous: self.previous,
                bounds: content.bounds(),
                values: content.values().clone(),
            }
        };
        head.encode(&mut self.buffer);
        let needed = self.buffer.len() as u64 + bytes;
        let taken = self.keeper.take(head.number, with_reserve(needed));
        self.refused = taken.is_err();
        let spare = taken?;
        head.bytes = spare.bytes;
        self.buffer.clear();
        head.encode(&mut self.buffer);
        self.active = Some(Active {
            number: spare.number,
            file: spare.file,
            bytes: spare.bytes,
            end: 0,
        });
        Ok(())
    }

    /// Writes what is in the buffer, and the batch behind it.
    fn put(&mut self, batch: &[Operation<'_>], durability: Durability) -> Result<(), Error> {
        let active = self.active.as_mut().expect("a batch is placed before");
        let place = Place {
            segment: active.number,
            origin: active.end,
            number: self.number + 1,
            synced: self.synced,
            previous: self.previous,
        };
        let checksum = format::encode_batch(&place, batch, &mut self.buffer, &mut self.offsets);
        active
            .file
            .write_at(&self.buffer, active.end)
            .map_err(|source| Error::Write {
                file: segment::file_name(active.number),
                offset: active.end,
                source,
            })?;
        active.end += self.buffer.len() as u64;
        self.number += 1;
        self.previous = checksum;
        match durability {
            Durability::Synced => self.sync(),
            Durability::NotYet => Ok(()),
        }
    }

    fn sync(&mut self) -> Result<(), Error> {
        if let Some(active) = &self.active
            && !planted::has(Bug::NoSync)
        {
            active.file.sync().map_err(|source| Error::Sync {
                file: segment::file_name(active.number),
                source,
            })?;
        }
        self.synced = self.number;
        Ok(())
    }

    /// Shows the batch to readers.
    fn publish(&mut self, batch: &[Operation<'_>]) {
        let active = self.active.as_ref().expect("the batch was written to it");
        let mut content = self.shared.write();
        for (operation, offset) in batch.iter().zip(&self.offsets) {
            content
                .apply(operation, active.number, *offset)
                .expect("the batch was checked against this content");
        }
        content
            .segments
            .entry(active.number)
            .or_insert_with(|| Arc::clone(&active.file));
    }

    /// Lets go of segments that hold nothing any more, and asks for a spare. Only after a sync: until then neither the
    /// purge nor the head that replaces them is sure to be there.
    fn keep_up(&self) {
        let Some(active) = &self.active else {
            self.keeper.ask(segment::FIRST, []);
            return;
        };
        let mut content = self.shared.write();
        let mut needed = content.oldest_needed().unwrap_or(active.number);
        if planted::has(Bug::ReleaseOneMore) && needed < active.number {
            needed += 1;
        }
        let kept = content.segments.split_off(&needed);
        let purged = std::mem::replace(&mut content.segments, kept);
        drop(content);
        self.keeper.ask(active.number + 1, purged.into_keys());
    }

    fn all_synced(&self) -> bool {
        self.synced == self.number
    }

    fn next_segment(&self) -> u64 {
        match &self.active {
            Some(active) => active.number + 1,
            None => segment::FIRST,
        }
    }
}

/// What batches with entries leave free in a segment of this size.
fn reserve(segment_bytes: u64) -> u64 {
    RESERVE_BYTES.min(segment_bytes / RESERVE_PART)
}

/// The size of a segment in which this much fits beside the reserve.
fn with_reserve(bytes: u64) -> u64 {
    bytes + RESERVE_BYTES.min(bytes / (RESERVE_PART - 1) + 1)
}

fn at_most(what: &'static str, bytes: usize, bytes_max: usize) -> Result<(), Error> {
    if bytes > bytes_max {
        return Err(Error::TooLarge {
            what,
            bytes,
            bytes_max,
        });
    }
    Ok(())
}

/// Whether the values, with those of the batch, still fit in the head of a segment.
fn check_values(values: &Values, batch: &[Operation<'_>]) -> Result<(), Error> {
    let mut values: std::collections::BTreeMap<&[u8], usize> = values
        .iter()
        .map(|(key, value)| (key.as_slice(), value.len()))
        .collect();
    for operation in batch {
        if let Operation::Set { key, bytes } = *operation {
            values.insert(key, bytes.len());
        }
    }
    let bytes = values
        .iter()
        .map(|(key, length)| VALUE_HEAD_BYTES + key.len() + length)
        .sum();
    at_most("all values together", bytes, VALUES_BYTES_MAX)
}

/// The error and what caused it, in one line.
fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
