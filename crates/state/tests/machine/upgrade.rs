//! A state of before format 2: kept byte for byte while a member of that version may be there, taken over after it.
//!
//! `format-1.txt` is what the last version before format 2 did: lines `entry TIME CLIENT SEQUENCE ACTOR COMMAND`, each with
//! its `answer`, then the state they made as lines `pair KEY VALUE`.

use crate::client::{Client, budgeted};
use crate::harness::Machine;
use prost::Message as _;
use regraft_state::command::{
    COMMAND_FORMAT, Command, Envelope, RejectionReason, Response, Stamped,
};
use regraft_state::operation::{Operation, Wait};
use regraft_state::record::Subject;
use regraft_state::store::Memory;

const STORED: &str = include_str!("format-1.txt");

/// The entries of the old version with their answers.
fn log() -> Vec<(Vec<u8>, String)> {
    let lines = STORED.lines().filter_map(|line| line.split_once(' '));
    let mut log: Vec<(Vec<u8>, String)> = vec![];
    for (kind, rest) in lines {
        match kind {
            "entry" => {
                let [time, client, sequence, actor, command] =
                    rest.splitn(5, ' ').collect::<Vec<_>>()[..]
                else {
                    panic!("{rest}")
                };
                let (time, sequence) = (time.parse().unwrap(), sequence.parse().unwrap());
                log.push((entry(time, client, sequence, actor, command), String::new()));
            }
            "answer" => log.last_mut().unwrap().1 = rest.to_owned(),
            _ => {}
        }
    }
    log
}

fn entry(time: i64, client: &str, sequence: u64, actor: &str, command: &str) -> Vec<u8> {
    let envelope = Envelope {
        client: client.to_owned(),
        sequence,
        actor: actor.to_owned(),
        format: COMMAND_FORMAT,
        command: command.as_bytes().to_vec(),
        operation: None,
    };
    Stamped {
        stamped_ms: time,
        command: envelope.encode_to_vec(),
    }
    .encode_to_vec()
}

/// The state that the old version left.
fn state() -> Memory {
    let pairs = STORED.lines().filter_map(|line| line.strip_prefix("pair "));
    let pairs = pairs.map(|pair| pair.split_once(' ').unwrap());
    Memory(
        pairs
            .map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect(),
    )
}

fn taken_over() -> Machine {
    let store = state();
    let view = regraft_state::view::View::read(&store).unwrap();
    Machine {
        store,
        view,
        index: 1000,
        now: 2000,
        ..Machine::default()
    }
}

fn suspend(machine: &mut Machine, client: &str, sequence: u64) -> Response {
    let command = Command::Suspend {
        subject: Subject::All,
        reason: format!("{sequence}"),
    };
    let command = serde_json::to_string(&command).unwrap();
    let entry = entry(machine.now, client, sequence, "user/ada", &command);
    machine.apply(&entry)
}

#[track_caller]
fn is_stale(response: &Response) -> bool {
    matches!(response, Response::Rejected(it) if it.reason == RejectionReason::StaleSequence)
}

#[test]
fn an_envelope_of_a_command_has_the_bytes_it_had() {
    let envelope = Envelope {
        client: "c".to_owned(),
        sequence: 300,
        actor: "a".to_owned(),
        format: COMMAND_FORMAT,
        command: b"{}".to_vec(),
        operation: None,
    };
    let bytes = b"\x0a\x01c\x10\xac\x02\x1a\x01a\x20\x01\x2a\x02{}";
    assert_eq!(envelope.encode_to_vec(), bytes);
}

#[test]
fn an_operation_has_the_bytes_it_is_known_by() {
    let operation = Operation {
        session: 7,
        slot: 3,
        sequence: 2,
        request: Some(budgeted("cluster/eu", &[("fleet", 4)], Wait::Queue)),
    };
    let envelope = Envelope::of_operation("a", operation);
    let bytes = b"\x1a\x01a\x20\x02\x32\x23\x08\x07\x10\x03\x18\x02\x4a\x1b\
        \x0a\x0acluster/eu\x10\x01\x1a\x09\x0a\x05fleet\x10\x04\x20\x01";
    assert_eq!(envelope.encode_to_vec(), bytes);
}

