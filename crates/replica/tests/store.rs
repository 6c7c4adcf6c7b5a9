//! Programs at three members: records, sessions, locks, watches, over gRPC and mutual TLS.

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

use programs::{Door, client_paths};
use regraft_replica::certs::ClientRole;
use regraft_replica::{Replica, StateMachine, StoreLimits, Tls, TlsPaths};
use regraft_wire::store::v1::change::Change;
use regraft_wire::store::v1::change_response::Outcome;
use regraft_wire::store::v1::store_client::StoreClient;
use regraft_wire::store::v1::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use support::{Fleet, kill, kill_all, leader_of, until};
use tonic::Code;
use tonic::transport::Channel;

/// More than a member has open for watches, over so many connections.
const WATCHING_CONNECTIONS: usize = 6;
const WATCHES_EACH: usize = 200;

/// Many, beside the few entries that members write by themselves.
const SIGNS: u64 = 200;

/// Three members that serve programs.
struct Served {
    fleet: Fleet,
    members: BTreeMap<u64, Replica>,
    doors: BTreeMap<u64, Door>,
    tls: Arc<Tls>,
}

/// A program with a session, at one member.
struct Program {
    client: StoreClient<Channel>,
    session: u64,
    sequence: u64,
}

impl Served {
    async fn start() -> Self {
        let fleet = Fleet::new(3);
        let paths = client_paths(&fleet.authority, "tester", ClientRole::Operator);
        let tls = Tls::load(paths);
        let mut served = Self {
            fleet,
            members: BTreeMap::new(),
            doors: BTreeMap::new(),
            tls: Arc::new(tls.unwrap()),
        };
        for id in 1..=3 {
            served.start_member(id).await;
        }
        leader_of(&served.members).await;
        let mut client = served.connect(1).await;
        until("every member is known to know sessions", async || {
            let opened = client.open_session(OpenSessionRequest { ttl_ms: 1_000 });
            opened.await.map_err(|status| status.to_string())
        })
        .await;
        served
    }

    async fn start_member(&mut self, id: u64) {
        let mut config = self.fleet.config(id);
        config.machine = Arc::new(StateMachine);
        let member = Replica::start(config).await.unwrap();
        let door = Door::open(&member, None, StoreLimits::default()).await;
        self.doors.insert(id, door);
        self.members.insert(id, member);
    }

    async fn connect(&self, id: u64) -> StoreClient<Channel> {
        self.connect_as(Arc::clone(&self.tls), id).await
    }

    async fn connect_as(&self, tls: Arc<Tls>, id: u64) -> StoreClient<Channel> {
        let address = self.doors[&id].address.to_string();
        StoreClient::new(programs::connect(tls, id, address).await.unwrap())
    }

    async fn program(&self, id: u64, ttl_ms: u64) -> Program {
        let mut client = self.connect(id).await;
        let opened = client.open_session(OpenSessionRequest { ttl_ms }).await;
        Program {
            client,
            session: opened.unwrap().into_inner().session,
            sequence: 0,
        }
    }

    async fn end(self) {
        for door in self.doors.values() {
            door.stop.cancel();
        }
        kill_all(self.members.into_values()).await;
    }
}

impl Program {
    fn next(&mut self) -> Option<RequestId> {
        self.sequence += 1;
        self.same()
    }

    fn same(&self) -> Option<RequestId> {
        Some(RequestId {
            session: self.session,
            slot: 0,
            sequence: self.sequence,
        })
    }

    async fn put(&mut self, key: &'static str, value: &'static str) -> u64 {
        let request = PutRequest {
            id: self.next(),
            key: key.into(),
            value: value.into(),
            expected: None,
        };
        match changed(self.client.put(request).await) {
            Outcome::Written(written) => written.revision,
            other => panic!("{other:?}"),
        }
    }

    async fn get(&mut self, key: &str) -> Option<Record> {
        let request = GetRequest {
            key: key.into(),
            consistency: Consistency::Linearizable.into(),
        };
        self.client.get(request).await.unwrap().into_inner().record
    }

    async fn acquire(&mut self, scope: &str, queue: bool) -> Outcome {
        let request = AcquireRequest {
            id: self.next(),
            scope: scope.to_owned(),
            queue,
            ..AcquireRequest::default()
        };
        changed(self.client.acquire(request).await)
    }

