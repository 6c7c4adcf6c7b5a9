//! Members agree, fail over, restart and catch up.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use regraft_replica::{COMMAND_BYTES_MAX, Change, Error, ProposeError, Replica, Role};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{Fleet, LIMIT, applied, get, kill, kill_all, leader_of, put, until};

fn others(members: &BTreeMap<u64, Replica>, leader: u64) -> Vec<u64> {
    members.keys().copied().filter(|id| *id != leader).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_put_on_a_follower_is_applied_everywhere_with_the_leaders_time() {
    let fleet = Fleet::new(3);
    let members = fleet.start_all().await;
    let leader = leader_of(&members).await;
    fleet.clock_ms.store(1_234_567, Ordering::Relaxed);
    for follower in others(&members, leader) {
        let proposed = put(&members[&follower], &format!("from={follower}")).await;
        for member in members.values() {
            applied(member, proposed.index).await;
            assert_eq!(get(member, "from"), Some(follower.to_string()));
            assert_eq!(get(member, "stamped"), Some("1234567".to_owned()));
        }
    }
    let status = members[&leader].status();
    assert_eq!(status.role, Role::Leader);
    assert_eq!(status.voters, [1, 2, 3].into());
    assert_eq!(status.contact_ms.len(), 2);
    assert_eq!(status.troubles, BTreeMap::new());
    kill_all(members.into_values()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_too_large_is_refused_wherever_it_is_put() {
    let fleet = Fleet::new(3);
    let members = fleet.start_all().await;
    leader_of(&members).await;
    for member in members.values() {
        let refused = member.propose(vec![0; COMMAND_BYTES_MAX + 1]).await;
        assert!(
            matches!(refused, Err(ProposeError::TooLarge { .. })),
            "{refused:?}"
        );
    }
    kill_all(members.into_values()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_after_a_barrier_sees_every_earlier_answer_on_every_member() {
    let fleet = Fleet::new(3);
    let members = fleet.start_all().await;
    let leader = leader_of(&members).await;
    for round in 0..20 {
        let proposed = put(&members[&leader], &format!("round={round}")).await;
        for member in members.values() {
            let index = member.barrier().await.unwrap();
            assert!(index >= proposed.index);
            assert_eq!(get(member, "round"), Some(round.to_string()));
        }
    }
    kill_all(members.into_values()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_tell_changes_in_order() {
    let fleet = Fleet::new(3);
    let members = fleet.start_all().await;
    let leader = leader_of(&members).await;
    let follower = &members[&others(&members, leader)[0]];
    let mut changes = follower.changes();
    let mut expected = Vec::new();
    for number in 0..10 {
        expected.push(put(&members[&leader], &format!("n={number}")).await.index);
    }
    let mut seen = Vec::new();
    while seen.len() < expected.len() {
        let next = tokio::time::timeout(LIMIT, changes.next()).await.unwrap();
        match next.unwrap() {
            // What the engine writes for itself, as a new leader does.
            Change::Applied { writes, .. } if writes.is_empty() => {}
            Change::Applied { index, writes } => {
                assert_eq!(writes.len(), 2);
                seen.push(index);
            }
            Change::Reset { .. } => panic!("no snapshot was sent"),
        }
    }
    assert_eq!(seen, expected);
    kill_all(members.into_values()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_all_members_keeps_everything() {
    let fleet = Fleet::new(3);
    let mut members = fleet.start_all().await;
    let leader = leader_of(&members).await;
    let mut last = 0;
    for number in 0..50 {
        last = put(&members[&leader], &format!("key{number:02}={number}"))
            .await
            .index;
    }
    let before = members[&leader].list(b"key").unwrap();
    for (_, member) in std::mem::take(&mut members) {
        member.shutdown().await;
    }
    let members = fleet.start_all().await;
    leader_of(&members).await;
    for member in members.values() {
        applied(member, last).await;
        assert_eq!(member.list(b"key").unwrap().pairs, before.pairs);
        until("recovered", async || {
            let status = member.status();
            if status.recovered {
                Ok(())
            } else {
                Err(format!("{status:?}"))
            }
        })
        .await;
    }
    kill_all(members.into_values()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_member_leads_when_the_leader_dies() {
    let fleet = Fleet::new(3);
    let mut members = fleet.start_all().await;
    let leader = leader_of(&members).await;
    put(&members[&leader], "a=1").await;
    let dead = members.remove(&leader).unwrap();
    let closed = dead.closed();
    drop(dead);
    let survivor = others(&members, leader)[0];
    let failover = tokio::time::timeout(LIMIT, put(&members[&survivor], "a=2"));
    let proposed = failover.await.unwrap();
    assert_eq!(proposed.response, b"1");
    assert_ne!(leader_of(&members).await, leader);
    // The dead one comes back and follows.
    closed.await;
    members.insert(leader, fleet.start(leader).await);
    applied(&members[&leader], proposed.index).await;
    assert_eq!(get(&members[&leader], "a"), Some("2".to_owned()));
    kill_all(members.into_values()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stops_hands_over_first() {
    let fleet = Fleet::new(3);
    let mut members = fleet.start_all().await;
    let leader = leader_of(&members).await;
    put(&members[&leader], "a=1").await;
    let term = members[&leader].status().term;
    members.remove(&leader).unwrap().shutdown().await;
    // Nobody had to wait for an election timeout: one term more, at once.
    let next = leader_of(&members).await;
    assert_eq!(members[&next].status().term, term + 1);
    assert_eq!(put(&members[&next], "a=2").await.response, b"1");
    kill_all(members.into_values()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_accepted_without_a_quorum() {
    let fleet = Fleet::new(3);
    let mut members = fleet.start_all().await;
    let leader = leader_of(&members).await;
    put(&members[&leader], "a=1").await;
    for other in others(&members, leader) {
        kill(members.remove(&other).unwrap()).await;
    }
    let error = members[&leader].propose(b"a=2".to_vec()).await.unwrap_err();
    // It may have noticed by then that nobody follows it.
    let leaves = ProposeError::NotLeader { leader: None };
    assert!(error == ProposeError::Unknown || error == leaves, "{error}");
    assert_eq!(get(&members[&leader], "a"), Some("1".to_owned()));
    members[&leader].barrier().await.unwrap_err();
    kill_all(members.into_values()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_away_for_too_long_gets_a_snapshot() {
    let mut fleet = Fleet::new(3);
    fleet.timings.snapshot_every_entries = 100;
    fleet.timings.keep_entries = 10;
    let mut members = fleet.start_all().await;
    let leader = leader_of(&members).await;
    let away = others(&members, leader)[0];
    members.remove(&away).unwrap().shutdown().await;
    let mut last = 0;
    for number in 0..350 {
        last = put(
            &members[&leader],
            &format!("key{number:03}={}", "v".repeat(3000)),
        )
        .await
        .index;
    }
    until("the log is purged", async || {
        let status = members[&leader].status();
        if status.purged > 200 {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
    let back = fleet.start(away).await;
    let mut changes = back.changes();
    applied(&back, last).await;
    until("the state was replaced", async || {
        match changes.next().await {
            Ok(Change::Reset { index }) if index > 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(
        back.list(b"key").unwrap().pairs,
        members[&leader].list(b"key").unwrap().pairs
    );
    // What it got is on its disk.
    back.shutdown().await;
    let back = fleet.start(away).await;
    applied(&back, last).await;
    assert_eq!(back.list(b"key").unwrap().pairs.len(), 350);
    kill(back).await;
    kill_all(members.into_values()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_member_without_certificates_restarts_alone() {
    let fleet = Fleet::new(1);
    let config = || {
        let mut config = fleet.config(1);
        config.tls = None;
        config
    };
    let member = Replica::start(config()).await.unwrap();
    put(&member, "a=1").await;
    member.shutdown().await;
    let member = Replica::start(config()).await.unwrap();
    assert_eq!(put(&member, "a=2").await.response, b"1");
    member.barrier().await.unwrap();
    assert_eq!(get(&member, "a"), Some("2".to_owned()));
    kill(member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halted_member_says_so_and_does_not_start_again() {
    let fleet = Fleet::new(1);
    let member = fleet.start(1).await;
    put(&member, "a=1").await;
    let halted = |text: String| {
        // The index depends on how often it was elected.
        let (before, after) = text.split_once("log entry ").unwrap();
        let (_, after) = after.split_once(' ').unwrap();
        format!("{before}log entry N {after}")
    };
    // It is in the log: members of another version may apply it.
    let error = member.propose(b"nonsense".to_vec()).await.unwrap_err();
    assert_eq!(error, ProposeError::Unknown);
    let error = member.propose(b"a=2".to_vec()).await.unwrap_err();
    insta::assert_snapshot!(halted(error.to_string()), @"the replicated state is halted: log entry N is not a command this version knows: it has no =");
    let status = member.status();
    assert_eq!(status.role, Role::Stopped);
    insta::assert_snapshot!(halted(status.fatal.unwrap()), @"log entry N is not a command this version knows: it has no =");
    assert_eq!(get(&member, "a"), Some("1".to_owned()));
    member.shutdown().await;
    let error = Replica::start(fleet.config(1))
        .await
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(error, Error::Halted { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_refuses_connections_is_not_asked_without_a_pause() {
    /// Some thousand times what the leader writes meanwhile would be no pause; heartbeats ask, too.
    const TRIES_MAX: usize = 1_000;
    const PUTS: usize = 300;
    let fleet = Fleet::new(3);
    let refusing = tokio::net::TcpListener::bind(fleet.addresses[&3])
        .await
        .unwrap();
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let refuse = tokio::task::JoinSet::from_iter([async move {
        while refusing.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    }]);
    let mut members = BTreeMap::new();
    for node_id in [1, 2] {
        members.insert(node_id, fleet.start(node_id).await);
    }
    let leader = leader_of(&members).await;
    for number in 0..PUTS {
        put(&members[&leader], &format!("a={number}")).await;
    }
    let tried = tries.load(Ordering::Relaxed);
    assert!((1..TRIES_MAX).contains(&tried), "{tried} tries");
    drop(refuse);
    kill_all(members.into_values()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_large_entries_stays_within_its_bytes() {
    let mut fleet = Fleet::new(1);
    fleet.timings.log_bytes_max = 64 << 20;
    let member = fleet.start(1).await;
    let value = "v".repeat(900 << 10);
    let command = format!("key={value}");
    for _ in 0..150 {
        put(&member, &command).await;
    }
    let wal = fleet.data_dir(1).join("wal");
    until("the log is within its bound", async || {
        let files = std::fs::read_dir(&wal).unwrap();
        let bytes: u64 = files.map(|it| it.unwrap().metadata().unwrap().len()).sum();
        // With the segment that is prepared next.
        match bytes <= (64 << 20) + (32 << 20) {
            true => Ok(()),
            false => Err(format!("{bytes} bytes, {:?}", member.status())),
        }
    })
    .await;
    let status = member.status();
    assert!(
        status.purged > 0 && status.snapshot >= status.purged,
        "{status:?}"
    );
    kill(member).await;
}
