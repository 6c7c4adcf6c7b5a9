//! Random requests, doubled, delayed and reordered, by sessions that come and go, beside repairs: what holds after each.

use crate::client::{TTL_MS, close, delete, entry, expire, loose, put, release};
use crate::harness::{Machine, SECOND};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use prost::Message as _;
use regraft_model::id::{IncidentId, LockScope};
use regraft_model::incident::Phase;
use regraft_model::time::{Seconds, Timestamp};
use regraft_state::apply;
use regraft_state::command::{Command, Envelope, Response, Stamped, Transition};
use regraft_state::operation::{
    Acquire, Answer, Budget, OpenSession, Operation, Outcome, Request, Wait,
};
use regraft_state::store::Memory;
use regraft_state::stored::{Session, Waiter};
use regraft_state::view::{View, sessions};
use std::collections::{BTreeMap, BTreeSet};

const SCOPES: [&str; 14] = [
    "service/eu/a/s",
    "service/eu/a/t",
    "service/eu/b/s",
    "service/us/a/s",
    "namespace/eu/a",
    "namespace/us/a",
    "application/shop",
    "application/blog",
    "application/nowhere",
    "cluster/eu",
    "cluster/us",
    "fleet",
    "named/x",
    "named/x/y",
];
const CLIENTS: usize = 5;
const SLOTS: u8 = 3;

/// What happens next; the numbers are read by each kind as it likes.
type Happening = (u8, u8, u8, u8);

/// A lock that is live.
#[derive(Clone, Debug)]
struct Live {
    /// None: a repair's.
    session: Option<u64>,
    scope: LockScope,
    permits: u32,
    fence: u64,
}

/// A request that waits.
struct Waiting {
    ticket: u64,
    scope: LockScope,
    permits: u32,
    budgets: Vec<(LockScope, u32)>,
}

impl Waiting {
    /// Whether a grant of `scope` to somebody who came later would overtake it.
    fn is_overtaken_by(&self, scope: &LockScope) -> bool {
        let mut levels = self.budgets.iter();
        overlap(&self.scope, scope) || levels.any(|(level, _)| below(scope, level))
    }
}

/// What the test knows of one actor.
#[derive(Default)]
struct Actor {
    session: u64,
    /// Newest answered sequence by slot.
    answered: BTreeMap<u32, u64>,
}

#[derive(Default)]
struct World {
    machine: Machine,
    incidents: Vec<IncidentId>,
    actors: Vec<Actor>,
    /// All entries in order, as a second machine gets them.
    log: Vec<Vec<u8>>,
    answers: Vec<Vec<u8>>,
    /// Operations that were made, delivered or not: they may come at any time, and again.
    sent: Vec<(String, Operation)>,
    /// (session, slot, sequence) of operations that did something.
    done: BTreeSet<(u64, u32, u64)>,
    /// Of every lock asked for by a session: its budgets, by (session, scope).
    budgets: BTreeMap<(u64, String), Vec<(LockScope, u32)>>,
    /// Newest fence by scope before the entry.
    fences: BTreeMap<LockScope, u64>,
    /// The entry renews the lease of a repair.
    renews: bool,
    grants: usize,
    grants_of_waiters: usize,
}

/// Where applications run in this world.
fn runs_in(application: &str, cluster: &str) -> bool {
    match application {
        "shop" | "cart" => cluster == "eu",
        "blog" => cluster == "us",
        _ => true,
    }
}

/// The path of a scope of the tree; none for applications and names.
fn path(scope: &LockScope) -> Option<Vec<&str>> {
    match scope {
        LockScope::Fleet => Some(vec![]),
        LockScope::Cluster(cluster) => Some(vec![cluster.as_str()]),
        LockScope::Namespace { cluster, namespace } => Some(vec![cluster.as_str(), namespace]),
        LockScope::Service {
            cluster,
            namespace,
            name,
        } => Some(vec![cluster.as_str(), namespace, name]),
        LockScope::Application(_) | LockScope::Named(_) => None,
    }
}

fn overlap(one: &LockScope, other: &LockScope) -> bool {
    match (path(one), path(other)) {
        (Some(one), Some(other)) => one.iter().zip(&other).all(|(one, other)| one == other),
        (None, None) => one == other,
        (Some(path), None) => crosses(&path, other),
        (None, Some(path)) => crosses(&path, one),
    }
}

fn crosses(path: &[&str], other: &LockScope) -> bool {
    match other {
        LockScope::Application(name) => path
            .first()
            .is_none_or(|cluster| runs_in(name.as_str(), cluster)),
        _ => false,
    }
}

