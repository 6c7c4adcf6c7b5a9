//! The client at three real members, while they stop, start and hand leadership over.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![expect(
    dead_code,
    reason = "the other tests use more of what they have in common"
)]

#[path = "support/programs.rs"]
mod programs;
mod support;

use programs::{Door, Secure, client_paths};
use regraft_client::{Changed, Client, Consistency, Error, LockRequest, Session, Settings, Start};
use regraft_replica::certs::ClientRole;
use regraft_replica::{Replica, StateMachine, StoreLimits, Tls};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use support::{Fleet, kill, kill_all, leader_of, until};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

const TTL: Duration = Duration::from_secs(60);
const SESSIONS: u64 = 4;
/// Changes of each session in each stretch between two events, at least.
const CHANGES: u64 = 5;

/// Between two moments at which all connections of programs break: some changes get through in it, others break in
/// the middle.
const CUT_EVERY: Duration = Duration::from_millis(25);

/// Three members that serve programs, each always at the same address.
struct Served {
    fleet: Fleet,
    members: BTreeMap<u64, Replica>,
    doors: BTreeMap<u64, Door>,
    /// Between programs and members.
    relays: JoinSet<()>,
    /// Where programs find the relays.
    outside: BTreeMap<u64, SocketAddr>,
    /// Breaks all connections that pass the relays now.
    cut: watch::Sender<u64>,
}

impl Served {
    async fn start() -> Self {
        let mut served = Self {
            fleet: Fleet::new(3),
            members: BTreeMap::new(),
            doors: BTreeMap::new(),
            relays: JoinSet::new(),
            outside: BTreeMap::new(),
            cut: watch::Sender::new(0),
        };
        for id in 1..=3 {
            served.start_member(id).await;
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            served.outside.insert(id, listener.local_addr().unwrap());
            let relay = relay(listener, served.doors[&id].address, served.cut.subscribe());
            served.relays.spawn(relay);
        }
        leader_of(&served.members).await;
        served
    }

    async fn start_member(&mut self, id: u64) {
        let mut config = self.fleet.config(id);
        config.machine = Arc::new(StateMachine);
        let member = Replica::start(config).await.unwrap();
        let known = self.doors.get(&id).map(|door| door.address);
        let door = Door::open(&member, known, StoreLimits::default()).await;
        self.doors.insert(id, door);
        self.members.insert(id, member);
    }

    /// Hands leadership over if it leads, and stops.
    async fn stop_member(&mut self, id: u64) {
        self.doors[&id].stop.cancel();
        let member = self.members.remove(&id).unwrap();
        member.shutdown().await;
    }

    /// Stops without a word.
    async fn kill_member(&mut self, id: u64) {
        self.doors.get_mut(&id).unwrap().close();
        kill(self.members.remove(&id).unwrap()).await;
    }

    fn client(&self) -> Client {
        let paths = client_paths(&self.fleet.authority, "tester", ClientRole::Operator);
        let addresses = self.outside.iter();
        let addresses = addresses.map(|(id, address)| (*id, address.to_string()));
        let secure = Secure(Arc::new(Tls::load(paths).unwrap()));
        Client::new(addresses.collect(), secure, Settings::default())
    }

    async fn end(self) {
        for door in self.doors.values() {
            door.stop.cancel();
        }
        kill_all(self.members.into_values()).await;
    }
}

/// Passes bytes on, until they are cut.
async fn relay(outside: TcpListener, inside: SocketAddr, cut: watch::Receiver<u64>) {
    let mut passing = JoinSet::new();
    loop {
        let (mut near, _) = outside.accept().await.unwrap();
        let mut cut = cut.clone();
        cut.mark_unchanged();
        passing.spawn(async move {
            let Ok(mut far) = TcpStream::connect(inside).await else {
                return;
            };
            tokio::select! {
                _ = cut.changed() => {}
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
            }
        });
    }
}

/// What sessions that count up have seen.
#[derive(Default)]
struct Counted {
    done: AtomicU64,
    unknown: AtomicU64,
    stop: AtomicBool,
}

async fn read(client: &Client) -> (u64, u64) {
    let read = client
        .get("count", Consistency::Linearizable)
        .await
        .unwrap();
    let value = read.value.map(|record| (record.revision, record.value));
    value.map_or((0, 0), |(revision, value)| {
        (revision, String::from_utf8(value).unwrap().parse().unwrap())
    })
}

