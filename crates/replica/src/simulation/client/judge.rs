//! What an answer means for a client, held against what the members applied.

use super::record::text;
use super::{Call, Client, Context, Kind, LANES, Place, Standing, outcome};
use crate::local::Proposed;
use crate::simulation::requests::Told;
use regraft_history::Seen as Found;
use regraft_state::operation::{Outcome, RefusalReason};
use regraft_state::stored::Record;

impl Client {
    pub(super) fn settle(
        &mut self,
        place: Place,
        call: Call,
        told: Told,
        context: &mut Context<'_>,
    ) {
        match told {
            Told::Changed(proposed) => {
                // Each opening opens another session.
                if place != Place::Opening {
                    self.answers.insert(call.number, proposed.response.clone());
                }
                self.settle_change(place, call, &proposed, context);
            }
            Told::Got { index, record } => {
                settle_get(&call, index, record.as_ref(), context);
                let record = record.map(|record| Found {
                    value: text(&record.value),
                    revision: record.revision,
                });
                let read = regraft_history::Answer::Read {
                    revision: index,
                    record,
                };
                self.write_down(&call, read, context);
            }
            Told::Stands {
                index,
                fence,
                waits,
            } => {
                see(&call, index, Seen::Read, context);
                self.lock = match (self.lock.take(), fence) {
                    (Some((scope, standing)), Some(fence)) => {
                        if standing == Standing::Waits {
                            self.lock_ms.1 = context.now_ms;
                        }
                        context.tally.grants += 1;
                        Some((scope, Standing::Holds(fence)))
                    }
                    (Some((scope, _)), None) if waits => Some((scope, Standing::Waits)),
                    // The session has ended, or will soon be known to have.
                    _ => None,
                };
            }
            // The operator's, and what means nothing.
            Told::Members(_)
            | Told::Lives(_)
            | Told::Refused(_)
            | Told::Unknown
            | Told::Halted(_) => {}
        }
    }

    pub(super) fn settle_change(
        &mut self,
        place: Place,
        call: Call,
        proposed: &Proposed,
        context: &mut Context<'_>,
    ) {
        let said = context
            .ledger
            .book()
            .response(proposed.index)
            .map(<[u8]>::to_vec);
        if said.as_deref() != Some(&proposed.response) {
            let wrong = format!(
                "client {} was told of entry {} what it did not answer",
                self.id, proposed.index
            );
            context.ledger.book().violate(wrong);
        }
        see(&call, proposed.index, Seen::Write, context);
        self.write_change_down(&call, proposed, context);
        match (call.kind.clone(), outcome(proposed)) {
            (Kind::Open, Some(Outcome::Opened(opened))) => {
                see(&call, opened.session, Seen::Write, context);
                self.session = Some(opened.session);
                self.sequences = [0; LANES];
                self.alive.next_ms = context.now_ms;
            }
            (Kind::Put { key, value, .. }, Some(Outcome::Written(written))) => {
                see(&call, written.revision, Seen::Write, context);
                check_write(
                    &key,
                    Some(&value),
                    written.revision,
                    written.previous,
                    context,
                );
            }
            (Kind::Delete { key }, Some(Outcome::Written(written))) => {
                // With nothing there, nothing is written.
                if written.previous > 0 {
                    check_write(&key, None, written.revision, written.previous, context);
                }
            }
            (Kind::Acquire { scope }, Some(Outcome::Granted(granted))) => {
                see(&call, granted.fence, Seen::Write, context);
                context.tally.grants += 1;
                self.lock_ms = (call.begin_ms, context.now_ms);
                self.lock = Some((scope, Standing::Holds(granted.fence)));
                self.hold(place, context);
            }
            (Kind::Acquire { scope }, Some(Outcome::Queued(_))) => {
                self.lock_ms = (call.begin_ms, context.now_ms);
                self.lock = Some((scope, Standing::Waits));
            }
            (Kind::Release, Some(Outcome::Done(_))) => self.lock = None,
            (kind, Some(Outcome::Refused(refused))) => match refused.known_reason() {
                Some(RefusalReason::SessionExpired) => self.lose_session(context),
                Some(RefusalReason::RevisionChanged) if matches!(kind, Kind::Put { .. }) => {}
                Some(RefusalReason::Busy | RefusalReason::QueueFull)
                    if matches!(kind, Kind::Acquire { .. }) => {}
                reason => {
                    let wrong = format!("client {}: {kind:?} is refused: {reason:?}", self.id);
                    context.ledger.book().violate(wrong);
                }
            },
            (kind, other) => {
                let wrong = format!("client {}: {kind:?} is answered with {other:?}", self.id);
                context.ledger.book().violate(wrong);
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Read,
    Write,
}

/// Linearizability, with the log's order as the witness: whatever was seen before a request began lies before it.
fn see(call: &Call, index: u64, seen: Seen, context: &mut Context<'_>) {
    let behind = match seen {
        Seen::Read => index < call.floor,
        Seen::Write => index <= call.floor,
    };
    if behind {
        let wrong = format!(
            "{:?} took place at {index}, though {} was seen before it began",
            call.kind, call.floor
        );
        context.ledger.book().violate(wrong);
    }
    *context.floor = index.max(*context.floor);
}

fn settle_get(call: &Call, index: u64, record: Option<&Record>, context: &mut Context<'_>) {
    context.tally.reads += 1;
    let key = match &call.kind {
        Kind::Get { key } => {
            see(call, index, Seen::Read, context);
            key
        }
        Kind::StaleGet { key } => key,
        _ => return,
    };
    let mut book = context.ledger.book();
    if book.record(key, index) != record {
        let wrong = format!("{:?} at {index} gives {record:?}", call.kind);
        book.violate(wrong);
    }
}

/// An acknowledged write is what the members applied.
fn check_write(
    key: &[u8],
    value: Option<&[u8]>,
    revision: u64,
    previous: u64,
    context: &mut Context<'_>,
) {
    let mut book = context.ledger.book();
    let after = book.record(key, revision).cloned();
    let before = book
        .record(key, revision.saturating_sub(1))
        .map_or(0, |record| record.revision);
    let is_there = match (&after, value) {
        (Some(record), Some(value)) => record.revision == revision && record.value == value,
        (None, None) => true,
        _ => false,
    };
    if !is_there || before != previous {
        book.violate(format!(
            "the write at {revision} was acknowledged, but there are {after:?} after {before}"
        ));
    }
}
