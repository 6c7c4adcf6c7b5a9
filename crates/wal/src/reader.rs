//! Reads the log beside the writer.
//!
//! - Expected flow: [`Reader::read`] asks the index where the entries are, and the disk for them, a run at a time.
//! - Guarantees: an entry is returned as it was appended, or an error names it; the entries of one answer follow one
//!   another. A segment that is deleted meanwhile is still read: it is open.
//! - Errors: a damaged entry fails the answers that it would be in, and no other.

use crate::content::{Location, Shared};
use crate::disk::DiskFile;
use crate::error::Error;
use crate::format::{self, BATCH_HEAD_BYTES, RECORD_HEAD_BYTES};
use crate::operation::{Bounds, Operation};
use crate::planted::{self, Bug};
use crate::segment;
use std::ops::Range;
use std::sync::Arc;

/// Records with no more than this between them are read at once: the heads and the fill between two batches.
const GAP_BYTES: u64 = 4 * BATCH_HEAD_BYTES as u64;
/// Bytes that are read at once, but for one larger entry.
const RUN_BYTES_MAX: u64 = 1 << 20;
/// Entries of one answer: their places are looked up at once, under the lock that the writer needs too.
pub const READ_ENTRIES_MAX: usize = 4096;

/// Reads the log.
#[derive(Clone)]
pub struct Reader {
    shared: Shared,
}

/// Records of one segment, near one another.
struct Run {
    file: Arc<dyn DiskFile>,
    segment: u64,
    records: Vec<(u64, Location)>,
}

impl Reader {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared }
    }

    /// Which entries there are.
    pub fn bounds(&self) -> Bounds {
        self.shared.read().bounds()
    }

    /// How many files the log has, but for spare ones; each is as long as [`crate::Options::segment_bytes`] at least.
    pub fn segments(&self) -> usize {
        self.shared.read().segments.len()
    }

    /// The first entry in the newest so many files; none when they hold none, or are all there are.
    pub fn first_of_newest(&self, segments: usize) -> Option<u64> {
        let content = self.shared.read();
        let before = content.segments.len().checked_sub(segments + 1)?;
        let older = *content.segments.keys().nth(before)?;
        content.first_after(older)
    }

    /// The value with this key.
    pub fn value(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.shared.read().values().get(key).cloned()
    }

    /// The values whose keys begin so, in their order, with their keys.
    pub fn values(&self, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let content = self.shared.read();
        content
            .values()
            .range(prefix.to_vec()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// The entries of the range that are there, from the lowest on, with their indexes: as many as fit in `bytes_max`,
    /// and at least one if there is one; never more than [`READ_ENTRIES_MAX`].
    ///
    /// # Errors
    /// [`Error::ReadEntry`], [`Error::DamagedEntry`].
    pub fn read(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        let mut found = Vec::new();
        for run in self.look_up(range, bytes_max) {
            run.read(&mut found)?;
        }
        Ok(found)
    }

    /// Where the entries are that one answer holds.
    fn look_up(&self, range: Range<u64>, bytes_max: usize) -> Vec<Run> {
        let content = self.shared.read();
        let bounds = content.bounds();
        let start = range.start.max(bounds.first);
        let end = range.end.min(bounds.next);
        let mut left = bytes_max;
        let mut runs: Vec<Run> = Vec::new();
        for index in (start..end).take(READ_ENTRIES_MAX) {
            let Some(location) = content.location(index) else {
                break;
            };
            let length = location.length as usize;
            if length > left && index != start {
                break;
            }
            left = left.saturating_sub(length);
            match runs.last_mut() {
                Some(run) if run.takes(&location) => run.records.push((index, location)),
                _ => {
                    let Some(file) = content.segments.get(&location.segment) else {
                        break;
                    };
                    runs.push(Run {
                        file: Arc::clone(file),
                        segment: location.segment,
                        records: vec![(index, location)],
                    });
                }
            }
        }
        runs
    }
}

impl Run {
    fn start(&self) -> u64 {
        self.records
            .first()
            .map_or(0, |(_, location)| location.offset)
    }

    fn end(&self) -> u64 {
        self.records.last().map_or(0, |(_, location)| {
            location.offset + RECORD_HEAD_BYTES as u64 + u64::from(location.length)
        })
    }

    fn takes(&self, location: &Location) -> bool {
        location.segment == self.segment
            && location.offset >= self.end()
            && location.offset - self.end() <= GAP_BYTES
            && self.end() - self.start() + u64::from(location.length) <= RUN_BYTES_MAX
    }

    fn read(&self, found: &mut Vec<(u64, Vec<u8>)>) -> Result<(), Error> {
        let start = self.start();
        let length = usize::try_from(self.end() - start).expect("a run is a few entries");
        let mut bytes = vec![0; length];
        let file = || segment::file_name(self.segment);
        self.file
            .read_at(&mut bytes, start)
            .map_err(|source| Error::ReadEntry {
                index: self.records.first().map_or(0, |(index, _)| *index),
                file: file(),
                offset: start,
                source,
            })?;
        for (index, location) in &self.records {
            let at = usize::try_from(location.offset - start).expect("it is within the run");
            let entry =
                self.entry(*index, location, &bytes[at..])
                    .map_err(|what| Error::DamagedEntry {
                        index: *index,
                        file: file(),
                        offset: location.offset,
                        what,
                    })?;
            found.push((*index, entry));
        }
        Ok(())
    }

    fn entry(
        &self,
        index: u64,
        location: &Location,
        bytes: &[u8],
    ) -> Result<Vec<u8>, &'static str> {
        let end = RECORD_HEAD_BYTES + location.length as usize;
        if planted::has(Bug::NoChecksum) {
            return Ok(bytes[RECORD_HEAD_BYTES..end].to_vec());
        }
        match format::check_record(&bytes[..end], location.offset, self.segment)? {
            (
                Operation::Append {
                    index: found,
                    bytes,
                },
                _,
            ) if found == index => Ok(bytes.to_vec()),
            _ => Err("the record is another one"),
        }
    }
}
