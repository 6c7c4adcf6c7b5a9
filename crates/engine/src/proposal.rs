//! Proposals under way: one for each intent, until the state shows what came of it.

use crate::effect::Effect;
use crate::event::{ProposalId, ProposeOutcome};
use crate::intent::Intent;
use regraft_model::time::Timestamp;
use regraft_state::command::{Command, Rejection, RejectionReason, Response};
use std::collections::BTreeMap;

/// Pause before an intent that was refused, or whose outcome is unknown, is tried again.
const RETRY_MS: i64 = 500;
/// Pause before an intent that can never be applied as it is is tried again: it may have changed by then.
const INVALID_RETRY_MS: i64 = 60_000;
/// A proposal without an answer is forgotten after this; the runner's own bound is shorter.
const FORGET_MS: i64 = 30_000;

/// Proposals under way.
#[derive(Debug, Default)]
pub(crate) struct Proposals {
    next: u64,
    pending: BTreeMap<Intent, Pending>,
    /// Freed intents for which something else was to be proposed meanwhile.
    outdated: Vec<Intent>,
}

/// Why an intent came to nothing.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The state as it is now does not allow it.
    Rejected(Rejection),
    /// It can never be applied as it is.
    Invalid(String),
}

#[derive(Debug)]
struct Pending {
    id: ProposalId,
    until: Timestamp,
    /// The index the state must reach before the intent is free again.
    applied_at: Option<u64>,
    /// Whether something was to be proposed for the intent since.
    outdated: bool,
}

impl Proposals {
    /// Proposes `command` for `intent`, unless that intent is under way.
    pub(crate) fn propose(
        &mut self,
        now: Timestamp,
        intent: Intent,
        command: Command,
        effects: &mut Vec<Effect>,
    ) {
        let known = self.pending.get_mut(&intent);
        if let Some(known) = known.filter(|known| known.until > now) {
            known.outdated = true;
            return;
        }
        self.next += 1;
        let id = ProposalId(self.next);
        let until = Timestamp(now.0 + FORGET_MS);
        self.pending.insert(
            intent,
            Pending {
                id,
                until,
                applied_at: None,
                outdated: false,
            },
        );
        effects.push(Effect::Propose {
            id,
            command: Box::new(command),
        });
    }

    pub(crate) fn is_pending(&self, now: Timestamp, intent: &Intent) -> bool {
        self.pending
            .get(intent)
            .is_some_and(|pending| pending.until > now)
    }

    /// Takes an answer in; returns the intent and why it came to nothing, when that is worth telling.
    pub(crate) fn answered(
        &mut self,
        now: Timestamp,
        applied: u64,
        id: ProposalId,
        outcome: ProposeOutcome,
    ) -> Option<(Intent, Refused)> {
        let intent = self
            .pending
            .iter()
            .find(|(_, pending)| pending.id == id)
            .map(|(intent, _)| intent.clone())?;
        let pending = self.pending.get_mut(&intent)?;
        match outcome {
            ProposeOutcome::Answered {
                response: Response::Rejected(rejection),
                ..
            } => {
                pending.until = Timestamp(now.0 + RETRY_MS);
                let telling = !matches!(
                    rejection.reason,
                    RejectionReason::AlreadyDone | RejectionReason::HeadMoved
                );
                return telling.then_some((intent, Refused::Rejected(rejection)));
            }
            ProposeOutcome::Answered { index, .. } if index > applied => {
                pending.applied_at = Some(index);
            }
            ProposeOutcome::Answered { .. } => self.free(&intent),
            ProposeOutcome::Unknown(_) => pending.until = Timestamp(now.0 + RETRY_MS),
            ProposeOutcome::Invalid(reason) => {
                pending.until = Timestamp(now.0 + INVALID_RETRY_MS);
                return Some((intent, Refused::Invalid(reason)));
            }
        }
        None
    }

    /// The state reached `index`: intents answered up to there are free.
    pub(crate) fn reached(&mut self, now: Timestamp, index: u64) {
        let is_free = |pending: &Pending| {
            pending.until <= now || pending.applied_at.is_some_and(|applied| applied <= index)
        };
        let free = self.pending.iter().filter(|(_, pending)| is_free(pending));
        let free: Vec<Intent> = free.map(|(intent, _)| intent.clone()).collect();
        free.iter().for_each(|intent| self.free(intent));
    }

    /// Forgets what is under way: its answers, when they come, mean nothing any more.
    pub(crate) fn forget(&mut self) {
        self.pending.clear();
    }

    /// Freed intents for which something else was to be proposed meanwhile, once each.
    pub(crate) fn take_outdated(&mut self) -> Vec<Intent> {
        std::mem::take(&mut self.outdated)
    }

    fn free(&mut self, intent: &Intent) {
        if let Some((intent, pending)) = self.pending.remove_entry(intent)
            && pending.outdated
        {
            self.outdated.push(intent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_to_be_proposed_while_another_was_under_way_is_told_once_that_is_free() {
        let (intent, now) = (Intent::Initialise, Timestamp(0));
        let command = || Command::Initialise {
            installation: "i".to_owned(),
        };
        let (mut proposals, mut effects) = (Proposals::default(), Vec::new());
        proposals.propose(now, intent.clone(), command(), &mut effects);
        proposals.propose(now, intent.clone(), command(), &mut effects);
        assert_eq!(effects.len(), 1);
        let outcome = ProposeOutcome::Answered {
            index: 7,
            response: Response::Done,
        };
        proposals.answered(now, 6, ProposalId(1), outcome);
        assert_eq!(proposals.take_outdated(), []);
        proposals.reached(now, 7);
        assert_eq!(proposals.take_outdated(), [intent]);
        assert_eq!(proposals.take_outdated(), []);
    }
}
