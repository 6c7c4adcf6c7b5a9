//! Who may connect, and how much may be asked: every listener refuses what is not mutual TLS 1.3 by the cluster's
//! authority, whose certificates are replaced while programs go on.

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
use regraft_client::{Client, Session, Settings};
use regraft_replica::certs::{Authority, ClientRole, Overwrite};
use regraft_replica::{Replica, StateMachine, StoreLimits, Tls, TlsPaths};
use regraft_wire::store::v1::store_client::StoreClient;
use regraft_wire::store::v1::*;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use support::{Fleet, LIMIT, kill, kill_all, leader_of, now_ms, until};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;

const DAY_MS: i64 = 86_400_000;
/// First bytes of HTTP/2 without TLS (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Type of the frame that a server of HTTP/2 begins with, and where it says so.
const SETTINGS: u8 = 4;
const TYPE_AT: usize = 3;
/// Writes that show that programs go on.
const WRITES: u64 = 20;

/// One member that serves programs.
async fn single(fleet: &Fleet, limits: StoreLimits) -> (Replica, Door) {
    let mut config = fleet.config(1);
    config.machine = Arc::new(StateMachine);
    config.peers.retain(|id, _| *id == 1);
    let member = Replica::start(config).await.unwrap();
    let door = Door::open(&member, None, limits).await;
    leader_of(&BTreeMap::from([(1, member.clone())])).await;
    (member, door)
}

