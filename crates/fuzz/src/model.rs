//! Two stores beside each other that get the same entries, and what must hold of them after each.

use prost::Message as _;
use regraft_model::id::LockScope;
use regraft_state::audit::{self, Chain};
use regraft_state::command::{Response, Stamped};
use regraft_state::operation::{Answer, Outcome};
use regraft_state::store::{Memory, Read, ReadError, Walk};
use regraft_state::view::View;
use regraft_state::view::sessions;
use regraft_state::{Applied, Halt, apply};

/// A store whose scans pass over everything, as the trait itself does it.
#[derive(Clone, Default)]
struct Plain(Memory);

impl Read for Plain {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.0.get(key)
    }

    fn scan(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Walk,
    ) -> Result<(), ReadError> {
        self.0.scan(prefix, visit)
    }
}

/// The state of two members, and what follows it.
#[derive(Clone, Default)]
pub(crate) struct Machine {
    pub(crate) store: Memory,
    other: Plain,
    view: View,
    pub(crate) index: u64,
    pub(crate) now_ms: i64,
    /// The session that was opened last.
    pub(crate) session: u64,
}

impl Machine {
    /// The next log entry with these bytes of a command, stamped so many milliseconds later.
    pub(crate) fn stamped(&mut self, later_ms: i64, command: Vec<u8>) -> Vec<u8> {
        self.now_ms = self.now_ms.saturating_add(later_ms);
        let stamped_ms = self.now_ms;
        Stamped {
            stamped_ms,
            command,
        }
        .encode_to_vec()
    }

    /// Applies the next entry to both.
    pub(crate) fn apply(&mut self, entry: &[u8]) -> Result<Applied, Halt> {
        self.index += 1;
        let applied = apply(&self.store, self.index, entry);
        let other = apply(&self.other, self.index, entry);
        assert_eq!(
            applied, other,
            "equal states and entries have equal effects"
        );
        let applied = applied?;
        let followed = self.view.apply(&applied.batch.writes);
        followed.expect("what the machine writes can be read");
        self.store.write(applied.batch.clone());
        self.other.0.write(applied.batch.clone());
        if let Some(session) = opened(&applied.response) {
            self.session = session;
        }
        Ok(applied)
    }

    /// The same entry once more, as a client sends it that heard no answer: what it was answered, after nothing more has
    /// happened.
    pub(crate) fn repeat(&self, entry: &[u8]) -> Vec<u8> {
        let mut again = self.clone();
        let applied = again.apply(entry);
        let applied = applied.expect("what was applied once does not halt the next time");
        assert!(again.view == self.view, "a repeated request does nothing");
        let records = |store: &Memory| sessions::records(store, b"", None, usize::MAX);
        assert_eq!(records(&again.store), records(&self.store));
        let held = |store: &Memory| (sessions::all_held(store), sessions::waiting(store));
        assert_eq!(held(&again.store), held(&self.store));
        applied.response
    }

    /// What must hold at any time.
    pub(crate) fn check(&self) {
        let read = View::read(&self.store).expect("the state can be read");
        assert!(read == self.view, "the view follows the state");
        let chain = Chain::read(&self.store, 0, usize::MAX).expect("the audit chain can be read");
        assert_eq!(audit::verify(&chain.head, &chain.entries), Ok(()));
        check_locks(&self.store);
    }
}

/// The session that an answer says was opened.
pub(crate) fn opened(answer: &[u8]) -> Option<u64> {
    match Answer::decode(answer).ok()?.outcome? {
        Outcome::Opened(opened) => Some(opened.session),
        _ => None,
    }
}

/// Whether an answer to a command is a refusal.
pub(crate) fn rejection(answer: &[u8]) -> Option<regraft_state::command::Rejection> {
    match serde_json::from_slice(answer) {
        Ok(Response::Rejected(rejection)) => Some(rejection),
        _ => None,
    }
}

/// Who holds locks is an open session, holds it by itself or within its permits, and is found from both sides.
fn check_locks(store: &Memory) {
    let all_held = sessions::all_held(store).expect("what is held can be read");
    let open = sessions::all(store).expect("sessions can be read");
    for held in &all_held {
        let scope: LockScope = held.scope.parse().expect("what is held is a scope");
        let read = sessions::held(store, &scope).expect("it can be read by its scope");
        assert_eq!(read.as_ref(), Some(held));
        let permits = usize::try_from(held.permits).unwrap_or(usize::MAX);
        let count = held.holders.len();
        assert!(
            (1..=permits).contains(&count),
            "{count} hold {}",
            held.scope
        );
        for holder in &held.holders {
            let owner = open.iter().find(|(id, _)| *id == holder.session);
            let (_, owner) = owner.expect("who holds a lock has a session");
            assert_eq!(owner.actor, holder.actor);
            assert!(owner.held.contains(&held.scope));
        }
    }
    for (position, one) in all_held.iter().enumerate() {
        for other in &all_held[position + 1..] {
            let (one, other) = (&one.scope, &other.scope);
            assert!(!overlap(one, other), "{one} and {other} are both held");
        }
    }
    let waiting = sessions::waiting(store).expect("who waits can be read");
    for (ticket, waiter) in &waiting {
        let owner = open.iter().find(|(id, _)| *id == waiter.session);
        let (_, owner) = owner.expect("who waits has a session");
        let place = owner.places.iter().find(|place| place.ticket == *ticket);
        assert_eq!(place.map(|place| &place.scope), Some(&waiter.scope));
    }
    let held: usize = open.iter().map(|(_, session)| session.held.len()).sum();
    let holders: usize = all_held.iter().map(|held| held.holders.len()).sum();
    assert_eq!(held, holders, "what a session holds knows its holder");
    let places: usize = open.iter().map(|(_, session)| session.places.len()).sum();
    assert_eq!(places, waiting.len(), "every place is in the queue");
}

/// Whether two scopes overlap by their texts alone; none that needs to know where an application runs.
fn overlap(one: &str, other: &str) -> bool {
    let path = |scope: &str| -> Option<Vec<String>> {
        let (kind, rest) = scope.split_once('/').unwrap_or((scope, ""));
        match kind {
            "fleet" => Some(vec![]),
            "cluster" | "namespace" | "service" => {
                Some(rest.split('/').map(str::to_owned).collect())
            }
            _ => None,
        }
    };
    match (path(one), path(other)) {
        (Some(one), Some(other)) => one.starts_with(&other) || other.starts_with(&one),
        _ => one == other,
    }
}
