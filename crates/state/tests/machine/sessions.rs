//! Sessions: opened, used exactly once, ended by their owner or by their silence.

use crate::client::{
    Client, TTL_MS, close, expire, loose, put, queue_for, refusal, release, try_lock,
};
use crate::harness::Machine;
use prost::Message as _;
use regraft_state::command::{COMMAND_FORMAT, Envelope, FORMAT, Stamped};
use regraft_state::operation::{
    Acquire, OpenSession, Operation, Outcome, RefusalReason, Request, SESSIONS_MAX, SLOTS,
    TTL_MAX_MS, TTL_MIN_MS,
};
use regraft_state::store::Memory;
use regraft_state::view::sessions::{all, record, session};
use regraft_state::{Halt, apply};

#[test]
fn a_session_is_known_by_the_index_that_opened_it() {
    let mut machine = Machine::default();
    let ada = Client::open(&mut machine, "user/ada");
    assert_eq!(ada.session, machine.index);
    let bob = Client::open(&mut machine, "user/bob");
    let known = session(&machine.store, bob.session).unwrap().unwrap();
    assert_eq!((known.actor.as_str(), known.ttl_ms), ("user/bob", TTL_MS));
    let ids: Vec<u64> = all(&machine.store).unwrap().iter().map(|it| it.0).collect();
    assert_eq!(ids, [ada.session, bob.session]);
}

#[test]
fn a_session_lives_no_shorter_and_no_longer_than_it_may() {
    let mut machine = Machine::default();
    for ttl_ms in [0, TTL_MIN_MS - 1, TTL_MAX_MS + 1] {
        let request = Request::OpenSession(OpenSession { ttl_ms });
        let outcome = machine.operate("user/ada", loose(request));
        assert_eq!(refusal(outcome).0, RefusalReason::OutOfBounds);
    }
    for ttl_ms in [TTL_MIN_MS, TTL_MAX_MS] {
        let request = Request::OpenSession(OpenSession { ttl_ms });
        let outcome = machine.operate("user/ada", loose(request));
        assert!(matches!(outcome, Outcome::Opened(it) if it.ttl_ms == ttl_ms));
    }
}

#[test]
fn as_many_sessions_are_open_as_may_and_a_closed_one_makes_room() {
    let mut machine = Machine::default();
    let first = Client::open(&mut machine, "user/ada");
    for _ in 1..SESSIONS_MAX {
        Client::open(&mut machine, "user/ada");
    }
    let open = || loose(Request::OpenSession(OpenSession { ttl_ms: TTL_MS }));
    let outcome = machine.operate("user/ada", open());
    assert_eq!(refusal(outcome).0, RefusalReason::TooManySessions);
    first.close(&mut machine);
    Client::open(&mut machine, "user/ada");
}

#[test]
fn a_request_that_comes_again_is_answered_alike_and_applied_once() {
    let mut machine = Machine::default();
    let mut client = Client::open(&mut machine, "user/ada");
    let operation = client.next(put("a", "1", None));
    let entry = machine.operation("user/ada", operation);
    let first = machine.apply_bytes(&entry);
    let before = record(&machine.store, b"a").unwrap();
    let again = machine.apply_bytes(&entry);
    assert_eq!(first, again);
    assert_eq!(record(&machine.store, b"a").unwrap(), before);
}

#[test]
fn a_refusal_is_kept_like_any_answer() {
    let mut machine = Machine::default();
    let mut client = Client::open(&mut machine, "user/ada");
    let operation = client.next(put("a", "1", Some(7)));
    let first = machine.operate("user/ada", operation.clone());
    let mut other = Client::open(&mut machine, "user/bob");
    other.ask(&mut machine, put("a", "1", None));
    assert_eq!(machine.operate("user/ada", operation), first);
}

#[test]
fn a_slot_takes_its_requests_in_order_and_slots_do_not_hinder_each_other() {
    let mut machine = Machine::default();
    let client = Client::open(&mut machine, "user/ada");
    let mut send = |slot: u32, sequence: u64| {
        let operation = Operation {
            session: client.session,
            slot,
            sequence,
            request: Some(put("a", "1", None)),
        };
        match machine.operate("user/ada", operation) {
            Outcome::Written(_) => None,
            other => Some(refusal(other).0),
        }
    };
    let gap = Some(RefusalReason::OutOfOrder);
    assert_eq!(send(0, 2), gap, "the slot was never used");
    assert_eq!(send(0, 1), None);
    assert_eq!(send(0, 3), gap);
    assert_eq!(send(0, 2), None);
    assert_eq!(send(0, 1), Some(RefusalReason::StaleSequence));
    assert_eq!(send(SLOTS - 1, 1), None);
    assert_eq!(send(SLOTS, 1), Some(RefusalReason::OutOfBounds));
    assert_eq!(send(1, 0), Some(RefusalReason::OutOfBounds));
}

