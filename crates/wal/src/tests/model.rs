//! The log against a map: random batches, crashes, faults.
//!
//! ```text
//! seed ──> Dice ──> batches ──> Writer ──> MemoryDisk ── power cut ──> open ──> what is there
//!                       └─────> history of maps, one for each batch ───────────> must be one of them, not older than
//!                                                                                the last batch answered as synced
//! ```

use super::{SEGMENT_BYTES, open_on};
use crate::testing::{Dice, MemoryDisk};
use crate::{Bounds, Durability, Error, Operation, Reader, Space, Writer};
use std::collections::BTreeMap;

/// Steps of one run: batches, reads, crashes.
const STEPS: u64 = 60;
/// Bytes of most entries are below this; some are of several segments.
const ENTRY_BYTES: u64 = 700;

/// What the log should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    bounds: Bounds,
    entries: BTreeMap<u64, Vec<u8>>,
    values: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A step that owns its bytes.
#[derive(Clone, Debug)]
enum Step {
    Append(u64, Vec<u8>),
    TruncateFrom(u64),
    PurgeTo(u64),
    Set(Vec<u8>, Vec<u8>),
}

impl Step {
    fn operation(&self) -> Operation<'_> {
        match self {
            Self::Append(index, bytes) => Operation::Append {
                index: *index,
                bytes,
            },
            Self::TruncateFrom(index) => Operation::TruncateFrom { index: *index },
            Self::PurgeTo(index) => Operation::PurgeTo { index: *index },
            Self::Set(key, bytes) => Operation::Set { key, bytes },
        }
    }
}

impl Model {
    fn of(reader: &Reader) -> Result<Self, Error> {
        let bounds = reader.bounds();
        let mut entries = BTreeMap::new();
        let mut at = bounds.first;
        while at < bounds.next {
            let found = reader.read(at..bounds.next, 2000)?;
            at += found.len() as u64;
            assert!(!found.is_empty(), "no entry {at}, though within {bounds:?}");
            entries.extend(found);
        }
        Ok(Self {
            bounds,
            entries,
            values: reader.values(b"").into_iter().collect(),
        })
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Append(index, bytes) => {
                self.bounds.append(*index).unwrap();
                self.entries.insert(*index, bytes.clone());
            }
            Step::TruncateFrom(index) => self.bounds.truncate_from(*index),
            Step::PurgeTo(index) => self.bounds.purge_to(*index).unwrap(),
            Step::Set(key, value) => {
                self.values.insert(key.clone(), value.clone());
            }
        }
        let Bounds { first, next, .. } = self.bounds;
        self.entries
            .retain(|index, _| (first..next).contains(index));
    }
}

#[derive(PartialEq, Eq)]
enum Power {
    Stays,
    Goes,
}

/// One run.
struct Run {
    seed: u64,
    dice: Dice,
    disk: MemoryDisk,
    /// What the log held after each batch since it was opened; the first is what it was opened with.
    history: Vec<Model>,
    /// The batch that was last answered as synced.
    synced: usize,
    crashes: u64,
}

/// Runs a seed: what went wrong, if anything did, and how many crashes there were.
pub(super) fn run(seed: u64) -> Result<u64, String> {
    let mut run = Run {
        seed,
        dice: Dice::new(seed),
        disk: MemoryDisk::new(),
        history: vec![Model::default()],
        synced: 0,
        crashes: 0,
    };
    let mut log = run.open_log()?;
    for _ in 0..STEPS {
        log = run.step(log)?;
    }
    Ok(run.crashes)
}

impl Run {
    fn fail(&self, what: impl std::fmt::Display) -> String {
        format!(
            "seed {}: {what} (run it alone: WAL_SEED={} cargo test -p regraft-wal one_seed)",
            self.seed, self.seed
        )
    }

    /// Opens the log, through power cuts if they come, and checks what is there.
    fn open_log(&mut self) -> Result<(Writer, Reader), String> {
        loop {
            if self.dice.percent(10) {
                self.disk.cut_power_after(1 + self.dice.below(6));
            }
            if self.dice.percent(3) {
                self.disk.fail_sync(1);
            }
            match open_on(&self.disk) {
                Ok((writer, reader, _)) if self.disk.has_power() => {
                    self.check_opened(&reader)?;
                    return Ok((writer, reader));
                }
                _ if !self.disk.has_power() => {
                    self.disk.crash(self.dice.any());
                    self.crashes += 1;
                }
                // Only the process ends; the next open sees what is in memory.
                Err(Error::Sync { .. } | Error::Write { .. }) => {}
                Err(error) => return Err(self.fail(format!("it does not open: {error}"))),
                Ok(_) => unreachable!("with power it was taken above"),
            }
        }
    }

