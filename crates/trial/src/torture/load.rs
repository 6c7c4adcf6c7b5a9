//! Clients that never rest long, and write down everything they see.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use regraft_client::{Client, Consistency, Error, LockRequest, Session, Settings};
use regraft_history::{Answer, Call, Decided, Freshness, Hold, Operation, Seen};
use regraft_wal::testing::Dice;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Time;
use super::members::Members;
use crate::clock;
use crate::trio;

/// Few enough that clients meet at them all the time.
pub(super) const KEYS: u64 = 40;
/// Scopes of locks: some overlap others.
const SCOPES: [&str; 8] = [
    "named/a",
    "named/b",
    "named/c",
    "cluster/x",
    "namespace/x/one",
    "namespace/x/two",
    "service/x/one/web",
    "namespace/y/one",
];
/// Silence that ends a session, milliseconds: shorter than the longer faults, so that some end.
const TTL_MIN_MS: u64 = 1_500;
const TTL_MAX_MS: u64 = 6_000;
/// Longest rest between two requests, milliseconds.
const REST_MAX_MS: u64 = 80;
/// How long a request may take, milliseconds.
const DEADLINE_MIN_MS: u64 = 500;
const DEADLINE_MAX_MS: u64 = 8_000;
/// Bytes behind a value's own name, so that the log moves on to new files.
const PADDING_MAX: u64 = 6_000;
/// How long most locks are held, milliseconds.
const HOLD_MAX_MS: u64 = 200;
/// How long some are held: long enough to see their sessions end.
const LONG_HOLD_MAX_MS: u64 = 6_000;
/// How many in a hundred are those.
const LONG_HOLDS_PERCENT: u64 = 10;
/// How often a holder makes sure that it still is one.
const HOLD_LOOK: Duration = Duration::from_millis(5);

/// What the clients are doing, for who looks on.
#[derive(Default)]
pub(super) struct Doing {
    pub(super) answered: AtomicU64,
    pub(super) unknown: AtomicU64,
    pub(super) not_done: AtomicU64,
}

/// What a client saw.
#[derive(Default)]
pub(super) struct Work {
    pub(super) operations: Vec<Operation>,
    pub(super) holds: Vec<Hold>,
    /// Requests for locks, by how they ended.
    pub(super) locks: BTreeMap<String, u64>,
    /// Sessions that were lost, by how.
    pub(super) lost: BTreeMap<String, u64>,
}

/// The clients.
pub(super) struct Load {
    tasks: JoinSet<Work>,
    stop: CancellationToken,
    pub(super) doing: Arc<Doing>,
}

impl Load {
    /// Starts them.
    pub(super) fn start(members: &Members, time: Time, seed: u64, clients: u32) -> Self {
        let stop = CancellationToken::new();
        let doing = Arc::new(Doing::default());
        let mut tasks = JoinSet::new();
        for number in 1..=clients {
            let one = One {
                number,
                client: client(members, Settings::default()),
                time,
                dice: Dice::new(seed ^ u64::from(number).wrapping_mul(0x9e37_79b9)),
                done: 0,
                known: BTreeMap::new(),
                work: Work::default(),
                doing: Arc::clone(&doing),
            };
            tasks.spawn(one.run(stop.clone()));
        }
        Self { tasks, stop, doing }
    }

    /// Lets them end what they are at; gives all that they saw.
    pub(super) async fn end(mut self) -> anyhow::Result<Work> {
        self.stop.cancel();
        let mut all = Work::default();
        while let Some(work) = self.tasks.join_next().await {
            let work = work?;
            all.operations.extend(work.operations);
            all.holds.extend(work.holds);
            for (how, count) in work.locks {
                *all.locks.entry(how).or_default() += count;
            }
            for (how, count) in work.lost {
                *all.lost.entry(how).or_default() += count;
            }
        }
        Ok(all)
    }
}

/// A client of all members.
pub(super) fn client(members: &Members, settings: Settings) -> Client {
    client_of(members, members.addresses(), settings)
}

