//! A log that was written by steps, may have lost its power, and was damaged then.
//!
//! The first part is the steps, each other part one damage: a letter, the file's place, two bytes of offset, and more.

use super::{Content, check_again, check_named, copy, open};
use crate::input::{Bytes, split};
use regraft_wal::testing::MemoryDisk;
use regraft_wal::{Durability, Operation, Writer};

/// Steps that are taken at most.
const STEPS_MAX: usize = 48;
/// Bytes of an entry: those of the input, times this.
const ENTRY_PARTS: usize = 6;
/// A disk writes so many bytes whole or not at all.
const SECTOR_BYTES: usize = 512;

pub(super) fn check(input: &[u8]) {
    let mut parts = split(input).into_iter();
    let disk = MemoryDisk::new();
    let mut history = History::write(&disk, parts.next().unwrap_or_default());
    let mut damage = Damage::default();
    for part in parts {
        if part.first() == Some(&b'p') {
            disk.crash(part.len() as u64);
            history.after_crash(&disk);
        } else {
            damage.add(part);
        }
    }
    let damaged = copy(&disk);
    damage.apply(&damaged);
    let given = copy(&damaged);
    let (writer, reader, recovered) = match open(&damaged) {
        Ok(opened) => opened,
        Err(error) => {
            assert!(!damage.steps.is_empty(), "nothing was damaged: {error}");
            return check_named(&error, &given);
        }
    };
    let content = Content::read(&reader);
    let newest = history.states.iter().rposition(|state| *state == content);
    let newest = newest.unwrap_or_else(|| panic!("the log never was so: {:?}", content.bounds));
    match damage.steps[..] {
        [] => assert!(newest >= history.synced, "what was synced is there"),
        [Step { kind: b'x', .. }] if newest < history.synced => {
            assert_eq!(
                newest + 1,
                history.synced,
                "one bit costs one batch at most"
            );
            let torn = recovered.torn.expect("what was left out is told");
            let (before, after) = (disk.contents_of(&torn.file), given.contents_of(&torn.file));
            let start = usize::try_from(torn.offset).unwrap_or(usize::MAX);
            assert!(
                looks_cut_off(
                    &before.unwrap_or_default(),
                    &after.unwrap_or_default(),
                    start
                ),
                "a synced batch at {start} of {} was left out, and does not look cut off",
                torn.file
            );
        }
        _ => {}
    }
    drop((writer, reader));
    check_again(&damaged, &content, input.len() as u64);
}

