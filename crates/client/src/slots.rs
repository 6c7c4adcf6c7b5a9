//! The slots of a session: what bounds how much of it is under way, and what makes sending again harmless.
//!
//! Expected flow: a change takes a [`Lease`] of a free slot, stakes itself with the slot's next sequence, and says how it went.
//! Guarantees: a slot is free again only when its sequence was answered, or certainly never sent. In every other case, also
//! when whoever asked is gone in the middle, the slot goes to be settled. That is what the members' dedupe asks for: a new
//! request under an old sequence would be given the old one's answer, and one under the next sequence be refused.

use crate::change::Change;
use crate::members::Doubt;
use crate::settle::Chore;
use regraft_wire::store::v1 as wire;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};

/// Slots of a session: the most changes that it has under way at a time. The members keep one answer for each.
pub const SLOTS: u32 = 64;

pub(crate) struct Slots {
    session: u64,
    /// The one used last is used next: the members have no slot that is never used.
    free: Mutex<Vec<Slot>>,
    permits: Arc<Semaphore>,
    chores: mpsc::Sender<Chore>,
}

/// A slot that nothing is under way in.
pub(crate) struct Slot {
    number: u32,
    /// The sequence of its next request.
    next: u64,
}

/// A slot that somebody has.
pub(crate) struct Lease {
    slots: Arc<Slots>,
    /// None once it is somewhere else.
    slot: Option<Slot>,
    permit: Option<OwnedSemaphorePermit>,
    /// What may have been sent, and was not answered.
    staked: Option<Change>,
    /// Whether that was sent for sure: no later failure makes it undone.
    doubt: Doubt,
}

/// What may have been sent, and whoever sent it is gone.
pub(crate) struct Unsettled {
    slot: Slot,
    permit: Option<OwnedSemaphorePermit>,
    pub(crate) change: Change,
}

/// There is no slot.
pub(crate) enum NoSlot {
    /// All were under way until the deadline.
    AllTaken,
    /// The session is lost.
    Closed,
}

impl Slots {
    pub(crate) fn new(session: u64, chores: mpsc::Sender<Chore>) -> Self {
        let slots = (0..SLOTS).rev().map(|number| Slot { number, next: 1 });
        Self {
            session,
            free: Mutex::new(slots.collect()),
            permits: Arc::new(Semaphore::new(SLOTS as usize)),
            chores,
        }
    }

    /// Takes a free slot, in turn; waits for one.
    pub(crate) async fn lease(self: &Arc<Self>, deadline: Instant) -> Result<Lease, NoSlot> {
        let waiting = Arc::clone(&self.permits).acquire_owned();
        let permit = match timeout_at(deadline, waiting).await {
            Ok(permit) => permit.map_err(|_| NoSlot::Closed)?,
            Err(_) => return Err(NoSlot::AllTaken),
        };
        let slot = self.free().pop().ok_or(NoSlot::Closed)?;
        Ok(Lease {
            slots: Arc::clone(self),
            slot: Some(slot),
            permit: Some(permit),
            staked: None,
            doubt: Doubt::No,
        })
    }

    /// Gives no slot any more.
    pub(crate) fn close(&self) {
        self.permits.close();
    }

    /// Has something done that nobody waits for. It is dropped when the session ends.
    pub(crate) fn leave_to_settle(&self, chore: Chore) {
        if self.chores.try_send(chore).is_err() {
            tracing::debug!(self.session, "something is left to the end of the session");
        }
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<Slot>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Of a slot that is to be settled.
    pub(crate) fn again(slots: &Arc<Slots>, unsettled: Unsettled) -> (Self, Change) {
        let Unsettled {
            slot,
            permit,
            change,
        } = unsettled;
        let lease = Self {
            slots: Arc::clone(slots),
            slot: Some(slot),
            permit,
            staked: Some(change.clone()),
            doubt: Doubt::Yes,
        };
        (lease, change)
    }

    /// Gives the change the slot's sequence. From now on it may have been sent. To settle a sequence, another change
    /// may be sent under it; what was staked first stays what may have happened.
    pub(crate) fn stake(&mut self, mut change: Change) -> Change {
        if let Some(slot) = &self.slot {
            change.set_id(wire::RequestId {
                session: self.slots.session,
                slot: slot.number,
                sequence: slot.next,
            });
        }
        self.staked.get_or_insert_with(|| change.clone());
        change
    }

    /// The sequence was answered: it is used up.
    pub(crate) fn answered(&mut self) {
        (self.staked, self.doubt) = (None, Doubt::No);
        if let Some(slot) = &mut self.slot {
            slot.next += 1;
        }
    }

    /// What was staked may have been done.
    pub(crate) fn doubted(&mut self) {
        self.doubt = Doubt::Yes;
    }

    /// This attempt certainly did nothing, nor will: the sequence is free, unless an earlier one is in doubt.
    pub(crate) fn undone(&mut self) {
        if self.doubt == Doubt::No {
            self.staked = None;
        }
    }

    /// Whether nothing of it is open.
    pub(crate) fn is_settled(&self) -> bool {
        self.staked.is_none()
    }

    /// Its sequence is not what the members have: it is used no more.
    pub(crate) fn retire(&mut self) {
        self.staked = None;
        self.slot = None;
        if let Some(permit) = self.permit.take() {
            permit.forget();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else {
            return;
        };
        match self.staked.take() {
            Some(change) => self.slots.leave_to_settle(Chore::Settle(Unsettled {
                slot,
                permit: self.permit.take(),
                change,
            })),
            // Before its permit is given back, which is dropped after this.
            None => self.slots.free().push(slot),
        }
    }
}