/// A client of these members.
pub(super) fn client_of(
    members: &Members,
    addresses: BTreeMap<u64, String>,
    settings: Settings,
) -> Client {
    let tls = Arc::clone(members.tls());
    let connect = move |_: u64, address: String| {
        let tls = Arc::clone(&tls);
        async move { Ok(trio::connect(&tls, address.parse()?).await?) }
    };
    Client::new(addresses, connect, settings)
}

/// The name of a key.
pub(super) fn key(number: u64) -> String {
    format!("key-{number:02}")
}

/// What of a stored value is its own name.
pub(super) fn name_of(value: &[u8]) -> String {
    let name = value.split(|byte| *byte == b' ').next();
    String::from_utf8_lossy(name.unwrap_or_default()).into_owned()
}

struct One {
    number: u32,
    client: Client,
    time: Time,
    dice: Dice,
    done: u64,
    /// The newest revision of each key that it saw.
    known: BTreeMap<String, u64>,
    work: Work,
    doing: Arc<Doing>,
}

impl One {
    async fn run(mut self, stop: CancellationToken) -> Work {
        while !stop.is_cancelled() {
            let ttl = TTL_MIN_MS + self.dice.below(TTL_MAX_MS - TTL_MIN_MS);
            let opened = self.client.open_session(Duration::from_millis(ttl)).await;
            let Ok(session) = opened else { continue };
            while session.loss().is_none() && !stop.is_cancelled() {
                self.act(&session).await;
                clock::rest(Duration::from_millis(self.dice.below(REST_MAX_MS))).await;
            }
            match session.loss() {
                Some(loss) => *self.work.lost.entry(format!("{loss:?}")).or_default() += 1,
                // What it has is given back by closing it, or ends with it later.
                None => drop(session.close().await),
            }
        }
        self.work
    }

    async fn act(&mut self, session: &Session) {
        let deadline = DEADLINE_MIN_MS + self.dice.below(DEADLINE_MAX_MS - DEADLINE_MIN_MS);
        let deadline = Duration::from_millis(deadline);
        let session = session.within(deadline);
        let key = key(self.dice.below(KEYS));
        match self.dice.below(100) {
            0..30 => self.put(&session, key, None).await,
            30..50 => {
                // Others write the key, too: what was read before is old by now.
                if self.dice.percent(70) {
                    self.get(deadline, key.clone(), Freshness::Linearizable)
                        .await;
                }
                let expected = self.known.get(&key).copied().unwrap_or_default();
                self.put(&session, key, Some(expected)).await;
            }
            50..58 => self.delete(&session, key).await,
            58..82 => self.get(deadline, key, Freshness::Linearizable).await,
            82..88 => self.get(deadline, key, Freshness::Stale).await,
            _ => self.lock(&session).await,
        }
    }

    async fn put(&mut self, session: &Session, key: String, expected: Option<u64>) {
        self.done += 1;
        let value = format!("{}-{}", self.number, self.done);
        let padding = usize::try_from(self.dice.below(PADDING_MAX)).unwrap_or_default();
        let stored = format!("{value} {}", "x".repeat(padding));
        let begin_us = self.time.us();
        let done = match expected {
            None => session.put(key.as_str(), stored).await,
            Some(expected) => {
                session
                    .compare_and_swap(key.as_str(), stored, expected)
                    .await
            }
        };
        let call = Call::Put {
            key,
            value,
            expected,
        };
        self.wrote(begin_us, call, done);
    }

    async fn delete(&mut self, session: &Session, key: String) {
        let expected = match self.dice.percent(50) {
            true => self.known.get(&key).copied(),
            false => None,
        };
        let begin_us = self.time.us();
        let done = match expected {
            None => session.delete(key.as_str()).await,
            Some(expected) => session.compare_and_delete(key.as_str(), expected).await,
        };
        self.wrote(begin_us, Call::Delete { key, expected }, done);
    }