/// Whether a sector of what was written from `start` on is all zeros now.
fn looks_cut_off(before: &[u8], after: &[u8], start: usize) -> bool {
    let end = before.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
    let mut at = start;
    while at < end {
        let sector_end = ((at / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
        let sector = after.get(at..sector_end).unwrap_or_default();
        if sector.iter().all(|byte| *byte == 0) {
            return true;
        }
        at = sector_end;
    }
    false
}

/// What the log was after each batch.
struct History {
    states: Vec<Content>,
    /// The newest of them that was answered as synced.
    synced: usize,
}

impl History {
    fn write(disk: &MemoryDisk, steps: &[u8]) -> Self {
        let mut history = Self {
            states: vec![Content::default()],
            synced: 0,
        };
        let (mut writer, _, _) = open(disk).expect("an empty folder is a new log");
        let mut bytes = Bytes(steps);
        for _ in 0..STEPS_MAX {
            if bytes.is_empty() {
                break;
            }
            let step = bytes.u8();
            if step & 0x3f == 0x3f {
                drop(writer);
                writer = history.open_again(disk);
                continue;
            }
            history.step(&mut writer, step, &mut bytes);
        }
        let read = Content::read(&writer.reader());
        assert!(
            Some(&read) == history.states.last(),
            "batches are read as they were written"
        );
        history
    }

    fn open_again(&mut self, disk: &MemoryDisk) -> Writer {
        let (writer, reader, recovered) = open(disk).expect("a log that was closed can be opened");
        assert_eq!(recovered.torn, None);
        assert!(Some(&Content::read(&reader)) == self.states.last());
        self.synced = self.states.len() - 1;
        writer
    }

    /// What is there after the power went: nothing that was synced is missing.
    fn after_crash(&mut self, disk: &MemoryDisk) {
        let (_, reader, _) = open(disk).expect("a crash damages nothing");
        let content = Content::read(&reader);
        let state = self.states.iter().rposition(|state| *state == content);
        let state = state.expect("a crash takes whole batches");
        assert!(state >= self.synced, "what was synced outlives a crash");
        self.states.truncate(state + 1);
        self.synced = state;
    }

    /// One batch: what it does in the lowest bits, and whether it is synced in the highest.
    fn step(&mut self, writer: &mut Writer, step: u8, bytes: &mut Bytes<'_>) {
        let mut state = self.states.last().cloned().unwrap_or_default();
        let bounds = state.bounds;
        let back = |by: u8| bounds.next.saturating_sub(by.into());
        let contents: Vec<Vec<u8>> = (0..(step & 3) + 1)
            .map(|_| {
                let (length, fill) = (bytes.u8(), bytes.u8());
                vec![fill; usize::from(length) * ENTRY_PARTS]
            })
            .collect();
        let key = [b'k', step & 3];
        let batch: Vec<Operation<'_>> = match step >> 2 & 7 {
            0..=3 => (bounds.next..)
                .zip(&contents)
                .map(|(index, bytes)| Operation::Append { index, bytes })
                .collect(),
            4 => vec![Operation::TruncateFrom {
                index: back(bytes.u8() & 7),
            }],
            5 => vec![Operation::PurgeTo {
                index: back(bytes.u8() & 15),
            }],
            6 => vec![Operation::Set {
                key: &key,
                bytes: &contents[0],
            }],
            _ => vec![],
        };
        let durability = match step & 0x80 {
            0 => Durability::Synced,
            _ => Durability::NotYet,
        };
        let written = writer.write(&batch, durability);
        written.expect("the batch follows the log");
        for operation in &batch {
            follow(&mut state, operation);
        }
        state.bounds = writer.reader().bounds();
        self.states.push(state);
        if durability == Durability::Synced {
            self.synced = self.states.len() - 1;
        }
    }
}

fn follow(state: &mut Content, operation: &Operation<'_>) {
    match *operation {
        Operation::Append { index, bytes } => {
            state.entries.insert(index, bytes.to_vec());
        }
        Operation::TruncateFrom { index } => drop(state.entries.split_off(&index)),
        Operation::PurgeTo { index } => {
            state.entries = state.entries.split_off(&index.saturating_add(1));
        }
        Operation::Set { key, bytes } => {
            state.values.insert(key.to_vec(), bytes.to_vec());
        }
    }
}

/// What becomes of the files.
#[derive(Default)]
struct Damage {
    steps: Vec<Step>,
}

struct Step {
    /// `x` turns one bit over; `z` makes zeros; `o` writes something over; `s` makes shorter; `d` takes away.
    kind: u8,
    file: u8,
    at: u16,
    more: Vec<u8>,
}

impl Damage {
    fn add(&mut self, part: &[u8]) {
        let mut bytes = Bytes(part);
        let kind = bytes.u8();
        if matches!(kind, b'x' | b'z' | b'o' | b's' | b'd') {
            self.steps.push(Step {
                kind,
                file: bytes.u8(),
                at: bytes.u16(),
                more: bytes.take(SECTOR_BYTES).to_vec(),
            });
        }
    }

    fn apply(&self, disk: &MemoryDisk) {
        for step in &self.steps {
            let files = disk.files();
            let Some((name, _)) = files.get(usize::from(step.file) % files.len().max(1)) else {
                return;
            };
            let mut bytes = disk.contents_of(name).unwrap_or_default();
            let at = usize::from(step.at) % bytes.len().max(1);
            let more = Bytes(&step.more).u8();
            match step.kind {
                b'x' => disk.flip_bit(name, at as u64 * 8 + u64::from(more % 8)),
                b'd' => disk.take_away(name),
                b's' => {
                    bytes.truncate(at);
                    disk.put(name, bytes);
                }
                b'z' => {
                    let end = bytes.len().min(at + usize::from(more) * ENTRY_PARTS);
                    bytes[at..end].fill(0);
                    disk.put(name, bytes);
                }
                _ => {
                    let end = bytes.len().min(at + step.more.len());
                    bytes[at..end].copy_from_slice(&step.more[..end - at]);
                    disk.put(name, bytes);
                }
            }
        }
    }
}