fn below(scope: &LockScope, level: &LockScope) -> bool {
    match (path(scope), path(level)) {
        (Some(scope), Some(level)) => scope.starts_with(&level),
        (None, Some(level)) => level.len() < 2 && crosses(&level, scope),
        _ => scope == level,
    }
}

/// What of the state is locks and records: all but who was answered what, and when.
fn essence(store: &Memory) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let pairs = store.0.iter();
    let kept =
        pairs.filter(|(key, _)| !key.starts_with(b"slots/") && !key.starts_with(b"meta/time"));
    kept.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

impl World {
    fn new() -> Self {
        let mut world = World::default();
        for (application, cluster) in [("shop", "eu"), ("cart", "eu"), ("blog", "us")] {
            world.machine.assign(application, cluster, 1);
        }
        for application in ["shop", "cart"] {
            let id = world.machine.open(application);
            world.incidents.push(id);
        }
        world.actors = (0..CLIENTS).map(|_| Actor::default()).collect();
        world
    }

    fn happen(&mut self, (kind, a, b, c): Happening) {
        let who = usize::from(a) % CLIENTS;
        match kind % 22 {
            0 if b < 40 => self.open(who),
            1 if b < 80 => self.loose(close(self.actors[who].session)),
            1 => self.loose(expire(
                self.actors[who].session,
                self.machine.index.saturating_sub(u64::from(c % 16)),
            )),
            2 => self.machine.now += i64::from(b) * SECOND / 4,
            3 | 4 => self.repair(usize::from(a) % 2, b),
            5 | 6 if !self.sent.is_empty() => {
                // An old one comes late, or again.
                let at = (usize::from(b) * 256 + usize::from(c)) % self.sent.len();
                let (actor, operation) = self.sent[at].clone();
                self.deliver(&actor, operation);
            }
            7 | 8 => self.ask(
                who,
                b,
                put(&format!("k{}", c % 4), &format!("{c}"), None),
                c,
            ),
            9 => self.ask(who, b, put("k0", "x", Some(u64::from(c))), c),
            10 => self.ask(who, b, delete(&format!("k{}", c % 4), None), c),
            11..=14 => {
                let scope = self.own(who, b).unwrap_or_else(|| scope(b, c).to_owned());
                self.ask(who, b, release(&scope), c);
            }
            _ => {
                let request = acquire(scope(b, c), c);
                self.ask(who, b, Request::Acquire(request), c);
            }
        }
    }

    /// Something that the session holds or waits for.
    fn own(&self, who: usize, which: u8) -> Option<String> {
        let id = self.actors[who].session;
        let session = sessions::session(&self.machine.store, id).unwrap()?;
        let places = session.places.into_iter().map(|place| place.scope);
        let own: Vec<_> = session.held.into_iter().chain(places).collect();
        own.get(usize::from(which) % own.len().max(1)).cloned()
    }

    fn open(&mut self, who: usize) {
        let request = Request::OpenSession(OpenSession { ttl_ms: TTL_MS });
        let outcome = self.deliver(&name(who), loose(request));
        if let Outcome::Opened(opened) = outcome {
            self.actors[who] = Actor {
                session: opened.session,
                answered: BTreeMap::new(),
            };
        }
    }

    fn loose(&mut self, request: Request) {
        self.deliver("member/1", loose(request));
    }

    /// A request in the next sequence of a slot; sometimes it is not delivered, or not now.
    fn ask(&mut self, who: usize, slot: u8, request: Request, luck: u8) {
        let slot = u32::from(slot % SLOTS);
        let known = sessions::session(&self.machine.store, self.actors[who].session);
        if known.unwrap().is_none() && luck & 3 != 0 {
            return self.open(who);
        }
        let actor = &self.actors[who];
        let operation = Operation {
            session: actor.session,
            slot,
            sequence: actor.answered.get(&slot).copied().unwrap_or_default() + 1,
            request: Some(request),
        };
        self.sent.push((name(who), operation.clone()));
        if luck % 8 == 7 {
            return;
        }
        self.deliver(&name(who), operation);
        if luck % 8 == 6 {
            // The answer is lost: the same sequence is used again.
            return;
        }
        let sequence = self.actors[who].answered.entry(slot).or_default();
        *sequence += 1;
    }

