//! What was applied, for those who follow the state.
//!
//! The newest changes are kept, so that who follows may be slow, and a program may go on where it was cut off. Who asks
//! for what is kept no more is told to list again: nothing is left out silently.

use regraft_state::store::Write;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Changes kept; some seconds of the most that a trio applies.
const KEPT_CHANGES_MAX: usize = 16_384;
/// Keys and values of the changes kept, so that large records do not fill the memory.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// Something changed in the applied state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The command at `index` was applied.
    Applied {
        /// Its log index.
        index: u64,
        /// What it wrote.
        writes: Arc<[Write]>,
    },
    /// The whole state was replaced by a snapshot: list again.
    Reset {
        /// The log index of the snapshot.
        index: u64,
    },
}

/// Why there is no next change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangesError {
    /// Changes are kept no more that were not seen yet: list again.
    #[error("{missed} changes were missed: list again")]
    Lagged {
        /// How many.
        missed: u64,
    },
    /// The replica is gone.
    #[error("the replica has stopped")]
    Stopped,
}

/// The changes after some index, in order.
#[derive(Debug)]
pub struct Subscription {
    kept: Arc<Mutex<Kept>>,
    newest: watch::Receiver<u64>,
    /// The index of the last change seen.
    seen: u64,
}

/// The publishing side.
pub(crate) struct Changes {
    kept: Arc<Mutex<Kept>>,
    newest: watch::Sender<u64>,
}

#[derive(Debug)]
struct Kept {
    changes: VecDeque<(u64, Arc<[Write]>)>,
    bytes: usize,
    /// All changes after this index are here.
    after: u64,
    /// Index of the last snapshot that replaced the state.
    reset: u64,
}

impl Subscription {
    /// Waits for the next change.
    ///
    /// # Errors
    /// [`ChangesError::Lagged`] once after changes were lost; then they go on.
    pub async fn next(&mut self) -> Result<Change, ChangesError> {
        loop {
            self.newest.borrow_and_update();
            let found = lock(&self.kept).after(self.seen);
            match found {
                Some(Ok(change)) => {
                    self.seen = match change {
                        Change::Applied { index, .. } | Change::Reset { index } => index,
                    };
                    return Ok(change);
                }
                Some(Err(after)) => {
                    let missed = after - self.seen;
                    self.seen = after;
                    return Err(ChangesError::Lagged { missed });
                }
                None => self
                    .newest
                    .changed()
                    .await
                    .map_err(|_| ChangesError::Stopped)?,
            }
        }
    }
}

impl Changes {
    /// Of a state that has `applied` already.
    pub(crate) fn new(applied: u64) -> Self {
        Self {
            kept: Arc::new(Mutex::new(Kept {
                changes: VecDeque::new(),
                bytes: 0,
                after: applied,
                reset: 0,
            })),
            newest: watch::Sender::new(applied),
        }
    }

    /// Tells what entries wrote, by their indexes, which rise.
    pub(crate) fn publish(&self, changes: Vec<(u64, Vec<Write>)>) {
        let Some(newest) = changes.last().map(|(index, _)| *index) else {
            return;
        };
        {
            let mut kept = lock(&self.kept);
            for (index, writes) in changes {
                kept.push(index, writes.into());
            }
        }
        self.newest.send_replace(newest);
    }

    /// Tells that the whole state was replaced by a snapshot.
    pub(crate) fn reset(&self, index: u64) {
        lock(&self.kept).reset(index);
        self.newest.send_replace(index);
    }

    /// The index of the newest change: how far the state is applied.
    pub(crate) fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// What is applied from now on.
    pub(crate) fn subscribe(&self) -> Subscription {
        self.subscribe_after(*self.newest.borrow())
    }

    /// What was applied after `index`. The first answer says so when that is not known any more.
    pub(crate) fn subscribe_after(&self, index: u64) -> Subscription {
        Subscription {
            kept: Arc::clone(&self.kept),
            newest: self.newest.subscribe(),
            seen: index,
        }
    }
}

impl Kept {
    fn push(&mut self, index: u64, writes: Arc<[Write]>) {
        self.bytes += size_of(&writes);
        self.changes.push_back((index, writes));
        while self.changes.len() > KEPT_CHANGES_MAX || self.bytes > KEPT_BYTES_MAX {
            let Some((index, writes)) = self.changes.pop_front() else {
                break;
            };
            self.bytes -= size_of(&writes);
            self.after = index;
        }
    }

    fn reset(&mut self, index: u64) {
        self.changes.clear();
        self.bytes = 0;
        self.after = index;
        self.reset = index;
    }

    /// The change after `seen`, or the index from which on changes are kept.
    fn after(&self, seen: u64) -> Option<Result<Change, u64>> {
        if seen < self.reset {
            return Some(Ok(Change::Reset { index: self.reset }));
        }
        if seen < self.after {
            return Some(Err(self.after));
        }
        let at = self.changes.partition_point(|(index, _)| *index <= seen);
        self.changes.get(at).map(|(index, writes)| {
            Ok(Change::Applied {
                index: *index,
                writes: Arc::clone(writes),
            })
        })
    }
}

fn size_of(writes: &[Write]) -> usize {
    let bytes = writes.iter().map(|write| match write {
        Write::Put { key, value } => key.len() + value.len(),
        Write::Delete { key } => key.len(),
    });
    bytes.sum()
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(bytes: usize) -> Write {
        Write::Put {
            key: Vec::new(),
            value: vec![0; bytes],
        }
    }

    fn applied(index: u64, bytes: usize) -> Change {
        Change::Applied {
            index,
            writes: [put(bytes)].into(),
        }
    }

    #[tokio::test]
    async fn who_was_cut_off_goes_on_where_it_was() {
        let changes = Changes::new(4);
        changes.publish((5..9).map(|index| (index, vec![put(1)])).collect());
        let mut following = changes.subscribe_after(6);
        assert_eq!(following.next().await, Ok(applied(7, 1)));
        assert_eq!(following.next().await, Ok(applied(8, 1)));
        changes.publish(vec![(9, vec![put(2)])]);
        assert_eq!(following.next().await, Ok(applied(9, 2)));
        drop(changes);
        assert_eq!(following.next().await, Err(ChangesError::Stopped));
    }

    #[tokio::test]
    async fn what_is_kept_no_more_is_told_as_missed() {
        let changes = Changes::new(4);
        let mut before = changes.subscribe_after(2);
        assert_eq!(before.next().await, Err(ChangesError::Lagged { missed: 2 }));
        let mut slow = changes.subscribe();
        for index in 5..8 {
            changes.publish(vec![(index, vec![put(KEPT_BYTES_MAX / 2)])]);
        }
        assert_eq!(slow.next().await, Err(ChangesError::Lagged { missed: 1 }));
        assert_eq!(slow.next().await, Ok(applied(6, KEPT_BYTES_MAX / 2)));
    }

    #[tokio::test]
    async fn a_snapshot_resets_all_who_follow() {
        let changes = Changes::new(4);
        let mut following = changes.subscribe();
        changes.publish(vec![(5, vec![put(1)])]);
        changes.reset(9);
        changes.publish(vec![(10, vec![put(1)])]);
        assert_eq!(following.next().await, Ok(Change::Reset { index: 9 }));
        assert_eq!(following.next().await, Ok(applied(10, 1)));
    }
}
