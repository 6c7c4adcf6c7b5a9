//! Reads a log that was left, whole or in the middle of anything.
//!
//! - Expected flow: the segments are read in order, every batch checked; what a crash cut off is left out and zeroed;
//!   what may not be on the disk yet is written again and synced.
//! - Guarantees: what is there afterwards is durable, and is what the writer had after some batch that is not older than
//!   the last one it answered as synced.
//! - Assumptions: a sector is on the disk as before or as written.
//! - Errors: whatever cannot be the work of a crash is damage, named with its place. Then nothing is changed.
//!
//! When is damage the work of a crash? Only the last batches can be cut off, those that no sync had covered. So it is
//! not if a batch behind it, or the head of a later segment, says that it had been synced; and not if it is there up to
//! its end mark and every sector of it has something in it, because a segment is zeros before it is written.

use crate::content::Content;
use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::format::{
    self, ALIGNMENT_BYTES, BatchHead, NoBatch, NoHead, SEGMENT_START_BYTES, SegmentHead, VERSION,
};
use crate::operation::{BATCH_BYTES_MAX, Operation, VALUES_BYTES_MAX};
use crate::planted::{self, Bug};
use crate::segment;
use crate::upkeep::Spare;
use crate::writer::{Active, Resume};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// A file beyond this is no segment: it would hold more than the largest batch with the largest head.
const SEGMENT_FILE_BYTES_MAX: u64 = BATCH_BYTES_MAX as u64 + 64 * VALUES_BYTES_MAX as u64;
/// Bytes that are zeroed, or looked through, at a time.
const ZEROS_BYTES: usize = 256 << 10;
static ZEROS: [u8; ZEROS_BYTES] = [0; ZEROS_BYTES];

/// What was found when the log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Segments with something in them.
    pub segments: usize,
    /// Batches in them.
    pub batches: u64,
    /// Bytes that were read, the empty ends of segments included.
    pub read_bytes: u64,
    /// What a crash had cut off.
    pub torn: Option<Torn>,
}

/// The end of the log, left out: it was never answered as synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The segment's file.
    pub file: String,
    /// Where it begins.
    pub offset: u64,
    /// How long it is, up to the last byte that is not zero.
    pub bytes: u64,
}

/// The log as it was left.
pub(crate) struct Recovery {
    pub(crate) content: Content,
    pub(crate) resume: Resume,
    pub(crate) spare: Option<Spare>,
    pub(crate) recovered: Recovered,
}

/// Reads the log, and makes what it found durable.
pub(crate) fn recover(disk: &dyn Disk) -> Result<Recovery, Error> {
    let numbers = list(disk)?;
    let mut replay = Replay::default();
    for (number, name) in &numbers {
        let is_last = numbers.keys().next_back() == Some(number);
        let file = disk.open(name).map_err(|source| Error::Read {
            file: name.clone(),
            offset: 0,
            source,
        })?;
        let source = Source::read(*number, file)?;
        replay.segment(source, is_last)?;
    }
    replay.check_end()?;
    replay.finish(disk)
}

/// The segments' files, checked to follow one another.
fn list(disk: &dyn Disk) -> Result<BTreeMap<u64, String>, Error> {
    let mut numbers = BTreeMap::new();
    for name in disk.list().map_err(|source| Error::List { source })? {
        let Some(number) = segment::number(&name) else {
            continue;
        };
        if let Some(other) = numbers.insert(number, name.clone()) {
            let (one, other) = if name < other {
                (name, other)
            } else {
                (other, name)
            };
            return Err(Error::SegmentTwice { number, one, other });
        }
    }
    let mut expected = None;
    for (number, name) in &numbers {
        // Whatever is done to a segment later is done by this name.
        let file = segment::file_name(*number);
        if *name != file {
            return Err(Error::MissingSegment { file });
        }
        if let Some(expected) = expected
            && expected != *number
        {
            return Err(Error::MissingSegment {
                file: segment::file_name(expected),
            });
        }
        expected = number.checked_add(1);
    }
    Ok(numbers)
}

/// A segment's file and what is in it.
struct Source {
    number: u64,
    file: Arc<dyn DiskFile>,
    bytes: Vec<u8>,
}

