//! A full disk: nothing is half written, it is told early, and a purge helps.

use super::{OPTIONS, SEGMENT_BYTES, append, open_on, read_all};
use crate::testing::MemoryDisk;
use crate::{Durability, Error, Folder, Operation, Options, Reader, Space, Writer, open};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// A log on a disk that has no room for another segment, and the index that is refused.
fn filled(disk: &MemoryDisk) -> (Writer, Reader, u64) {
    let (mut writer, reader, _) = open_on(disk).unwrap();
    disk.set_room(Some(3 * SEGMENT_BYTES));
    let mut index = 1;
    loop {
        match append(&mut writer, index, 300) {
            Ok(()) => index += 1,
            Err(Error::DiskFull { .. }) => return (writer, reader, index),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn it_is_told_while_the_last_segment_still_takes_entries() {
    let disk = MemoryDisk::new();
    let (mut writer, _, _) = open_on(&disk).unwrap();
    disk.set_room(Some(2 * SEGMENT_BYTES));
    let mut told = Vec::new();
    for index in 1.. {
        if append(&mut writer, index, 300).is_err() {
            break;
        }
        told.push(match writer.space() {
            Space::Ample => "ample".to_owned(),
            Space::Low { free_bytes, .. } => format!("low, {free_bytes}"),
            Space::None { .. } => "none".to_owned(),
        });
    }
    insta::assert_snapshot!(told.join("\n"), @r"
    ample
    ample
    ample
    ample
    ample
    ample
    ample
    ample
    ample
    ample
    low, 3392
    low, 3024
    low, 2656
    low, 2288
    low, 1920
    low, 1552
    low, 1184
    low, 816
    low, 448
    low, 80
    ");
    let error = append(&mut writer, 21, 300).unwrap_err();
    insta::assert_snapshot!(error, @"no room for a segment of 4096 bytes: free space on the disk, or purge the log");
    assert!(matches!(writer.space(), Space::None { .. }));
}

#[test]
fn a_refused_batch_is_not_there_and_the_same_one_is_taken_when_room_returns() {
    let disk = MemoryDisk::new();
    let (mut writer, reader, refused) = filled(&disk);
    let before: Vec<u64> = (1..refused).collect();
    assert_eq!(read_all(&reader), before);
    assert!(append(&mut writer, refused, 300).is_err());
    assert!(matches!(writer.space(), Space::None { .. }));
    disk.set_room(None);
    assert_eq!(writer.space(), Space::Ample);
    append(&mut writer, refused, 300).unwrap();
    drop((writer, reader));
    disk.crash(1);
    let (_, reader, _) = open_on(&disk).unwrap();
    assert_eq!(read_all(&reader), (1..=refused).collect::<Vec<_>>());
}

#[test]
fn on_a_full_disk_a_purge_is_still_written_and_frees_room() {
    let disk = MemoryDisk::new();
    let (mut writer, reader, refused) = filled(&disk);
    let set = Operation::Set {
        key: b"vote",
        bytes: b"mine",
    };
    writer.write(&[set], Durability::Synced).unwrap();
    let purge = Operation::PurgeTo { index: refused - 2 };
    writer.write(&[purge], Durability::Synced).unwrap();
    assert_eq!(writer.space(), Space::Ample);
    append(&mut writer, refused, 300).unwrap();
    assert_eq!(read_all(&reader), [refused - 1, refused]);
}

#[test]
fn a_full_disk_is_opened_and_read_and_purged() {
    let disk = MemoryDisk::new();
    let (writer, reader, refused) = filled(&disk);
    drop((writer, reader));
    let (mut writer, reader, _) = open_on(&disk).unwrap();
    assert_eq!(read_all(&reader), (1..refused).collect::<Vec<_>>());
    assert!(matches!(
        writer.space(),
        Space::Low { .. } | Space::None { .. }
    ));
    let purge = Operation::PurgeTo { index: refused - 1 };
    writer.write(&[purge], Durability::Synced).unwrap();
    assert_eq!(writer.space(), Space::Ample);
    append(&mut writer, refused, 300).unwrap();
}

#[test]
fn a_batch_for_which_the_spare_is_too_small_leaves_it_for_the_next() {
    let disk = MemoryDisk::new();
    let (mut writer, reader, _) = open_on(&disk).unwrap();
    append(&mut writer, 1, 300).unwrap();
    disk.set_room(Some(3 * SEGMENT_BYTES));
    let large = usize::try_from(4 * SEGMENT_BYTES).unwrap();
    let error = append(&mut writer, 2, large).unwrap_err();
    insta::assert_snapshot!(error, @"no room for a segment of 17639 bytes: free space on the disk, or purge the log");
    for index in 2..20 {
        append(&mut writer, index, 300).unwrap();
    }
    assert_eq!(read_all(&reader), (1..20).collect::<Vec<_>>());
}

#[test]
fn a_disk_that_refuses_for_another_reason_is_not_called_full() {
    let disk = MemoryDisk::new();
    disk.cut_power_after(2);
    let (mut writer, _, _) = open_on(&disk).unwrap();
    let error = append(&mut writer, 1, 300).unwrap_err();
    insta::assert_snapshot!(error, @"the segment 0000000001.log cannot be prepared");
}

/// A file system in memory of this size.
const SMALL_DISK: &str = "size=1m";
const SMALL_OPTIONS: Options = Options {
    segment_bytes: 256 << 10,
    ..OPTIONS
};

/// A file system that is gone when this is dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(path: &'a Path) -> Self {
        let mount = ["-t", "tmpfs", "-o", SMALL_DISK, "tmpfs"];
        let mounted = Command::new("mount")
            .args(mount)
            .arg(path)
            .status()
            .unwrap();
        assert!(mounted.success());
        Self(path)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0).status().unwrap();
        assert!(unmounted.success());
    }
}

#[test]
fn a_real_full_disk_refuses_stays_readable_and_goes_on_when_there_is_room() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: only root can mount one");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = Mounted::new(folder.path());
    let others = disk.0.join("others");
    std::fs::write(&others, vec![1; 300 << 10]).unwrap();
    let path = disk.0.join("log");
    let (mut writer, reader, _) =
        open(Arc::new(Folder::open(&path).unwrap()), SMALL_OPTIONS).unwrap();
    let bytes = [b'x'; 5000];
    let mut told = false;
    let mut index = 1;
    let refused = loop {
        let append = Operation::Append {
            index,
            bytes: &bytes,
        };
        match writer.write(&[append], Durability::Synced) {
            Ok(()) => index += 1,
            Err(Error::DiskFull { .. }) => break index,
            Err(error) => panic!("{error}"),
        }
        told |= matches!(writer.space(), Space::Low { .. });
    };
    assert!(told, "it was not told before entry {refused}");
    assert!(matches!(writer.space(), Space::None { .. }));
    assert_eq!(reader.read(refused - 1..refused, 0).unwrap().len(), 1);
    let append = Operation::Append {
        index: refused,
        bytes: &bytes,
    };

    // A log that is full is opened all the same.
    drop(writer);
    let (mut writer, reader, recovered) =
        open(Arc::new(Folder::open(&path).unwrap()), SMALL_OPTIONS).unwrap();
    assert_eq!(recovered.torn, None);
    assert_eq!(reader.bounds().next, refused);
    let error = writer.write(&[append], Durability::Synced).unwrap_err();
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");

    // Others make room.
    std::fs::remove_file(&others).unwrap();
    writer.write(&[append], Durability::Synced).unwrap();

    // Or a purge does, on a disk that is full again.
    std::fs::write(&others, vec![1; 1 << 20]).unwrap_err();
    let purge = Operation::PurgeTo { index: refused - 1 };
    writer.write(&[purge], Durability::Synced).unwrap();
    std::fs::remove_file(&others).unwrap();
    assert_eq!(reader.read(0..u64::MAX, 1).unwrap()[0].0, refused);
    drop((writer, reader));
}
