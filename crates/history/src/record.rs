//! Whether the order of the log explains every answer on one key.
//!
//! ```text
//! writes, by revision:   put 7 ──── put 12 ──────── delete 31 ── ...
//! what was seen:             get at 9: 7    cas at 20: found 12
//! ```
//!
//! Writes of unknown outcome fill gaps. One whose value was read was done, at the revision that was read. One that nobody
//! read is taken when something was seen that only it explains, each at most once.

use crate::operation::{Answer, Call, Decided, Operation};
use crate::order::{Floors, Placed};
use crate::violation::{Kind, Violation};
use std::collections::BTreeMap;

/// What became of one key.
pub(crate) struct Judged<'a> {
    pub(crate) violations: Vec<Violation>,
    /// Writes of unknown outcome that were done after all.
    pub(crate) placed: Vec<Placed<'a>>,
}

pub(crate) fn judge<'a>(key: &str, operations: &[&'a Operation], floors: &Floors) -> Judged<'a> {
    let mut judge = Judge {
        key,
        floors,
        violations: Vec::new(),
        placed: BTreeMap::new(),
    };
    let puts = judge.puts(operations);
    judge.place(operations, &puts);
    let events = judge.events(operations);
    judge.walk(events, operations);
    let placed = judge.placed.into_iter();
    Judged {
        violations: judge.violations,
        placed: placed
            .map(|(revision, operation)| Placed {
                operation,
                revision,
            })
            .collect(),
    }
}

struct Judge<'a, 'k> {
    key: &'k str,
    floors: &'k Floors,
    violations: Vec<Violation>,
    /// Puts of unknown outcome that were read, by the revision they were read with.
    placed: BTreeMap<u64, &'a Operation>,
}

/// Something at a place in the log.
struct Event<'a> {
    place: u64,
    what: What,
    operation: &'a Operation,
}

/// In the order of what happens at one place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// The entry there found this revision.
    Found(u64),
    /// The record has this revision from there on; 0: there is none.
    Is(u64),
    /// Who read up to there saw this revision.
    Saw(u64),
}

/// What a record was.
#[derive(Default)]
struct Versions {
    /// In order; before the first there was no record.
    all: Vec<Version>,
    /// The last place at which it is known to have been the last of them.
    confirmed: u64,
}

/// Since when a record has which revision.
struct Version {
    from: u64,
    revision: u64,
}

impl Versions {
    fn now(&self) -> u64 {
        self.all.last().map_or(0, |version| version.revision)
    }

    fn add(&mut self, from: u64, revision: u64) {
        self.all.push(Version { from, revision });
        self.confirmed = from;
    }
}