async fn count(client: Client, session: Session, counted: Arc<Counted>) {
    while !counted.stop.load(Ordering::Relaxed) {
        let (revision, value) = read(&client).await;
        let value = (value + 1).to_string();
        match session.compare_and_swap("count", value, revision).await {
            Ok(_) => counted.done.fetch_add(1, Ordering::Relaxed),
            Err(Error::Refused(refusal)) if refusal.reason == "RevisionChanged" => continue,
            Err(Error::NotDone { .. }) => continue,
            Err(Error::Unknown { .. }) => counted.unknown.fetch_add(1, Ordering::Relaxed),
            Err(error) => panic!("{error}"),
        };
    }
}

/// Lets the sessions count on.
async fn progress(counted: &Counted) {
    let goal = counted.done.load(Ordering::Relaxed) + SESSIONS * CHANGES;
    until("they count on", async || {
        match counted.done.load(Ordering::Relaxed) {
            done if done >= goal => Ok(()),
            done => Err(format!("{done} of {goal}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_was_counted_once_whoever_leads() {
    let mut served = Served::start().await;
    let client = served.client();
    let counted = Arc::new(Counted::default());
    let mut cutting = JoinSet::new();
    let cut = served.cut.clone();
    cutting.spawn(async move {
        let mut every = tokio::time::interval(CUT_EVERY);
        loop {
            every.tick().await;
            cut.send_modify(|cuts| *cuts += 1);
        }
    });
    let mut counting = JoinSet::new();
    for _ in 0..SESSIONS {
        let session = client.open_session(TTL).await.unwrap();
        counting.spawn(count(client.clone(), session, Arc::clone(&counted)));
    }
    progress(&counted).await;
    for farewell in [true, false, true, false] {
        let leader = leader_of(&served.members).await;
        match farewell {
            true => served.stop_member(leader).await,
            false => served.kill_member(leader).await,
        }
        progress(&counted).await;
        served.start_member(leader).await;
        progress(&counted).await;
    }
    // And one that does not lead.
    let leader = leader_of(&served.members).await;
    let follower = served.members.keys().copied().find(|id| *id != leader);
    let follower = follower.unwrap();
    served.kill_member(follower).await;
    progress(&counted).await;
    served.start_member(follower).await;
    cutting.shutdown().await;
    counted.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = counting.join_next().await {
        ended.unwrap();
    }
    let (_, value) = read(&client).await;
    let done = counted.done.load(Ordering::Relaxed);
    let unknown = counted.unknown.load(Ordering::Relaxed);
    assert!(
        (done..=done + unknown).contains(&value),
        "{value}, but {done} and {unknown} in doubt"
    );
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_locks_and_watches_outlive_the_leader() {
    let mut served = Served::start().await;
    let client = served.client();
    let ttl = Duration::from_secs(4);
    let holder = client.open_session(ttl).await.unwrap();
    let lock = holder
        .try_acquire(&LockRequest::new("cluster/eu-1"))
        .await
        .unwrap();
    let waiting = client.open_session(TTL).await.unwrap();
    let mut watch = client.watch("w/", Start::Now).await.unwrap();
    let wanted = LockRequest::new("namespace/eu-1/shop");
    let patient = waiting.within(TTL);
    let leading = async {
        let leader = leader_of(&served.members).await;
        served.kill_member(leader).await;
        leader_of(&served.members).await;
        holder.put("w/1", "after it").await.unwrap();
        let told = watch.next().await.unwrap();
        let [Changed::Put(record)] = &told.changes[..] else {
            panic!("{told:?}");
        };
        assert_eq!(record.value, b"after it");
        served.start_member(leader).await;
        assert_eq!((holder.loss(), lock.loss()), (None, None));
        let fence = lock.fence();
        lock.release().await.unwrap();
        fence
    };
    let (granted, fence) = tokio::join!(patient.acquire(&wanted), leading);
    let granted = granted.unwrap();
    assert!(granted.fence() > fence);
    // Silent for its time to live: its lock is somebody else's then.
    drop(holder);
    let (lost, stopped) = (granted.lost(), waiting.lost());
    waiting.close().await.unwrap();
    tokio::join!(lost, stopped);
    assert!(matches!(
        granted.release().await,
        Err(Error::SessionLost { .. })
    ));
    let next = client.open_session(TTL).await.unwrap();
    next.try_acquire(&wanted)
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
    served.end().await;
}