    fn repair(&mut self, which: usize, what: u8) {
        let id = self.incidents[which].clone();
        let incident = &self.machine.view.incidents[&id];
        let (phase, fence) = (incident.phase, incident.executor_fence);
        let application = incident.application.as_str().to_owned();
        let command = match (phase, what % 3) {
            (Phase::Open, _) => {
                let plan = Box::new(crate::harness::plan_for(&id, &application));
                let deadline = Timestamp(i64::MAX);
                Command::Advance {
                    incident: id,
                    fence,
                    transition: Box::new(Transition::Plan { plan, deadline }),
                }
            }
            (Phase::Planned, _) => Command::Acquire(regraft_state::command::LockRequest {
                plan: format!("{id}.1").into(),
                incident: id,
                fence,
                scope: LockScope::Application(application.as_str().into()),
                lease: Seconds(20),
                budget: 2,
            }),
            (_, 0) => Command::Renew {
                incident: id,
                fence,
                lease: Seconds(20),
            },
            _ => Command::Advance {
                incident: id,
                fence,
                transition: Box::new(Transition::Replan {
                    message: String::new(),
                }),
            },
        };
        let entry = self.machine.entry(&command);
        let before = self.snapshot();
        let answer = self.apply(entry);
        let response: Response = serde_json::from_slice(&answer).unwrap();
        self.renews = matches!(command, Command::Renew { .. });
        self.check(&before, true);
        self.renews = false;
        if let Response::Granted { fence } = response {
            assert_eq!(fence.0, self.machine.index);
        }
    }

    fn deliver(&mut self, actor: &str, operation: Operation) -> Outcome {
        let before = self.snapshot();
        let records: Vec<_> = essence(&self.machine.store).into_iter().collect();
        let entry = entry(self.machine.now, actor, operation.clone());
        let answer = self.apply(entry);
        let outcome = Answer::decode(answer.as_slice()).unwrap().outcome.unwrap();
        let index = self.machine.index;
        let did = match &outcome {
            Outcome::Written(written) => written.revision == index,
            Outcome::Granted(granted) => granted.fence == index,
            Outcome::Queued(queued) => queued.ticket == index,
            _ => false,
        };
        let Operation {
            session,
            slot,
            sequence,
            ref request,
        } = operation;
        if did {
            assert!(
                self.done.insert((session, slot, sequence)),
                "{operation:?} was applied twice"
            );
        }
        if let Some(Request::Acquire(acquire)) = request
            && matches!(&outcome, Outcome::Granted(_) | Outcome::Queued(_) if did)
        {
            let budgets = acquire.budgets.iter();
            let budgets = budgets.map(|it| (it.level.parse().unwrap(), it.most));
            self.budgets
                .insert((session, acquire.scope.clone()), budgets.collect());
        }
        let is_lock = !matches!(request, Some(Request::Put(_) | Request::Delete(_)));
        if matches!(outcome, Outcome::Refused(_)) && !is_lock {
            let after: Vec<_> = essence(&self.machine.store).into_iter().collect();
            assert_eq!(records, after, "a refusal changes nothing");
        }
        self.check(&before, is_lock);
        outcome
    }

    fn apply(&mut self, entry: Vec<u8>) -> Vec<u8> {
        self.log.push(entry.clone());
        let answer = self.machine.apply_bytes(&entry);
        self.answers.push(answer.clone());
        answer
    }

    fn snapshot(&self) -> (Vec<Live>, Vec<(u64, Waiter)>) {
        (self.live(), sessions::waiting(&self.machine.store).unwrap())
    }

    fn live(&self) -> Vec<Live> {
        let held = sessions::all_held(&self.machine.store).unwrap().into_iter();
        let by_sessions = held.flat_map(|held| {
            let scope: LockScope = held.scope.parse().unwrap();
            held.holders.into_iter().map(move |holder| Live {
                session: Some(holder.session),
                scope: scope.clone(),
                permits: held.permits,
                fence: holder.fence,
            })
        });
        let now = regraft_state::view::time(&self.machine.store).unwrap();
        let locks = self.machine.view.locks.values();
        let by_repairs = locks.filter(|lock| lock.expires_at > now).map(|lock| Live {
            session: None,
            scope: lock.scope.clone(),
            permits: 1,
            fence: lock.fence.0,
        });
        by_sessions.chain(by_repairs).collect()
    }

