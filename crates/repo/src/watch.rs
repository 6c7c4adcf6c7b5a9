//! Gives up on a remote that shows no sign of life.
//!
//! Expected flow: the operation runs on a thread of its own with a [`Beat`]; every callback of libgit2 marks the
//! beat; whoever waits looks at it once per patience.
//! Guarantees: the caller gets an answer within patience of the last sign of life. An abandoned operation is told to
//! stop at its next callback and never starts a push; at most [`MAX_ABANDONED`] of them exist for a repository.
//! Assumptions: abandoned operations only add objects to the clone, or end a push that was already sent, which the
//! commit's key makes safe.
//! Errors: [`Failure::Timeout`], [`Failure::Busy`].
//!
//! libgit2's own time-outs are process-wide and can only be set by unsafe calls, which this house forbids.

use crate::error::Failure;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// Operations of one repository that hang in the kernel: each holds a thread and a socket.
const MAX_ABANDONED: usize = 4;

/// Patience is renewed at most this often for one operation: a first clone may take an hour, not for ever.
const MAX_PATIENCE_ROUNDS: u32 = 120;

/// Signs of life of one operation, and the word to stop.
#[derive(Debug, Default)]
pub(crate) struct Beat {
    signs: AtomicU64,
    abandoned: AtomicBool,
}

/// Whether an operation is still wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Yes,
    No,
}

impl Beat {
    /// Marks a sign of life; says whether anybody still waits.
    pub(crate) fn mark(&self) -> Wanted {
        self.signs.fetch_add(1, Ordering::Relaxed);
        match self.abandoned.load(Ordering::Acquire) {
            true => Wanted::No,
            false => Wanted::Yes,
        }
    }
}

/// Counts what hangs, for one repository.
#[derive(Clone, Debug, Default)]
pub(crate) struct Abandoned(Arc<AtomicUsize>);

/// Runs an operation on a thread of its own.
pub(crate) fn watched<T: Send + 'static>(
    patience: Duration,
    abandoned: &Abandoned,
    operation: impl FnOnce(&Beat) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let hanging = abandoned.0.load(Ordering::Acquire);
    if hanging >= MAX_ABANDONED {
        return Err(Failure::Busy(hanging));
    }
    let beat = Arc::new(Beat::default());
    let (sender, receiver) = mpsc::sync_channel(1);
    let (its_beat, its_count) = (Arc::clone(&beat), Arc::clone(&abandoned.0));
    std::thread::Builder::new()
        .name("git".to_owned())
        .spawn(move || {
            let counted = Counted(its_count);
            counted.0.fetch_add(1, Ordering::AcqRel);
            let answer = operation(&its_beat);
            drop(counted);
            // Nobody listens any more when the operation was abandoned.
            let _ = sender.send(answer);
        })
        .map_err(|error| Failure::Local(format!("cannot start a thread: {error}")))?;
    let mut seen = 0;
    for _ in 0..MAX_PATIENCE_ROUNDS {
        match receiver.recv_timeout(patience) {
            Ok(answer) => return answer,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::Local("the operation broke off".to_owned()));
            }
            Err(RecvTimeoutError::Timeout) => {
                let now = beat.signs.load(Ordering::Relaxed);
                if now == seen {
                    break;
                }
                seen = now;
            }
        }
    }
    beat.abandoned.store(true, Ordering::Release);
    tracing::warn!(
        patience_s = patience.as_secs(),
        "gave up on a Git operation that shows no sign of life"
    );
    Err(Failure::Timeout(patience.as_secs()))
}

/// Takes itself off the count however the operation ends.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    const PATIENCE: Duration = Duration::from_millis(100);

    #[test]
    fn a_silent_operation_is_abandoned_and_told_so() {
        let abandoned = Abandoned::default();
        let gate = Arc::new(Mutex::new(()));
        let closed = gate.lock().unwrap();
        let (its_gate, (told, was_told)) = (Arc::clone(&gate), mpsc::channel());
        let answer = watched(PATIENCE, &abandoned, move |beat| {
            drop(its_gate.lock());
            told.send(beat.mark()).unwrap();
            Ok(())
        });
        assert_eq!(answer, Err(Failure::Timeout(0)));
        assert_eq!(abandoned.0.load(Ordering::Acquire), 1);
        drop(closed);
        assert_eq!(was_told.recv().unwrap(), Wanted::No);
    }

    #[test]
    fn no_more_operations_start_while_too_many_hang() {
        let abandoned = Abandoned::default();
        let gate = Arc::new(Mutex::new(()));
        let closed = gate.lock().unwrap();
        for _ in 0..MAX_ABANDONED {
            let its_gate = Arc::clone(&gate);
            let answer = watched(PATIENCE, &abandoned, move |_| {
                drop(its_gate.lock());
                Ok(())
            });
            assert_eq!(answer, Err(Failure::Timeout(0)));
        }
        let refused = watched(PATIENCE, &abandoned, |_| Ok(()));
        assert_eq!(refused, Err(Failure::Busy(MAX_ABANDONED)));
        drop(closed);
    }

    #[test]
    fn an_operation_that_shows_life_outlives_the_patience() {
        let abandoned = Abandoned::default();
        let (_keep, wait) = mpsc::channel::<()>();
        let answer = watched(PATIENCE, &abandoned, move |beat| {
            for _ in 0..8 {
                let _ = wait.recv_timeout(Duration::from_millis(40));
                assert_eq!(beat.mark(), Wanted::Yes);
            }
            Ok(7)
        });
        assert_eq!(answer, Ok(7));
    }
}
