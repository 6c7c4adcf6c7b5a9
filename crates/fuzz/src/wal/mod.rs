//! The log on disk: any bytes as its files, and logs that were written and then damaged.

mod damage;
mod folder;
mod seal;

use regraft_wal::testing::MemoryDisk;
use regraft_wal::{
    Bounds, Durability, Error, Operation, Options, Reader, Recovered, Upkeep, Writer,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Small segments, so that a few batches fill some; and the same at every run.
const OPTIONS: Options = Options {
    segment_bytes: 4096,
    upkeep: Upkeep::Within,
};
/// What is appended to a log that was opened.
const MORE: &[u8] = b"and on it goes";

/// Opens a log: after an `F` a folder of any files, else one that was written and then damaged.
///
/// Promises: a log is opened, or the damage is named; what is read was written so, with its checksum; what was left out was
/// never answered as synced, or looks cut off; and a log that was opened is the same when it is opened again, also after a
/// crash, and goes on.
pub fn wal(input: &[u8]) {
    match input.split_first() {
        Some((b'F', files)) => folder::check(files),
        _ => damage::check(input),
    }
}

/// All that a log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Content {
    bounds: Bounds,
    entries: BTreeMap<u64, Vec<u8>>,
    values: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Content {
    fn read(reader: &Reader) -> Self {
        let bounds = reader.bounds();
        let mut entries = BTreeMap::new();
        let mut at = bounds.first;
        while at < bounds.next {
            let found = reader.read(at..u64::MAX, 1 << 16);
            let found = found.expect("what was checked when it was opened can be read");
            for (index, bytes) in found {
                assert_eq!(index, at, "entries follow one another");
                entries.insert(index, bytes);
                at += 1;
            }
        }
        Self {
            bounds,
            entries,
            values: reader.values(b"").into_iter().collect(),
        }
    }
}

fn open(disk: &MemoryDisk) -> Result<(Writer, Reader, Recovered), Error> {
    regraft_wal::open(Arc::new(disk.clone()), OPTIONS)
}

/// The same files on another disk, all of them durable.
fn copy(disk: &MemoryDisk) -> MemoryDisk {
    let copy = MemoryDisk::new();
    for (name, _) in disk.files() {
        let bytes = disk.contents_of(&name);
        copy.put(&name, bytes.expect("it is listed"));
    }
    copy
}

/// Opens a log that was opened once, after a crash, and has it go on.
fn check_again(disk: &MemoryDisk, content: &Content, seed: u64) {
    disk.crash(seed);
    let (mut writer, reader, recovered) = open(disk).expect("what was opened can be opened again");
    assert_eq!(recovered.torn, None, "nothing is cut off twice");
    assert!(Content::read(&reader) == *content, "it is the same again");
    let index = content.bounds.next;
    let append = Operation::Append { index, bytes: MORE };
    match writer.write(&[append], Durability::Synced) {
        Ok(()) => {}
        Err(Error::IndexTooHigh { .. }) => return,
        Err(error) => panic!("a log that was opened goes on: {error}"),
    }
    drop((writer, reader));
    disk.crash(seed);
    let (_, reader, _) = open(disk).expect("a log that went on can be opened");
    let entry = reader.read(index..index + 1, 0).expect("it can be read");
    assert_eq!(entry, [(index, MORE.to_vec())]);
    assert_eq!(reader.bounds().first, content.bounds.first.min(index));
}

/// Checks that an error is one that files alone can cause, and names one of them, or one that should be beside them.
fn check_named(error: &Error, disk: &MemoryDisk) {
    let named = match error {
        Error::Damaged { file, .. }
        | Error::DamagedEntry { file, .. }
        | Error::NewerFormat { file, .. }
        | Error::MissingEntries { file, .. } => file,
        Error::SegmentTwice { one, .. } => one,
        Error::MissingSegment { file } => {
            assert!(disk.contents_of(file).is_none(), "{error}");
            return;
        }
        other => panic!("not of the files: {other}"),
    };
    assert!(disk.contents_of(named).is_some(), "{error}");
}