    /// What holds after each entry. `swept`: it was one that looks at leases.
    fn check(&mut self, before: &(Vec<Live>, Vec<(u64, Waiter)>), swept: bool) {
        let (live, waiters) = self.snapshot();
        let waiting: Vec<Waiting> = waiters
            .iter()
            .map(|(ticket, waiter)| {
                let budgets = waiter.budgets.iter();
                let budgets = budgets.map(|it| (it.level.parse().unwrap(), it.most));
                Waiting {
                    ticket: *ticket,
                    scope: waiter.scope.parse().unwrap(),
                    permits: waiter.permits,
                    budgets: budgets.collect(),
                }
            })
            .collect();
        self.check_exclusion(&live);
        let index = self.machine.index;
        let is_new = |lock: &&Live| lock.fence == index;
        for lock in live.iter().filter(is_new) {
            self.grants += 1;
            let last = self.fences.get(&lock.scope).copied().unwrap_or_default();
            assert!(lock.fence > last, "fences of {} rise", lock.scope);
            let ticket = before
                .1
                .iter()
                .find(|(_, waiter)| {
                    Some(waiter.session) == lock.session && waiter.scope == lock.scope.to_string()
                })
                .map(|(ticket, _)| *ticket);
            self.grants_of_waiters += usize::from(ticket.is_some());
            // Nobody who came before and still waits was in the way.
            let own = ticket.unwrap_or(index);
            for waiter in &waiting {
                assert!(
                    waiter.ticket > own || !waiter.is_overtaken_by(&lock.scope),
                    "{} overtook {}",
                    lock.scope,
                    waiter.scope
                );
            }
            let Some(session) = lock.session else {
                continue;
            };
            for (level, most) in &self.budgets[&(session, lock.scope.to_string())] {
                let used = live.iter().filter(|it| below(&it.scope, level)).count();
                // Others that the same command granted after it, or renewed after their lease had run out, have no budget.
                let after = live.iter().filter(is_new).count() - 1 + usize::from(self.renews);
                assert!(used <= usize::try_from(*most).unwrap() + after);
            }
        }
        for lock in live {
            let newest = self.fences.entry(lock.scope).or_default();
            *newest = lock.fence.max(*newest);
        }
        if swept {
            self.check_nobody_waits_for_nothing(&waiting);
        }
        self.check_books();
    }

    fn check_exclusion(&self, live: &[Live]) {
        for (at, one) in live.iter().enumerate() {
            for other in &live[at + 1..] {
                let together = one.scope == other.scope
                    && one.session.is_some()
                    && other.session.is_some()
                    && one.session != other.session;
                assert!(
                    !overlap(&one.scope, &other.scope) || together,
                    "{one:?} beside {other:?}"
                );
            }
            let same = live.iter().filter(|it| it.scope == one.scope).count();
            assert!(same <= usize::try_from(one.permits).unwrap());
        }
    }

    /// Everybody who waits has somebody before it, or something in the way.
    fn check_nobody_waits_for_nothing(&self, waiting: &[Waiting]) {
        let live = self.live();
        for (at, waiter) in waiting.iter().enumerate() {
            let (scope, permits) = (&waiter.scope, waiter.permits);
            let is_behind = waiting[..at].iter().any(|it| it.is_overtaken_by(scope));
            let spent = |(level, most): &(LockScope, u32)| {
                let used = live.iter().filter(|it| below(&it.scope, level)).count();
                used >= usize::try_from(*most).unwrap()
            };
            let same = live.iter().filter(|it| it.scope == *scope).count();
            let in_the_way = live.iter().any(|lock| {
                overlap(&lock.scope, scope)
                    && (lock.scope != *scope
                        || lock.session.is_none()
                        || lock.permits != permits
                        || same >= usize::try_from(permits).unwrap())
            });
            assert!(
                is_behind || in_the_way || waiter.budgets.iter().any(spent),
                "{scope} waits for nothing"
            );
        }
    }

    /// Sessions, holders and places say the same of each other, and the view follows.
    fn check_books(&self) {
        let store = &self.machine.store;
        let known: BTreeMap<u64, Session> = sessions::all(store).unwrap().into_iter().collect();
        let mut held = BTreeSet::new();
        for one in sessions::all_held(store).unwrap() {
            assert!(!one.holders.is_empty());
            for holder in one.holders {
                assert_eq!(holder.actor, known[&holder.session].actor);
                held.insert((holder.session, one.scope.clone()));
            }
        }
        let waiting = sessions::waiting(store).unwrap();
        let places: BTreeSet<_> = waiting
            .iter()
            .map(|(ticket, waiter)| (waiter.session, *ticket))
            .collect();
        let (mut own_held, mut own_places) = (BTreeSet::new(), BTreeSet::new());
        for (id, session) in &known {
            own_held.extend(session.held.iter().map(|scope| (*id, scope.clone())));
            own_places.extend(session.places.iter().map(|place| (*id, place.ticket)));
        }
        assert_eq!(held, own_held);
        assert_eq!(places, own_places);
        let number = |key: &str| -> Option<usize> {
            let bytes = store.0.get(key.as_bytes())?;
            serde_json::from_slice(bytes).ok()
        };
        assert_eq!(number("meta/sessions").unwrap_or_default(), known.len());
        for key in store.0.keys().filter(|key| key.starts_with(b"slots/")) {
            let id = std::str::from_utf8(&key[6..22]).unwrap();
            assert!(known.contains_key(&u64::from_str_radix(id, 16).unwrap()));
        }
        assert_eq!(View::read(store).unwrap(), self.machine.view);
    }
}

