//! What a client saw, written down for a judge who knows nothing else.

use super::{Call, Client, Context, Kind, Standing, outcome};
use crate::local::Proposed;
use regraft_history::{Answer, Decided, Freshness, Hold};
use regraft_state::operation::{Outcome, RefusalReason};

impl Client {
    pub(super) fn write_change_down(
        &self,
        call: &Call,
        proposed: &Proposed,
        context: &mut Context<'_>,
    ) {
        let answer = match outcome(proposed) {
            Some(Outcome::Written(written)) => Answer::Written {
                revision: written.revision,
                previous: written.previous,
            },
            Some(Outcome::Refused(refused))
                if refused.known_reason() == Some(RefusalReason::RevisionChanged) =>
            {
                Answer::Changed {
                    found: refused.found,
                    decided: match call.tries {
                        1 => Decided::At(proposed.index),
                        _ => Decided::By(proposed.index),
                    },
                }
            }
            _ => Answer::Unknown,
        };
        self.write_down(call, answer, context);
    }

    pub(super) fn write_down(&self, call: &Call, answer: Answer, context: &mut Context<'_>) {
        let operation = self.operation(call, answer, context.now_ms);
        context.history.operations.extend(operation);
    }

    /// A request on a record, for the history.
    pub(super) fn operation(
        &self,
        call: &Call,
        answer: Answer,
        now_ms: u64,
    ) -> Option<regraft_history::Operation> {
        use regraft_history::Call as Asked;
        let get = |key: &[u8], freshness| Asked::Get {
            key: text(key),
            freshness,
        };
        let asked = match &call.kind {
            Kind::Put {
                key,
                value,
                expected,
            } => Asked::Put {
                key: text(key),
                value: text(value),
                expected: *expected,
            },
            Kind::Delete { key } => Asked::Delete {
                key: text(key),
                expected: None,
            },
            Kind::Get { key } => get(key, Freshness::Linearizable),
            Kind::StaleGet { key } => get(key, Freshness::Stale),
            Kind::Open | Kind::Acquire { .. } | Kind::Release | Kind::Stand => return None,
        };
        Some(regraft_history::Operation {
            client: u32::try_from(self.id).unwrap_or(0),
            begin_us: call.begin_ms * 1_000,
            end_us: now_ms * 1_000,
            call: asked,
            answer,
        })
    }

    /// The time in which it relied on its lock, which ends now.
    pub(super) fn write_hold_down(&self, session: u64, context: &mut Context<'_>) {
        let Some((scope, Standing::Holds(fence))) = &self.lock else {
            return;
        };
        let until_ms = self.lives_until_ms.min(context.now_ms);
        let (asked_ms, from_ms) = self.lock_ms;
        if from_ms < until_ms {
            context.history.holds.push(Hold {
                client: u32::try_from(self.id).unwrap_or(0),
                session,
                scope: scope.to_string(),
                fence: *fence,
                asked_us: asked_ms * 1_000,
                from_us: from_ms * 1_000,
                until_us: until_ms * 1_000,
            });
        }
    }
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
