//! Damage is found and named, and told from what a crash leaves.

use super::{append, entry, open_on, read_all};
use crate::planted::{self, Bug};
use crate::testing::{Dice, MemoryDisk};
use crate::{Durability, Error, Operation, segment};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Bits that are turned over in one log.
const FLIPS: u64 = 300;
const LOGS: u64 = 12;

/// Entries of the log that `written` makes.
const ENTRIES: u64 = 25;

/// A log over some segments, synced, with a purged beginning.
fn written() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let (mut writer, _, _) = open_on(&disk).unwrap();
    for index in 1..=ENTRIES {
        append(&mut writer, index, 600).unwrap();
        if index == 9 {
            let purge = Operation::PurgeTo { index: 7 };
            writer.write(&[purge], Durability::Synced).unwrap();
        }
    }
    disk
}

fn copy(disk: &MemoryDisk) -> MemoryDisk {
    let copy = MemoryDisk::new();
    for (name, _) in disk.files() {
        copy.put(&name, disk.contents_of(&name).unwrap());
    }
    copy
}

/// The segment that was written last, and where its last batch begins and ends with its mark.
fn last_batch(disk: &MemoryDisk) -> (String, usize, usize) {
    let used = |name: &str| {
        let bytes = disk.contents_of(name).unwrap();
        bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map(|last| last + 1)
    };
    let files = disk.files();
    let (name, end) = files
        .iter()
        .rev()
        .find_map(|(name, _)| Some((name.clone(), used(name)?)))
        .unwrap();
    let bytes = disk.contents_of(&name).unwrap();
    let magic = b"RGWB";
    let start = bytes.windows(4).rposition(|four| four == magic).unwrap();
    (name, start, end)
}

fn error_of(disk: &MemoryDisk) -> String {
    match open_on(disk) {
        Err(error) => error.to_string(),
        Ok((_, reader, recovered)) => panic!("{recovered:?} {:?}", read_all(&reader)),
    }
}

/// Turns bits over in logs of random batches: each is found, or lies where nothing is.
fn check_flips() {
    let mut harmless = 0;
    for seed in 0..LOGS {
        let mut dice = Dice::new(seed);
        let disk = MemoryDisk::new();
        let (mut writer, reader, _) = open_on(&disk).unwrap();
        let mut index = 1;
        for _ in 0..8 + dice.below(20) {
            let entries: Vec<(u64, Vec<u8>)> = (0..dice.below(4))
                .map(|more| {
                    let bytes = usize::try_from(dice.below(1500)).unwrap();
                    (index + more, entry(index + more, bytes))
                })
                .collect();
            index += entries.len() as u64;
            let mut batch: Vec<Operation<'_>> = entries
                .iter()
                .map(|(index, bytes)| Operation::Append {
                    index: *index,
                    bytes,
                })
                .collect();
            if dice.percent(20) && index > 1 {
                batch.push(Operation::PurgeTo {
                    index: index - 1 - dice.below(index.min(5)),
                });
            }
            writer.write(&batch, Durability::Synced).unwrap();
        }
        let expected = (reader.bounds(), read_all(&reader));
        let files = disk.files();
        for _ in 0..FLIPS {
            let place = usize::try_from(dice.below(files.len() as u64)).unwrap();
            let (name, bytes) = &files[place];
            let bit = dice.below(bytes * 8);
            let flipped = copy(&disk);
            flipped.flip_bit(name, bit);
            match open_on(&flipped) {
                Err(Error::Damaged { file, .. } | Error::DamagedEntry { file, .. }) => {
                    let (found, is) = (segment::number(&file), segment::number(name));
                    // The one before is whole in itself, when the head of this one does not fit.
                    assert!(found == is || found == is.map(|number| number - 1));
                }
                Err(error) => panic!("seed {seed}, {name} bit {bit}: {error}"),
                Ok((_, reader, recovered)) => {
                    let opened = (reader.bounds(), read_all(&reader));
                    assert_eq!(
                        opened, expected,
                        "seed {seed}, {name} bit {bit}: {recovered:?}"
                    );
                    harmless += 1;
                }
            }
        }
    }
    // In the blank ends.
    assert!(harmless > LOGS * FLIPS / 20, "{harmless}");
    assert!(harmless < LOGS * FLIPS * 2 / 3, "{harmless}");
}

#[test]
fn a_bit_turned_over_in_anything_that_was_synced_is_found() {
    check_flips();
}

