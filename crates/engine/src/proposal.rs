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
        if self.is_pending(now, &intent) {
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
            ProposeOutcome::Answered { .. } => {
                self.pending.remove(&intent);
            }
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
        self.pending.retain(|_, pending| {
            pending.until > now && pending.applied_at.is_none_or(|applied| applied > index)
        });
    }
}
