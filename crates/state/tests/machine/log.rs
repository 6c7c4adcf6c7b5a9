//! What holds of every entry: applied once, in the time of the log, told the same to all, and kept in the audit chain.

use crate::harness::{Machine, SECOND, fault};
use prost::Message as _;
use regraft_model::time::Timestamp;
use regraft_state::audit::{AuditHead, BrokenChain, Chain, note_restore, verify};
use regraft_state::command::{
    COMMAND_FORMAT, Command, Envelope, RejectionReason, Response, Stamped,
};
use regraft_state::record::{AuditEntry, Subject};
use regraft_state::store::{Memory, Read as _, Walk};
use regraft_state::view::View;
use regraft_state::{Halt, apply};

#[test]
fn the_same_entry_twice_changes_the_state_once_and_is_answered_alike() {
    let mut machine = Machine::default();
    let fence = machine.assign("shop", "eu", 1);
    let entry = machine.entry(&fault("shop", "eu", "bad", fence));
    let first = machine.apply(&entry);
    let incidents = machine.view.incidents.clone();
    let again = machine.apply(&entry);
    assert_eq!(first, again);
    assert_eq!(machine.view.incidents, incidents);
}

#[test]
fn a_sequence_older_than_the_answers_kept_is_refused() {
    let mut machine = Machine::default();
    let first = machine.entry(&Command::Initialise {
        installation: "one".to_owned(),
    });
    machine.apply(&first);
    for _ in 0..200 {
        machine.run(Command::Suspend {
            subject: Subject::All,
            reason: "drill".to_owned(),
        });
    }
    let Response::Rejected(rejection) = machine.apply(&first) else {
        panic!("applied twice")
    };
    assert_eq!(rejection.reason, RejectionReason::StaleSequence);
}

#[test]
fn a_leader_with_a_slow_clock_does_not_turn_time_back() {
    let mut machine = Machine {
        now: 100 * SECOND,
        ..Machine::default()
    };
    let id = machine.open("shop");
    machine.plan(&id);
    machine.acquire(&id, 1);
    machine.now = 0;
    let other = machine.open("cart");
    assert_eq!(
        machine.view.incidents[&other].opened_at,
        Timestamp(100 * SECOND)
    );
}

#[test]
fn an_unknown_command_halts_the_machine() {
    let envelope = Envelope {
        client: "new".to_owned(),
        sequence: 1,
        actor: "member/1".to_owned(),
        format: COMMAND_FORMAT,
        command: br#"{"teleport":{}}"#.to_vec(),
        operation: None,
    };
    let entry = Stamped {
        stamped_ms: 0,
        command: envelope.encode_to_vec(),
    }
    .encode_to_vec();
    let halted = apply(&Memory::default(), 7, &entry);
    assert!(
        matches!(halted, Err(Halt::Unknown { index: 7, .. })),
        "{halted:?}"
    );
}

#[test]
fn the_audit_chain_shows_what_was_changed_or_taken_out() {
    let mut machine = Machine::default();
    let id = machine.open("shop");
    machine.plan(&id);
    machine.acquire(&id, 1);
    machine.commit(&id);
    let (head, entries) = chain(&machine.store);
    assert_eq!(verify(&head, &entries), Ok(()));

    let mut changed = entries.clone();
    changed[1].message = "nothing happened".to_owned();
    assert_eq!(verify(&head, &changed), Err(BrokenChain::Changed(2)));
    let mut shorter = entries.clone();
    shorter.remove(1);
    assert_eq!(verify(&head, &shorter), Err(BrokenChain::Missing(2)));
    let mut cut = entries;
    cut.pop();
    assert_eq!(verify(&head, &cut), Err(BrokenChain::Missing(head.newest)));
}

#[test]
fn the_chain_is_read_in_parts_of_one_moment() {
    let mut machine = Machine::default();
    let id = machine.open("shop");
    machine.plan(&id);
    machine.acquire(&id, 1);
    machine.commit(&id);
    let (head, entries) = chain(&machine.store);
    assert!(entries.len() > 3, "{entries:?}");
    for (from, limit) in [(0, 2), (1, 2), (2, 1), (3, 100), (100, 100), (1, 0)] {
        let part = Chain::read(&machine.store, from, limit).unwrap();
        let wanted = entries.iter().filter(|entry| entry.number >= from);
        assert_eq!(
            part.entries,
            wanted.take(limit).cloned().collect::<Vec<_>>()
        );
        assert_eq!(part.head, head);
    }
    let none = Chain::read(&Memory::default(), 0, 10).unwrap();
    assert_eq!(verify(&none.head, &none.entries), Ok(()));
}

#[test]
fn a_restore_continues_the_chain_and_never_turns_time_back() {
    let mut machine = Machine::default();
    machine.open("shop");
    let before = Chain::read(&machine.store, 0, 1000).unwrap();
    let last = before.entries.last().unwrap();
    for (taken, at) in [
        (Timestamp(0), last.at),
        (Timestamp(last.at.0 + 7), Timestamp(last.at.0 + 7)),
    ] {
        let mut store = machine.store.clone();
        let note = note_restore(&store, 1_000_000, taken, "from afar".to_owned()).unwrap();
        store.write(note);
        let after = Chain::read(&store, 0, 1000).unwrap();
        assert_eq!(verify(&after.head, &after.entries), Ok(()));
        assert_eq!(after.entries.len(), before.entries.len() + 1);
        let noted = after.entries.last().unwrap();
        assert_eq!(
            (
                noted.index,
                noted.at,
                noted.reason.as_str(),
                noted.actor.as_str()
            ),
            (1_000_000, at, "StateRestored", "restore")
        );
        assert_eq!(regraft_state::view::time(&store), Ok(at));
    }
}

#[test]
fn a_view_restored_from_the_store_is_the_one_that_followed_every_write() {
    let mut machine = Machine::default();
    let id = machine.open("shop");
    machine.plan(&id);
    machine.acquire(&id, 1);
    machine.commit(&id);
    machine.run(Command::Suspend {
        subject: Subject::All,
        reason: "drill".to_owned(),
    });
    machine.run(Command::Resume {
        subject: Subject::All,
    });
    let pairs = machine
        .store
        .0
        .iter()
        .map(|(key, value)| (key.as_slice(), value.as_slice()));
    assert_eq!(View::restore(pairs).unwrap(), machine.view);
}

fn chain(store: &Memory) -> (AuditHead, Vec<AuditEntry>) {
    let head = store
        .get(regraft_state::table::AUDIT_HEAD.as_bytes())
        .unwrap()
        .unwrap();
    let mut entries = Vec::new();
    store
        .scan(
            regraft_state::table::prefix::AUDIT.as_bytes(),
            &mut |_, value| {
                entries.push(serde_json::from_slice(value).unwrap());
                Walk::Continue
            },
        )
        .unwrap();
    (serde_json::from_slice(&head).unwrap(), entries)
}
