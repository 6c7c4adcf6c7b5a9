//! A segmented write-ahead log: numbered entries and a few named values, durable in one write and one sync.
//!
//! ```text
//! write(batch, Synced) ──> Writer ── one write, one sync ──> 0000000007.log   [head|batch|batch|batch|0000000…]
//!                            │                               0000000008.log   [000000000000000000000000000000…]  the spare
//!                            │ publishes                          ▲
//!                            ▼                                    │ allocates, fills with zeros; deletes what is purged
//!                  index: entry -> segment, offset             Upkeep, on a thread of its own
//!                            ▲
//! read(range) <── Reader ────┘── one read for each run of entries, each checked by itself
//! ```
//!
//! It decides nothing about what it holds: entries and values are bytes. It never waits for time, never repeats a
//! failed sync, and never leaves out what had been synced.
//!
//! - Expected flow: [`open`] reads and checks everything. The owner of the [`Writer`] gathers what waits and writes it as
//!   one batch; any number of [`Reader`]s read beside it. From time to time it asks for [`Writer::space`].
//! - Guarantees: after a crash the log holds the first batches that were written, all of each, and none that was answered
//!   as synced is missing. Every bit that is read was checked. Damage is named, with its file and offset, and never
//!   taken for the end of the log. What a full disk refuses was not written, and the writer goes on.
//! - Assumptions: one process has the folder open ([`Folder`] locks it). A sector of 512 bytes is on the disk as before or
//!   as written; a sync that succeeds means what it says. Damage is an accident, nobody's work.
//! - Errors: [`Error`]. After a failed write or sync the writer takes nothing more, and the log is to be opened again.
//!   With two exceptions: a last batch that looks cut off, because a sector of it is zero as before, is left out, though it
//!   might be a synced one that was damaged just so ([`Recovered::torn`] tells). And whatever was lost whole from the end,
//!   with the files it was in, leaves no trace here. Who cannot bear the first writes an empty batch, synced, behind what
//!   matters: it proves everything before it.
//!
//! # Files
//!
//! `NNNNNNNNNN.log` is the segment of that number, from 1 on and without a gap; `NNNNNNNNNN.new` one in preparation, that
//! is deleted at the next start; `lock` is locked. The highest segment may be blank: the spare. Numbers are
//! little-endian; checksums are CRC32C, because processors compute it.
//!
//! A segment is made as long as it will be, and all zeros, before anything is written to it. So a sync while it is
//! written changes bytes and nothing about the file. Zeros also tell where the log ends, and what of its last batch
//! never reached the disk. To use purged segments again as they are would save writing everything twice; then the end
//! would be known by checksums only, and a torn batch not be told from a damaged one.
//!
//! | Head of a segment: offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `regraftW` |
//! | 8 | 4 | format: 1 |
//! | 12 | 4 | length of the head, a multiple of 8 |
//! | 16 | 4 | checksum of the 16 bytes before; up to here every format is the same |
//! | 20 | 4 | checksum of the rest of the head |
//! | 24 | 8 | number of the segment |
//! | 32 | 8 | length of the file |
//! | 40 | 8 | number of the first batch in it |
//! | 48 | 8 | 1 + the index everything is purged up to; 0 if nothing ever was |
//! | 56 | 8 | the lowest index that is there |
//! | 64 | 8 | the index that the next entry gets |
//! | 72 | 4 | checksum in the head of the batch before the first |
//! | 76 | 4 | how many values |
//! | 80 | | each value: length of the key (1), length of the content (4), key, content; then zeros up to the length |
//!
//! Batches follow, each at a multiple of 8. A segment is begun when the one before is synced; its head and its first
//! batch are one write.
//!
//! | Head of a batch: offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `RGWB` |
//! | 4 | 4 | checksum of: number of the segment (8), offset of the batch in the file (8), the head from 8 on |
//! | 8 | 8 | number of the segment |
//! | 16 | 8 | number of the batch: one more than the one before, from 1 on |
//! | 24 | 8 | number of the newest batch that was synced when this one was written |
//! | 32 | 4 | length of all records |
//! | 36 | 4 | how many records |
//! | 40 | 4 | checksum in the head of the batch before; 0 for the first |
//! | 44 | 4 | checksum of the checksums of all records |
//! | 48 | | the records; then the end mark `e7`, and zeros up to a multiple of 8 |
//!
//! | Record: offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | checksum of: number of the segment (8), offset of the record in the file (8), the record from 4 on |
//! | 4 | 4 | length of the content |
//! | 8 | 1 | kind: 1 append, 2 truncate from, 3 purge to, 4 set |
//! | 9 | 8 | index; 0 for a set |
//! | 17 | | content: the entry; nothing; nothing; length of the key (1), key, value |

mod content;
mod disk;
mod error;
mod format;
mod operation;
mod planted;
mod reader;
mod recover;
mod segment;
pub mod testing;
mod upkeep;
mod writer;

pub use disk::{Disk, DiskFile, Folder};
pub use error::Error;
pub use operation::{
    BATCH_BYTES_MAX, Bounds, Durability, ENTRY_BYTES_MAX, INDEX_MAX, KEY_BYTES_MAX, Operation,
    VALUES_BYTES_MAX,
};
pub use reader::{READ_ENTRIES_MAX, Reader};
pub use recover::{Recovered, Torn};
pub use upkeep::Upkeep;
pub use writer::{NotDeleted, Space, Writer};

use std::sync::Arc;

/// Bytes of a segment unless told otherwise: a new one every 50,000 entries of 300 bytes, and little to read at a start.
pub const SEGMENT_BYTES: u64 = 16 << 20;
/// Bytes of the smallest segment that can be asked for: a page.
pub const SEGMENT_BYTES_MIN: u64 = 4 << 10;
/// Bytes of the largest segment that can be asked for: a segment is read into memory when the log is opened.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// How the log keeps its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of each new segment; [`SEGMENT_BYTES_MIN`] at least and [`SEGMENT_BYTES_MAX`] at most are used. A batch that
    /// does not fit gets a longer one.
    pub segment_bytes: u64,
    /// Who prepares them.
    pub upkeep: Upkeep,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES,
            upkeep: Upkeep::default(),
        }
    }
}

/// Opens the log, a new one where there is none: reads and checks all of it, leaves out what a crash had cut off, and
/// makes the rest durable.
///
/// # Errors
/// Whatever is neither whole nor the work of a crash: [`Error::Damaged`], [`Error::DamagedEntry`],
/// [`Error::MissingSegment`], [`Error::MissingEntries`], [`Error::SegmentTwice`], [`Error::NewerFormat`]; and what the
/// disk refuses: [`Error::List`], [`Error::Tidy`], [`Error::Read`], [`Error::Write`], [`Error::Sync`], [`Error::Thread`].
pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<(Writer, Reader, Recovered), Error> {
    let segment_bytes = options
        .segment_bytes
        .clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
    let found = recover::recover(disk.as_ref())?;
    let keeper = upkeep::Keeper::start(disk, segment_bytes, options.upkeep, found.spare)?;
    let shared = content::Shared::new(found.content);
    let writer = Writer::new(shared, keeper, found.resume);
    let reader = writer.reader();
    Ok((writer, reader, found.recovered))
}

#[cfg(test)]
mod tests;
