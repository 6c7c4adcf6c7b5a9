//! What can go wrong with the log.

use std::io;
use std::path::PathBuf;

/// Why the log could not be opened, read or written: what was done, to what.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder cannot be made, opened or locked.
    #[error("the log's folder {} cannot be used", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process has the log open.
    #[error("the log's folder {} is in use by another process: stop that one first", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The folder's files cannot be listed.
    #[error("the files of the log's folder cannot be listed")]
    List {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What a crash left half made cannot be deleted from the folder, or its changes not be synced.
    #[error("the log's folder cannot be tidied up and synced")]
    Tidy {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file cannot be opened or read.
    #[error("{file} cannot be read at offset {offset}")]
    Read {
        /// The segment's file.
        file: String,
        /// Where in it.
        offset: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An entry cannot be read.
    #[error("entry {index} cannot be read from {file} at offset {offset}")]
    ReadEntry {
        /// The entry.
        index: u64,
        /// The segment's file.
        file: String,
        /// Where in it.
        offset: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A write failed. What the disk holds now is unknown: the writer takes nothing more.
    #[error("{file} cannot be written at offset {offset}")]
    Write {
        /// The segment's file.
        file: String,
        /// Where in it.
        offset: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A sync failed. What the disk holds now is unknown: the writer takes nothing more, because a second sync may
    /// succeed without having written anything.
    #[error("{file} cannot be synced")]
    Sync {
        /// The segment's file.
        file: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An earlier write or sync failed.
    #[error(
        "the log takes no writes since one failed ({reason}): start again to read what the disk holds"
    )]
    Poisoned {
        /// The first failure, with its causes.
        reason: String,
    },
    /// The next segment finds no room. Nothing was written; the same batch may be tried again.
    #[error(
        "no room for a segment of {needed_bytes} bytes: free space on the disk, or purge the log"
    )]
    DiskFull {
        /// How large the segment has to be.
        needed_bytes: u64,
        /// What the disk said.
        #[source]
        source: io::Error,
    },
    /// The next segment cannot be prepared, for another reason than room. Nothing was written.
    #[error("the segment {file} cannot be prepared")]
    Prepare {
        /// The segment's file.
        file: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The thread that prepares segments cannot be started.
    #[error("the thread that prepares segments cannot be started")]
    Thread {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An entry that does not continue the log. Nothing was written.
    #[error("entry {index} cannot follow: {expected} is the next")]
    OutOfOrder {
        /// The index that was asked for.
        index: u64,
        /// The index that would follow.
        expected: u64,
    },
    /// Nothing could follow this index. Nothing was written.
    #[error("index {index} is too high: nothing could follow it")]
    IndexTooHigh {
        /// The index that was asked for.
        index: u64,
    },
    /// An entry, key, value or batch is too large. Nothing was written.
    #[error("{what} of {bytes} bytes is too large: {bytes_max} is the most")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        bytes_max: usize,
    },
    /// The segment was written by a newer version.
    #[error(
        "{file} has format {found}, and this version knows up to {known}: start the version that wrote it, or a newer one"
    )]
    NewerFormat {
        /// The segment's file.
        file: String,
        /// Its format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// Bytes that had been synced are no longer what was written.
    #[error("{file} is damaged at offset {offset}: {what}: nothing of the log is used")]
    Damaged {
        /// The segment's file.
        file: String,
        /// Where the damage begins.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// An entry that had been synced is no longer what was written.
    #[error("entry {index} is damaged in {file} at offset {offset}: {what}")]
    DamagedEntry {
        /// The entry.
        index: u64,
        /// The segment's file.
        file: String,
        /// Where its record begins.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// A segment between two others is not there.
    #[error("the segment {file} is missing: put it back")]
    MissingSegment {
        /// The file that should be there.
        file: String,
    },
    /// Entries that nobody purged are not in any segment.
    #[error(
        "entries {first} to {last} are missing, and so is the segment before {file}: put it back"
    )]
    MissingEntries {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
        /// The oldest segment that is there.
        file: String,
    },
    /// Two files claim to be the same segment.
    #[error("{one} and {other} are both segment {number}: take the copy away")]
    SegmentTwice {
        /// The number of both.
        number: u64,
        /// One file.
        one: String,
        /// The other.
        other: String,
    },
}