    fn wrote(&mut self, begin_us: u64, call: Call, done: Result<regraft_client::Written, Error>) {
        let answer = match done {
            Ok(written) => Answer::Written {
                revision: written.revision,
                previous: written.previous,
            },
            Err(Error::Refused(refusal)) if refusal.reason == "RevisionChanged" => {
                self.known.insert(call.key().to_owned(), refusal.found);
                Answer::Changed {
                    found: refusal.found,
                    decided: Decided::Untold,
                }
            }
            Err(Error::Unknown { .. }) => Answer::Unknown,
            Err(_) => Answer::NotDone,
        };
        if let Answer::Written { revision, .. } = answer {
            let known = match call {
                Call::Delete { .. } => 0,
                _ => revision,
            };
            self.known.insert(call.key().to_owned(), known);
        }
        self.saw(begin_us, call, answer);
    }

    async fn get(&mut self, deadline: Duration, key: String, freshness: Freshness) {
        let consistency = match freshness {
            Freshness::Linearizable => Consistency::Linearizable,
            Freshness::Stale => Consistency::Stale,
        };
        let begin_us = self.time.us();
        let client = self.client.within(deadline);
        let answer = match client.get(key.as_bytes(), consistency).await {
            Ok(read) => {
                let record = read.value.map(|record| Seen {
                    value: name_of(&record.value),
                    revision: record.revision,
                });
                let seen = record.as_ref().map_or(0, |seen| seen.revision);
                self.known.insert(key.clone(), seen);
                Answer::Read {
                    revision: read.revision,
                    record,
                }
            }
            Err(_) => Answer::NotDone,
        };
        self.saw(begin_us, Call::Get { key, freshness }, answer);
    }

    fn saw(&mut self, begin_us: u64, call: Call, answer: Answer) {
        let count = match answer {
            Answer::Unknown => &self.doing.unknown,
            Answer::NotDone => &self.doing.not_done,
            _ => &self.doing.answered,
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.work.operations.push(Operation {
            client: self.number,
            begin_us,
            end_us: self.time.us(),
            call,
            answer,
        });
    }

    /// Takes a lock, relies on it for a while, gives it back.
    async fn lock(&mut self, session: &Session) {
        let scope = usize::try_from(self.dice.below(SCOPES.len() as u64)).unwrap_or_default();
        let request = LockRequest::new(SCOPES[scope]);
        let asked_us = self.time.us();
        let taken = match self.dice.percent(50) {
            true => session.acquire(&request).await,
            false => session.try_acquire(&request).await,
        };
        let how = match &taken {
            Ok(_) => "granted".to_owned(),
            Err(Error::Refused(refusal)) => refusal.reason.clone(),
            Err(Error::Unknown { .. }) => "unknown".to_owned(),
            Err(_) => "not done".to_owned(),
        };
        *self.work.locks.entry(how).or_default() += 1;
        let Ok(lock) = taken else { return };
        let from_us = self.time.us();
        let longest_ms = match self.dice.percent(LONG_HOLDS_PERCENT) {
            true => LONG_HOLD_MAX_MS,
            false => HOLD_MAX_MS,
        };
        let enough_us = from_us + 1_000 * self.dice.below(longest_ms);
        // The last time at which it surely was held: looked at first, then asked.
        let mut until_us = from_us;
        loop {
            let now_us = self.time.us();
            if lock.loss().is_some() {
                break;
            }
            until_us = now_us;
            if now_us >= enough_us {
                break;
            }
            clock::rest(HOLD_LOOK).await;
        }
        self.work.holds.push(Hold {
            client: self.number,
            session: session.id(),
            scope: lock.scope().to_owned(),
            fence: lock.fence(),
            asked_us,
            from_us,
            until_us,
        });
        if lock.release().await.is_err() {
            *self
                .work
                .locks
                .entry("not released".to_owned())
                .or_default() += 1;
        }
    }
}