#[test]
fn a_late_duplicate_of_an_ended_session_is_never_applied() {
    let mut machine = Machine::default();
    let mut client = Client::open(&mut machine, "user/ada");
    let operation = client.next(put("a", "1", None));
    machine.operate("user/ada", operation.clone());
    client.close(&mut machine);
    let mut other = Client::open(&mut machine, "user/bob");
    other.ask(&mut machine, put("a", "2", None));
    let before = record(&machine.store, b"a").unwrap();
    let late = machine.operate("user/ada", operation);
    assert_eq!(refusal(late).0, RefusalReason::SessionExpired);
    assert_eq!(record(&machine.store, b"a").unwrap(), before);
    let again = machine.operate("user/ada", loose(close(client.session)));
    assert_eq!(refusal(again).0, RefusalReason::SessionExpired);
}

#[test]
fn a_session_is_of_use_to_its_actor_only() {
    let mut machine = Machine::default();
    let mut client = Client::open(&mut machine, "user/ada");
    let first = client.next(put("a", "1", None));
    let theirs = machine.operate("user/eve", first.clone());
    assert_eq!(refusal(theirs).0, RefusalReason::NotYours);
    machine.operate("user/ada", first.clone());
    for operation in [first, client.next(put("a", "2", None))] {
        let theirs = machine.operate("user/eve", operation);
        assert_eq!(refusal(theirs).0, RefusalReason::NotYours);
    }
}

#[test]
fn a_silent_session_expires_and_what_the_leader_did_not_know_of_keeps_it() {
    let mut machine = Machine::default();
    let mut client = Client::open(&mut machine, "user/ada");
    let opened = client.session;
    let expire = |machine: &mut Machine, last_heard: u64| {
        machine.operate("member/1", loose(expire(opened, last_heard)))
    };
    let early = expire(&mut machine, opened - 1);
    assert_eq!(refusal(early).0, RefusalReason::SessionInUse, "just opened");

    let operation = client.next(put("a", "1", None));
    machine.operate("user/ada", operation.clone());
    let used = machine.index;
    let late = expire(&mut machine, used - 1);
    assert_eq!(refusal(late).0, RefusalReason::SessionInUse);
    // Sent again: not applied again, and yet a sign of life.
    machine.operate("user/ada", operation);
    let late = expire(&mut machine, used);
    assert_eq!(refusal(late).0, RefusalReason::SessionInUse);
    // Another slot was used last.
    let mut elsewhere = client.next(put("a", "2", None));
    (elsewhere.slot, elsewhere.sequence) = (9, 1);
    let known = machine.index;
    machine.operate("user/ada", elsewhere);
    let late = expire(&mut machine, known);
    assert_eq!(refusal(late).0, RefusalReason::SessionInUse);

    let known = machine.index;
    assert!(matches!(expire(&mut machine, known), Outcome::Done(_)));
    assert_eq!(session(&machine.store, opened).unwrap(), None);
}

#[test]
fn an_ended_session_leaves_nothing_behind() {
    let mut machine = Machine::default();
    let stays = Client::open(&mut machine, "user/bob");
    let before: Vec<_> = machine.store.0.keys().cloned().collect();
    let mut client = Client::open(&mut machine, "user/ada");
    client.granted(&mut machine, try_lock("cluster/eu"));
    client.granted(&mut machine, try_lock("named/x"));
    let mut other = Client::open(&mut machine, "user/eve");
    other.queued(&mut machine, queue_for("fleet"));
    client.queued(&mut machine, queue_for("cluster/us"));
    other.ask(&mut machine, release("fleet"));
    other.close(&mut machine);
    client.close(&mut machine);
    let after: Vec<_> = machine.store.0.keys().cloned().collect();
    let text = |keys: &[Vec<u8>]| -> Vec<String> {
        let texts = keys.iter().map(|key| String::from_utf8_lossy(key));
        texts.map(|it| it.into_owned()).collect()
    };
    assert_eq!(text(&after), text(&before));
    stays.close(&mut machine);
}

#[test]
fn what_a_newer_version_asks_for_halts_the_machine() {
    // Field 15, of no bytes.
    let unknown_kind = Operation::decode([0x7a, 0x00].as_slice()).unwrap();
    let unknown_wait = loose(Request::Acquire(Acquire {
        scope: "fleet".to_owned(),
        wait: 2,
        ..Acquire::default()
    }));
    let known = || loose(Request::OpenSession(OpenSession { ttl_ms: TTL_MS }));
    let halts = |operation: Operation, format: u32| {
        let envelope = Envelope {
            format,
            ..Envelope::of_operation("user/ada", operation)
        };
        let entry = Stamped {
            stamped_ms: 0,
            command: envelope.encode_to_vec(),
        };
        let applied = apply(&Memory::default(), 7, &entry.encode_to_vec());
        matches!(applied, Err(Halt::Unknown { index: 7, .. }))
    };
    assert!(!halts(known(), FORMAT));
    assert!(halts(known(), FORMAT + 1));
    assert!(halts(known(), COMMAND_FORMAT));
    assert!(halts(unknown_kind, FORMAT));
    assert!(halts(unknown_wait, FORMAT));
}
