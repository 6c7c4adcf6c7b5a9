//! Whether any order at all explains what was seen of one key, believing no revision to be a place.
//!
//! The search of J. Wing and C. Gong ("Testing and Verifying Concurrent Objects", 1993) with G. Lowe's memory of what was
//! tried ("Testing for Linearizability", 2017): depth first, the operations that were over earliest first, those of unknown
//! outcome last, because most of them explain nothing.

use crate::operation::{Answer, Call, Operation};
use std::collections::{BTreeMap, BTreeSet};

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Searched {
    /// There is an order.
    Linearizable,
    /// There is none.
    NotLinearizable,
    /// It took more than the steps allowed.
    GaveUp,
}

/// Looks for an order of the operations of one key, in at most `steps_max` steps; stale reads are left out.
#[must_use]
pub fn search(operations: &[&Operation], steps_max: usize) -> Searched {
    let mut counted: Vec<&Operation> = operations
        .iter()
        .copied()
        .filter(|operation| !operation.is_stale() && operation.answer != Answer::NotDone)
        .collect();
    // A read of unknown outcome explains nothing.
    counted.retain(|it| it.answer != Answer::Unknown || !matches!(it.call, Call::Get { .. }));
    let (mut over, mut open): (Vec<_>, Vec<_>) = counted
        .into_iter()
        .partition(|operation| operation.over_us().is_some());
    over.sort_by_key(|operation| operation.begin_us);
    open.sort_by_key(|operation| operation.begin_us);
    Search::new(over, open).run(steps_max)
}

/// The record: which put wrote it, by its number; none: there is no record.
type State = Option<usize>;

/// What has been put in order so far.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    /// All of `over` below this one, ...
    first: usize,
    /// ... and these after it.
    more: BTreeSet<usize>,
    /// Of `open`.
    open: BTreeSet<usize>,
    state: State,
}

struct Search<'a> {
    over: Vec<&'a Operation>,
    open: Vec<&'a Operation>,
    /// The revision that each put was told or read with, by its number: `over` first, then `open`.
    revisions: Vec<Option<u64>>,
    /// The put of each value, and of each revision that is known.
    by_value: BTreeMap<&'a str, usize>,
    known: BTreeSet<u64>,
}

impl<'a> Search<'a> {
    fn new(over: Vec<&'a Operation>, open: Vec<&'a Operation>) -> Self {
        let mut by_value = BTreeMap::new();
        let mut revisions = Vec::new();
        for (number, operation) in over.iter().chain(&open).enumerate() {
            let mut revision = None;
            if let Call::Put { value, .. } = &operation.call {
                by_value.insert(value.as_str(), number);
                if let Answer::Written { revision: told, .. } = operation.answer {
                    revision = Some(told);
                }
            }
            revisions.push(revision);
        }
        for operation in &over {
            if let Answer::Read {
                record: Some(seen), ..
            } = &operation.answer
                && let Some(number) = by_value.get(seen.value.as_str())
                && let Some(revision) = revisions.get_mut(*number)
            {
                revision.get_or_insert(seen.revision);
            }
        }
        let known = revisions.iter().flatten().copied().collect();
        Self {
            over,
            open,
            revisions,
            by_value,
            known,
        }
    }

    fn run(&self, steps_max: usize) -> Searched {
        let start = Node {
            first: 0,
            more: BTreeSet::new(),
            open: BTreeSet::new(),
            state: None,
        };
        let mut tried = BTreeSet::from([start.clone()]);
        let mut stack = vec![start];
        let mut steps = 0;
        while let Some(node) = stack.pop() {
            if node.first == self.over.len() {
                return Searched::Linearizable;
            }
            steps += 1;
            if steps > steps_max {
                return Searched::GaveUp;
            }
            // What is pushed last is tried first.
            for next in self.nexts(&node).into_iter().rev() {
                if tried.insert(next.clone()) {
                    stack.push(next);
                }
            }
        }
        Searched::NotLinearizable
    }

    /// All ways to go on, the most likely first.
    fn nexts(&self, node: &Node) -> Vec<Node> {
        // Whatever comes next began before the first of the others was over.
        let mut bound = u64::MAX;
        let mut may = Vec::new();
        for (number, operation) in self.over.iter().enumerate().skip(node.first) {
            if operation.begin_us > bound {
                break;
            }
            if !node.more.contains(&number) {
                bound = bound.min(operation.end_us);
                may.push(number);
            }
        }
        may.retain(|number| self.over[*number].begin_us <= bound);
        may.sort_by_key(|number| self.over[*number].end_us);
        let mut nexts = Vec::new();
        for number in may {
            if let Some(state) = self.apply(self.over[number], number, node.state) {
                let mut next = Node {
                    state,
                    ..node.clone()
                };
                next.more.insert(number);
                while next.more.remove(&next.first) {
                    next.first += 1;
                }
                nexts.push(next);
            }
        }
        for (at, operation) in self.open.iter().enumerate() {
            if operation.begin_us > bound {
                break;
            }
            let number = self.over.len() + at;
            if !node.open.contains(&at)
                && let Some(state) = self.apply(operation, number, node.state)
                && state != node.state
            {
                let mut next = Node {
                    state,
                    ..node.clone()
                };
                next.open.insert(at);
                nexts.push(next);
            }
        }
        nexts
    }

    /// The state after an operation, if its answer fits the state before.
    fn apply(&self, operation: &Operation, number: usize, state: State) -> Option<State> {
        let fits = |revision: u64| self.fits(state, revision);
        let after = match &operation.call {
            Call::Put { .. } => Some(number),
            Call::Delete { .. } => None,
            Call::Get { .. } => state,
        };
        let expected = operation.call.expected();
        match &operation.answer {
            Answer::Written { previous, .. } => {
                (fits(*previous) && expected.is_none_or(fits)).then_some(after)
            }
            Answer::Changed { found, .. } => {
                (fits(*found) && expected != Some(*found)).then_some(state)
            }
            Answer::Read { record, .. } => {
                let seen = match record {
                    Some(record) => Some(*self.by_value.get(record.value.as_str())?),
                    None => None,
                };
                let is_right = record.as_ref().is_none_or(|record| fits(record.revision));
                (seen == state && is_right).then_some(state)
            }
            // It may have had no effect; then it needs no place.
            Answer::Unknown => expected.is_none_or(fits).then_some(after),
            Answer::NotDone => Some(state),
        }
    }

    /// Whether the record may have this revision: that of a write that nobody was told may be any that is nobody's.
    fn fits(&self, state: State, revision: u64) -> bool {
        match state {
            None => revision == 0,
            Some(put) => match self.revisions[put] {
                Some(known) => known == revision,
                None => revision != 0 && !self.known.contains(&revision),
            },
        }
    }
}
