//! Members that come, go and are upgraded while the others run.

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
use regraft_replica::{Error, Machine, MemberChange, MembersError, Replica, StateMachine};
use regraft_state::command::{COMMAND_FORMAT, Envelope, FORMAT};
use regraft_state::operation::{NoteMembers, Operation, Request};
use regraft_state::record::AuditEntry;
use regraft_state::store::Read;
use regraft_state::table::prefix;
use regraft_state::{Applied, Halt};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use support::{Fleet, applied, kill, kill_all, leader_of, until};

const WHO: &str = "user/alice";
/// What members of the version before format 2 were asked: lines `entry TIME CLIENT SEQUENCE ACTOR COMMAND`, and others.
const STORED: &str = include_str!("../../state/tests/machine/format-1.txt");

/// So many of the answers are kept, in whichever format they were asked for.
const ANSWERS_KEPT: usize = 40;

/// A member as it was before sessions.
struct Old;

impl Machine for Old {
    fn apply(&self, read: &dyn Read, index: u64, command: &[u8]) -> Result<Applied, Halt> {
        regraft_state::apply(read, index, command)
    }

    fn format(&self) -> u32 {
        COMMAND_FORMAT
    }
}

async fn start(fleet: &Fleet, id: u64, machine: Arc<dyn Machine>) -> Replica {
    let mut config = fleet.config(id);
    config.machine = machine;
    Replica::start(config).await.unwrap()
}

/// Members 1 to 3 run; member 4 has an address only.
async fn three_of_four() -> (Fleet, BTreeMap<u64, Replica>) {
    let mut fleet = Fleet::new(4);
    let fourth = fleet.addresses.remove(&4).unwrap();
    let mut members = BTreeMap::new();
    for id in 1..=3 {
        members.insert(id, start(&fleet, id, Arc::new(StateMachine)).await);
    }
    leader_of(&members).await;
    fleet.addresses.insert(4, fourth);
    (fleet, members)
}

