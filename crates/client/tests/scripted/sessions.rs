//! Sessions: opened, kept alive, lost, closed.

use crate::members::{Fault, Trio, until};
use regraft_client::{Error, LockRequest, Loss};
use std::time::Duration;
use tokio::time::Instant;
use tonic::Code;

/// A third of it is short enough to wait for.
const TTL: Duration = Duration::from_millis(2_400);
const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_answer_is_lost_is_opened_again() {
    let trio = Trio::start().await;
    trio.script(1, "open", &[Fault::DoesAndBreaks]);
    let session = trio.client().open_session(LONG).await.unwrap();
    assert_eq!(trio.state().sessions.len(), 2);
    session.put("k", "v").await.unwrap();
    trio.all(Fault::DoesSilently);
    let told = trio.client().within(TTL).open_session(LONG).await;
    assert!(matches!(told, Err(Error::NotDone { .. })), "{told:?}");
    trio.all(Fault::Answers(Code::ResourceExhausted));
    let told = trio.client().open_session(LONG).await;
    assert!(matches!(told, Err(Error::Refused(_))), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn signs_of_life_go_to_whoever_leads_until_the_session_is_dropped() {
    let trio = Trio::start().await;
    let session = trio.client().open_session(TTL).await.unwrap();
    let mut signs = 0;
    let mut count = |member: u64| {
        let asked = trio.asked("keep");
        signs += asked.iter().filter(|asked| asked.member == member).count();
        match signs {
            0..4 => Err(format!("{signs} so far")),
            _ => {
                signs = 0;
                Ok(())
            }
        }
    };
    until("signs at the first member", || count(1)).await;
    // As many as are due, for longer than it would live without.
    let (begun, mut signs) = (Instant::now(), 0);
    until("its time to live passed", || {
        signs += trio.asked("keep").len() as u128;
        match begun.elapsed() {
            passed if passed > 2 * TTL => Ok(()),
            passed => Err(format!("{passed:?}")),
        }
    })
    .await;
    let due = begun.elapsed().as_millis() / (TTL / 3).as_millis();
    assert!(signs <= due + 1, "{signs}, but {due} were due");
    assert_eq!(session.loss(), None);
    trio.always(1, Fault::Silent);
    trio.state().leader = 3;
    until("signs at the third member", || count(3)).await;
    assert_eq!(session.loss(), None);
    let lock = session
        .try_acquire(&LockRequest::new("named/a"))
        .await
        .unwrap();
    drop(session);
    until("signs for the lock", || count(3)).await;
    drop(lock);
    trio.asked("");
    let mut quiet = 0;
    until("no more signs", || {
        match trio.asked("keep").is_empty() {
            true => quiet += 1,
            false => quiet = 0,
        }
        // Of 5 ms each: longer than the time to live.
        match quiet {
            0..400 => Err(format!("quiet for {quiet} looks")),
            _ => Ok(()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_lost_when_a_member_says_so_or_nobody_answers_for_its_time_to_live() {
    let trio = Trio::start().await;
    let ended = trio.client().open_session(TTL).await.unwrap();
    trio.state().sessions.clear();
    assert_eq!(ended.lost().await, Loss::Expired);

    let silent = trio.client().open_session(TTL).await.unwrap();
    assert_eq!(silent.loss(), None);
    trio.all(Fault::Silent);
    assert_eq!(silent.lost().await, Loss::Silent);
    let told = silent.put("k", "v").await.unwrap_err();
    let id = silent.id();
    assert_eq!(
        told.to_string(),
        format!(
            "writing \"k\" was not done: session {id} may have ended: no member answered for its time to live"
        )
    );
    // Once told, it stays so.
    trio.all(Fault::Works);
    assert_eq!(silent.loss(), Some(Loss::Silent));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ended_is_known_from_the_answer_to_a_change() {
    let trio = Trio::start().await;
    let session = trio.client().open_session(LONG).await.unwrap();
    session.put("k", "1").await.unwrap();
    trio.state().sessions.clear();
    let told = session.put("k", "2").await.unwrap_err();
    let loss = Loss::Expired;
    assert!(
        matches!(told, Error::SessionLost { loss: how, .. } if how == loss),
        "{told:?}"
    );
    assert_eq!(session.loss(), Some(loss));

    // What was sent before it ended may have been done.
    let session = trio.client().open_session(LONG).await.unwrap();
    trio.script(1, "put", &[Fault::DoesSilently]);
    let changing = session.put("k", "3");
    let ending = async {
        until("it is done", || match trio.value("k") {
            Some((value, _)) if value == b"3" => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        trio.state().sessions.clear();
    };
    let (told, ()) = tokio::join!(changing, ending);
    assert!(matches!(told, Err(Error::Unknown { .. })), "{told:?}");
    assert_eq!(session.loss(), Some(loss));
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_ends_it_for_all_handles() {
    let trio = Trio::start().await;
    let session = trio.client().open_session(LONG).await.unwrap();
    let other = session.clone();
    trio.script(1, "close", &[Fault::DoesAndBreaks]);
    session.close().await.unwrap();
    assert!(trio.state().sessions.is_empty());
    assert_eq!(other.lost().await, Loss::Closed);
    let told = other.put("k", "v").await;
    assert!(matches!(told, Err(Error::SessionLost { .. })), "{told:?}");
}