/// Whether a server of HTTP/2 greets at the other end; else why not.
async fn greeting(mut stream: impl AsyncRead + Unpin) -> Result<(), String> {
    let mut begin = [0; 9];
    let reading = stream.read_exact(&mut begin);
    match tokio::time::timeout(LIMIT, reading).await.unwrap() {
        Ok(_) if begin[TYPE_AT] == SETTINGS => Ok(()),
        Ok(_) => Err(format!("it says {begin:?}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Connects with this TLS, trusting this authority.
async fn knock(
    address: SocketAddr,
    ca: &Path,
    own: Option<&TlsPaths>,
    version: &'static rustls::SupportedProtocolVersion,
) -> Result<(), String> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let chain = CertificateDer::pem_file_iter(&own.cert).unwrap();
            let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
            let key = PrivateKeyDer::from_pem_file(&own.key).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    match connector.connect(name, stream).await {
        Ok(stream) => greeting(stream).await,
        Err(error) => Err(error.to_string()),
    }
}

/// A program's certificate of another time.
fn dated(authority: &Authority, name: &str, made_ms: i64) -> TlsPaths {
    let files = authority.client(name, ClientRole::Operator, made_ms, Overwrite::Force);
    let files = files.unwrap();
    TlsPaths {
        ca: authority.certificate_file(),
        cert: files.cert,
        key: files.key,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_listener_takes_mutual_tls_1_3_by_the_cluster_s_authority_and_nothing_else() {
    let fleet = Fleet::new(3);
    let (member, door) = single(&fleet, StoreLimits::default()).await;
    let authority = &fleet.authority;
    let ca = authority.certificate_file();
    let good = client_paths(authority, "good", ClientRole::Viewer);
    let expired = dated(authority, "expired", now_ms() - 5_000 * DAY_MS);
    let early = dated(authority, "early", now_ms() + 10 * DAY_MS);
    let elsewhere = fleet.dir.path().join("elsewhere");
    let other = Authority::create(&elsewhere, "shop", now_ms(), Overwrite::Refuse).unwrap();
    let forged = client_paths(&other, "good", ClientRole::Admin);
    let (tls12, tls13) = (&rustls::version::TLS12, &rustls::version::TLS13);
    for address in [fleet.addresses[&1], door.address] {
        let check = async |own: Option<&TlsPaths>, version, said: &str| {
            let refused = knock(address, &ca, own, version).await.unwrap_err();
            assert!(refused.contains(said), "{address}: {refused}");
        };
        check(None, tls13, "CertificateRequired").await;
        check(Some(&good), tls12, "ProtocolVersion").await;
        check(Some(&expired), tls13, "CertificateExpired").await;
        check(Some(&early), tls13, "Expired").await;
        // It has the name of the right one, and another key.
        check(Some(&forged), tls13, "DecryptError").await;
        let mut plain = TcpStream::connect(address).await.unwrap();
        plain.write_all(PREFACE).await.unwrap();
        greeting(plain).await.unwrap_err();
        assert_eq!(knock(address, &ca, Some(&good), tls13).await, Ok(()));
    }
    door.stop.cancel();
    kill(member).await;
}

fn put(session: u64, sequence: u64, bytes: usize) -> PutRequest {
    PutRequest {
        id: Some(RequestId {
            session,
            slot: 0,
            sequence,
        }),
        key: "key".into(),
        value: vec![b'v'; bytes].into(),
        expected: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_and_the_connection_goes_on() {
    let fleet = Fleet::new(3);
    let (member, door) = single(&fleet, StoreLimits::default()).await;
    let paths = client_paths(&fleet.authority, "tester", ClientRole::Operator);
    let tls = Arc::new(Tls::load(paths).unwrap());
    let channel = programs::connect(tls, 1, door.address.to_string()).await;
    let mut client = StoreClient::new(channel.unwrap());
    let session = until("sessions are known", async || {
        let opened = client.open_session(OpenSessionRequest { ttl_ms: 60_000 });
        opened.await.map_err(|status| status.to_string())
    })
    .await;
    let session = session.into_inner().session;
    let refused = client.put(put(session, 1, 2 << 20)).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    let refused = client.put(put(session, 1, 300 << 10)).await.unwrap();
    match refused.into_inner().outcome.unwrap() {
        change_response::Outcome::Refused(refused) => {
            assert!(
                refused.message.contains("at most 262144"),
                "{}",
                refused.message
            );
        }
        other => panic!("{other:?}"),
    }
    let written = client.put(put(session, 2, 200 << 10)).await.unwrap();
    let written = written.into_inner().outcome.unwrap();
    assert!(
        matches!(written, change_response::Outcome::Written(_)),
        "{written:?}"
    );
    door.stop.cancel();
    kill(member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_too_often_is_told_so_and_the_others_are_answered() {
    let fleet = Fleet::new(3);
    let limits = StoreLimits {
        requests_per_s: NonZeroU32::MIN,
    };
    let (member, door) = single(&fleet, limits).await;
    let client = async |name: &str| {
        let paths = client_paths(&fleet.authority, name, ClientRole::Viewer);
        let tls = Arc::new(Tls::load(paths).unwrap());
        let channel = programs::connect(tls, 1, door.address.to_string()).await;
        StoreClient::new(channel.unwrap())
    };
    let mut greedy = client("greedy").await;
    let mut told = Vec::new();
    // Nobody is so slow that this takes a second for each.
    for _ in 0..50 {
        if let Err(status) = greedy.status(StatusRequest {}).await {
            told.push(status);
        }
    }
    assert!((1..50).contains(&told.len()), "{told:?}");
    for status in told {
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(
            status.message(),
            "client greedy asks this member more than 1 times a second: ask less often"
        );
    }
    let mut modest = client("modest").await;
    modest.status(StatusRequest {}).await.unwrap();
    door.stop.cancel();
    kill(member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_list_counts_as_many_requests() {
    let fleet = Fleet::new(3);
    let limits = StoreLimits {
        requests_per_s: NonZeroU32::new(200).unwrap(),
    };
    let (member, door) = single(&fleet, limits).await;
    let paths = client_paths(&fleet.authority, "reader", ClientRole::Viewer);
    let tls = Arc::new(Tls::load(paths).unwrap());
    let channel = programs::connect(tls, 1, door.address.to_string()).await;
    let mut reader = StoreClient::new(channel.unwrap());
    for _ in 0..20 {
        reader.status(StatusRequest {}).await.unwrap();
    }
    let mut told = 0;
    // Nobody is so slow that this takes a quarter of a second for each.
    for _ in 0..20 {
        if let Err(status) = reader.list(ListRequest::default()).await {
            assert_eq!(status.code(), Code::Unavailable, "{status}");
            assert!(status.message().contains("ask less often"), "{status}");
            told += 1;
        }
    }
    assert!((1..20).contains(&told), "{told}");
    door.stop.cancel();
    kill(member).await;
}

/// Three members, and a program that writes all the time.
struct Rotating {
    fleet: Fleet,
    members: BTreeMap<u64, Replica>,
    doors: BTreeMap<u64, Door>,
    tls: Arc<Tls>,
    written: Arc<AtomicU64>,
    end: Arc<AtomicBool>,
    writing: JoinSet<()>,
}

impl Rotating {
    async fn start() -> Self {
        let fleet = Fleet::new(3);
        let (mut members, mut doors) = (BTreeMap::new(), BTreeMap::new());
        for id in 1..=3 {
            let mut config = fleet.config(id);
            config.machine = Arc::new(StateMachine);
            let member = Replica::start(config).await.unwrap();
            doors.insert(id, Door::open(&member, None, StoreLimits::default()).await);
            members.insert(id, member);
        }
        leader_of(&members).await;
        let paths = client_paths(&fleet.authority, "writer", ClientRole::Operator);
        let tls = Arc::new(Tls::load(paths).unwrap());
        let addresses = doors
            .iter()
            .map(|(id, door)| (*id, door.address.to_string()));
        let secure = Secure(Arc::clone(&tls));
        let client = Client::new(addresses.collect(), secure, Settings::default());
        let session = client.open_session(Duration::from_secs(60)).await.unwrap();
        let (written, end) = (Arc::default(), Arc::default());
        let mut writing = JoinSet::new();
        writing.spawn(write(session, Arc::clone(&written), Arc::clone(&end)));
        Self {
            fleet,
            members,
            doors,
            tls,
            written,
            end,
            writing,
        }
    }

    /// All read their certificates again, as at SIGHUP; writing goes on.
    async fn reload(&mut self) {
        for member in self.members.values() {
            member.reload_certificates().unwrap();
        }
        self.tls.reload().unwrap();
        let goal = self.written.load(Ordering::Relaxed) + WRITES;
        until("the program writes on", async || {
            match self.written.load(Ordering::Relaxed) {
                written if written >= goal => Ok(()),
                written => Err(format!("{written} of {goal}")),
            }
        })
        .await;
        assert!(self.writing.try_join_next().is_none(), "a write failed");
        leader_of(&self.members).await;
    }

    fn take(&self, authority: &Authority) {
        let folder = self.fleet.authority.certificate_file();
        let folder = folder.parent().unwrap();
        let mut files: Vec<_> = (1..=3)
            .map(|id| authority.member(id, &[], now_ms(), Overwrite::Force))
            .collect();
        files.push(authority.client("writer", ClientRole::Operator, now_ms(), Overwrite::Force));
        for files in files {
            let files = files.unwrap();
            for file in [files.cert, files.key] {
                let place = folder.join(file.file_name().unwrap());
                if place != file {
                    std::fs::copy(&file, place).unwrap();
                }
            }
        }
    }

    async fn end(mut self) {
        self.end.store(true, Ordering::Relaxed);
        self.writing.join_next().await.unwrap().unwrap();
        for door in self.doors.values() {
            door.stop.cancel();
        }
        kill_all(self.members.into_values()).await;
    }
}

async fn write(session: Session, written: Arc<AtomicU64>, end: Arc<AtomicBool>) {
    while !end.load(Ordering::Relaxed) {
        let number = written.load(Ordering::Relaxed);
        session.put("number", number.to_string()).await.unwrap();
        written.fetch_add(1, Ordering::Relaxed);
    }
}

async fn ask(client: &mut StoreClient<Channel>) -> Result<(), tonic::Status> {
    client.status(StatusRequest {}).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_the_authority_are_replaced_while_programs_write() {
    let mut rotating = Rotating::start().await;
    // Who keeps the certificate of the old authority, and its connection.
    let old = &rotating.fleet.authority;
    let paths = client_paths(old, "veteran", ClientRole::Viewer);
    let veteran = Arc::new(Tls::load(paths).unwrap());
    let address = rotating.doors[&1].address.to_string();
    let channel = programs::connect(Arc::clone(&veteran), 1, address.clone()).await;
    let mut kept = StoreClient::new(channel.unwrap());

    rotating.take(old);
    rotating.reload().await;
    ask(&mut kept).await.unwrap();

    let folder = rotating.fleet.dir.path().join("new");
    let new = Authority::create(&folder, "shop", now_ms(), Overwrite::Refuse).unwrap();
    let ca = rotating.fleet.authority.certificate_file();
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let both = format!("{}{}", read(&ca), read(&new.certificate_file()));
    std::fs::write(&ca, both).unwrap();
    rotating.reload().await;

    rotating.take(&new);
    rotating.reload().await;
    ask(&mut kept).await.unwrap();

    std::fs::copy(new.certificate_file(), &ca).unwrap();
    rotating.reload().await;
    // What the old authority signed is trusted no more, not even where it was connected before.
    ask(&mut kept).await.unwrap_err();
    let again = programs::connect(veteran, 1, address).await;
    assert!(again.is_err() || ask(&mut StoreClient::new(again.unwrap())).await.is_err());
    until("the leader has no trouble with anybody", async || {
        let leader = leader_of(&rotating.members).await;
        let status = rotating.members[&leader].status();
        match status.troubles.is_empty() {
            true => Ok(()),
            false => Err(format!("{:?}", status.troubles)),
        }
    })
    .await;
    rotating.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_certificates_run_out_is_known_before() {
    let fleet = Fleet::new(1);
    let days_left = |made_ms: i64| {
        let files = fleet
            .authority
            .client("tester", ClientRole::Viewer, made_ms, Overwrite::Force);
        let files = files.unwrap();
        let tls = Tls::load(TlsPaths {
            ca: fleet.authority.certificate_file(),
            cert: files.cert,
            key: files.key,
        });
        (tls.unwrap().expires_ms() - now_ms()) / DAY_MS
    };
    assert!((820..=825).contains(&days_left(now_ms())));
    assert!((18..=25).contains(&days_left(now_ms() - 803 * DAY_MS)));
    // The authority itself runs out before.
    assert!((3_645..=3_650).contains(&days_left(now_ms() + 100_000 * DAY_MS)));
}