/// Asks until it is done; gives what it was refused as.
async fn change(member: &Replica, change: MemberChange) -> Result<(), String> {
    until("the members are changed", async || {
        match member.change_members(WHO, change.clone()).await {
            Ok(()) => Ok(Ok(())),
            Err(MembersError::Refused { reason, .. }) => Ok(Err(reason)),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
}

fn add(fleet: &Fleet, id: u64) -> MemberChange {
    MemberChange::Add {
        id,
        address: fleet.addresses[&id].to_string(),
    }
}

fn raised(member: &Replica) -> u32 {
    let read = member.read(|read| regraft_state::format::of(read));
    read.flatten().unwrap()
}

/// Waits until the leader may propose what is newest.
async fn is_raised(leader: &Replica) {
    until("the format is raised", async || {
        let checked = leader.check_format(FORMAT);
        checked.map_err(|error| error.to_string())
    })
    .await;
}

/// Waits until every member has applied that the format is raised.
async fn are_raised(members: &BTreeMap<u64, Replica>) {
    until("the format is raised everywhere", async || {
        let formats: Vec<u32> = members.values().map(raised).collect();
        match formats.iter().all(|format| *format == FORMAT) {
            true => Ok(()),
            false => Err(format!("{formats:?}")),
        }
    })
    .await;
}

/// The audit chain's entries about members, as a member has them.
fn audit(member: &Replica) -> Vec<String> {
    let listing = member.list(prefix::AUDIT.as_bytes()).unwrap();
    let entries = listing.pairs.iter().map(|(_, value)| {
        let entry: AuditEntry = serde_json::from_slice(value).unwrap();
        format!("{} {} {}", entry.actor, entry.reason, entry.subject)
    });
    entries.filter(|entry| entry.contains(" Member")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_member_is_replaced_by_a_new_one_that_has_everything() {
    let (fleet, mut members) = three_of_four().await;
    let leader = leader_of(&members).await;
    is_raised(&members[&leader]).await;
    let lost = *members.keys().find(|id| **id != leader).unwrap();
    kill(members.remove(&lost).unwrap()).await;
    let asked = members.keys().find(|id| **id != leader).copied().unwrap();
    let asked = members[&asked].clone();
    // Nobody is there yet.
    let refused = change(&asked, add(&fleet, 4)).await.unwrap_err();
    assert!(refused.starts_with("member 4 at 127.0.0.1:"), "{refused}");
    assert_eq!(asked.status().members.len(), 3);

    let fourth = start(&fleet, 4, Arc::new(StateMachine)).await;
    change(&asked, add(&fleet, 4)).await.unwrap();
    change(&asked, add(&fleet, 4)).await.unwrap();
    let promote = MemberChange::Promote {
        id: 4,
        replaces: Some(lost),
    };
    change(&asked, promote.clone()).await.unwrap();
    change(&asked, promote).await.unwrap();
    members.insert(4, fourth);
    leader_of(&members).await;
    until("all know who votes", async || {
        let voters: Vec<_> = members.values().map(|it| it.status().voters).collect();
        let expected = members.keys().copied().collect();
        match voters.iter().all(|it| *it == expected) {
            true => Ok(()),
            false => Err(format!("{voters:?}")),
        }
    })
    .await;
    let noted = audit(&members[&4]);
    assert_eq!(
        noted,
        [
            format!("{WHO} MemberAdded member/4"),
            format!("{WHO} MemberVotes member/4")
        ]
    );

    // The lost one comes back, and is no member any more.
    let back = start(&fleet, lost, Arc::new(StateMachine)).await;
    until("it is told that it was removed", async || {
        match back
            .status()
            .troubles
            .values()
            .find(|it| it.contains("was removed"))
        {
            Some(_) => Ok(()),
            None => {
                let proposed = back.propose(note()).await;
                Err(format!("{proposed:?} {:?}", back.status()))
            }
        }
    })
    .await;
    assert_eq!(
        leader_of(&members).await,
        members[&4].status().leader.unwrap()
    );
    kill(back).await;
    kill_all(members.into_values().chain([asked])).await;
}

/// A command that any member of this version applies.
fn note() -> Vec<u8> {
    let operation = Operation {
        request: Some(Request::NoteMembers(NoteMembers {
            member: 9,
            reason: "Tried".to_owned(),
            message: String::new(),
        })),
        ..Operation::default()
    };
    Envelope::of_operation(WHO, operation).encode_to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_would_do_damage_are_refused_with_the_reason() {
    let (fleet, mut members) = three_of_four().await;
    let leader = leader_of(&members).await;
    let asked = members[&leader].clone();
    let refused = async |change: MemberChange| {
        let refused = self::change(&asked, change).await.unwrap_err();
        let ports = fleet.addresses.iter();
        ports.fold(refused, |text, (id, address)| {
            text.replace(&address.to_string(), &format!("ADDRESS-{id}"))
        })
    };
    let second = members.keys().copied().find(|id| *id != leader).unwrap();
    let third = 6 - leader - second;

    assert_eq!(
        refused(MemberChange::Remove { id: leader }).await,
        format!("member {leader} leads")
    );
    let moved = MemberChange::Add {
        id: second,
        address: fleet.addresses[&4].to_string(),
    };
    assert_eq!(
        refused(moved).await,
        format!("member {second} is a member already, at ADDRESS-{second}")
    );
    let shared = MemberChange::Add {
        id: 4,
        address: fleet.addresses[&third].to_string(),
    };
    assert_eq!(
        refused(shared).await,
        format!("ADDRESS-{third} is the address of member {third}")
    );
    let promote = MemberChange::Promote {
        id: 4,
        replaces: None,
    };
    assert_eq!(refused(promote).await, "there is no member 4");

    // One that formed a cluster of its own would bring its terms and its log.
    let mut alone = fleet.config(4);
    alone.peers.retain(|id, _| *id == 4);
    alone.machine = Arc::new(StateMachine);
    let fourth = Replica::start(alone).await.unwrap();
    leader_of(&BTreeMap::from([(4, fourth.clone())])).await;
    assert_eq!(
        refused(add(&fleet, 4)).await,
        "member 4 brings a log of its own, in which member 4 votes"
    );
    kill(fourth).await;

    // Two of three are left: without the third no majority of two would be left.
    kill(members.remove(&third).unwrap()).await;
    until("the leader knows that one is silent", async || {
        let silent = asked.status().contact_ms.get(&third).copied().flatten();
        match silent {
            Some(ms) if ms > 2_500 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(
        refused(MemberChange::Remove { id: second }).await,
        format!(
            "only 1 of the 2 members that would vote answer, which is no majority; nothing is heard of member {third}"
        )
    );
    // What is silent may go.
    change(&asked, MemberChange::Remove { id: third })
        .await
        .unwrap();
    assert_eq!(asked.status().voters.len(), 2);
    // Under its id may only its own disk come again.
    std::fs::remove_dir_all(fleet.data_dir(third)).unwrap();
    let emptied = start(&fleet, third, Arc::new(StateMachine)).await;
    assert_eq!(
        refused(add(&fleet, third)).await,
        format!("a member {third} was here before, with another disk")
    );
    kill_all(members.into_values().chain([asked, emptied])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_a_dead_leader_left_half_done_is_ended_and_in_the_audit() {
    let (fleet, mut members) = three_of_four().await;
    let leader = leader_of(&members).await;
    is_raised(&members[&leader]).await;
    let fourth = start(&fleet, 4, Arc::new(StateMachine)).await;
    change(&members[&leader], add(&fleet, 4)).await.unwrap();

    until("the fourth has answered", async || {
        let behind = members[&leader].status().behind;
        match behind.contains_key(&4) {
            true => Ok(()),
            false => Err(format!("{behind:?}")),
        }
    })
    .await;
    kill(fourth).await;

    // With the fourth two of four are silent: the leader counts on the one that answered lately, and cannot end it.
    let silent = members.keys().copied().find(|id| *id != leader).unwrap();
    kill(members.remove(&silent).unwrap()).await;
    let begins = members.remove(&leader).unwrap();
    let promote = MemberChange::Promote {
        id: 4,
        replaces: None,
    };
    let begun = until("the change has begun", async || {
        let voters = begins.status().voters;
        match voters.contains(&4) {
            true => Ok(()),
            false => Err(format!("{voters:?}")),
        }
    });
    tokio::select! {
        ended = begins.change_members(WHO, promote) => panic!("it ended: {ended:?}"),
        () = begun => {}
    }
    kill(begins).await;

    for id in [leader, silent, 4] {
        members.insert(id, start(&fleet, id, Arc::new(StateMachine)).await);
    }
    let noted = until("it is ended", async || {
        let noted = audit(&members[&4]);
        match noted.last() {
            Some(last) if last.contains("MembersChangeEnded") => Ok(last.clone()),
            _ => Err(format!("{noted:?}")),
        }
    })
    .await;
    let ended = leader_of(&members).await;
    assert_eq!(
        noted,
        format!("member-{ended} MembersChangeEnded member/{ended}")
    );
    assert_eq!(
        members[&4].status().voters,
        members.keys().copied().collect()
    );
    kill_all(members.into_values()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_leader_was_asked_for_is_known_not_to_be_done() {
    let (_fleet, mut members) = three_of_four().await;
    let leader = leader_of(&members).await;
    let last = members.keys().copied().find(|id| *id != leader).unwrap();
    let alone = members.remove(&last).unwrap();
    kill_all(members.into_values()).await;
    // What was on its way over the connections of before may have arrived.
    until("it is told that nothing was changed", async || {
        let asked = alone.change_members(WHO, MemberChange::Remove { id: leader });
        match asked.await {
            Err(MembersError::Unavailable { .. } | MembersError::NotLeader { .. }) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    kill(alone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_goes_where_a_person_wants_it() {
    let (_fleet, members) = three_of_four().await;
    let leader = leader_of(&members).await;
    let next = members.keys().copied().find(|id| *id != leader).unwrap();
    change(&members[&leader], MemberChange::Lead { id: next })
        .await
        .unwrap();
    assert_eq!(leader_of(&members).await, next);
    kill_all(members.into_values()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_newer_is_proposed_before_every_member_reads_it() {
    let fleet = Fleet::new(3);
    let mut members = BTreeMap::new();
    for id in 1..=2 {
        members.insert(id, start(&fleet, id, Arc::new(StateMachine)).await);
    }
    members.insert(3, start(&fleet, 3, Arc::new(Old)).await);
    leader_of(&members).await;
    // Whoever leads has to hear it from member 3: an old leader raises nothing.
    change(&members[&1], MemberChange::Lead { id: 1 })
        .await
        .unwrap();
    until("the leader has heard of all", async || {
        match members[&1].status().contact_ms.len() {
            2 => Ok(()),
            _ => Err(format!("{:?}", members[&1].status())),
        }
    })
    .await;
    let refused = until("the refusal names member 3", async || {
        let Err(error) = members[&1].check_format(FORMAT) else {
            panic!("a newer format may be proposed");
        };
        match error.to_string() {
            text if text.contains("member 3 knows 1") => Ok(text),
            text => Err(text),
        }
    })
    .await;
    assert_eq!(
        refused,
        "not proposed: it needs every member to know format 2: member 3 knows 1; upgrade those that run an older version, and start or remove the silent ones"
    );

    kill(members.remove(&3).unwrap()).await;
    members.insert(3, start(&fleet, 3, Arc::new(StateMachine)).await);
    are_raised(&members).await;
    members[&1].check_format(FORMAT).unwrap();

    // From now on the older version does not run on this state.
    kill(members.remove(&3).unwrap()).await;
    let mut config = fleet.config(3);
    config.machine = Arc::new(Old);
    let refused = Replica::start(config).await.map(drop).unwrap_err();
    assert!(
        matches!(
            refused,
            Error::NewerDisk {
                found: FORMAT,
                known: COMMAND_FORMAT,
                ..
            }
        ),
        "{refused}"
    );
    kill_all(members.into_values()).await;
}

/// The commands of the version before, and when each was stamped.
fn stored() -> Vec<(i64, Vec<u8>)> {
    let entries = STORED
        .lines()
        .filter_map(|line| line.strip_prefix("entry "));
    let read = entries.map(|entry| {
        let [time, client, sequence, actor, command] = entry.splitn(5, ' ').collect::<Vec<_>>()[..]
        else {
            panic!("{entry}")
        };
        let envelope = Envelope {
            client: client.to_owned(),
            sequence: sequence.parse().unwrap(),
            actor: actor.to_owned(),
            format: COMMAND_FORMAT,
            command: command.as_bytes().to_vec(),
            operation: None,
        };
        (time.parse().unwrap(), envelope.encode_to_vec())
    });
    read.collect()
}

/// Has this applied, again until it is; every one of these has a client and a sequence, and is done once.
async fn propose(member: &Replica, command: &[u8]) -> Vec<u8> {
    let proposed = until("it is applied", async || {
        let proposed = member.propose(command.to_vec()).await;
        proposed.map_err(|error| error.to_string())
    })
    .await;
    proposed.response
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trio_of_the_version_before_is_upgraded_one_by_one_with_what_it_has() {
    let mut fleet = Fleet::new(3);
    fleet.machine = Arc::new(Old);
    let mut members = fleet.start_all().await;
    leader_of(&members).await;
    let stored = stored();
    let parts: Vec<_> = stored.chunks(stored.len().div_ceil(4)).collect();
    let mut answers = Vec::new();
    for (number, part) in parts.into_iter().enumerate() {
        // All are of the version before, then one of them is of this, then two, then all.
        if let id @ 1..=3 = number as u64 {
            kill(members.remove(&id).unwrap()).await;
            members.insert(id, start(&fleet, id, Arc::new(StateMachine)).await);
            leader_of(&members).await;
        }
        for (time, command) in part {
            fleet.clock_ms.store(*time, Ordering::Relaxed);
            answers.push(propose(&members[&1], command).await);
        }
    }
    are_raised(&members).await;
    // What was answered before the upgrade is answered so after it, as long as it is kept, and not done again. Format 2 keeps
    // other sequences of a client that left some out.
    let mut kept = 0;
    for ((_, command), answer) in stored.iter().zip(&answers) {
        let again = propose(&members[&2], command).await;
        let again = String::from_utf8(again).unwrap();
        if !again.contains("StaleSequence") {
            assert_eq!(again, String::from_utf8_lossy(answer));
            kept += 1;
        }
    }
    assert!(kept >= ANSWERS_KEPT, "{kept} of {}", stored.len());
    let last = members[&2].propose(note()).await.unwrap().index;
    let mut states = Vec::new();
    for member in members.values() {
        applied(member, last).await;
        states.push(member.list(b"").unwrap().pairs);
    }
    assert!(states[0].len() > 10, "{}", states[0].len());
    assert!(states.windows(2).all(|pair| pair[0] == pair[1]));
    kill_all(members.into_values()).await;
}