#[test]
fn a_log_of_commands_makes_the_same_state_as_in_the_version_before() {
    let mut machine = Machine::default();
    for (entry, answer) in log() {
        let told = machine.apply_bytes(&entry);
        assert_eq!(String::from_utf8(told).unwrap(), answer);
    }
    for (key, value) in &state().0 {
        let text = String::from_utf8_lossy(key);
        assert_eq!(machine.store.0.get(key), Some(value), "{text}");
    }
    assert_eq!(machine.store, state());
}

#[test]
fn clients_of_a_state_of_before_are_answered_as_they_were() {
    // In slots a client's window is one of sequences, and no longer one of those that came: the busy one left some out.
    for (format, expected) in [(1, 69), (2, 61)] {
        let mut machine = taken_over();
        if format == 2 {
            Client::open(&mut machine, "user/ada");
        }
        let mut answered = 0;
        for (entry, answer) in log() {
            let before = machine.view.clone();
            let told = String::from_utf8(machine.apply_bytes(&entry)).unwrap();
            assert_eq!(machine.view, before, "nothing is applied again");
            if !told.contains("StaleSequence") {
                assert_eq!(told, answer);
                answered += 1;
            }
        }
        assert_eq!(answered, expected, "in format {format}");
    }
}

#[test]
fn a_client_of_a_state_of_before_goes_on_in_slots() {
    let mut machine = taken_over();
    let client = "member-1-a7";
    Client::open(&mut machine, "user/ada");
    assert_eq!(suspend(&mut machine, client, 90), Response::Done);
    let old = format!("sessions/{client}").into_bytes();
    assert!(!machine.store.0.contains_key(&old), "taken apart");
    assert!(machine.store.0.contains_key(b"sessions/ada".as_slice()));
    for sequence in 91..400 {
        assert_eq!(suspend(&mut machine, client, sequence), Response::Done);
    }
    let before = machine.view.clone();
    for sequence in 1..400 - 64 {
        assert!(is_stale(&suspend(&mut machine, client, sequence)));
    }
    for sequence in 400 - 64..400 {
        assert_eq!(suspend(&mut machine, client, sequence), Response::Done);
    }
    assert_eq!(machine.view, before);
}

#[test]
fn what_was_forgotten_before_stays_stale_in_slots_never_used_since() {
    // Sequence 16 was the last one forgotten. The slots of 6 and 13 are empty: 70 and 77 never came.
    let mut machine = taken_over();
    Client::open(&mut machine, "user/ada");
    let client = "member-1-a7";
    for newest in [None, Some(128), Some(192)] {
        if let Some(newest) = newest {
            // It rewrites the client's record.
            assert_eq!(suspend(&mut machine, client, newest), Response::Done);
        }
        for sequence in (1..=16).rev() {
            assert!(is_stale(&suspend(&mut machine, client, sequence)));
        }
    }
    // Of another client of the same state nothing was forgotten.
    let late = suspend(&mut machine, "member-2/b/3f", 5);
    assert_eq!(late, Response::Done);
}

#[test]
fn the_client_silent_for_longest_is_forgotten_when_there_are_too_many() {
    let mut machine = Machine::default();
    Client::open(&mut machine, "user/ada");
    let name = |number: u64| format!("client-{number}");
    for number in 0..512 {
        suspend(&mut machine, &name(number), 1);
    }
    // The first ones are used again, not at a multiple of the slots: their records do not know it.
    for number in 0..10 {
        suspend(&mut machine, &name(number), 2);
    }
    suspend(&mut machine, "one-more", 1);
    let known = |machine: &Machine, number: u64| {
        let own = format!("clientslots/{}/", name(number)).into_bytes();
        machine.store.0.keys().any(|key| key.starts_with(&own))
    };
    let gone: Vec<_> = (0..512).filter(|it| !known(&machine, *it)).collect();
    assert_eq!(gone, [10]);
    let record = format!("clients/{}", name(10)).into_bytes();
    assert!(!machine.store.0.contains_key(&record));
}

#[test]
fn a_client_of_before_that_was_not_seen_since_is_forgotten_first() {
    let mut machine = taken_over();
    Client::open(&mut machine, "user/ada");
    for number in 0..512 {
        suspend(&mut machine, &format!("client-{number}"), 1);
    }
    let left = |prefix: &str| {
        let keys = machine.store.0.keys();
        keys.filter(|key| key.starts_with(prefix.as_bytes()))
            .count()
    };
    assert_eq!((left("sessions/"), left("clients/")), (0, 512));
}