impl Source {
    fn read(number: u64, file: Arc<dyn DiskFile>) -> Result<Self, Error> {
        let failed = |source| Error::Read {
            file: segment::file_name(number),
            offset: 0,
            source,
        };
        let length = file.length().map_err(failed)?;
        if length > SEGMENT_FILE_BYTES_MAX {
            return Err(damaged(number, 0, "it is larger than any segment"));
        }
        let mut bytes = vec![0; usize::try_from(length).expect("it is below the bound")];
        file.read_at(&mut bytes, 0).map_err(failed)?;
        Ok(Self {
            number,
            file,
            bytes,
        })
    }

    fn is_blank(&self) -> bool {
        self.used_end(0) == 0
    }

    fn into_spare(self) -> Spare {
        Spare {
            number: self.number,
            bytes: self.bytes.len() as u64,
            file: self.file,
        }
    }

    /// Where the last byte ends that is not zero, from an offset on.
    fn used_end(&self, from: usize) -> usize {
        // Most ends are long and empty: whole pieces first.
        let mut end = self.bytes.len();
        while end >= from + ZEROS_BYTES && format::is_zero(&self.bytes[end - ZEROS_BYTES..end]) {
            end -= ZEROS_BYTES;
        }
        let used = self.bytes[from..end].iter().rposition(|byte| *byte != 0);
        used.map_or(from, |last| from + last + 1)
    }

    /// A batch, from an offset on, that was written when this batch was known to be synced.
    fn proof_of(&self, batch: u64, from: usize) -> bool {
        (from..self.used_end(from))
            .step_by(ALIGNMENT_BYTES)
            .any(|offset| {
                BatchHead::decode(&self.bytes, offset, self.number)
                    .is_ok_and(|head| head.synced >= batch)
            })
    }

    /// Makes zeros of everything from an offset on, also of what reads as zeros. Not synced.
    fn zero(&self, from: usize) -> Result<(), Error> {
        for at in (from..self.bytes.len()).step_by(ZEROS_BYTES) {
            let piece_bytes = ZEROS_BYTES.min(self.bytes.len() - at);
            self.write(&ZEROS[..piece_bytes], at)?;
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8], offset: usize) -> Result<(), Error> {
        let offset = offset as u64;
        self.file
            .write_at(bytes, offset)
            .map_err(|source| Error::Write {
                file: segment::file_name(self.number),
                offset,
                source,
            })
    }

    fn sync(&self) -> Result<(), Error> {
        self.file.sync().map_err(|source| Error::Sync {
            file: segment::file_name(self.number),
            source,
        })
    }
}

/// The newest segment with something in it.
struct Newest {
    source: Source,
    /// Where its last good batch ends.
    end: usize,
    /// What is there.
    after: NoBatch,
    /// Where each of its batches begins, with its number.
    batches: Vec<(u64, usize)>,
}

/// What was read so far.
#[derive(Default)]
struct Replay {
    content: Content,
    newest: Option<Newest>,
    /// The last segment, in which nothing begins yet.
    unused: Option<Source>,
    /// The last batch.
    number: u64,
    /// The checksum of its head.
    previous: u32,
    /// The newest batch that another one proves to have been synced.
    synced: u64,
    recovered: Recovered,
}

impl Replay {
    /// Takes the next segment.
    fn segment(&mut self, source: Source, is_last: bool) -> Result<(), Error> {
        self.recovered.read_bytes += source.bytes.len() as u64;
        match SegmentHead::decode(&source.bytes) {
            Ok((head, length)) => {
                self.begin(&source, head)?;
                self.batches(source, length)
            }
            Err(NoHead::Newer { found }) => Err(Error::NewerFormat {
                file: segment::file_name(source.number),
                found,
                known: VERSION,
            }),
            Err(NoHead::Damaged(what)) => self.no_head(source, what, is_last),
        }
    }

