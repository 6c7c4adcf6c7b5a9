//! What applying one entry costs on the store in memory: `cargo run --release -p regraft-state --example apply`. One line
//! for each kind, microseconds of the processor for one entry: what else runs on the machine is not counted.
#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "it measures, and tells figures"
)]

use bytes::Bytes;
use prost::Message as _;
use regraft_state::command::{COMMAND_FORMAT, Command, Envelope, Stamped};
use regraft_state::operation::{
    Acquire, OpenSession, Operation, Put, Release, Request, SLOTS, Wait,
};
use regraft_state::store::Memory;
use regraft_state::{Halt, apply};
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::time::Duration;

/// Entries of each kind.
const ENTRIES: u64 = 100_000;
/// Bytes of a record's value, as in the comparison with etcd.
const VALUE_BYTES: usize = 256;
/// Keys that are written in turn.
const KEYS: u64 = 10_000;
/// Rounds; the fastest is told.
const ROUNDS: usize = 5;

/// A store and how far it is applied.
#[derive(Clone, Default)]
struct Machine {
    store: Memory,
    index: u64,
}

impl Machine {
    fn apply(&mut self, entry: &[u8]) -> Result<(), Halt> {
        self.index += 1;
        let applied = apply(&self.store, self.index, entry)?;
        self.store.write(applied.batch);
        Ok(())
    }

    fn open(&mut self) -> Result<u64, Halt> {
        self.apply(&operation(
            0,
            0,
            0,
            Request::OpenSession(OpenSession { ttl_ms: 10_000 }),
        ))?;
        Ok(self.index)
    }
}

fn main() -> Result<(), Halt> {
    let nothing = Machine::default();
    measure(
        "command, before the first session",
        &nothing,
        &commands(),
        1,
    )?;
    let mut opened = Machine::default();
    let session = opened.open()?;
    measure("command, in slots", &opened, &commands(), 1)?;
    measure("put of 256 B", &opened, &puts(session), 1)?;
    let lock = |scope: &str| pairs(&[session], scope, Wait::Try);
    measure("acquire + release, a name", &opened, &lock("named/x"), 2)?;
    measure(
        "acquire + release, a service",
        &opened,
        &lock("service/eu/shop/cart"),
        2,
    )?;
    let (mut crowded, mut clients) = (opened.clone(), vec![]);
    for number in 0..64 {
        let client = crowded.open()?;
        clients.push(client);
        let scope = format!("service/eu/shop/{number}");
        crowded.apply(&acquire(client, 1, 1, &scope, Wait::Try))?;
    }
    measure(
        "acquire + release, a service beside 64 held",
        &crowded,
        &lock("service/eu/shop/cart"),
        2,
    )?;
    for count in [16, 256] {
        let mut waiting = Machine::default();
        let clients: Result<Vec<u64>, Halt> = (0..count).map(|_| waiting.open()).collect();
        let entries = pairs(&clients?, "named/x", Wait::Queue);
        let name = format!("acquire + release, {count} take turns in a queue");
        measure(&name, &waiting, &entries, 2)?;
    }
    Ok(())
}

fn measure(name: &str, machine: &Machine, entries: &[Vec<u8>], each: u32) -> Result<(), Halt> {
    let mut fastest = Duration::MAX;
    for _ in 0..ROUNDS {
        let mut machine = machine.clone();
        let begin = spent();
        for entry in entries {
            machine.apply(entry)?;
        }
        fastest = fastest.min(spent().saturating_sub(begin));
        black_box(machine.store.0.len());
    }
    // The store's own part: the same reads and writes cost less or more elsewhere.
    let micros = fastest.as_secs_f64() * 1e6 / entries.len() as f64 * f64::from(each);
    println!("{micros:7.2} µs  {name}");
    Ok(())
}

/// Commands of a member: each is refused, so that what is measured is the way there and back.
fn commands() -> Vec<Vec<u8>> {
    let command = Command::ForgetCluster {
        cluster: "eu".into(),
    };
    let command = serde_json::to_vec(&command).unwrap_or_default();
    let envelope = |sequence: u64| Envelope {
        client: "member-1".to_owned(),
        sequence,
        actor: "member/1".to_owned(),
        format: COMMAND_FORMAT,
        command: command.clone(),
        operation: None,
    };
    (1..=ENTRIES)
        .map(|sequence| stamped(&envelope(sequence)))
        .collect()
}

fn puts(session: u64) -> Vec<Vec<u8>> {
    let value = Bytes::from(vec![7; VALUE_BYTES]);
    let put = |number: u64| {
        let request = Request::Put(Put {
            key: format!("bench/{:08}", number * 7919 % KEYS).into(),
            value: value.clone(),
            expected: None,
        });
        let slots = u64::from(SLOTS);
        let slot = u32::try_from(number % slots).unwrap_or_default();
        operation(session, slot, number / slots + 1, request)
    };
    (0..ENTRIES).map(put).collect()
}

/// Sessions that take a lock in turn; with more than one, each asks again as soon as it has given back.
fn pairs(sessions: &[u64], scope: &str, wait: Wait) -> Vec<Vec<u8>> {
    let mut sequences: Vec<u64> = vec![0; sessions.len()];
    let mut next = |at: usize| {
        sequences[at] += 1;
        sequences[at]
    };
    let mut entries = vec![];
    if sessions.len() > 1 {
        for (at, session) in sessions.iter().enumerate() {
            entries.push(acquire(*session, 0, next(at), scope, wait));
        }
    }
    for turn in 0..usize::try_from(ENTRIES / 10).unwrap_or_default() {
        let at = turn % sessions.len();
        let give_back = |sequence| {
            let scope = scope.to_owned();
            operation(
                sessions[at],
                0,
                sequence,
                Request::Release(Release { scope }),
            )
        };
        if sessions.len() > 1 {
            entries.push(give_back(next(at)));
            entries.push(acquire(sessions[at], 0, next(at), scope, wait));
        } else {
            entries.push(acquire(sessions[at], 0, next(at), scope, wait));
            entries.push(give_back(next(at)));
        }
    }
    entries
}

fn acquire(session: u64, slot: u32, sequence: u64, scope: &str, wait: Wait) -> Vec<u8> {
    let request = Request::Acquire(Acquire {
        scope: scope.to_owned(),
        permits: 1,
        budgets: vec![],
        wait: wait.into(),
    });
    operation(session, slot, sequence, request)
}

fn operation(session: u64, slot: u32, sequence: u64, request: Request) -> Vec<u8> {
    let request = Some(request);
    stamped(&Envelope::of_operation(
        "user/ada",
        Operation {
            session,
            slot,
            sequence,
            request,
        },
    ))
}

fn stamped(envelope: &Envelope) -> Vec<u8> {
    Stamped {
        stamped_ms: 1_700_000_000_000,
        command: envelope.encode_to_vec(),
    }
    .encode_to_vec()
}

fn spent() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, nanos) = (time.tv_sec, time.tv_nsec);
    Duration::new(
        u64::try_from(seconds).unwrap_or_default(),
        u32::try_from(nanos).unwrap_or_default(),
    )
}
