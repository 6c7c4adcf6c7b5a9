//! What a session does that nobody waits for any more.
//!
//! A change whose outcome nobody was told is settled: under its session, slot and sequence a request is sent that does nothing.
//! Whichever of the two comes first uses the sequence up, and the other one is given its answer. So the change is done by then
//! or never. If it was granted a lock, or a place in a queue, that is given back: nobody knows of it. A release is sent again as
//! it is.

use crate::change::Change;
use crate::clock;
use crate::error::Error;
use crate::session::Core;
use crate::slots::{Lease, Unsettled};
use regraft_wire::store::v1::change_response::Outcome;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Chores that wait to be begun: at most each slot once, and each lock and place that a session may have (256).
pub(crate) const CHORES_MAX: usize = 64 + 256;

/// Something to do.
pub(crate) enum Chore {
    /// Find out, or decide, what became of this.
    Settle(Unsettled),
    /// Release this scope: whoever had it dropped it.
    GiveBack(String),
}

/// Does chores until the session's tasks are stopped.
pub(crate) async fn run(core: Arc<Core>, mut chores: mpsc::Receiver<Chore>) {
    let mut under_way = JoinSet::new();
    loop {
        tokio::select! {
            chore = chores.recv() => match chore {
                Some(Chore::Settle(unsettled)) => {
                    under_way.spawn(settle(Arc::clone(&core), unsettled));
                }
                Some(Chore::GiveBack(scope)) => {
                    under_way.spawn(give_back(Arc::clone(&core), scope));
                }
                None => return,
            },
            Some(_) = under_way.join_next() => {}
        }
    }
}

async fn settle(core: Arc<Core>, unsettled: Unsettled) {
    let (mut lease, change) = Lease::again(&core.slots, unsettled);
    let question = match &change {
        Change::Release(_) => change.clone(),
        _ => Change::nothing(),
    };
    let Some(answer) = insist(&core, &mut lease, &question).await else {
        return;
    };
    tracing::debug!(session = core.id, %change, ?answer, "an unknown outcome is settled");
    if let (Change::Acquire(acquire), Some(Outcome::Granted(_) | Outcome::Queued(_))) =
        (&change, answer)
    {
        insist(&core, &mut lease, &Change::release(&acquire.scope)).await;
    }
}

async fn give_back(core: Arc<Core>, scope: String) {
    let change = Change::release(&scope);
    loop {
        let deadline = clock::now() + core.members.settings.deadline;
        match core.lease(&change, deadline).await {
            Ok(mut lease) => {
                insist(&core, &mut lease, &change).await;
                return;
            }
            Err(Error::SessionLost { .. }) => return,
            // All slots are taken: one of them comes free.
            Err(_) => {}
        }
    }
}

/// Sends a change until it is answered; gives what was granted, if anything. None when the session is lost first.
async fn insist(core: &Core, lease: &mut Lease, change: &Change) -> Option<Option<Outcome>> {
    loop {
        let deadline = clock::now() + core.members.settings.deadline;
        match core.carry(lease, change.clone(), deadline).await {
            Ok(outcome) => return Some(Some(outcome)),
            Err(Error::SessionLost { .. }) => return None,
            Err(Error::Refused(_)) if lease.is_settled() => return Some(None),
            Err(error) => tracing::debug!(session = core.id, %error, "not settled yet"),
        }
        if core.loss().is_some() {
            return None;
        }
        clock::pause(core.members.settings.backoff_max).await;
    }
}
