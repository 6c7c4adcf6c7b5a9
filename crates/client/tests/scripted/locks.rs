//! Locks: waited for, given back, lost.

use crate::members::{Fault, Trio, until};
use regraft_client::{Error, LockRequest, Loss, Session};
use std::time::Duration;
use tonic::Code;

const TTL: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(700);

fn named() -> LockRequest {
    LockRequest::new("named/a")
}

async fn open(trio: &Trio) -> Session {
    trio.client().open_session(TTL).await.unwrap()
}

fn holder(trio: &Trio) -> Option<u64> {
    let state = trio.state();
    state.held.get("named/a").map(|(session, _)| *session)
}

async fn until_free(trio: &Trio) {
    until("the lock is free, and nobody waits", || {
        match (holder(trio), trio.state().queue.len()) {
            (None, 0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_given_the_lock_with_a_greater_fence() {
    let trio = Trio::start().await;
    let (one, other) = (open(&trio).await, open(&trio).await);
    let first = one.try_acquire(&named()).await.unwrap();
    let Err(Error::Refused(refusal)) = other.try_acquire(&named()).await else {
        panic!("it was not refused");
    };
    assert_eq!(refusal.reason, "Busy");
    let fence = first.fence();
    // The member it waits at goes, and others are silent for longer than a piece of waiting.
    trio.script(1, "wait", &[Fault::Breaks, Fault::Silent]);
    trio.script(2, "wait", &[Fault::Answers(Code::ResourceExhausted)]);
    let releasing = async {
        let mut waits = 0;
        until("it waits, again and again", || {
            waits += trio.asked("wait").len();
            match waits {
                0..4 => Err(format!("{waits} times")),
                _ => Ok(()),
            }
        })
        .await;
        first.release().await
    };
    let named = named();
    let (second, released) = tokio::join!(other.acquire(&named), releasing);
    released.unwrap();
    let second = second.unwrap();
    assert!(second.fence() > fence);
    assert_eq!(
        (holder(&trio), second.scope()),
        (Some(other.id()), "named/a")
    );
    second.release().await.unwrap();
    until_free(&trio).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_given_back_after_its_deadline_and_when_whoever_waits_is_dropped() {
    let trio = Trio::start().await;
    let (one, other) = (open(&trio).await, open(&trio).await);
    let lock = one.try_acquire(&named()).await.unwrap();
    let told = other.within(SHORT).acquire(&named()).await.unwrap_err();
    assert!(matches!(told, Error::NotDone { .. }), "{told:?}");
    until("the place is given back", || {
        match trio.state().queue.len() {
            0 => Ok(()),
            waiting => Err(format!("{waiting} wait")),
        }
    })
    .await;
    let named = named();
    let queued = until("it waits", || match trio.state().queue.len() {
        1 => Ok(()),
        waiting => Err(format!("{waiting} wait")),
    });
    tokio::select! {
        told = other.acquire(&named) => panic!("{told:?}"),
        () = queued => {}
    }
    drop(lock);
    until_free(&trio).await;
    other
        .try_acquire(&named)
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_nobody_knows_of_is_given_back() {
    let trio = Trio::start().await;
    let session = open(&trio).await;
    trio.all(Fault::Silent);
    trio.script(1, "acquire", &[Fault::DoesSilently]);
    let told = session
        .within(SHORT)
        .try_acquire(&named())
        .await
        .unwrap_err();
    assert!(matches!(told, Error::Unknown { .. }), "{told:?}");
    assert_eq!(holder(&trio), Some(session.id()));
    trio.all(Fault::Works);
    until_free(&trio).await;
    session.try_acquire(&named()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_of_unknown_outcome_is_carried_on_and_frees_nothing_else() {
    for fault in [
        Fault::DoesSilently,
        Fault::Silent,
        Fault::Answers(Code::Unavailable),
    ] {
        let trio = Trio::start().await;
        let session = open(&trio).await;
        let lock = session.within(SHORT).try_acquire(&named()).await.unwrap();
        trio.all(fault);
        let told = lock.release().await.unwrap_err();
        // The deadline may have cut an attempt off, whatever the answer would have been.
        let in_doubt = matches!(told, Error::Unknown { .. });
        let is_answered = matches!(fault, Fault::Answers(_));
        assert!(
            in_doubt || is_answered && matches!(told, Error::NotDone { .. }),
            "{told:?}"
        );
        trio.all(Fault::Works);
        until_free(&trio).await;
        let next = session.try_acquire(&named()).await.unwrap();
        session.put("k", "v").await.unwrap();
        assert_eq!(holder(&trio), Some(session.id()), "{fault:?}");
        next.release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_lost_with_its_session_and_its_release_frees_nobody_elses() {
    let trio = Trio::start().await;
    let ttl = Duration::from_secs(2);
    let session = trio.client().open_session(ttl).await.unwrap();
    let lock = session.try_acquire(&named()).await.unwrap();
    assert_eq!(lock.loss(), None);
    trio.all(Fault::Silent);
    assert_eq!(lock.lost().await, Loss::Silent);
    // The members end it, too, and let the next one in.
    {
        let mut state = trio.state();
        state.sessions.remove(&session.id());
        state.held.clear();
    }
    trio.all(Fault::Works);
    let next = open(&trio).await;
    let taken = next.try_acquire(&named()).await.unwrap();
    assert!(taken.fence() > lock.fence());
    let told = lock.release().await.unwrap_err();
    let loss = Loss::Silent;
    assert!(
        matches!(told, Error::SessionLost { loss: how, .. } if how == loss),
        "{told:?}"
    );
    assert_eq!(holder(&trio), Some(next.id()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_told_that_its_session_is_lost() {
    let trio = Trio::start().await;
    let one = open(&trio).await;
    let _lock = one.try_acquire(&named()).await.unwrap();
    let ttl = Duration::from_millis(600);
    let other = trio.client().open_session(ttl).await.unwrap();
    let ending = async {
        until("it waits", || match trio.asked("wait").len() {
            0 => Err("not yet".to_owned()),
            _ => Ok(()),
        })
        .await;
        trio.all(Fault::Silent);
    };
    let named = named();
    let (told, ()) = tokio::join!(other.acquire(&named), ending);
    assert!(matches!(told, Err(Error::SessionLost { .. })), "{told:?}");
}