impl<'a> Judge<'a, '_> {
    fn tell(&mut self, kind: Kind, operation: &Operation, message: String) {
        self.violations.push(Violation {
            kind,
            subject: self.key.to_owned(),
            at_us: operation.begin_us,
            message,
        });
    }

    fn puts(&mut self, operations: &[&'a Operation]) -> BTreeMap<&'a str, &'a Operation> {
        let mut puts: BTreeMap<&str, &Operation> = BTreeMap::new();
        for operation in operations {
            if let Call::Put { value, .. } = &operation.call {
                puts.insert(value, operation);
            }
        }
        puts
    }

    /// Finds the write of each value that was read.
    fn place(&mut self, operations: &[&'a Operation], puts: &BTreeMap<&str, &'a Operation>) {
        let mut revisions: BTreeMap<&str, u64> = BTreeMap::new();
        for operation in operations {
            let Answer::Read {
                record: Some(seen), ..
            } = &operation.answer
            else {
                continue;
            };
            let Some(put) = puts.get(seen.value.as_str()) else {
                self.tell(
                    Kind::Invented,
                    operation,
                    format!("nobody wrote it: {operation}"),
                );
                continue;
            };
            let revision = match &put.answer {
                Answer::Written { revision, .. } => *revision,
                Answer::Unknown => *revisions.entry(&seen.value).or_insert(seen.revision),
                _ => {
                    let message = format!("{operation}, but {put}");
                    self.tell(Kind::Invented, operation, message);
                    continue;
                }
            };
            if revision != seen.revision {
                let message = format!("it was written at {revision}: {operation}; {put}");
                self.tell(Kind::DoubledEffect, operation, message);
            } else if put.answer == Answer::Unknown {
                self.placed.insert(revision, put);
            }
        }
    }

    /// All that is known of places in the log, in their order.
    fn events(&mut self, operations: &[&'a Operation]) -> Vec<Event<'a>> {
        let mut events = Vec::new();
        for &operation in operations {
            let mut add = |place, what| {
                events.push(Event {
                    place,
                    what,
                    operation,
                });
            };
            match &operation.answer {
                Answer::Written { revision, previous } => {
                    add(*revision, What::Found(*previous));
                    let is_put = matches!(operation.call, Call::Put { .. });
                    add(*revision, What::Is(if is_put { *revision } else { 0 }));
                }
                Answer::Changed {
                    found,
                    decided: Decided::At(at),
                } => add(*at, What::Found(*found)),
                Answer::Read { revision, record } => {
                    let seen = record.as_ref().map_or(0, |record| record.revision);
                    add(*revision, What::Saw(seen));
                }
                Answer::Changed {
                    decided: Decided::By(_) | Decided::Untold,
                    ..
                }
                | Answer::NotDone
                | Answer::Unknown => {}
            }
        }
        for (&place, &operation) in &self.placed {
            if let Call::Put {
                expected: Some(expected),
                ..
            } = operation.call
            {
                events.push(Event {
                    place,
                    what: What::Found(expected),
                    operation,
                });
            }
            events.push(Event {
                place,
                what: What::Is(place),
                operation,
            });
        }
        events.sort_by_key(|event| (event.place, event.what));
        events
    }

    fn walk(&mut self, events: Vec<Event<'a>>, operations: &[&'a Operation]) {
        let mut spare = Spare::of(operations, &self.placed);
        let mut versions = Versions::default();
        for event in events {
            let Event {
                place,
                what,
                operation,
            } = event;
            // An entry finds what was before it; who reads up to it sees what it did, too.
            let (seen, upto) = match what {
                What::Is(revision) => {
                    if versions.confirmed == place {
                        let message = format!("{place} is another write's, too: {operation}");
                        self.tell(Kind::Disorder, operation, message);
                    }
                    self.check_condition(operation);
                    versions.add(place, revision);
                    continue;
                }
                What::Found(seen) => (seen, place.saturating_sub(1)),
                What::Saw(seen) => (seen, place),
            };
            let now = versions.now();
            if seen != now {
                // A removal that nobody saw left no place: any that is free.
                let (from, latest) = match seen {
                    0 => (versions.confirmed + 1, upto),
                    seen => (seen, seen),
                };
                let is_new = versions.confirmed < from && from <= upto;
                let is_explained =
                    is_new && spare.take((now, seen), latest, operation, self.floors);
                if !is_explained {
                    self.tell_contradiction(what, now, operation);
                }
                if !is_new {
                    continue;
                }
                // From here on the answer is believed: one fault is told once.
                versions.add(from, seen);
            }
            versions.confirmed = versions.confirmed.max(upto);
        }
        self.check_resent(operations, &versions.all);
    }

    /// A write under a condition says itself what was there before.
    fn check_condition(&mut self, operation: &Operation) {
        let (Call::Put { expected, .. } | Call::Delete { expected, .. }) = &operation.call else {
            return;
        };
        if let (Some(expected), Answer::Written { previous, .. }) = (expected, &operation.answer)
            && expected != previous
        {
            let message = format!("done, though the condition did not hold: {operation}");
            self.tell(Kind::WrongAnswer, operation, message);
        }
    }

    fn tell_contradiction(&mut self, what: What, now: u64, operation: &Operation) {
        let kind = match what {
            What::Saw(_) if !operation.is_stale() => Kind::LostWrite,
            What::Found(_) if matches!(operation.answer, Answer::Written { .. }) => Kind::LostWrite,
            _ => Kind::WrongAnswer,
        };
        let there = match now {
            0 => "there was no record".to_owned(),
            now => format!("the record was of {now}"),
        };
        self.tell(kind, operation, format!("{there}: {operation}"));
    }

    /// A refusal that was told when asked again was decided at some place between its begin and the last asking.
    fn check_resent(&mut self, operations: &[&'a Operation], versions: &[Version]) {
        let has_open_removals = operations.iter().any(|operation| {
            operation.answer == Answer::Unknown && matches!(operation.call, Call::Delete { .. })
        });
        for operation in operations {
            let (found, by) = match operation.answer {
                Answer::Changed {
                    found,
                    decided: Decided::By(by),
                } => (found, by),
                Answer::Changed {
                    found,
                    decided: Decided::Untold,
                } => (found, u64::MAX),
                _ => continue,
            };
            let floor = self.floors.before(operation.begin_us);
            let first = versions.partition_point(|version| version.from <= floor);
            let at_first = first.checked_sub(1).map_or(0, |at| versions[at].revision);
            let later = versions[first..].iter().take_while(|it| it.from <= by);
            let mut within = std::iter::once(at_first).chain(later.map(|it| it.revision));
            let is_known = match found {
                0 => !has_open_removals,
                found => versions
                    .iter()
                    .position(|it| it.revision == found)
                    .is_some_and(|at| {
                        // A removal that nobody saw was given any free place: until when the record was there is not known.
                        let next = versions.get(at + 1);
                        !(has_open_removals && next.is_some_and(|next| next.revision == 0))
                    }),
            };
            if is_known && within.all(|revision| revision != found) {
                let message = format!("the record was of another revision: {operation}");
                self.tell(Kind::WrongAnswer, operation, message);
            }
        }
    }
}

/// Writes of unknown outcome that nobody read: each may have happened once.
struct Spare<'a> {
    puts: Vec<&'a Operation>,
    deletes: Vec<&'a Operation>,
}

impl<'a> Spare<'a> {
    fn of(operations: &[&'a Operation], placed: &BTreeMap<u64, &'a Operation>) -> Self {
        let mut unknown: Vec<&Operation> = operations
            .iter()
            .copied()
            .filter(|operation| operation.answer == Answer::Unknown)
            .filter(|operation| !placed.values().any(|put| *put == *operation))
            .collect();
        // The one that began last is taken first: all that began earlier may still stand for what is seen later.
        unknown.sort_by_key(|operation| operation.begin_us);
        let (puts, others): (Vec<_>, Vec<_>) = unknown
            .into_iter()
            .partition(|operation| matches!(operation.call, Call::Put { .. }));
        let deletes = others
            .into_iter()
            .filter(|operation| matches!(operation.call, Call::Delete { .. }));
        Self {
            puts,
            deletes: deletes.collect(),
        }
    }

    /// Takes a write that may have made the one revision the other at this place at the latest, before the answer of who
    /// saw it.
    fn take(
        &mut self,
        (now, seen): (u64, u64),
        place: u64,
        witness: &Operation,
        floors: &Floors,
    ) -> bool {
        let may = |operation: &Operation| {
            let is_in_time = witness.over_us().is_none_or(|end| operation.begin_us < end);
            is_in_time && floors.before(operation.begin_us) < place
        };
        if seen == 0 {
            return take_one(&mut self.deletes, now, &may);
        }
        if take_one(&mut self.puts, now, &may) {
            return true;
        }
        // Two of them: a removal, and a put where there is nothing.
        let (mut puts, mut deletes) = (self.puts.clone(), self.deletes.clone());
        if now != 0 && take_one(&mut deletes, now, &may) && take_one(&mut puts, 0, &may) {
            (self.puts, self.deletes) = (puts, deletes);
            return true;
        }
        false
    }
}

/// Takes one that `may` have happened where the record has the revision `now`.
fn take_one(from: &mut Vec<&Operation>, now: u64, may: &dyn Fn(&Operation) -> bool) -> bool {
    // One under a condition can explain nothing else. Nobody expects a revision that nobody was told.
    let meets = |operation: &Operation| operation.call.expected() == Some(now) && may(operation);
    let is_free = |operation: &Operation| operation.call.expected().is_none() && may(operation);
    let under = from.iter().rposition(|operation| meets(operation));
    match under.or_else(|| from.iter().rposition(|operation| is_free(operation))) {
        Some(at) => {
            from.remove(at);
            true
        }
        None => false,
    }
}
