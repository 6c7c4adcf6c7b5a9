//! What lies in the state: any bytes in the place of a record, as a damaged or foreign backup would bring them.

use crate::commands::stable;
use crate::input::split;
use prost::Message as _;
use regraft_model::time::Timestamp;
use regraft_state::audit::{self, Chain};
use regraft_state::command::{COMMAND_FORMAT, Command, Envelope, Stamped};
use regraft_state::operation::{
    Acquire, CloseSession, Delete, ExpireSession, NoteMembers, OpenSession, Operation, Put,
    RaiseFormat, Release, Request, Wait,
};
use regraft_state::record::Subject;
use regraft_state::store::Memory;
use regraft_state::table::{self, prefix};
use regraft_state::view::{self, View, sessions};
use regraft_state::{Halt, apply, stored as records};

/// Tables and single keys beside those of a view.
const OTHER_TABLES: [&str; 19] = [
    prefix::BASELINES,
    prefix::SESSIONS,
    prefix::CLIENTS,
    prefix::CLIENT_SLOTS,
    prefix::OPEN_SESSIONS,
    prefix::SLOTS,
    prefix::RECORDS,
    prefix::HELD,
    prefix::WAITING,
    prefix::AUDIT,
    table::INSTALLATION,
    table::TIME,
    table::SPREAD,
    table::AUDIT_HEAD,
    table::FORMAT,
    table::SESSION_COUNT,
    table::QUEUE,
    prefix::META,
    "",
];
/// Between the rest of a key and its value.
const EQUALS: u8 = b'=';
/// The index at which the machine goes on.
const INDEX: u64 = 1_000;

/// Reads a state of any pairs, and applies to it something that members and programs ask for.
///
/// A part is a pair: a letter for its table (`A` is the first of a view), the rest of its key, `=`, its value.
///
/// Promises: a record that cannot be read is an error that names it; whatever lies in the state, the machine goes on or
/// halts, and does so alike each time; a chain that was changed is told.
pub fn stored(input: &[u8]) {
    let mut store = Memory::default();
    for part in split(input) {
        let Some((table, rest)) = part.split_first() else {
            continue;
        };
        let tables = || view::TABLES.iter().chain(&OTHER_TABLES);
        let number = usize::from(table.wrapping_sub(b'A')) % tables().count();
        let table = tables().nth(number).map_or("", |table| table);
        let end = rest.iter().position(|byte| *byte == EQUALS);
        let (key, value) = rest.split_at(end.unwrap_or(rest.len()));
        let value = value.get(1..).unwrap_or_default();
        check_record(value);
        store
            .0
            .insert([table.as_bytes(), key].concat(), value.to_vec());
    }
    check_reads(&store);
    check_chain(&store);
    // One of them: which one, a change of any byte changes.
    let sum: usize = input.iter().copied().map(usize::from).sum();
    let commands = commands();
    check_apply(&store, &commands[sum % commands.len()]);
}

/// Whatever it was stored as, what is read is the same when it is written.
fn check_record(value: &[u8]) {
    stable::<records::Record>(value);
    stable::<records::Session>(value);
    stable::<records::Slot>(value);
    stable::<records::Client>(value);
    stable::<records::Held>(value);
    stable::<records::Waiter>(value);
    stable::<records::Queue>(value);
}

fn check_reads(store: &Memory) {
    let read = View::read(store);
    let pairs = store.0.iter();
    let restored = View::restore(pairs.map(|(key, value)| (key.as_slice(), value.as_slice())));
    match (read, restored) {
        (Ok(read), Ok(restored)) => assert!(read == restored),
        (Err(error), Err(_)) => {
            let names = |key: &Vec<u8>| error.0.contains(&*String::from_utf8_lossy(key));
            assert!(store.0.keys().any(names), "{error} names no record");
        }
        (read, restored) => panic!("{:?}, and {:?}", read.is_ok(), restored.is_ok()),
    }
    let keys = store.0.keys().filter_map(|key| sessions::record_key(key));
    let whole = keys
        .into_iter()
        .all(|key| sessions::record(store, key).is_ok());
    assert_eq!(
        sessions::records(store, b"", None, usize::MAX).is_ok(),
        whole
    );
    let _ = (sessions::all(store), sessions::all_held(store));
    let _ = (sessions::waiting(store), view::time(store));
    let _ = regraft_state::format::of(store);
    let baselines = view::baselines(store, &"shop".into(), "web");
    baselines.expect("a summary that cannot be read hides no other");
}