    async fn release(&mut self, scope: &str) -> Outcome {
        let request = ReleaseRequest {
            id: self.next(),
            scope: scope.to_owned(),
        };
        changed(self.client.release(request).await)
    }

    async fn wait(&mut self, scope: &str) -> Outcome {
        let request = WaitRequest {
            session: self.session,
            scope: scope.to_owned(),
        };
        changed(self.client.wait(request).await)
    }
}

fn changed(response: Result<tonic::Response<ChangeResponse>, tonic::Status>) -> Outcome {
    response.unwrap().into_inner().outcome.unwrap()
}

fn fence(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Granted(granted) => granted.fence,
        other => panic!("not granted: {other:?}"),
    }
}

fn refusal(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Refused(refused) => &refused.reason,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_written_at_one_member_are_read_at_every_other() {
    let served = Served::start().await;
    let leader = leader_of(&served.members).await;
    let follower = served.members.keys().copied().find(|id| *id != leader);
    let mut writer = served.program(follower.unwrap(), 60_000).await;
    let first = writer.put("a/1", "one").await;
    let second = writer.put("a/1", "two").await;
    writer.put("a/2", "x").await;
    writer.put("b/1", "y").await;
    for id in 1..=3 {
        let mut reader = served.program(id, 60_000).await;
        let record = reader.get("a/1").await.unwrap();
        assert_eq!(
            (
                &record.value[..],
                record.revision,
                record.created,
                record.version
            ),
            (b"two".as_slice(), second, first, 2)
        );
        assert_eq!(reader.get("a/3").await, None);
        let request = ListRequest {
            prefix: b"a/".to_vec(),
            limit: 1,
            ..ListRequest::default()
        };
        let page = reader
            .client
            .list(request.clone())
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (&page.records[0].key[..], page.more),
            (b"a/1".as_slice(), true)
        );
        let request = ListRequest {
            after: page.records[0].key.clone(),
            ..request
        };
        let page = reader.client.list(request).await.unwrap().into_inner();
        assert_eq!(
            (&page.records[0].key[..], page.more),
            (b"a/2".as_slice(), false)
        );
    }
    let stale = PutRequest {
        id: writer.next(),
        key: "a/1".into(),
        value: "three".into(),
        expected: Some(first),
    };
    let outcome = changed(writer.client.put(stale).await);
    assert_eq!(refusal(&outcome), "RevisionChanged");
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_sent_again_through_another_member_is_applied_once() {
    let served = Served::start().await;
    let mut one = served.program(1, 60_000).await;
    let request = PutRequest {
        id: one.next(),
        key: "k".into(),
        value: "v".into(),
        expected: None,
    };
    let first = changed(one.client.put(request.clone()).await);
    let again = changed(served.connect(2).await.put(request.clone()).await);
    assert_eq!(first, again);
    assert_eq!(one.get("k").await.unwrap().version, 1);
    let skipped = PutRequest {
        id: Some(RequestId {
            sequence: 3,
            ..one.same().unwrap()
        }),
        ..request
    };
    let outcome = changed(one.client.put(skipped).await);
    assert_eq!(refusal(&outcome), "OutOfOrder");
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_where_it_was_cut_off_or_says_that_it_cannot() {
    let mut served = Served::start().await;
    let mut program = served.program(1, 60_000).await;
    let first = program.put("w/1", "a").await;
    program.put("other", "b").await;
    let third = program.put("w/2", "c").await;
    let request = WatchRequest {
        prefix: b"w/".to_vec(),
        after: first,
    };
    let mut watch = served.connect(3).await.watch(request.clone()).await;
    let told = watch.as_mut().unwrap().get_mut().message().await;
    let told = told.unwrap().unwrap();
    let Some(Change::Put(record)) = &told.changes[0].change else {
        panic!("{told:?}");
    };
    assert_eq!((told.revision, &record.key[..]), (third, b"w/2".as_slice()));
    let delete = DeleteRequest {
        id: program.next(),
        key: b"w/1".to_vec(),
        expected: None,
    };
    program.client.delete(delete).await.unwrap();
    let told = watch.as_mut().unwrap().get_mut().message().await;
    let told = told.unwrap().unwrap();
    let deleted = told.changes[0].change.clone();
    assert_eq!(deleted, Some(Change::Deleted(b"w/1".to_vec())));

    // A member that has just started does not know what changed before.
    let before = served.members.remove(&2).unwrap();
    before.barrier().await.unwrap();
    before.take_snapshot().await.unwrap();
    until("a snapshot", async || match before.status() {
        status if status.snapshot >= third => Ok(()),
        status => Err(format!("{status:?}")),
    })
    .await;
    served.doors[&2].stop.cancel();
    kill(before).await;
    served.start_member(2).await;
    let mut back = served.connect(2).await;
    let code = until("it is told that the revision is compacted", async || {
        let watch = back.watch(request.clone()).await;
        let mut watch = watch.map_err(|status| status.to_string())?.into_inner();
        let told = tokio::time::timeout(Duration::from_millis(200), watch.message()).await;
        match told {
            Ok(Err(status)) => Ok(status.code()),
            other => Err(format!("{other:?}")),
        }
    });
    assert_eq!(code.await, Code::OutOfRange);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_exclude_what_overlaps_and_who_waits_gets_them_in_turn() {
    let served = Served::start().await;
    let mut holder = served.program(1, 60_000).await;
    let mut other = served.program(2, 60_000).await;
    let mut third = served.program(3, 60_000).await;
    let first = fence(&holder.acquire("cluster/eu-1", false).await);
    let outcome = other.acquire("namespace/eu-1/shop", false).await;
    assert_eq!(refusal(&outcome), "Busy");
    assert!(fence(&other.acquire("cluster/us-1", false).await) > first);
    assert!(matches!(
        other.acquire("fleet", true).await,
        Outcome::Refused(_)
    ));
    let queued = third.acquire("namespace/eu-1/shop", true).await;
    assert!(matches!(queued, Outcome::Queued(_)), "{queued:?}");
    let (granted, released) = tokio::join!(
        third.wait("namespace/eu-1/shop"),
        holder.release("cluster/eu-1")
    );
    assert!(matches!(released, Outcome::Done(_)));
    assert!(fence(&granted) > first);
    assert_eq!(refusal(&third.wait("cluster/no").await), "NotHeld");
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_session_ends_and_one_that_gives_signs_of_life_does_not() {
    let served = Served::start().await;
    let leader = leader_of(&served.members).await;
    let mut silent = served.program(leader, 1_000).await;
    let mut alive = served.program(leader, 1_000).await;
    let held = fence(&silent.acquire("named/a", false).await);
    fence(&alive.acquire("named/b", false).await);
    let mut next = served.program(leader, 60_000).await;
    assert!(matches!(
        next.acquire("named/a", true).await,
        Outcome::Queued(_)
    ));
    let session = alive.session;
    let signs = async {
        let mut every = tokio::time::interval(Duration::from_millis(100));
        loop {
            every.tick().await;
            match alive.client.keep_alive(KeepAliveRequest { session }).await {
                Ok(kept) => assert_eq!(kept.into_inner().ttl_ms, 1_000),
                // It has just begun to lead.
                Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
            }
        }
    };
    let granted = tokio::select! {
        () = signs => unreachable!("signs never end"),
        granted = next.wait("named/a") => granted,
    };
    assert!(fence(&granted) > held);
    assert_eq!(refusal(&next.acquire("named/b", false).await), "Busy");
    let request = KeepAliveRequest {
        session: silent.session,
    };
    let kept = silent.client.keep_alive(request).await;
    assert_eq!(kept.unwrap().into_inner().ttl_ms, 0);
    assert_eq!(refusal(&silent.release("named/a").await), "SessionExpired");
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signs_of_life_are_not_in_the_log() {
    let served = Served::start().await;
    let leader = leader_of(&served.members).await;
    let mut alive = served.program(leader, 60_000).await;
    let session = alive.session;
    let sign = KeepAliveRequest { session };
    until("the leader takes signs of life", async || {
        let kept = alive.client.keep_alive(sign).await;
        kept.map(drop).map_err(|status| status.to_string())
    })
    .await;
    let last = served.members[&leader].status().last_log;
    for _ in 0..SIGNS {
        let kept = alive.client.keep_alive(sign).await;
        assert_eq!(kept.unwrap().into_inner().ttl_ms, 60_000);
    }
    // Another session may have ended meanwhile.
    let written = served.members[&leader].status().last_log - last;
    assert!(written < SIGNS / 10, "{written}");
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_leader_takes_signs_of_life_and_it_is_named() {
    let served = Served::start().await;
    let leader = leader_of(&served.members).await;
    let follower = served.members.keys().copied().find(|id| *id != leader);
    let mut program = served.program(follower.unwrap(), 60_000).await;
    let session = program.session;
    let told = program
        .client
        .keep_alive(KeepAliveRequest { session })
        .await;
    let status = told.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let named = status.metadata().get("leader").unwrap().to_str().unwrap();
    assert_eq!(named, leader.to_string());
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_ends_the_session_of_somebody_else_and_members_are_no_programs() {
    let served = Served::start().await;
    let mut program = served.program(1, 60_000).await;
    let session = program.session;
    let close = CloseSessionRequest { session };
    let refused = async |paths: TlsPaths| {
        let tls = Arc::new(Tls::load(paths).unwrap());
        let mut client = served.connect_as(tls, 1).await;
        let status = client.close_session(close).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
        status.message().to_owned()
    };
    let authority = &served.fleet.authority;
    let told = refused(client_paths(authority, "other", ClientRole::Operator)).await;
    assert_eq!(told, format!("session {session} is of user/tester"));
    let told = refused(served.fleet.tls(2)).await;
    assert!(told.starts_with("a member's certificate"), "{told}");
    let closed = changed(program.client.close_session(close).await);
    assert!(matches!(closed, Outcome::Done(_)), "{closed:?}");
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_looks_and_changes_nothing() {
    let served = Served::start().await;
    let mut program = served.program(1, 60_000).await;
    program.put("a", "1").await;
    fence(&program.acquire("named/a", false).await);
    let paths = client_paths(&served.fleet.authority, "looks", ClientRole::Viewer);
    let mut viewer = served
        .connect_as(Arc::new(Tls::load(paths).unwrap()), 1)
        .await;
    let (session, id) = (program.session, program.next());
    let open = viewer.open_session(OpenSessionRequest { ttl_ms: 60_000 });
    let refused = [
        open.await.map(drop),
        viewer
            .keep_alive(KeepAliveRequest { session })
            .await
            .map(drop),
        viewer
            .close_session(CloseSessionRequest { session })
            .await
            .map(drop),
        viewer
            .put(PutRequest {
                id,
                key: "a".into(),
                value: "2".into(),
                expected: None,
            })
            .await
            .map(drop),
        viewer
            .delete(DeleteRequest {
                id,
                key: b"a".to_vec(),
                expected: None,
            })
            .await
            .map(drop),
        viewer
            .acquire(AcquireRequest {
                id,
                scope: "named/b".to_owned(),
                ..AcquireRequest::default()
            })
            .await
            .map(drop),
        viewer
            .release(ReleaseRequest {
                id,
                scope: "named/a".to_owned(),
            })
            .await
            .map(drop),
        viewer
            .wait(WaitRequest {
                session,
                scope: "named/a".to_owned(),
            })
            .await
            .map(drop),
    ];
    for (at, refused) in refused.into_iter().enumerate() {
        let status = refused.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{at}: {status}");
        assert!(status.message().contains("operator"), "{at}: {status}");
    }
    let get = GetRequest {
        key: "a".into(),
        consistency: Consistency::Linearizable.into(),
    };
    let read = viewer.get(get).await.unwrap().into_inner().record;
    assert_eq!(&read.unwrap().value[..], b"1");
    let listed = viewer.list(ListRequest::default()).await.unwrap();
    assert_eq!(listed.into_inner().records.len(), 1);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_are_bounded_and_the_bound_is_told() {
    let served = Served::start().await;
    let leader = leader_of(&served.members).await;
    let mut open = Vec::new();
    let refused = 'open: {
        for _ in 0..WATCHING_CONNECTIONS {
            let mut client = served.connect(leader).await;
            for _ in 0..WATCHES_EACH {
                match client.watch(WatchRequest::default()).await {
                    Ok(watch) => open.push(watch),
                    Err(status) => break 'open status,
                }
            }
        }
        panic!("{} watches are open", open.len())
    };
    assert_eq!(open.len(), 1_024);
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(refused.message(), "1024 watches are open");
    drop(open);
    served.end().await;
}
