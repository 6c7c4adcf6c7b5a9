//! What one cluster's member shares of its baselines starts a watch beside another member.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![expect(
    dead_code,
    reason = "the other tests use more of what they have in common"
)]

mod support;

use prost::Message as _;
use regraft_detect::metrics::{Learning, Settings, Summary, Watch};
use regraft_engine::baselines::{peers, share};
use regraft_model::id::{Fence, MemberId, TargetKey};
use regraft_model::time::Timestamp;
use regraft_replica::{Proposed, Replica, StateMachine};
use regraft_state::command::{COMMAND_FORMAT, Command, Envelope, Response};
use regraft_state::view::{self, View};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use support::{Fleet, applied, kill_all, leader_of, until};

const STEP_MS: i64 = 300_000;
const DAY: i64 = 288;
/// The leader's time: a Saturday, 06:00 UTC.
const NOW: Timestamp = Timestamp(1_700_287_200_000);

/// A watch of requests with a wave of a day, that saw the steps before now.
fn watched(steps: i64, peers: &[Summary]) -> Watch {
    let mut watch = Watch::new(Settings::default(), vec!["requests".to_owned()]).unwrap();
    for step in -steps..0 {
        let at = Timestamp(NOW.0 + step * STEP_MS);
        let of_day = at.0.rem_euclid(DAY * STEP_MS) as f64 / (DAY * STEP_MS) as f64;
        let wave = 100.0 + 60.0 * (of_day * std::f64::consts::TAU).sin();
        let noise = step.wrapping_mul(7919).rem_euclid(13) as f64 - 6.0;
        watch.observe(at, &[wave + noise], Learning::On);
        if watch.wants_peers() {
            watch.start_from(peers);
        }
    }
    watch
}

fn envelope(client: &str, sequence: u64, command: &Command) -> Vec<u8> {
    let envelope = Envelope {
        client: client.to_owned(),
        sequence,
        actor: "member/1".to_owned(),
        format: COMMAND_FORMAT,
        command: serde_json::to_vec(command).unwrap(),
        operation: None,
    };
    envelope.encode_to_vec()
}

/// Proposes until it is taken; the session sees to it that it is applied once.
async fn propose(member: &Replica, client: &str, sequence: u64, command: &Command) -> Proposed {
    let proposed = until("proposed", async || {
        let bytes = envelope(client, sequence, command);
        member.propose(bytes).await.map_err(|it| it.to_string())
    })
    .await;
    let response: Response = serde_json::from_slice(&proposed.response).unwrap();
    assert_eq!(response, Response::Done);
    proposed
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shared_through_one_follower_starts_a_watch_beside_the_other() {
    let fleet = Fleet::new(3);
    fleet.clock_ms.store(NOW.0, Ordering::Relaxed);
    let mut members = BTreeMap::new();
    for id in fleet.addresses.keys() {
        let mut config = fleet.config(*id);
        config.machine = Arc::new(StateMachine);
        members.insert(*id, Replica::start(config).await.unwrap());
    }
    let leader = leader_of(&members).await;
    let followers: Vec<_> = members.keys().filter(|id| **id != leader).collect();
    let (teller, reader) = (&members[followers[0]], &members[followers[1]]);

    let target = TargetKey {
        application: "shop".into(),
        cluster: "eu".into(),
    };
    let assign = Command::Assign {
        after: Fence(0),
        grants: vec![(target.clone(), MemberId(*followers[0]))],
        revoked: vec![],
    };
    let assigned = propose(teller, "teller", 1, &assign).await;
    applied(teller, assigned.index).await;
    let view = teller.read(|read| View::read(read)).unwrap().unwrap();

    let watch = watched(14 * DAY, &[]);
    let mut index = 0;
    for (at, command) in share(&view.assignments[&target], "cart", &watch)
        .iter()
        .enumerate()
    {
        index = propose(teller, "teller", at as u64 + 2, command)
            .await
            .index;
    }
    applied(reader, index).await;
    let known = reader
        .read(|read| view::baselines(read, &"shop".into(), "cart"))
        .unwrap()
        .unwrap();
    let (peers, unusable) = peers(&known.known, &"us".into());
    assert_eq!(unusable, []);
    assert_eq!(peers, [watch.summary()]);
    // Two hours are too few for one that has no peers.
    assert_eq!(watched(25, &[]).band(0, NOW), None);
    let band = watched(25, &peers).band(0, NOW).unwrap();
    let known = watch.band(0, NOW).unwrap();
    assert!(
        (band.middle - known.middle).abs() < 30.0,
        "{band:?} {known:?}"
    );
    kill_all(members.into_values()).await;
}