fn check_chain(store: &Memory) {
    let Ok(chain) = Chain::read(store, 0, usize::MAX) else {
        return;
    };
    let read = view::audit(store).unwrap_or_default();
    assert!(read.ends_with(&chain.entries) || read.is_empty());
    if audit::verify(&chain.head, &chain.entries).is_ok() {
        for (position, _) in chain.entries.iter().enumerate() {
            let mut changed = chain.clone();
            changed.entries[position].message.push('.');
            assert!(audit::verify(&changed.head, &changed.entries).is_err());
            let mut cut = chain.clone();
            cut.entries.remove(position);
            assert!(audit::verify(&cut.head, &cut.entries).is_err());
        }
    }
    let noted = audit::note_restore(store, INDEX, Timestamp(1), "from a backup".to_owned());
    assert!(!matches!(noted, Err(Halt::Unknown { .. })));
}

fn check_apply(store: &Memory, entry: &[u8]) {
    let applied = apply(store, INDEX, entry);
    assert_eq!(applied, apply(&store.clone(), INDEX, entry));
    match applied {
        Err(Halt::Unknown { .. }) => panic!("what was asked for is known"),
        Err(Halt::Store(error)) => assert!(!error.0.is_empty()),
        Err(Halt::Unwritable { .. }) | Ok(_) => {}
    }
}

/// One of each kind that reads what is stored.
fn commands() -> Vec<Vec<u8>> {
    let within = |request| Operation {
        session: 7,
        slot: 0,
        sequence: 2,
        request: Some(request),
    };
    let outside = |request| Operation {
        request: Some(request),
        ..Operation::default()
    };
    let scope = || "cluster/eu".to_owned();
    let key = || b"key".as_slice().into();
    let acquire = Acquire {
        scope: scope(),
        permits: 1,
        budgets: vec![],
        wait: Wait::Queue.into(),
    };
    let note = NoteMembers {
        member: 2,
        reason: "MemberAdded".to_owned(),
        message: String::new(),
    };
    let operations = [
        within(Request::Put(Put {
            key: key(),
            value: key(),
            expected: None,
        })),
        within(Request::Delete(Delete {
            key: key(),
            expected: None,
        })),
        within(Request::Acquire(acquire)),
        within(Request::Release(Release { scope: scope() })),
        outside(Request::OpenSession(OpenSession { ttl_ms: 10_000 })),
        outside(Request::CloseSession(CloseSession { session: 7 })),
        outside(Request::ExpireSession(ExpireSession {
            session: 7,
            last_heard: 900,
        })),
        outside(Request::RaiseFormat(RaiseFormat { format: 2 })),
        outside(Request::NoteMembers(note)),
    ];
    let operations = operations.map(|it| Envelope::of_operation("user/ada", it));
    let commands = [
        Command::Suspend {
            subject: Subject::All,
            reason: String::new(),
        },
        Command::Resume {
            subject: Subject::All,
        },
        Command::ForgetCluster {
            cluster: "eu".into(),
        },
        Command::ForgetRepository {
            repository: "fleet".into(),
        },
        Command::SyncNow {
            application: "shop".into(),
        },
        Command::Approve {
            incident: "shop-4".into(),
            diff_hash: "diff".to_owned(),
        },
        Command::Veto {
            incident: "shop-4".into(),
            fingerprint: None,
            reason: String::new(),
        },
    ];
    let commands = commands.map(|command| Envelope {
        client: "ada".to_owned(),
        sequence: 70,
        actor: "user/ada".to_owned(),
        format: COMMAND_FORMAT,
        command: serde_json::to_vec(&command).unwrap_or_default(),
        operation: None,
    });
    let all = operations.into_iter().chain(commands);
    all.map(|envelope| {
        Stamped {
            stamped_ms: 1_000_000,
            command: envelope.encode_to_vec(),
        }
        .encode_to_vec()
    })
    .collect()
}
