//! Who is not the member it should be is refused, and told why.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use hyper_util::rt::TokioIo;
use regraft_replica::certs::{Authority, ClientRole, Identity, Overwrite};
use regraft_replica::{Config, PeerAddress, Replica, Tls, TlsPaths};
use regraft_wire::raft::v1 as wire;
use regraft_wire::raft::v1::raft_client::RaftClient;
use std::error::Error as _;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use support::{Fleet, applied, get, kill, kill_all, leader_of, now_ms, put, until};
use tokio::net::TcpStream;
use tonic::transport::Endpoint;

const DAY_MS: i64 = 86_400_000;

/// Asks member 1 who it is, with these certificates and these claims.
async fn ask(
    fleet: &Fleet,
    tls: TlsPaths,
    cluster_id: &str,
    node_id: u64,
    target_node_id: u64,
) -> String {
    let tls = Arc::new(Tls::load(tls).unwrap());
    let address = fleet.addresses[&1].to_string();
    let expected = Identity::Member {
        node_id: 1,
        cluster_id: "shop".to_owned(),
    };
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_with_connector_lazy(tower::service_fn(move |_| {
            let (tls, address, expected) = (Arc::clone(&tls), address.clone(), expected.clone());
            async move { tls.connect(&address, &expected).await.map(TokioIo::new) }
        }));
    let request = wire::IntroduceRequest {
        caller: Some(wire::Caller {
            cluster_id: cluster_id.to_owned(),
            node_id,
            target_node_id,
            disk_id: b"a disk".to_vec(),
        }),
    };
    match RaftClient::new(channel).introduce(request).await {
        Ok(answer) => match answer.into_inner().voters.as_slice() {
            [1] => "admitted".to_owned(),
            other => format!("admitted: {other:?}"),
        },
        Err(status) => {
            let mut text = format!("{:?}: {}", status.code(), status.message());
            let mut cause = status.source();
            while let Some(error) = cause {
                text = format!("{text}: {error}");
                cause = error.source();
            }
            text.replace(&fleet.addresses[&1].to_string(), "ADDRESS")
        }
    }
}

async fn single(fleet: &Fleet) -> Replica {
    let mut config = fleet.config(1);
    config.peers.retain(|id, _| *id == 1);
    let member = Replica::start(config).await.unwrap();
    put(&member, "a=1").await;
    member
}