    fn check_opened(&mut self, reader: &Reader) -> Result<(), String> {
        let opened = Model::of(reader).map_err(|error| self.fail(error))?;
        let Some(place) = self.history[self.synced..]
            .iter()
            .rposition(|model| *model == opened)
        else {
            return Err(self.fail(format!(
                "opened with {:?}, and batches {} to {} left {:?}",
                opened.bounds,
                self.synced,
                self.history.len() - 1,
                self.history[self.synced..]
                    .iter()
                    .map(|model| model.bounds)
                    .collect::<Vec<_>>()
            )));
        };
        self.history = vec![self.history.swap_remove(self.synced + place)];
        self.synced = 0;
        Ok(())
    }

    fn step(&mut self, log: (Writer, Reader)) -> Result<(Writer, Reader), String> {
        let (mut writer, reader) = log;
        match self.dice.below(100) {
            0..4 => return self.reopen(writer, Power::Stays),
            4..8 => return self.reopen(writer, Power::Goes),
            8..14 => self.disk.cut_power_after(1 + self.dice.below(12)),
            14..16 => self.disk.fail_sync(1 + self.dice.below(3)),
            16..18 => self.disk.fail_write(1 + self.dice.below(3)),
            18..20 => {
                let room = self.disk.used_bytes() + self.dice.below(3 * SEGMENT_BYTES);
                self.disk.set_room(Some(room));
            }
            20..25 => {
                self.disk.set_room(None);
                // What is only written is synced first: a spare comes after that.
                let synced = self.synced + 1 == self.history.len();
                if synced && writer.space() != Space::Ample && self.disk.has_power() {
                    return Err(self.fail("room has returned, and it does not notice"));
                }
            }
            25..35 => match Model::of(&reader) {
                Ok(read) if self.history.last() == Some(&read) => {}
                _ if !self.disk.has_power() => {}
                other => return Err(self.fail(format!("reads {other:?}"))),
            },
            _ => return self.write(writer, reader),
        }
        Ok((writer, reader))
    }

    fn reopen(&mut self, writer: Writer, power: Power) -> Result<(Writer, Reader), String> {
        if power == Power::Goes {
            self.disk.crash(self.dice.any());
            self.crashes += 1;
        }
        drop(writer);
        self.open_log()
    }

    fn write(&mut self, mut writer: Writer, reader: Reader) -> Result<(Writer, Reader), String> {
        let (steps, after) = self.batch();
        let batch: Vec<Operation<'_>> = steps.iter().map(Step::operation).collect();
        let durability = match self.dice.percent(75) {
            true => Durability::Synced,
            false => Durability::NotYet,
        };
        match writer.write(&batch, durability) {
            Ok(()) => {
                self.history.push(after);
                if durability == Durability::Synced {
                    self.synced = self.history.len() - 1;
                }
            }
            // The log must be as it was, and goes on.
            Err(Error::DiskFull { .. } | Error::Prepare { .. }) => {}
            Err(Error::Write { .. } | Error::Sync { .. }) => {
                self.history.push(after);
                match writer.write(&[], Durability::Synced) {
                    Err(Error::Poisoned { .. }) => {}
                    other => return Err(self.fail(format!("after a failed write: {other:?}"))),
                }
                let power = match self.dice.percent(50) {
                    true => Power::Stays,
                    false => Power::Goes,
                };
                return self.reopen(writer, power);
            }
            Err(error) => return Err(self.fail(format!("a good batch is refused: {error}"))),
        }
        if !self.disk.has_power() {
            return self.reopen(writer, Power::Goes);
        }
        Ok((writer, reader))
    }

    /// A batch that may follow, and what the log then holds.
    fn batch(&mut self) -> (Vec<Step>, Model) {
        let mut model = self.history.last().unwrap().clone();
        let mut steps = Vec::new();
        for _ in 0..self.dice.below(6) {
            let Bounds { first, next, .. } = model.bounds;
            let step = match self.dice.below(100) {
                0..62 => Step::Append(next, self.entry(next)),
                62..72 => {
                    Step::TruncateFrom((first + self.dice.below(next - first + 2)).max(1) - 1)
                }
                72..82 => {
                    Step::PurgeTo((first + self.dice.below((next - first) * 3 / 2 + 2)).max(1) - 1)
                }
                _ => {
                    let key = vec![b'k', u8::try_from(self.dice.below(4)).unwrap()];
                    Step::Set(key, self.entry(next))
                }
            };
            model.apply(&step);
            steps.push(step);
        }
        (steps, model)
    }

    /// Bytes that tell where they come from; some are zeros, as a torn sector is.
    fn entry(&mut self, index: u64) -> Vec<u8> {
        let bytes = match self.dice.percent(2) {
            true => self.dice.below(3 * SEGMENT_BYTES),
            false => self.dice.below(ENTRY_BYTES),
        };
        let pattern = match self.dice.percent(10) {
            true => 0,
            false => self.dice.any() ^ index,
        };
        let bytes = usize::try_from(bytes).unwrap();
        let pattern = pattern.to_le_bytes();
        pattern.iter().copied().cycle().take(bytes).collect()
    }
}