    /// Checks that the segment goes on where the one before it ended.
    fn begin(&mut self, source: &Source, head: SegmentHead) -> Result<(), Error> {
        let number = source.number;
        if head.number != number {
            let (one, other) = (segment::file_name(number), segment::file_name(head.number));
            return Err(Error::SegmentTwice {
                number: head.number,
                one,
                other,
            });
        }
        if (source.bytes.len() as u64) < head.bytes {
            return Err(damaged(
                number,
                source.bytes.len(),
                "the file is shorter than it was made",
            ));
        }
        let Some(newest) = &self.newest else {
            self.number = head.first_batch - 1;
            self.previous = head.previous;
            self.content = Content::restored(head.bounds, head.values);
            return Ok(());
        };
        newest.check_whole()?;
        if head.first_batch != self.number + 1 || head.previous != self.previous {
            let what = "batches are missing before the next segment";
            return Err(damaged(newest.source.number, newest.end, what));
        }
        if head.bounds != self.content.bounds() || head.values != *self.content.values() {
            let what = "its head tells of other contents than the segments before it";
            return Err(damaged(number, 0, what));
        }
        Ok(())
    }

    /// Takes the batches of a segment, from where its head ends.
    fn batches(&mut self, source: Source, head_bytes: usize) -> Result<(), Error> {
        let mut end = head_bytes;
        let mut batches = Vec::new();
        let after = loop {
            let batch = match format::decode_batch(&source.bytes, end, source.number) {
                Ok(batch) => batch,
                Err(no_batch) => break no_batch,
            };
            let head = batch.head;
            if head.number != self.number + 1 || head.previous != self.previous {
                break NoBatch::Damaged {
                    what: "a batch is not the one that follows",
                    end: batch.end,
                };
            }
            for (operation, offset) in &batch.records {
                self.apply(operation, source.number, *offset)?;
            }
            batches.push((head.number, end));
            self.number = head.number;
            self.previous = head.checksum;
            self.synced = self.synced.max(head.synced);
            self.recovered.batches += 1;
            end = batch.end;
        };
        self.recovered.segments += 1;
        self.content
            .segments
            .insert(source.number, Arc::clone(&source.file));
        self.newest = Some(Newest {
            source,
            end,
            after,
            batches,
        });
        Ok(())
    }

    fn apply(&mut self, operation: &Operation<'_>, segment: u64, offset: u64) -> Result<(), Error> {
        let applied = self.content.apply(operation, segment, offset);
        applied.map_err(|_| {
            let what = "it does not continue the log";
            let file = segment::file_name(segment);
            match *operation {
                Operation::Append { index, .. } | Operation::PurgeTo { index } => {
                    Error::DamagedEntry {
                        index,
                        file,
                        offset,
                        what,
                    }
                }
                _ => Error::Damaged { file, offset, what },
            }
        })
    }

    /// Takes a segment that does not begin as one does: the one that was to be next, or a damaged one.
    fn no_head(&mut self, source: Source, what: &'static str, is_last: bool) -> Result<(), Error> {
        let number = source.number;
        if planted::has(Bug::AllDamageIsTorn) && is_last {
            self.unused = Some(source);
            return Ok(());
        }
        let head_end = match SegmentHead::length(&source.bytes) {
            // The first batch follows, in the same write.
            Ok(length) => length,
            Err(_) => SEGMENT_START_BYTES,
        };
        let is_unused = is_last
            && (source.is_blank() || format::may_be_torn(&source.bytes, 0, head_end))
            && !source.proof_of(self.number + 1, 0);
        if !is_unused {
            return Err(damaged(number, 0, what));
        }
        if let Some(newest) = &self.newest
            && !source.is_blank()
        {
            newest.check_whole()?;
        }
        self.unused = Some(source);
        Ok(())
    }

    /// Judges what is behind the last good batch, and whether all entries were found.
    fn check_end(&mut self) -> Result<(), Error> {
        if let Some(newest) = &self.newest {
            newest.check_torn(self.number + 1)?;
            self.recovered.torn = torn(&newest.source, newest.end);
        }
        if let Some(unused) = &self.unused {
            if self.newest.is_none() && unused.number != segment::FIRST {
                return Err(Error::MissingSegment {
                    file: segment::file_name(unused.number - 1),
                });
            }
            self.recovered.torn = self.recovered.torn.take().or(torn(unused, 0));
        }
        if let Some((first, next)) = self.content.missing() {
            let oldest = self.content.segments.keys().next().copied();
            return Err(Error::MissingEntries {
                first,
                last: next - 1,
                file: segment::file_name(oldest.unwrap_or_default()),
            });
        }
        Ok(())
    }

