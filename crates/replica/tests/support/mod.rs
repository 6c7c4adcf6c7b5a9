//! Members in this process, on loopback, with real certificates and disks.

use prost::Message as _;
use regraft_replica::certs::{Authority, Overwrite};
use regraft_replica::{
    Config, Machine, PeerAddress, ProposeError, Proposed, Replica, Role, Timings, TlsPaths,
};
use regraft_state::command::Stamped;
use regraft_state::store::{Batch, Read, Write};
use regraft_state::{Applied, Halt};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU16, Ordering};
use std::time::Duration;

/// Generous: the machine may be busy with other things.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);
/// Below those that Linux gives out for connections (32768 and up).
const PORT_FIRST: u16 = 10_000;
const PORTS: u16 = 9_000;

/// `key=value` puts; the answer is what was there. `halt` halts.
pub(crate) struct Puts;

impl Machine for Puts {
    fn apply(&self, read: &dyn Read, index: u64, command: &[u8]) -> Result<Applied, Halt> {
        let halt = |reason: &str| Halt::Unknown {
            index,
            reason: reason.to_owned(),
        };
        let stamped = Stamped::decode(command).map_err(|error| halt(&error.to_string()))?;
        let text = String::from_utf8(stamped.command).map_err(|_| halt("it is no text"))?;
        let (key, value) = text.split_once('=').ok_or_else(|| halt("it has no ="))?;
        let response = read.get(key.as_bytes())?.unwrap_or_default();
        let put = |key: &str, value: String| Write::Put {
            key: key.as_bytes().to_vec(),
            value: value.into_bytes(),
        };
        Ok(Applied {
            batch: Batch {
                writes: vec![
                    put(key, value.to_owned()),
                    put("stamped", stamped.stamped_ms.to_string()),
                ],
            },
            response,
        })
    }

    fn format(&self) -> u32 {
        1
    }
}

/// The folders, certificates and addresses of some members.
pub(crate) struct Fleet {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) authority: Authority,
    pub(crate) addresses: BTreeMap<u64, SocketAddr>,
    pub(crate) timings: Timings,
    pub(crate) clock_ms: Arc<AtomicI64>,
    pub(crate) machine: Arc<dyn Machine>,
}

impl Fleet {
    pub(crate) fn new(members: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(
            &dir.path().join("certs"),
            "shop",
            now_ms(),
            Overwrite::Refuse,
        )
        .unwrap();
        let addresses = (1..=members).map(|id| (id, free_address())).collect();
        Self {
            dir,
            authority,
            addresses,
            timings: Timings::default(),
            clock_ms: Arc::new(AtomicI64::new(now_ms())),
            machine: Arc::new(Puts),
        }
    }

    pub(crate) fn data_dir(&self, node_id: u64) -> PathBuf {
        self.dir.path().join(format!("data-{node_id}"))
    }

    pub(crate) fn tls(&self, node_id: u64) -> TlsPaths {
        let files = self
            .authority
            .member(node_id, &[], now_ms(), Overwrite::Force)
            .unwrap();
        TlsPaths {
            ca: self.authority.certificate_file(),
            cert: files.cert,
            key: files.key,
        }
    }

    pub(crate) fn config(&self, node_id: u64) -> Config {
        let clock_ms = Arc::clone(&self.clock_ms);
        Config {
            node_id,
            cluster_id: "shop".to_owned(),
            data_dir: self.data_dir(node_id),
            raft_listen: self.addresses[&node_id],
            peers: self
                .addresses
                .iter()
                .map(|(id, address)| {
                    let peer = PeerAddress {
                        address: address.to_string(),
                        name: format!("member-{id}"),
                    };
                    (*id, peer)
                })
                .collect(),
            tls: Some(self.tls(node_id)),
            timings: self.timings.clone(),
            clock: Arc::new(move || clock_ms.load(Ordering::Relaxed)),
            machine: Arc::clone(&self.machine),
            log_disk: None,
        }
    }

    pub(crate) async fn start(&self, node_id: u64) -> Replica {
        Replica::start(self.config(node_id)).await.unwrap()
    }

    pub(crate) async fn start_all(&self) -> BTreeMap<u64, Replica> {
        let mut members = BTreeMap::new();
        for node_id in self.addresses.keys() {
            members.insert(*node_id, self.start(*node_id).await);
        }
        members
    }
}

/// An address nobody listens on: none that the system gives out itself, for a connection could take it in between.
fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test programs that run side by side begin at different places.
    let begin = std::process::id().wrapping_mul(7919);
    for _ in 0..PORTS {
        let offset = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed).into());
        let port = PORT_FIRST + u16::try_from(offset % u32::from(PORTS)).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if std::net::TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free");
}

/// Certificates are checked against the real time.
#[expect(
    clippy::disallowed_methods,
    reason = "a test has no other clock than the system's"
)]
pub(crate) fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(now.unwrap().as_millis()).unwrap()
}

/// Stops a member without any farewell, and waits until its folder may be opened again.
pub(crate) async fn kill(member: Replica) {
    let closed = member.closed();
    drop(member);
    let ended = tokio::time::timeout(LIMIT, closed).await;
    ended.expect("the databases of a killed member stay open");
}

/// Stops all members, so that no database is open when the process ends.
pub(crate) async fn kill_all(members: impl IntoIterator<Item = Replica>) {
    futures::future::join_all(members.into_iter().map(kill)).await;
}

/// Polls until `done` gives something.
pub(crate) async fn until<T>(what: &str, mut done: impl AsyncFnMut() -> Result<T, String>) -> T {
    let mut last = String::new();
    let polling = async {
        let mut every = tokio::time::interval(POLL);
        loop {
            every.tick().await;
            match done().await {
                Ok(value) => return value,
                Err(state) => last = state,
            }
        }
    };
    match tokio::time::timeout(LIMIT, polling).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {LIMIT:?}; at last: {last}"),
    }
}

/// The member that leads and that all the others follow.
pub(crate) async fn leader_of(members: &BTreeMap<u64, Replica>) -> u64 {
    until("one leader for all", async || {
        let seen: Vec<_> = members.values().map(Replica::status).collect();
        let leader = seen.iter().find(|status| status.role == Role::Leader);
        match leader {
            Some(leader)
                if seen
                    .iter()
                    .all(|status| status.leader == Some(leader.node_id)) =>
            {
                Ok(leader.node_id)
            }
            _ => Err(format!("{seen:?}")),
        }
    })
    .await
}

/// Proposes until it is taken; only for commands that may be applied twice.
pub(crate) async fn put(member: &Replica, command: &str) -> Proposed {
    until(command, async || {
        match member.propose(command.as_bytes().to_vec()).await {
            Ok(proposed) => Ok(proposed),
            Err(error @ ProposeError::Halted { .. }) => panic!("{error}"),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
}

/// What a member has applied for `key`.
pub(crate) fn get(member: &Replica, key: &str) -> Option<String> {
    member
        .read(|read| read.get(key.as_bytes()))
        .unwrap()
        .unwrap()
        .map(|value| String::from_utf8(value).unwrap())
}

/// Waits until a member has applied `index`.
pub(crate) async fn applied(member: &Replica, index: u64) {
    until("applied", async || {
        member
            .wait_applied(index)
            .await
            .map_err(|error| format!("{error}: {:?}", member.status()))
    })
    .await;
}
