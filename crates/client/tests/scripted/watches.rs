//! Watches that outlive the member they began at.

use crate::members::{Fault, Trio, until};
use regraft_client::{Changed, Error, Session, Start, Told, Watch};
use std::time::Duration;
use tonic::Code;

const TTL: Duration = Duration::from_secs(60);

async fn session(trio: &Trio) -> Session {
    trio.client().open_session(TTL).await.unwrap()
}

/// What is told next, as key and value.
async fn next(watch: &mut Watch) -> (String, String) {
    let told = tokio::time::timeout(Duration::from_secs(20), watch.next()).await;
    let Told { changes, revision } = told.expect("nothing was told").unwrap();
    assert_eq!((changes.len(), watch.revision()), (1, revision));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    match &changes[0] {
        Changed::Put(record) => (text(&record.key), text(&record.value)),
        Changed::Deleted { key } => (text(key), "deleted".to_owned()),
    }
}

fn told(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// The member that the watch is at.
async fn member(trio: &Trio) -> u64 {
    until("it is opened", || {
        let asked = trio.asked("watch");
        asked
            .last()
            .map(|asked| asked.member)
            .ok_or("not yet".to_owned())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_at_another_member_where_it_was_cut_off() {
    let trio = Trio::start().await;
    let session = session(&trio).await;
    session.put("w/0", "before").await.unwrap();
    let mut watch = trio.client().watch("w/", Start::Now).await.unwrap();
    // Before it told anything, and after; by a connection that breaks, and by a member that stops.
    for at in 1..20 {
        let opened = async {
            let member = member(&trio).await;
            match at % 2 {
                0 => trio.cut(member),
                _ => trio.script(member, "watch", &[Fault::Answers(Code::Unavailable)]),
            }
            trio.cut(member);
        };
        tokio::select! {
            told = watch.next() => panic!("{told:?}"),
            () = opened => {}
        }
        let (key, value) = (format!("w/{at}"), at.to_string());
        session.put(key.clone(), value.clone()).await.unwrap();
        session.put("elsewhere", "x").await.unwrap();
        session.delete(key.clone()).await.unwrap();
        assert_eq!(next(&mut watch).await, (key.clone(), value));
        assert_eq!(next(&mut watch).await, told(&key, "deleted"));
        // So that the next round finds where it was opened anew.
        let member = member(&trio).await;
        trio.cut(member);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_when_changes_are_known_no_more() {
    let trio = Trio::start().await;
    let session = session(&trio).await;
    let first = session.put("w", "1").await.unwrap();
    session.put("w", "2").await.unwrap();
    let start = Start::After(first.revision);
    let mut watch = trio.client().watch("w", start).await.unwrap();
    assert_eq!(next(&mut watch).await, told("w", "2"));
    let after = watch.revision();
    for member in 1..=3 {
        trio.state().compacted.insert(member, after + 1);
        trio.cut(member);
    }
    let error = watch.next().await.unwrap_err();
    assert!(
        matches!(error, Error::Compacted { after: at } if at == after),
        "{error:?}"
    );
    // It does not pretend to go on.
    assert!(matches!(watch.next().await, Err(Error::Compacted { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_cut_off_from_the_others_does_not_pass_for_a_quiet_one() {
    let trio = Trio::start().await;
    let mut watch = trio.client().watch("w", Start::Now).await.unwrap();
    let moved = async {
        let first = member(&trio).await;
        // It answers, but knows no majority; its stream stays open and tells nothing.
        trio.script(first, "get", &[Fault::Answers(Code::Unavailable)]);
        let second = member(&trio).await;
        assert_ne!(second, first);
    };
    tokio::select! {
        told = watch.next() => panic!("{told:?}"),
        () = moved => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_is_told_when_nobody_can_be_followed_and_goes_on_when_somebody_can() {
    let trio = Trio::start().await;
    let session = session(&trio).await;
    let client = trio.client().within(Duration::from_millis(500));
    let mut watch = client.watch("w", Start::Now).await.unwrap();
    trio.all(Fault::Answers(Code::Unavailable));
    let error = watch.next().await.unwrap_err();
    assert!(matches!(error, Error::NotDone { .. }), "{error:?}");
    trio.all(Fault::Answers(Code::PermissionDenied));
    let error = watch.next().await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error:?}");
    trio.all(Fault::Works);
    session.put("w", "1").await.unwrap();
    assert_eq!(next(&mut watch).await, told("w", "1"));
}
