//! What clients asked and were answered, and whether one honest state can have answered so.
//!
//! ```text
//! History { operations, holds } ──> check ──┬─ record  each key: does the order of the log explain every answer?
//!                                           ├─ order   does that order agree with time?
//!                                           └─ lock    were holders apart, did fences rise?
//!           operations of a key ──> search      the same question without the log: is there any order at all?
//! ```
//!
//! [`check`] takes the revisions that the state gives for what they claim to be, places in one log, and proves or refutes
//! that claim: where the order they give agrees with the order in time and explains every answer, it is a witness of
//! linearizability (M. Herlihy, J. Wing, "Linearizability: A Correctness Condition for Concurrent Objects", 1990), of all keys
//! together. So a history of any length costs a sort. [`search`] believes no revision and looks for an order; it is there to
//! check the checker, and short histories.
//!
//! It knows nothing of consensus, networks or disks: real processes under faults and simulated ones are judged alike.
//!
//! Never: reads a clock, asks a member, repairs a history.

mod lock;
mod operation;
mod order;
mod record;
mod search;
mod violation;

pub use operation::{Answer, Call, Decided, Freshness, History, Hold, Operation, Seen};
pub use search::{Searched, search};
pub use violation::{Kind, Violation};

/// Everything that one honest state cannot have answered; nothing where all is well.
///
/// Assumptions: every put of a key has a value of its own, and times are of one clock.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let by_key = history.by_key();
    let mut violations = Vec::new();
    let mut placed = Vec::new();
    let floors = order::Floors::of(&history.operations, &history.holds);
    for (key, operations) in &by_key {
        let judged = record::judge(key, operations, &floors);
        violations.extend(judged.violations);
        placed.extend(judged.placed);
    }
    violations.extend(order::check(&history.operations, &placed, &floors));
    violations.extend(lock::check(&history.holds));
    violations
}
