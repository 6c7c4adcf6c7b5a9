//! The newest entries in memory: all that are not on disk yet, and as many more as the bound allows,
//! because followers ask for what was just written.

use crate::types::Entry;
use std::collections::BTreeMap;

/// Entries that are on disk leave the tail beyond this; the others stay, bounded by the writer's queue.
const TAIL_BYTES_MAX: usize = 2 << 20;

#[derive(Default)]
pub(super) struct Tail {
    entries: BTreeMap<u64, Cached>,
    bytes: usize,
    /// Appends up to this sequence number are on disk.
    written: u64,
}

struct Cached {
    entry: Entry,
    bytes: usize,
    sequence: u64,
}

impl Tail {
    pub(super) fn push(&mut self, sequence: u64, entry: Entry, bytes: usize) {
        let index = entry.log_id.index;
        let cached = Cached {
            entry,
            bytes,
            sequence,
        };
        self.bytes += bytes;
        if let Some(replaced) = self.entries.insert(index, cached) {
            self.bytes -= replaced.bytes;
        }
        self.evict();
    }

    /// Appends up to `sequence` are on disk.
    pub(super) fn mark_written(&mut self, sequence: u64) {
        self.written = self.written.max(sequence);
        self.evict();
    }

    /// Forgets the entries from `from` on.
    pub(super) fn truncate(&mut self, from: u64) {
        let gone = self.entries.split_off(&from);
        self.bytes -= gone.values().map(|cached| cached.bytes).sum::<usize>();
    }

    /// Forgets the entries up to `upto`, inclusive.
    pub(super) fn purge(&mut self, upto: u64) {
        let kept = self.entries.split_off(&(upto + 1));
        self.entries = kept;
        self.bytes = self.entries.values().map(|cached| cached.bytes).sum();
    }

    /// The entries of the range that are here, with their sizes: a consecutive run up to its end.
    pub(super) fn read(&self, start: u64, end: u64) -> Vec<(Entry, usize)> {
        if start >= end {
            return Vec::new();
        }
        self.entries
            .range(start..end)
            .map(|(_, cached)| (cached.entry.clone(), cached.bytes))
            .collect()
    }

    fn evict(&mut self) {
        while self.bytes > TAIL_BYTES_MAX {
            let Some(oldest) = self.entries.first_entry() else {
                return;
            };
            if oldest.get().sequence > self.written {
                return;
            }
            self.bytes -= oldest.remove().bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Command, LeaderId, LogId, Payload};
    use openraft::vote::RaftLeaderId as _;

    fn entry(index: u64) -> Entry {
        Entry {
            log_id: LogId {
                leader_id: LeaderId::new(1, 1),
                index,
            },
            payload: Payload::Normal(Command(bytes::Bytes::new())),
        }
    }

    #[test]
    fn entries_that_are_not_on_disk_are_never_evicted() {
        let mut tail = Tail::default();
        for index in 1..=4 {
            tail.push(index, entry(index), TAIL_BYTES_MAX / 2);
        }
        assert_eq!(tail.read(0, 9).len(), 4);
        tail.mark_written(1);
        assert_eq!(tail.read(0, 9).first().unwrap().0.log_id.index, 2);
        tail.mark_written(4);
        assert_eq!(tail.read(0, 9).len(), 2);
        assert_eq!(tail.bytes, TAIL_BYTES_MAX);
    }

    #[test]
    fn truncated_and_purged_entries_are_gone() {
        let mut tail = Tail::default();
        for index in 1..=6 {
            tail.push(1, entry(index), 10);
        }
        tail.truncate(5);
        tail.purge(2);
        let left: Vec<u64> = tail
            .read(0, 9)
            .iter()
            .map(|(entry, _)| entry.log_id.index)
            .collect();
        assert_eq!(left, [3, 4]);
        assert_eq!(tail.bytes, 20);
    }
}
