//! The log over the disk in memory, and over a folder.

mod corrupt;
mod crash;
mod fixture;
mod full;
mod model;
mod ordinary;

use crate::testing::MemoryDisk;
use crate::{Durability, Error, Operation, Options, Reader, Recovered, Upkeep, Writer, open};
use std::sync::Arc;

/// Small segments, so that a few batches fill some.
const SEGMENT_BYTES: u64 = 4096;

/// The same at every run.
const OPTIONS: Options = Options {
    segment_bytes: SEGMENT_BYTES,
    upkeep: Upkeep::Within,
};

fn open_on(disk: &MemoryDisk) -> Result<(Writer, Reader, Recovered), Error> {
    open(Arc::new(disk.clone()), OPTIONS)
}

/// Bytes without a zero, that tell the index.
fn entry(index: u64, bytes: usize) -> Vec<u8> {
    let pattern = format!("{index:06}.");
    pattern.bytes().cycle().take(bytes).collect()
}

/// Appends one entry of this many bytes, synced.
fn append(writer: &mut Writer, index: u64, bytes: usize) -> Result<(), Error> {
    let bytes = entry(index, bytes);
    let append = Operation::Append {
        index,
        bytes: &bytes,
    };
    writer.write(&[append], Durability::Synced)
}

/// The indexes of all entries, each checked to hold what `append` gave it.
fn read_all(reader: &Reader) -> Vec<u64> {
    let mut indexes = Vec::new();
    let mut at = 0;
    loop {
        let found = reader.read(at..u64::MAX, 1 << 20).unwrap();
        let Some((last, _)) = found.last() else {
            return indexes;
        };
        at = last + 1;
        for (index, bytes) in &found {
            assert_eq!(*bytes, entry(*index, bytes.len()), "entry {index}");
            indexes.push(*index);
        }
    }
}