    /// Makes what was found durable, and zeros of what was left out.
    fn finish(self, disk: &dyn Disk) -> Result<Recovery, Error> {
        let (spare, not_blank) = match self.unused {
            Some(unused) if unused.is_blank() || planted::has(Bug::NoZeroing) => {
                (Some(unused.into_spare()), None)
            }
            unused => (None, unused.map(|unused| unused.number)),
        };
        tidy(disk, not_blank).map_err(|source| Error::Tidy { source })?;
        let mut active = None;
        if let Some(newest) = self.newest {
            newest.write_again(self.synced)?;
            active = Some(Active {
                number: newest.source.number,
                file: newest.source.file,
                bytes: newest.source.bytes.len() as u64,
                end: newest.end as u64,
            });
        }
        Ok(Recovery {
            content: self.content,
            resume: Resume {
                active,
                number: self.number,
                previous: self.previous,
            },
            spare,
            recovered: self.recovered,
        })
    }
}

impl Newest {
    /// Something was written to a later segment: this one had been synced.
    fn check_whole(&self) -> Result<(), Error> {
        match self.after {
            NoBatch::Blank => Ok(()),
            NoBatch::Damaged { what, .. } => Err(damaged(self.source.number, self.end, what)),
        }
    }

    /// What is behind the last good batch must be the work of a crash.
    fn check_torn(&self, next_batch: u64) -> Result<(), Error> {
        if planted::has(Bug::AllDamageIsTorn) {
            return Ok(());
        }
        let Source { number, bytes, .. } = &self.source;
        let fail = |what| Err(damaged(*number, self.end, what));
        match self.after {
            NoBatch::Damaged { what, end } if !format::may_be_torn(bytes, self.end, end) => {
                fail(what)
            }
            NoBatch::Damaged { what, .. } if self.source.proof_of(next_batch, self.end) => {
                fail(what)
            }
            NoBatch::Blank if self.source.proof_of(next_batch, self.end) => {
                fail("a batch is missing")
            }
            _ => Ok(()),
        }
    }

    /// Writes the batches again that may be in memory only, and zeros behind them. All of it, whatever it reads as: where
    /// a sync had failed, memory and disk differ from then on, and syncing again does not bring them together.
    fn write_again(&self, synced: u64) -> Result<(), Error> {
        let unproved = self.batches.iter().find(|(number, _)| *number > synced);
        let from = match unproved {
            // The head came with the first batch.
            Some(unproved) if Some(unproved) == self.batches.first() => 0,
            Some((_, offset)) => *offset,
            None if self.batches.is_empty() => 0,
            None => self.end,
        };
        if !planted::has(Bug::NoRewriting) {
            self.source
                .write(&self.source.bytes[from..self.end], from)?;
        }
        if !planted::has(Bug::NoZeroing) {
            self.source.zero(self.end)?;
        }
        self.source.sync()
    }
}

/// Deletes what a crash left half made, and makes the folder durable as it was read: names in it may not be yet.
fn tidy(disk: &dyn Disk, not_blank: Option<u64>) -> io::Result<()> {
    for name in disk.list()? {
        if segment::is_unfinished(&name) {
            disk.delete(&name)?;
        }
    }
    // A new one takes its place. Zeros over it could stay in memory while the disk has what was there before.
    if let Some(number) = not_blank {
        disk.delete(&segment::file_name(number))?;
    }
    disk.sync_folder()
}

fn torn(source: &Source, offset: usize) -> Option<Torn> {
    let bytes = (source.used_end(offset) - offset) as u64;
    (bytes > 0).then(|| Torn {
        file: segment::file_name(source.number),
        offset: offset as u64,
        bytes,
    })
}

fn damaged(number: u64, offset: usize, what: &'static str) -> Error {
    Error::Damaged {
        file: segment::file_name(number),
        offset: offset as u64,
        what,
    }
}