fn name(who: usize) -> String {
    format!("user/{who}")
}

/// Small scopes more often than large ones.
fn scope(b: u8, c: u8) -> &'static str {
    let at = usize::from(b.wrapping_mul(7) ^ c.rotate_left(3)) % (SCOPES.len() * 2);
    SCOPES.get(at).copied().unwrap_or(SCOPES[at % 9])
}

fn acquire(scope: &str, c: u8) -> Acquire {
    let level = match scope.split('/').nth(1) {
        Some(cluster) if c & 16 != 0 && !scope.starts_with("a") => format!("cluster/{cluster}"),
        _ => "fleet".to_owned(),
    };
    let most = u32::from(c >> 6) + 1;
    let budgeted = c & 32 != 0 && !scope.starts_with("named");
    Acquire {
        scope: scope.to_owned(),
        permits: if scope.starts_with("cluster") || c & 8 != 0 {
            2
        } else {
            1
        },
        budgets: if budgeted {
            vec![Budget { level, most }]
        } else {
            vec![]
        },
        wait: i32::from(if c & 1 == 0 { Wait::Queue } else { Wait::Try }),
    }
}

fn run(happenings: &[Happening], restored_at: usize) -> World {
    let mut world = World::new();
    let first = world.machine.index;
    let mut other = world.machine.store.clone();
    for happening in happenings {
        world.happen(*happening);
    }
    for (at, (entry, answer)) in world.log.iter().zip(&world.answers).enumerate() {
        let index = first + 1 + u64::try_from(at).unwrap();
        let applied = apply(&other, index, entry).unwrap();
        assert_eq!(applied.response, *answer);
        other.write(applied.batch);
        if at == restored_at {
            // A snapshot: the pairs, and nothing else.
            other = Memory(other.0.clone().into_iter().collect());
        }
    }
    assert_eq!(other, world.machine.store);
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn locks_queues_and_sessions_keep_their_promises(
        happenings in vec(any::<Happening>(), 1..160),
        restored_at in 0usize..160,
    ) {
        run(&happenings, restored_at);
    }

    #[test]
    fn no_bytes_make_the_machine_panic(
        bytes in vec(any::<u8>(), 0..200),
        sequence in any::<u64>(),
        slot in any::<u32>(),
        format in 0u32..4,
    ) {
        let mut machine = Machine::default();
        let client = crate::client::Client::open(&mut machine, "user/ada");
        let wrap = |command: Vec<u8>| Stamped { stamped_ms: i64::MAX, command }.encode_to_vec();
        let _ = apply(&machine.store, 9, &bytes);
        let _ = apply(&machine.store, 9, &wrap(bytes.clone()));
        let envelope = Envelope { format, command: bytes.clone(), ..Envelope::default() };
        let _ = apply(&machine.store, 9, &wrap(envelope.encode_to_vec()));
        // An operation of any bytes.
        let mut operation = vec![0x20, 0x02, 0x32];
        prost::encoding::encode_varint(u64::try_from(bytes.len()).unwrap(), &mut operation);
        operation.extend(&bytes);
        let _ = apply(&machine.store, 9, &wrap(operation));
        // And of any numbers and texts.
        let text = String::from_utf8_lossy(&bytes).into_owned();
        for request in [
            Request::Acquire(acquire(&text, format as u8)),
            release(&text),
            put(&text, &text, Some(sequence)),
            delete(&text, Some(sequence)),
            expire(client.session, sequence),
            close(sequence),
            Request::OpenSession(OpenSession { ttl_ms: sequence }),
        ] {
            for (slot, sequence) in [(slot, sequence), (0, 1)] {
                let request = Some(request.clone());
                let session = client.session;
                let operation = Operation { session, slot, sequence, request };
                apply(&machine.store, 9, &entry(i64::MIN, "user/ada", operation)).unwrap();
            }
        }
    }
}

#[test]
fn the_random_world_grants_and_makes_wait() {
    // What would be found in a world in which nothing happens says nothing.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut grants, mut of_waiters) = (0, 0);
    for _ in 0..50 {
        let happenings = vec(any::<Happening>(), 150);
        let tree = happenings.new_tree(&mut runner).unwrap();
        let world = run(&tree.current(), 75);
        grants += world.grants;
        of_waiters += world.grants_of_waiters;
    }
    assert!(grants > 300 && of_waiters > 80, "{grants}, {of_waiters}");
}
