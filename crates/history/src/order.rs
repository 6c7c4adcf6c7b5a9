//! Whether the order of the log agrees with the order in time.
//!
//! An operation that began after another one was over has a later place in the log; a read has the same or a later one.

use crate::operation::{Answer, Decided, Hold, Operation};
use crate::violation::{Kind, Violation};

/// The highest place in the log that was known to a client at each time.
pub(crate) struct Floors {
    /// When, and the highest place so far; both rise.
    known: Vec<(u64, u64)>,
}

/// A write of unknown outcome, and the place at which it was seen.
pub(crate) struct Placed<'a> {
    pub(crate) operation: &'a Operation,
    pub(crate) revision: u64,
}

impl Floors {
    pub(crate) fn of(operations: &[Operation], holds: &[Hold]) -> Self {
        let told = operations
            .iter()
            .filter_map(|operation| Some((operation.end_us, told(&operation.answer)?)));
        let granted = holds.iter().map(|hold| (hold.from_us, hold.fence));
        let mut known: Vec<(u64, u64)> = told.chain(granted).collect();
        known.sort_unstable();
        let mut highest = 0;
        for (_, place) in &mut known {
            highest = highest.max(*place);
            *place = highest;
        }
        Self { known }
    }

    /// The highest place that somebody was told before this time.
    pub(crate) fn before(&self, time_us: u64) -> u64 {
        let count = self.known.partition_point(|(when, _)| *when < time_us);
        match count.checked_sub(1) {
            Some(last) => self.known[last].1,
            None => 0,
        }
    }
}

/// The place in the log that was reached for sure when this was answered.
fn told(answer: &Answer) -> Option<u64> {
    match answer {
        Answer::Written { revision, .. } | Answer::Read { revision, .. } => Some(*revision),
        Answer::Changed {
            decided: Decided::At(at) | Decided::By(at),
            ..
        } => Some(*at),
        Answer::Changed {
            decided: Decided::Untold,
            ..
        }
        | Answer::NotDone
        | Answer::Unknown => None,
    }
}

pub(crate) fn check(
    operations: &[Operation],
    placed: &[Placed<'_>],
    floors: &Floors,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    for operation in operations.iter().filter(|it| !it.is_stale()) {
        let floor = floors.before(operation.begin_us);
        let (is_in_order, kind) = match &operation.answer {
            Answer::Read { revision, .. } => (*revision >= floor, Kind::StaleRead),
            answer => (told(answer).is_none_or(|at| at > floor), Kind::Disorder),
        };
        if !is_in_order {
            violations.push(Violation {
                kind,
                subject: operation.call.key().to_owned(),
                at_us: operation.begin_us,
                message: format!("{floor} had been told before this began: {operation}"),
            });
        }
    }
    for Placed {
        operation,
        revision,
    } in placed
    {
        let floor = floors.before(operation.begin_us);
        if *revision <= floor {
            violations.push(Violation {
                kind: Kind::Disorder,
                subject: operation.call.key().to_owned(),
                at_us: operation.begin_us,
                message: format!(
                    "{floor} had been told before this began, which was done at {revision}: {operation}"
                ),
            });
        }
    }
    violations
}
