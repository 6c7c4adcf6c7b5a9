//! A folder of any files.
//!
//! A part is a file: a byte for its name, one for how it is made ([`SEALED`], [`PADDED`]), and what is in it.

use super::{Content, check_again, check_named, copy, open, seal};
use crate::input::{Bytes, split};
use regraft_wal::testing::MemoryDisk;

/// Its checksums are made right.
const SEALED: u8 = 1;
/// Zeros follow up to the length of a segment.
const PADDED: u8 = 2;
const SEGMENT_BYTES: usize = 4096;
/// Segments that a folder has at most.
const SEGMENTS: u8 = 8;
/// Names that are not as they are written.
const OTHERS: [&str; 8] = [
    "3.log",
    "0.log",
    "0000000009.new",
    "9223372036854775807.log",
    "18446744073709551615.log",
    "lock",
    "+1.log",
    "notes.txt",
];

pub(super) fn check(files: &[u8]) {
    let disk = MemoryDisk::new();
    for part in split(files) {
        let mut bytes = Bytes(part);
        let (name, how) = (bytes.u8(), bytes.u8());
        let mut file = bytes.0.to_vec();
        let number = u64::from(name % SEGMENTS) + 1;
        if how & PADDED != 0 && file.len() < SEGMENT_BYTES {
            file.resize(SEGMENT_BYTES, 0);
        }
        if how & SEALED != 0 {
            seal::seal(&mut file, number);
        }
        match OTHERS.get(usize::from(name).wrapping_sub(usize::from(SEGMENTS))) {
            Some(other) => disk.put(other, file),
            None => disk.put(&format!("{number:010}.log"), file),
        }
    }
    let given = copy(&disk);
    let (writer, reader, _) = match open(&disk) {
        Ok(opened) => opened,
        Err(error) => {
            check_named(&error, &given);
            assert!(
                files_of(&disk) == files_of(&given),
                "damage is left as it is"
            );
            return;
        }
    };
    let content = Content::read(&reader);
    for (index, entry) in &content.entries {
        let written = given.files().iter().any(|(name, _)| {
            let number = name.strip_suffix(".log").and_then(|it| it.parse().ok());
            let file = given.contents_of(name).unwrap_or_default();
            number.is_some_and(|number| seal::has_entry(&file, number, *index, entry))
        });
        assert!(written, "entry {index} was never written so");
    }
    drop((writer, reader));
    check_again(&disk, &content, files.len() as u64);
}

fn files_of(disk: &MemoryDisk) -> Vec<(String, Option<Vec<u8>>)> {
    let files = disk.files().into_iter();
    files
        .map(|(name, _)| {
            let bytes = disk.contents_of(&name);
            (name, bytes)
        })
        .collect()
}
