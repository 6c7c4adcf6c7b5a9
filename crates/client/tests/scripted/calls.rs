//! One change or read, and all its attempts.

use crate::members::{Asked, Fault, Trio, dial, settings, until};
use regraft_client::{Client, Consistency, Error, Range, Session, Settings, Written};
use regraft_wire::store::v1::PutRequest;
use regraft_wire::store::v1::change_response::Outcome;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::Code;

/// Longer than any test.
const TTL: Duration = Duration::from_secs(60);
/// Long enough for a few attempts, short enough to wait for.
const SHORT: Duration = Duration::from_millis(700);

async fn session(trio: &Trio) -> Session {
    let session = trio.client().open_session(TTL).await.unwrap();
    trio.asked("");
    session
}

fn places(asked: &[Asked]) -> Vec<(u64, u32, u64)> {
    let place = |asked: &Asked| {
        let id = asked.id.unwrap();
        (asked.member, id.slot, id.sequence)
    };
    asked.iter().map(place).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leads_is_found_followed_and_remembered() {
    let trio = Trio::start().await;
    trio.state().strict = true;
    trio.state().leader = 2;
    let session = session(&trio).await;
    session.put("k", "1").await.unwrap();
    assert_eq!(places(&trio.asked("put")), [(2, 0, 1)]);
    // The next member around would be the third: the one that is named is asked instead.
    trio.state().leader = 1;
    session.put("k", "2").await.unwrap();
    assert_eq!(places(&trio.asked("put")), [(2, 0, 2), (1, 0, 2)]);
    session.put("k", "3").await.unwrap();
    assert_eq!(places(&trio.asked("put")), [(1, 0, 3)]);
    assert_eq!(trio.client().leader().await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_answer_is_lost_is_sent_again_as_the_same_and_done_once() {
    let lost = [
        Fault::DoesAndBreaks,
        Fault::DoesSilently,
        Fault::DoesAndAnswers(Code::DeadlineExceeded),
        Fault::DoesAndAnswers(Code::FailedPrecondition),
        Fault::DoesAndAnswers(Code::Internal),
        Fault::Breaks,
        Fault::Silent,
        Fault::Answers(Code::Unavailable),
    ];
    let trio = Trio::start().await;
    let session = session(&trio).await;
    for (at, fault) in lost.into_iter().enumerate() {
        for member in 1..=3 {
            trio.script(member, "put", &[fault]);
        }
        let key = format!("k{at}");
        let written = session.put(key.clone(), "v").await.unwrap();
        let asked = places(&trio.asked("put"));
        assert!(asked.len() > 1, "{fault:?}: {asked:?}");
        let same = (0, at as u64 + 1);
        assert!(
            asked
                .iter()
                .all(|(_, slot, sequence)| (*slot, *sequence) == same),
            "{fault:?}: {asked:?}"
        );
        assert_eq!(trio.value(&key), Some((b"v".to_vec(), 1)), "{fault:?}");
        let revision = trio.state().records[key.as_bytes()].revision;
        assert_eq!(
            written,
            Written {
                revision,
                previous: 0
            }
        );
        trio.state().forget_scripts();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_certainly_not_done_is_told_so_and_uses_no_sequence_up() {
    let trio = Trio::start().await;
    // Longer than the deadline: so no attempt is cut off by it.
    let pause = Duration::from_secs(60);
    let client = trio.client_with(Settings {
        backoff_min: pause,
        backoff_max: pause,
        ..settings()
    });
    let session = client.open_session(TTL).await.unwrap();
    trio.all(Fault::Answers(Code::Unavailable));
    let told = session.put("k", "1").await.unwrap_err();
    assert!(matches!(told, Error::NotDone { .. }), "{told:?}");
    assert_eq!(
        told.to_string(),
        "writing \"k\" was not done: there is no answer by the deadline; at last, member 3: as the script says"
    );
    assert_eq!(
        places(&trio.asked("put")),
        [(1, 0, 1), (2, 0, 1), (3, 0, 1)]
    );
    trio.all(Fault::Works);
    session.put("k", "2").await.unwrap();
    assert_eq!(trio.value("k"), Some((b"2".to_vec(), 1)));
    assert_eq!(places(&trio.asked("put"))[0].1, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_in_doubt_is_not_used_before_it_is_settled() {
    let trio = Trio::start().await;
    let session = session(&trio).await;
    trio.all(Fault::Answers(Code::Unavailable));
    trio.script(1, "put", &[Fault::DoesAndBreaks]);
    let told = session.within(SHORT).put("k", "1").await.unwrap_err();
    assert!(matches!(told, Error::Unknown { .. }), "{told:?}");
    // Nothing that settles it gets through yet; what is new has to go by another slot.
    for member in 1..=3 {
        trio.script(member, "put", &[Fault::Works]);
    }
    session.put("other", "2").await.unwrap();
    let asked = places(&trio.asked("put"));
    assert_eq!(
        asked.last().map(|(_, slot, sequence)| (*slot, *sequence)),
        Some((1, 1))
    );
    assert_eq!(trio.value("k"), Some((b"1".to_vec(), 1)));
    trio.all(Fault::Works);
    until("the slot is settled", || {
        match trio
            .asked("delete")
            .iter()
            .any(|asked| asked.id.unwrap().slot == 0)
        {
            true => Ok(()),
            false => Err("nothing was asked".to_owned()),
        }
    })
    .await;
    // It goes on in both with the next sequences: the old answer is never taken for a new one.
    let used = async |key: &'static str| {
        let written = session.put(key, "v").await.unwrap();
        assert_eq!(
            trio.state().records[key.as_bytes()].revision,
            written.revision
        );
        let id = trio.asked("put").last().unwrap().id.unwrap();
        (id.slot, id.sequence)
    };
    let mut all = [used("a").await, used("b").await];
    all.sort_unstable();
    assert!(all.iter().all(|(_, sequence)| *sequence > 1), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_doubt_when_it_is_given_up_is_never_done_later() {
    let trio = Trio::start().await;
    let session = session(&trio).await;
    // By its deadline, and by being dropped.
    for key in ["late", "dropped"] {
        trio.all(Fault::Silent);
        let mut sent = Vec::new();
        let told = {
            let patient = session.within(if key == "late" { SHORT } else { TTL });
            let change = patient.put(key, "v");
            let seen = until("it is sent", || {
                sent.extend(trio.asked("put"));
                match key == "dropped" && !sent.is_empty() {
                    true => Ok(()),
                    false => Err("not yet".to_owned()),
                }
            });
            tokio::select! {
                told = change => Some(told),
                () = seen => None,
            }
        };
        match told {
            None => assert_eq!(key, "dropped"),
            Some(told) => assert!(matches!(told, Err(Error::Unknown { .. })), "{told:?}"),
        }
        sent.extend(trio.asked("put"));
        let id = sent[0].id.unwrap();
        trio.all(Fault::Works);
        until("it is settled", || {
            match trio.state().sessions[&session.id()].get(&id.slot) {
                Some((sequence, _)) if *sequence == id.sequence => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        // The network had kept it until now.
        let outcome = trio.put_again(PutRequest {
            id: Some(id),
            key: key.into(),
            value: "v".into(),
            expected: None,
        });
        assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
        assert_eq!(trio.value(key), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_in_doubt_also_when_its_members_are_stopped_and_nothing_says_so() {
    let trio = Trio::start().await;
    let session = session(&trio).await;
    for member in 1..=3 {
        trio.mute(member, true);
    }
    let told = session.within(SHORT).put("k", "v").await.unwrap_err();
    assert!(matches!(told, Error::Unknown { .. }), "{told:?}");
    assert_eq!(trio.value("k"), Some((b"v".to_vec(), 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_with_their_reason_and_not_sent_again() {
    let trio = Trio::start().await;
    let session = session(&trio).await;
    let first = session.compare_and_swap("k", "1", 0).await.unwrap();
    trio.asked("");
    let Err(Error::Refused(refusal)) = session.compare_and_swap("k", "2", 0).await else {
        panic!("it was not refused");
    };
    assert_eq!(
        (&refusal.reason[..], refusal.found),
        ("RevisionChanged", first.revision)
    );
    assert_eq!(trio.asked("put").len(), 1);
    trio.script(1, "put", &[Fault::Answers(Code::PermissionDenied)]);
    let Err(Error::Refused(refusal)) = session.put("k", "3").await else {
        panic!("it was not refused");
    };
    assert_eq!(
        refusal.to_string(),
        "writing \"k\" was refused: PermissionDenied: as the script says"
    );
    assert_eq!(trio.asked("put").len(), 1);
    // What was refused before it was decided used nothing up.
    session.delete("k").await.unwrap();
    assert_eq!(trio.value("k"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_changes_as_there_are_slots_are_under_way_and_the_bound_is_named() {
    let trio = Trio::start().await;
    let session = session(&trio).await;
    trio.all(Fault::Silent);
    let mut under_way = tokio::task::JoinSet::new();
    for number in 0..64 {
        let session = session.clone();
        under_way.spawn(async move { session.put(format!("k{number}"), "v").await });
    }
    let mut slots = std::collections::BTreeSet::new();
    until("all slots are taken", || {
        let asked = trio.asked("put");
        slots.extend(asked.iter().map(|asked| asked.id.unwrap().slot));
        match slots.len() {
            64 => Ok(()),
            taken => Err(format!("{taken} are taken")),
        }
    })
    .await;
    let told = session
        .within(SHORT)
        .put("one more", "v")
        .await
        .unwrap_err();
    assert_eq!(
        told.to_string(),
        "writing \"one more\" was not done: all 64 slots of the session were under way until the deadline"
    );
    trio.all(Fault::Works);
    while let Some(done) = under_way.join_next().await {
        done.unwrap().unwrap();
    }
    session.put("one more", "v").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_go_with_the_request() {
    let trio = Trio::start().await;
    let session = session(&trio).await;
    session.put("k", "v").await.unwrap();
    session
        .within(Duration::from_millis(50))
        .put("k", "v")
        .await
        .unwrap();
    let spans: Vec<u64> = trio
        .asked("put")
        .iter()
        .map(|asked| {
            let text = asked.timeout.clone().unwrap();
            let nanos = text
                .strip_suffix('n')
                .map(|number| number.parse::<u64>().unwrap() / 1000);
            nanos.unwrap_or_else(|| text.strip_suffix('u').unwrap().parse().unwrap())
        })
        .collect();
    assert_eq!(spans[0], 300_000);
    assert!(spans[1] <= 50_000, "{spans:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_are_tried_at_every_member_and_need_no_leader_when_they_may_be_stale() {
    let trio = Trio::start().await;
    let session = session(&trio).await;
    session.put("a", "1").await.unwrap();
    session.put("b", "2").await.unwrap();
    let client = trio.client();
    trio.always(1, Fault::Silent);
    trio.always(2, Fault::Breaks);
    let read = client.get("a", Consistency::Linearizable).await.unwrap();
    assert_eq!(read.value.unwrap().value, b"1");
    let range = Range {
        limit: 1,
        ..Range::default()
    };
    let page = client
        .list(&range, Consistency::Linearizable)
        .await
        .unwrap();
    assert_eq!(page.value.next, Some(b"a".to_vec()));
    let range = Range {
        after: page.value.next,
        ..range
    };
    let page = client
        .list(&range, Consistency::Linearizable)
        .await
        .unwrap();
    assert_eq!(
        (page.value.records[0].key.as_slice(), page.value.next),
        (b"b".as_slice(), None)
    );
    trio.asked("");
    trio.all(Fault::Works);
    trio.state().leader = 0;
    for _ in 0..3 {
        client.get("a", Consistency::Stale).await.unwrap();
    }
    let members: std::collections::BTreeSet<u64> =
        trio.asked("get").iter().map(|asked| asked.member).collect();
    assert_eq!(members.len(), 3);
    trio.all(Fault::Answers(Code::DeadlineExceeded));
    let told = client
        .within(SHORT)
        .get("a", Consistency::Linearizable)
        .await;
    assert!(matches!(told, Err(Error::NotDone { .. })), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_are_not_there_or_take_no_connection_are_passed_over() {
    let trio = Trio::start().await;
    let mut addresses = trio.addresses.clone();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    addresses.insert(1, gone.local_addr().unwrap().to_string());
    drop(gone);
    // It takes a connection and says nothing.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    addresses.insert(2, mute.local_addr().unwrap().to_string());
    let short = Settings {
        attempt_timeout: Duration::from_millis(200),
        ..settings()
    };
    trio.state().leader = 3;
    let client = Client::new(addresses, dial, short);
    for _ in 0..3 {
        let session = client.open_session(TTL).await.unwrap();
        session.put("k", "v").await.unwrap();
    }
    assert_eq!(trio.value("k").unwrap().1, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_until_its_member_is_silent_on_it() {
    let trio = Trio::start().await;
    let dials = Arc::new(AtomicU64::new(0));
    let counting = {
        let dials = Arc::clone(&dials);
        move |member: u64, address: String| {
            if member == 1 {
                dials.fetch_add(1, Ordering::Relaxed);
            }
            dial(member, address)
        }
    };
    let client = Client::new(trio.addresses.clone(), counting, settings());
    let session = client.open_session(TTL).await.unwrap();
    for _ in 0..3 {
        session.put("k", "v").await.unwrap();
    }
    assert_eq!(dials.load(Ordering::Relaxed), 1);
    trio.mute(1, true);
    session.put("k", "v").await.unwrap();
    trio.mute(1, false);
    client.leader().await.unwrap();
    session.put("k", "v").await.unwrap();
    assert_eq!(dials.load(Ordering::Relaxed), 2);
    assert_eq!(trio.value("k").unwrap().1, 5);
}