fn client_paths(authority: &Authority, files: regraft_replica::certs::Files) -> TlsPaths {
    TlsPaths {
        ca: authority.certificate_file(),
        cert: files.cert,
        key: files.key,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_member_that_its_certificate_names_is_admitted() {
    let fleet = Fleet::new(3);
    let member = single(&fleet).await;
    assert_eq!(ask(&fleet, fleet.tls(2), "shop", 2, 1).await, "admitted");
    insta::assert_snapshot!(
        ask(&fleet, fleet.tls(2), "shop", 3, 1).await,
        @r#"PermissionDenied: the caller says it is member 3 of cluster shop, but its certificate is of member 2 of cluster shop"#
    );
    insta::assert_snapshot!(
        ask(&fleet, fleet.tls(2), "bank", 2, 1).await,
        @r#"PermissionDenied: this is cluster shop, the caller says it is member 2 of cluster bank"#
    );
    insta::assert_snapshot!(
        ask(&fleet, fleet.tls(2), "shop", 2, 3).await,
        @r#"PermissionDenied: this is member 1, the caller wants member 3"#
    );
    let alice = fleet
        .authority
        .client("alice", ClientRole::Operator, now_ms(), Overwrite::Refuse)
        .unwrap();
    insta::assert_snapshot!(
        ask(&fleet, client_paths(&fleet.authority, alice), "shop", 2, 1).await,
        @r#"PermissionDenied: the caller says it is member 2 of cluster shop, but its certificate is of client alice (operator)"#
    );
    kill(member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_keep_no_member_out() {
    let fleet = Fleet::new(3);
    let member = single(&fleet).await;
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(TcpStream::connect(fleet.addresses[&1]).await.unwrap());
    }
    // Much less than one of them may take for its handshake.
    let asking = ask(&fleet, fleet.tls(2), "shop", 2, 1);
    let answer = tokio::time::timeout(Duration::from_secs(4), asking).await;
    assert_eq!(answer.as_deref(), Ok("admitted"));
    kill(member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_is_refused_by_both_sides() {
    let fleet = Fleet::new(3);
    let member = single(&fleet).await;
    let other_dir = fleet.dir.path().join("other");
    let other = Authority::create(&other_dir, "shop", now_ms(), Overwrite::Refuse).unwrap();
    let forged = other.member(2, &[], now_ms(), Overwrite::Refuse).unwrap();
    // The forger does not know the server's authority.
    let refused = ask(&fleet, client_paths(&other, forged.clone()), "shop", 2, 1).await;
    assert!(
        refused.contains("UnknownIssuer") || refused.contains("BadSignature"),
        "{refused}"
    );
    assert!(
        refused.contains("ADDRESS does not prove to be member 1 of cluster shop"),
        "{refused}"
    );
    // The forger trusts the server, the server does not trust the forger.
    let paths = TlsPaths {
        ca: fleet.authority.certificate_file(),
        cert: forged.cert,
        key: forged.key,
    };
    let refused = ask(&fleet, paths, "shop", 2, 1).await;
    assert!(!refused.contains("admitted"), "{refused}");
    put(&member, "a=2").await;
    kill(member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_another_cluster_is_refused_even_under_the_same_authority() {
    let fleet = Fleet::new(3);
    let member = single(&fleet).await;
    // An authority signs for one cluster only, so this one is made for another with the same key.
    let bank_dir = fleet.dir.path().join("bank");
    let bank = Authority::create(&bank_dir, "bank", now_ms(), Overwrite::Refuse).unwrap();
    let files = bank.member(2, &[], now_ms(), Overwrite::Refuse).unwrap();
    let paths = TlsPaths {
        ca: fleet.authority.certificate_file(),
        cert: files.cert,
        key: files.key,
    };
    let refused = ask(&fleet, paths, "bank", 2, 1).await;
    assert!(!refused.contains("admitted"), "{refused}");
    kill(member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_lost_its_disk_is_not_believed() {
    let fleet = Fleet::new(3);
    let mut members = fleet.start_all().await;
    let leader = leader_of(&members).await;
    let last = put(&members[&leader], "a=1").await.index;
    for member in members.values() {
        applied(member, last).await;
    }
    let lost = *members.keys().find(|id| **id != leader).unwrap();
    members.remove(&lost).unwrap().shutdown().await;
    std::fs::remove_dir_all(fleet.data_dir(lost)).unwrap();
    let back = fleet.start(lost).await;
    let trouble = until("the leader notices", async || {
        let status = members[&leader].status();
        match status.troubles.get(&lost) {
            Some(trouble) if trouble.contains("disk") => Ok(trouble.clone()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let trouble = trouble.replace(&format!("member {lost}"), "member N");
    insta::assert_snapshot!(trouble, @"member N came back with another disk, so what it had promised is lost and it is not let in: stop it, and put its own data folder back");
    assert_eq!(put(&members[&leader], "a=2").await.response, b"1");
    assert_eq!(get(&back, "a"), None);
    kill(back).await;
    kill_all(members.into_values()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_lost_its_log_alone_does_not_start() {
    let fleet = Fleet::new(3);
    let mut config = fleet.config(1);
    config.peers.retain(|id, _| *id == 1);
    single(&fleet).await.shutdown().await;
    std::fs::remove_dir_all(fleet.data_dir(1).join("wal")).unwrap();
    let refused = refused_start(&fleet, config.clone()).await;
    insta::assert_snapshot!(refused, @"the database DIR/data-1/wal is damaged: it holds no vote, but the state beside it is applied up to entry 2: the log was lost");
    // Also when there is a new one.
    assert_eq!(refused_start(&fleet, config).await, refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_lost_its_state_alone_does_not_start() {
    let mut fleet = Fleet::new(1);
    fleet.timings.keep_entries = 1;
    let member = fleet.start(1).await;
    for number in 0..5 {
        put(&member, &format!("a={number}")).await;
    }
    member.take_snapshot().await.unwrap();
    let purged = until("the log is purged", async || match member.status().purged {
        0 => Err(format!("{:?}", member.status())),
        purged => Ok(purged),
    })
    .await;
    member.shutdown().await;
    std::fs::remove_dir_all(fleet.data_dir(1).join("state")).unwrap();
    let refused = refused_start(&fleet, fleet.config(1)).await;
    assert_eq!(
        refused,
        format!(
            "the database DIR/data-1/state is damaged: it is empty, but the log beside it begins behind entry {purged}: the state was lost"
        )
    );
}

/// A disk whose folder cannot be synced.
struct Unsynced(Arc<dyn regraft_wal::Disk>);

impl regraft_wal::Disk for Unsynced {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn regraft_wal::DiskFile>> {
        self.0.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn regraft_wal::DiskFile>> {
        self.0.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.0.delete(name)
    }

    fn sync_folder(&self) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(5))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_that_cannot_be_opened_is_told_apart_from_one_in_use() {
    let fleet = Fleet::new(1);
    let member = single(&fleet).await;
    let mut config = fleet.config(1);
    // Its port is not to be the reason.
    config.raft_listen.set_port(0);
    let in_use = refused_start(&fleet, config.clone()).await;
    assert!(
        in_use.starts_with(
            "the database DIR/data-1/state/db-1 is in use: IO error: lock hold by current process"
        ),
        "{in_use}"
    );
    member.shutdown().await;

    let mut unsynced = config.clone();
    unsynced.log_disk = Some(Arc::new(|disk| Arc::new(Unsynced(disk))));
    insta::assert_snapshot!(refused_start(&fleet, unsynced).await, @"cannot open the database DIR/data-1/wal: the log's folder cannot be tidied up and synced: Input/output error (os error 5)");

    let wal = fleet.data_dir(1).join("wal");
    let locked = std::fs::File::open(wal.join("lock")).unwrap();
    locked.lock().unwrap();
    insta::assert_snapshot!(refused_start(&fleet, config.clone()).await, @"the database DIR/data-1/wal is in use: the log's folder DIR/data-1/wal is in use by another process: stop that one first");
    drop(locked);

    std::fs::rename(&wal, fleet.data_dir(1).join("kept")).unwrap();
    std::fs::write(&wal, "no folder").unwrap();
    insta::assert_snapshot!(refused_start(&fleet, config).await, @"cannot open the database DIR/data-1/wal: the log's folder DIR/data-1/wal cannot be used: Not a directory (os error 20)");
}

async fn refused_start(fleet: &Fleet, config: Config) -> String {
    let error = Replica::start(config).await.map(|_| ()).unwrap_err();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text.replace(&*fleet.dir.path().to_string_lossy(), "DIR")
        .replace(&fleet.addresses[&1].to_string(), "ADDRESS")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_with_the_wrong_folder_certificate_or_peers_does_not_start() {
    let fleet = Fleet::new(3);
    let member = single(&fleet).await;

    let mut config = fleet.config(2);
    config.data_dir = fleet.data_dir(1);
    insta::assert_snapshot!(refused_start(&fleet, config).await, @"the data folder DIR/data-1 belongs to member 1 of cluster shop, but this member is member 2 of cluster shop: give every member its own folder, or use the configuration the folder was made with");

    let mut config = fleet.config(2);
    config.tls = Some(fleet.tls(3));
    insta::assert_snapshot!(refused_start(&fleet, config).await, @"the certificate DIR/certs/member-3.pem is of member 3 of cluster shop, but this member is member 2 of cluster shop");

    let mut config = fleet.config(2);
    config.cluster_id = "bank".to_owned();
    insta::assert_snapshot!(refused_start(&fleet, config).await, @"the certificate DIR/certs/member-2.pem is of member 2 of cluster shop, but this member is member 2 of cluster bank");

    let mut config = fleet.config(2);
    config.tls = None;
    insta::assert_snapshot!(refused_start(&fleet, config).await, @"the member's configuration cannot be used: 3 members need certificates to know each other: make them with `regraft certs` and set tls");

    let mut config = fleet.config(2);
    config.peers.remove(&2);
    insta::assert_snapshot!(refused_start(&fleet, config).await, @"the member's configuration cannot be used: member 2 is not among its own peers");

    let mut config = fleet.config(2);
    config.tls = None;
    config.peers.retain(|id, _| *id == 2);
    config.raft_listen = "0.0.0.0:0".parse().unwrap();
    insta::assert_snapshot!(refused_start(&fleet, config).await, @"the member's configuration cannot be used: without certificates the Raft listener must be on loopback, not on 0.0.0.0:0");

    let mut config = fleet.config(2);
    config.peers.insert(
        0,
        PeerAddress {
            address: "x:1".to_owned(),
            name: "x".to_owned(),
        },
    );
    insta::assert_snapshot!(refused_start(&fleet, config).await, @"member id 0 is not usable: member ids start at 1 and are never used twice");

    let mut config = fleet.config(2);
    config.timings.heartbeat_ms = 700;
    let text = refused_start(&fleet, config).await;
    assert!(
        text.starts_with(
            "the member's configuration cannot be used: its timings do not fit each other"
        ),
        "{text}"
    );

    let mut config = fleet.config(2);
    config.raft_listen = fleet.addresses[&1];
    insta::assert_snapshot!(refused_start(&fleet, config).await, @"cannot listen on ADDRESS for other members: Address already in use (os error 98)");

    let mut config = fleet.config(2);
    let tls = config.tls.as_mut().unwrap();
    tls.key = fleet.dir.path().join("nowhere.pem");
    insta::assert_snapshot!(refused_start(&fleet, config).await, @"cannot read DIR/nowhere.pem: No such file or directory (os error 2)");

    let mut config = fleet.config(2);
    let tls = config.tls.as_mut().unwrap();
    tls.key = tls.ca.clone();
    let text = refused_start(&fleet, config).await;
    assert!(
        text.starts_with("DIR/certs/ca.pem cannot be used: it holds no readable private key"),
        "{text}"
    );
    kill(member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_read_again_without_a_restart() {
    let fleet = Fleet::new(3);
    let members = fleet.start_all().await;
    let leader = leader_of(&members).await;
    let before = certificate(&fleet.tls(leader).cert);
    let after = certificate(&fleet.tls(leader).cert);
    assert_ne!(before, after);
    members[&leader].reload_certificates().unwrap();
    // A certificate of somebody else is not taken.
    let other = fleet.tls(leader % 3 + 1);
    let own = fleet.tls(leader);
    std::fs::copy(&other.cert, &own.cert).unwrap();
    std::fs::copy(&other.key, &own.key).unwrap();
    let error = members[&leader].reload_certificates().unwrap_err();
    assert!(error.to_string().contains("but this member is"), "{error}");
    // Nor is one that ran out.
    let made_ms = now_ms() - 900 * DAY_MS;
    let old = fleet
        .authority
        .member(leader, &[], made_ms, Overwrite::Force);
    assert_eq!(old.unwrap().cert, own.cert);
    let error = members[&leader].reload_certificates().unwrap_err();
    assert!(error.to_string().contains("it ran out"), "{error}");
    put(&members[&leader], "a=1").await;
    kill_all(members.into_values()).await;
}

fn certificate(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
