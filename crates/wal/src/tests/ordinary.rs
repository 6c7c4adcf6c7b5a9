//! What the log does when nothing fails.

use super::{OPTIONS, SEGMENT_BYTES, append, entry, open_on, read_all};
use crate::testing::MemoryDisk;
use crate::{
    Bounds, Durability, ENTRY_BYTES_MAX, Error, Folder, KEY_BYTES_MAX, NotDeleted, Operation,
    Options, Space, Upkeep, VALUES_BYTES_MAX, open,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[test]
fn a_batch_takes_effect_in_order_and_is_there_after_opening_again() {
    let disk = MemoryDisk::new();
    let (mut writer, reader, recovered) = open_on(&disk).unwrap();
    assert_eq!(recovered, crate::Recovered::default());
    let (one, two, other) = (entry(1, 10), entry(2, 300), entry(2, 5));
    let batch = [
        Operation::Append {
            index: 1,
            bytes: &one,
        },
        Operation::Append {
            index: 2,
            bytes: &two,
        },
        Operation::Set {
            key: b"vote",
            bytes: b"first",
        },
        Operation::TruncateFrom { index: 2 },
        Operation::Append {
            index: 2,
            bytes: &other,
        },
        Operation::Set {
            key: b"vote",
            bytes: b"second",
        },
    ];
    writer.write(&batch, Durability::Synced).unwrap();
    for _ in 0..2 {
        assert_eq!(
            reader.read(0..9, 1000).unwrap(),
            [(1, one.clone()), (2, other.clone())]
        );
        assert_eq!(reader.value(b"vote").unwrap(), b"second");
    }
    drop(writer);
    let (_, reader, recovered) = open_on(&disk).unwrap();
    assert_eq!(
        reader.read(0..9, 1000).unwrap(),
        [(1, one.clone()), (2, other.clone())]
    );
    assert_eq!(reader.value(b"vote").unwrap(), b"second");
    assert_eq!(reader.value(b"none"), None);
    assert_eq!((recovered.segments, recovered.batches), (1, 1));
    assert_eq!(recovered.torn, None);
}

#[test]
fn a_read_is_bounded_by_bytes_and_gives_one_entry_at_least() {
    let disk = MemoryDisk::new();
    let (mut writer, reader, _) = open_on(&disk).unwrap();
    for index in 5..15 {
        append(&mut writer, index, 100).unwrap();
    }
    let check = |range: std::ops::Range<u64>, bytes_max, expected: &[u64]| {
        let found = reader.read(range.clone(), bytes_max).unwrap();
        let indexes: Vec<u64> = found.iter().map(|(index, _)| *index).collect();
        assert_eq!(indexes, expected, "{range:?} of {bytes_max} bytes");
    };
    check(0..99, 300, &[5, 6, 7]);
    check(0..99, 399, &[5, 6, 7]);
    check(8..99, 0, &[8]);
    check(8..10, 1000, &[8, 9]);
    check(13..99, 1000, &[13, 14]);
    check(15..99, 1000, &[]);
    check(0..5, 1000, &[]);
    #[expect(clippy::reversed_empty_ranges, reason = "a caller may ask for it")]
    check(9..8, 1000, &[]);
}

#[test]
fn values_are_found_by_their_beginning_and_outlive_the_segments_they_were_set_in() {
    let disk = MemoryDisk::new();
    let (mut writer, reader, _) = open_on(&disk).unwrap();
    let set = |key, bytes| Operation::Set { key, bytes };
    let batch = [
        set(b"disk/1", b"a"),
        set(b"disk/2", b"b"),
        set(b"vote", b"v"),
    ];
    writer.write(&batch, Durability::Synced).unwrap();
    for index in 1..100 {
        append(&mut writer, index, 500).unwrap();
        let purge = Operation::PurgeTo { index };
        writer.write(&[purge], Durability::Synced).unwrap();
    }
    assert!(
        !disk
            .files()
            .iter()
            .any(|(name, _)| name == "0000000001.log")
    );
    drop((writer, reader));
    let (_, reader, _) = open_on(&disk).unwrap();
    let disks = reader.values(b"disk/");
    assert_eq!(
        disks,
        [
            (b"disk/1".to_vec(), b"a".to_vec()),
            (b"disk/2".to_vec(), b"b".to_vec())
        ]
    );
    let bounds = Bounds {
        first: 100,
        next: 100,
        purged_to: Some(99),
    };
    assert_eq!(reader.bounds(), bounds);
}

#[test]
fn a_batch_larger_than_a_segment_gets_one_of_its_own_size() {
    let disk = MemoryDisk::new();
    let (mut writer, reader, _) = open_on(&disk).unwrap();
    let large = 5 * usize::try_from(SEGMENT_BYTES).unwrap();
    append(&mut writer, 1, 10).unwrap();
    append(&mut writer, 2, large).unwrap();
    append(&mut writer, 3, 10).unwrap();
    assert_eq!(read_all(&reader), [1, 2, 3]);
    drop(writer);
    let (mut writer, reader, _) = open_on(&disk).unwrap();
    append(&mut writer, 4, large).unwrap();
    assert_eq!(read_all(&reader), [1, 2, 3, 4]);
    assert_eq!(reader.read(2..3, 0).unwrap()[0].1.len(), large);
}

#[test]
fn purged_segments_are_deleted_and_one_spare_is_kept() {
    let disk = MemoryDisk::new();
    let (mut writer, reader, _) = open_on(&disk).unwrap();
    for index in 1..=50 {
        append(&mut writer, index, 500).unwrap();
    }
    assert!(disk.files().len() > 6);
    let purge = Operation::PurgeTo { index: 49 };
    writer.write(&[purge], Durability::Synced).unwrap();
    assert_eq!(read_all(&reader), [50]);
    assert_eq!(disk.files().len(), 2, "{:?}", disk.files());
    assert_eq!(writer.not_deleted(), None);
    drop(writer);
    let (_, reader, _) = open_on(&disk).unwrap();
    assert_eq!(read_all(&reader), [50]);
}

#[test]
fn a_purge_to_the_first_of_the_newest_segments_leaves_so_many() {
    let disk = MemoryDisk::new();
    let (mut writer, reader, _) = open_on(&disk).unwrap();
    for index in 1..=50 {
        append(&mut writer, index, 500).unwrap();
    }
    assert!(reader.segments() > 4, "{:?}", disk.files());
    let all = reader.segments();
    assert_eq!(reader.first_of_newest(all), None);
    assert_eq!(reader.first_of_newest(usize::MAX - 1), None);
    let first = reader.first_of_newest(3).unwrap();
    let purge = Operation::PurgeTo { index: first - 1 };
    writer.write(&[purge], Durability::Synced).unwrap();
    assert_eq!(reader.segments(), 3);
    assert_eq!(read_all(&reader).first(), Some(&first));
}

#[test]
fn a_segment_that_cannot_be_deleted_is_told_and_tried_again_before_the_ones_behind_it() {
    let disk = MemoryDisk::new();
    let (mut writer, _, _) = open_on(&disk).unwrap();
    for index in 1..=50 {
        append(&mut writer, index, 500).unwrap();
    }
    let before = disk.files().len();
    disk.fail_delete(3);
    let purge = Operation::PurgeTo { index: 49 };
    writer.write(&[purge], Durability::Synced).unwrap();
    let left = NotDeleted {
        segments: before - 4,
        reason: "a deletion that was to fail".to_owned(),
    };
    assert_eq!(writer.not_deleted(), Some(left));
    assert_eq!(disk.files()[0].0, "0000000003.log");
    assert_eq!(writer.space(), Space::Ample);
    assert_eq!(writer.not_deleted(), None);
    assert_eq!(disk.files().len(), 2);
}

#[test]
fn a_refused_batch_leaves_the_log_as_it_was() {
    let disk = MemoryDisk::new();
    let (mut writer, reader, _) = open_on(&disk).unwrap();
    append(&mut writer, 1, 10).unwrap();
    let before = disk.operations();
    let too_long = vec![1; ENTRY_BYTES_MAX + 1];
    let value = &too_long[..=VALUES_BYTES_MAX];
    let half = &too_long[..VALUES_BYTES_MAX / 2];
    let set = |key, bytes| Operation::Set { key, bytes };
    let mut check = |batch: &[Operation<'_>], expected: &str| {
        let error = writer.write(batch, Durability::Synced).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    check(
        &[
            set(b"key", b"value"),
            Operation::Append {
                index: 3,
                bytes: b"",
            },
        ],
        "entry 3 cannot follow: 2 is the next",
    );
    check(
        &[Operation::PurgeTo { index: u64::MAX }],
        "index 18446744073709551615 is too high: nothing could follow it",
    );
    check(
        &[Operation::Append {
            index: 2,
            bytes: &too_long,
        }],
        "an entry of 67108865 bytes is too large: 67108864 is the most",
    );
    check(
        &[set(&too_long[..=KEY_BYTES_MAX], b"")],
        "a key of 256 bytes is too large: 255 is the most",
    );
    check(
        &[set(b"key", value)],
        "a value of 65537 bytes is too large: 65536 is the most",
    );
    check(
        &[set(b"one", half), set(b"two", half)],
        "all values together of 65552 bytes is too large: 65536 is the most",
    );
    assert_eq!(disk.operations(), before);
    assert_eq!(reader.values(b""), []);
    append(&mut writer, 2, 10).unwrap();
    assert_eq!(read_all(&reader), [1, 2]);
}

#[test]
fn readers_see_a_batch_when_it_is_synced_and_not_before() {
    let disk = MemoryDisk::new();
    let (mut writer, reader, _) = open_on(&disk).unwrap();
    append(&mut writer, 1, 10).unwrap();
    disk.hold_syncs();
    let before = disk.operations();
    std::thread::scope(|scope| {
        let write = scope.spawn(|| append(&mut writer, 2, 10));
        // Until the write has been made, and the sync waits.
        while disk.operations() == before {
            std::thread::yield_now();
        }
        assert_eq!(read_all(&reader), [1]);
        disk.release_syncs();
        write.join().unwrap().unwrap();
    });
    assert_eq!(read_all(&reader), [1, 2]);
}

#[test]
fn after_a_failed_sync_nothing_more_is_written() {
    let disk = MemoryDisk::new();
    let (mut writer, reader, _) = open_on(&disk).unwrap();
    append(&mut writer, 1, 10).unwrap();
    disk.fail_sync(1);
    let error = append(&mut writer, 2, 10).unwrap_err();
    assert_eq!(error.to_string(), "0000000001.log cannot be synced");
    let before = disk.operations();
    for _ in 0..2 {
        let error = append(&mut writer, 2, 10).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the log takes no writes since one failed (0000000001.log cannot be synced: a sync that was to fail): \
             start again to read what the disk holds"
        );
    }
    assert_eq!(disk.operations(), before);
    assert_eq!(read_all(&reader), [1]);
}

#[test]
fn in_a_folder_a_thread_prepares_while_others_read() {
    const ENTRIES: u64 = 3000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some/log");
    let options = Options {
        segment_bytes: 64 << 10,
        upkeep: Upkeep::Beside,
    };
    let disk = Arc::new(Folder::open(&path).unwrap());
    let (mut writer, reader, _) = open(disk, options).unwrap();
    assert!(matches!(Folder::open(&path), Err(Error::InUse { .. })));
    let written = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while written.load(Ordering::Acquire) < ENTRIES {
                    let found = reader.read(0..u64::MAX, 1 << 20).unwrap();
                    for pair in found.windows(2) {
                        assert_eq!(pair[0].0 + 1, pair[1].0);
                    }
                    for (index, bytes) in found {
                        assert_eq!(bytes, entry(index, 300));
                    }
                }
            });
        }
        for index in 1..=ENTRIES {
            let bytes = entry(index, 300);
            let append = Operation::Append {
                index,
                bytes: &bytes,
            };
            let durability = match index % 50 {
                0 => Durability::Synced,
                _ => Durability::NotYet,
            };
            writer.write(&[append], durability).unwrap();
            if index % 500 == 0 {
                let purge = Operation::PurgeTo { index: index - 400 };
                writer.write(&[purge], Durability::Synced).unwrap();
            }
            written.store(index, Ordering::Release);
        }
    });
    assert_eq!(writer.space(), Space::Ample);
    let kept: Vec<u64> = (ENTRIES - 399..=ENTRIES).collect();
    assert_eq!(read_all(&reader), kept);
    drop((writer, reader));
    let disk = Arc::new(Folder::open(&path).unwrap());
    let (_, reader, recovered) = open(disk, options).unwrap();
    assert_eq!(read_all(&reader), kept);
    assert_eq!(recovered.torn, None);
    assert!(recovered.segments < 10, "{recovered:?}");
}

#[test]
fn options_beyond_the_bounds_take_the_bound() {
    let disk = MemoryDisk::new();
    let options = Options {
        segment_bytes: 1,
        ..OPTIONS
    };
    let (_writer, _, _) = open(Arc::new(disk.clone()), options).unwrap();
    assert_eq!(disk.files(), [("0000000001.log".to_owned(), 4096)]);
}