#[test]
fn taking_all_damage_for_a_torn_end_is_found() {
    let run = || planted::with(Some(Bug::AllDamageIsTorn), check_flips);
    let outcome = catch_unwind(AssertUnwindSafe(run));
    planted::with(None, || assert!(outcome.is_err()));
}

/// Turns bits over under an open log: what is read is what was written, or an error.
fn check_reads() {
    let disk = written();
    let (_writer, reader, _) = open_on(&disk).unwrap();
    let mut dice = Dice::new(3);
    let mut found = 0;
    for _ in 0..FLIPS {
        let files = disk.files();
        let place = usize::try_from(dice.below(files.len() as u64)).unwrap();
        let (name, bytes) = &files[place];
        let bit = dice.below(bytes * 8);
        disk.flip_bit(name, bit);
        for index in 8..=ENTRIES {
            match reader.read(index..index + 1, 0) {
                Ok(read) => assert_eq!(read, [(index, entry(index, 600))]),
                Err(Error::DamagedEntry {
                    index: named, file, ..
                }) => {
                    assert_eq!((named, &file), (index, name));
                    found += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
        disk.flip_bit(name, bit);
    }
    assert!(found > FLIPS / 4, "{found}");
}

#[test]
fn an_entry_that_is_damaged_later_is_found_when_it_is_read() {
    check_reads();
}

#[test]
fn reading_without_checksums_is_found() {
    let run = || planted::with(Some(Bug::NoChecksum), check_reads);
    let outcome = catch_unwind(AssertUnwindSafe(run));
    planted::with(None, || assert!(outcome.is_err()));
}

#[test]
fn a_last_batch_that_is_cut_off_anywhere_is_left_out_and_told() {
    let disk = written();
    let (name, start, end) = last_batch(&disk);
    let whole = disk.contents_of(&name).unwrap();
    for cut in start..end {
        let mut bytes = whole.clone();
        bytes[cut..].fill(0);
        let cut_off = copy(&disk);
        cut_off.put(&name, bytes);
        let (mut writer, reader, recovered) = open_on(&cut_off).unwrap();
        assert_eq!(reader.bounds().next, ENTRIES, "cut at {cut}");
        if cut > start {
            let torn = recovered.torn.unwrap();
            assert_eq!((&torn.file, torn.offset), (&name, start as u64));
            assert!(torn.bytes <= (cut - start) as u64 && torn.bytes > 0);
        }
        append(&mut writer, ENTRIES, 600).unwrap();
        drop((writer, reader));
        let (_, reader, recovered) = open_on(&cut_off).unwrap();
        assert_eq!(recovered.torn, None);
        assert_eq!(read_all(&reader), (8..=ENTRIES).collect::<Vec<_>>());
    }
}

#[test]
fn a_first_batch_that_is_cut_off_with_the_head_of_its_segment_is_left_out() {
    let disk = MemoryDisk::new();
    let (mut writer, _, _) = open_on(&disk).unwrap();
    append(&mut writer, 1, 100).unwrap();
    drop(writer);
    // The next one is made after the first sync.
    disk.take_away("0000000002.log");
    let (name, _, end) = last_batch(&disk);
    let whole = disk.contents_of(&name).unwrap();
    for cut in 0..end {
        let mut bytes = whole.clone();
        bytes[cut..].fill(0);
        let cut_off = copy(&disk);
        cut_off.put(&name, bytes);
        let (mut writer, reader, _) = open_on(&cut_off).unwrap();
        assert_eq!(read_all(&reader), [0; 0], "cut at {cut}");
        append(&mut writer, 1, 100).unwrap();
        drop((writer, reader));
        let (_, reader, _) = open_on(&cut_off).unwrap();
        assert_eq!(read_all(&reader), [1]);
    }
}

#[test]
fn damage_that_a_later_batch_proves_synced_is_named_even_if_it_looks_cut_off() {
    let disk = written();
    let (name, start, _) = last_batch(&disk);
    let whole = disk.contents_of(&name).unwrap();
    let before = whole[..start]
        .windows(4)
        .rposition(|four| four == b"RGWB")
        .unwrap();
    for blank in [before..start, before..before + 48, before + 100..start] {
        let mut bytes = whole.clone();
        bytes[blank].fill(0);
        disk.put(&name, bytes);
        let error = error_of(&disk);
        let expected = format!("{name} is damaged at offset {before}: ");
        assert!(error.starts_with(&expected), "{error}");
    }
    // The head of the later batch is proof enough, also when its records were not written.
    let mut bytes = whole.clone();
    bytes[before..start].fill(0);
    bytes[start + 48..].fill(0);
    disk.put(&name, bytes);
    insta::assert_snapshot!(error_of(&disk), @"0000000005.log is damaged at offset 2096: a batch is missing: nothing of the log is used");
}

proptest! {
    #[test]
    fn bytes_written_over_a_synced_segment_are_found(
        place in any::<Index>(),
        start in any::<Index>(),
        foreign in vec(1..=u8::MAX, 1..2000),
    ) {
        let disk = written();
        let files = disk.files();
        let (name, _) = place.get(&files);
        let mut bytes = disk.contents_of(name).unwrap();
        let start = start.index(bytes.len());
        let end = bytes.len().min(start + foreign.len());
        bytes[start..end].copy_from_slice(&foreign[..end - start]);
        disk.put(name, bytes);
        match open_on(&disk) {
            Err(Error::Damaged { .. } | Error::DamagedEntry { .. }) => {}
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
            Ok((_, reader, _)) => {
                prop_assert_eq!(read_all(&reader), (8..=ENTRIES).collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn files_that_are_missing_doubled_or_foreign_are_named() {
    let segment_of = |number: u64| segment::file_name(number);
    let check = |change: &dyn Fn(&MemoryDisk)| {
        let disk = copy(&written());
        change(&disk);
        error_of(&disk)
    };
    let first = written().files()[0].0.clone();
    assert_eq!(first, segment_of(2));
    insta::assert_snapshot!(check(&|disk| disk.take_away(&segment_of(4))), @"the segment 0000000004.log is missing: put it back");
    insta::assert_snapshot!(check(&|disk| disk.take_away(&segment_of(2))), @"entries 8 to 10 are missing, and so is the segment before 0000000003.log: put it back");
    let double = |name: &'static str| {
        move |disk: &MemoryDisk| {
            let bytes = disk.contents_of(&segment::file_name(3)).unwrap();
            disk.put(name, bytes);
        }
    };
    insta::assert_snapshot!(check(&double("3.log")), @"0000000003.log and 3.log are both segment 3: take the copy away");
    insta::assert_snapshot!(check(&double("0000000004.log")), @"0000000004.log and 0000000003.log are both segment 3: take the copy away");
    insta::assert_snapshot!(check(&|disk| {
        let mut bytes = disk.contents_of(&segment_of(3)).unwrap();
        bytes.truncate(3000);
        disk.put(&segment_of(3), bytes);
    }), @"0000000003.log is damaged at offset 3000: the file is shorter than it was made: nothing of the log is used");
    insta::assert_snapshot!(check(&|disk| {
        let mut bytes = disk.contents_of(&segment_of(3)).unwrap();
        bytes.fill(0);
        disk.put(&segment_of(3), bytes);
    }), @"0000000003.log is damaged at offset 0: it does not begin as a segment does: nothing of the log is used");
    insta::assert_snapshot!(check(&|disk| {
        let mut bytes = disk.contents_of(&segment_of(3)).unwrap();
        bytes[8] = 2;
        let checksum = crc32c::crc32c(&bytes[..16]);
        bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
        disk.put(&segment_of(3), bytes);
    }), @"0000000003.log has format 2, and this version knows up to 1: start the version that wrote it, or a newer one");
    insta::assert_snapshot!(check(&|disk| {
        let bytes = disk.contents_of(&segment_of(3)).unwrap();
        disk.take_away(&segment_of(3));
        disk.put("3.log", bytes);
    }), @"the segment 0000000003.log is missing: put it back");
    // Only what is called as a segment is one.
    let disk = copy(&written());
    disk.put("notes.txt", b"of somebody".to_vec());
    assert!(open_on(&disk).is_ok());
}

#[test]
fn what_a_crash_leaves_of_a_segment_in_preparation_is_cleared() {
    let disk = written();
    let spare = disk.files().last().unwrap().0.clone();
    disk.take_away(&spare);
    disk.put("0000000009.new", vec![0; 100]);
    let (mut writer, reader, recovered) = open_on(&disk).unwrap();
    assert_eq!(recovered.torn, None);
    assert!(!disk.files().iter().any(|(name, _)| name.ends_with(".new")));
    append(&mut writer, ENTRIES + 1, 5000).unwrap();
    assert_eq!(read_all(&reader), (8..=ENTRIES + 1).collect::<Vec<_>>());
}
