//! What was written by version 1 is read for good, and still written the same.

use super::open_on;
use crate::testing::MemoryDisk;
use crate::{Bounds, Durability, Operation};
use data_encoding::HEXLOWER_PERMISSIVE;

/// A segment of format 1, without the zeros behind it: its head with one value, and two batches. As `write` makes it.
const SEGMENT_2: &str = "
    72656772616674570100000060000000cf26ae420f10fc400200000000000000
    0010000000000000030000000000000006000000000000000600000000000000
    06000000000000006c546a8e010000000402000000766f74656d650000000000
    52475742a53f64bb020000000000000003000000000000000200000000000000
    59000000020000006c546a8eb0eed98151b8fd86320000000106000000000000
    0061616161616161616161616161616161616161616161616161616161616161
    6161616161616161616161616161616161616140d6ca0e050000000107000000
    00000000736576656ee700000000000052475742fc27e8f30200000000000000
    040000000000000003000000000000003e00000003000000a53f64bb5beeb61f
    0ad18d25000000000207000000000000001e7e8fe10000000001070000000000
    00001e0bc3fc0b00000004000000000000000009636f6d6d697474656436e7
";

const SEGMENT_FILE: &str = "0000000002.log";

/// Fills a first segment, so that a second begins; what is in that is `SEGMENT_2`.
fn write(disk: &MemoryDisk) {
    let (mut writer, _, _) = open_on(disk).unwrap();
    let filler = [b'f'; 3600];
    let batches: [&[Operation<'_>]; 4] = [
        &[
            Operation::Set {
                key: b"vote",
                bytes: b"me",
            },
            Operation::Append {
                index: 5,
                bytes: &filler,
            },
        ],
        &[Operation::PurgeTo { index: 5 }],
        &[
            Operation::Append {
                index: 6,
                bytes: &[b'a'; 50],
            },
            Operation::Append {
                index: 7,
                bytes: b"seven",
            },
        ],
        &[
            Operation::TruncateFrom { index: 7 },
            Operation::Append {
                index: 7,
                bytes: b"",
            },
            Operation::Set {
                key: b"committed",
                bytes: b"6",
            },
        ],
    ];
    for batch in batches {
        writer.write(batch, Durability::Synced).unwrap();
    }
}

fn stored() -> Vec<u8> {
    let hex: String = SEGMENT_2.split_whitespace().collect();
    HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).unwrap()
}

#[test]
fn a_segment_of_version_1_is_read() {
    let disk = MemoryDisk::new();
    let mut bytes = stored();
    bytes.resize(4096, 0);
    disk.put(SEGMENT_FILE, bytes);
    let (_, reader, recovered) = open_on(&disk).unwrap();
    let bounds = Bounds {
        first: 6,
        next: 8,
        purged_to: Some(5),
    };
    assert_eq!(reader.bounds(), bounds);
    let entries = [(6, vec![b'a'; 50]), (7, Vec::new())];
    assert_eq!(reader.read(0..99, 9999).unwrap(), entries);
    assert_eq!(reader.value(b"vote").unwrap(), b"me");
    assert_eq!(reader.value(b"committed").unwrap(), b"6");
    assert_eq!(recovered.torn, None);
}

#[test]
fn what_is_written_has_not_changed() {
    let disk = MemoryDisk::new();
    write(&disk);
    let mut bytes = disk.contents_of(SEGMENT_FILE).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes.truncate(used + 1);
    let hex = HEXLOWER_PERMISSIVE.encode(&bytes);
    let lines: Vec<&str> = hex
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    assert_eq!(bytes, stored(), "as written now:\n{}", lines.join("\n"));
}
