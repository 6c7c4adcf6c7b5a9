//! Tells the engine what happens around it: applied commands, its role, and that time goes on.

use super::member::Member;
use crate::clock;
use crate::failure;
use regraft_engine::{Event, Proof, Role};
use regraft_model::id::MemberId;
use regraft_replica::{Change, Replica, Status};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Period of ticks.
const TICK_PERIOD: Duration = Duration::from_millis(250);
/// Period of proving that our state is the majority's: a third of what the engine takes for fresh.
const CONFIRM_PERIOD: Duration = Duration::from_secs(1);
/// Pause before the state is listed again after it could not be read.
const LIST_AGAIN_PERIOD: Duration = Duration::from_millis(500);

const DAY_MS: i64 = 86_400_000;
/// Certificates that run out within so many days are warned of, at a start and at each SIGHUP.
const EXPIRY_WARNED_DAYS: i64 = 30;

/// Lists the state, then follows every change; lists again whenever changes were missed.
pub(super) async fn changes(member: Arc<Member>) {
    loop {
        // Subscribed first: what is applied in between is told twice, never lost.
        let mut changes = member.replica.changes();
        let listed = match member.replica.list(b"") {
            Ok(listing) => listing,
            Err(error) => {
                tracing::error!(%error, "the state cannot be listed");
                clock::pause(LIST_AGAIN_PERIOD).await;
                continue;
            }
        };
        let from = listed.index;
        member
            .engine
            .tell(Event::Restored {
                index: from,
                pairs: listed.pairs,
            })
            .await;
        loop {
            match changes.next().await {
                Ok(Change::Applied { index, .. }) if index <= from => {}
                Ok(Change::Applied { index, writes }) => {
                    member
                        .engine
                        .tell(Event::Replicated {
                            index,
                            writes: writes.to_vec(),
                        })
                        .await;
                }
                Ok(Change::Reset { .. }) | Err(regraft_replica::ChangesError::Lagged { .. }) => {
                    break;
                }
                Err(regraft_replica::ChangesError::Stopped) => return,
            }
        }
    }
}

/// Proves again and again, and at once under a new leader, that our state is the majority's.
pub(super) async fn confirmations(member: Arc<Member>) {
    let mut period = clock::ticker(CONFIRM_PERIOD);
    let mut status = member.replica.watch_status();
    let mut leader = status.borrow().leader;
    loop {
        tokio::select! {
            _ = period.tick() => {}
            changed = status.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = status.borrow_and_update().leader;
                if std::mem::replace(&mut leader, now) == now {
                    continue;
                }
            }
        }
        // The moment before asking: the proof is as old as the question.
        let asked_at = clock::now();
        match member.replica.barrier().await {
            Ok(index) => {
                let proof = Proof {
                    at: asked_at,
                    index,
                };
                member.confirmed.send_replace(Some(proof));
            }
            Err(error) => tracing::debug!(%error, "no proof that the state is the majority's"),
        }
    }
}

/// Tells the role whenever something of it changed: at least once a second while a leader is there.
pub(super) async fn role(member: Arc<Member>) {
    let mut status = member.replica.watch_status();
    let mut confirmed = member.confirmed.subscribe();
    loop {
        status.mark_unchanged();
        let role = role_of(&member.replica.status(), *member.confirmed.borrow());
        member.engine.tell(Event::Role(role)).await;
        tokio::select! {
            changed = status.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            _ = confirmed.changed() => {}
        }
    }
}

/// Ticks. A busy loop misses some.
pub(super) async fn ticks(member: Arc<Member>) {
    let mut period = clock::ticker(TICK_PERIOD);
    loop {
        period.tick().await;
        member.engine.tell_if_idle(Event::Tick);
    }
}

/// Reads the certificates again at every SIGHUP: of the listener for members, of the one for people, and of our own
/// connections.
pub(super) async fn hangups(member: Arc<Member>) {
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => {
            tracing::warn!(%error, "SIGHUP cannot be heard: new certificates need a restart of this member");
            return;
        }
    };
    warn_of_expiry(&member);
    while hangups.recv().await.is_some() {
        match member.replica.reload_certificates() {
            Ok(()) => {
                tracing::info!(
                    "SIGHUP: connections are judged by the certificates as they are now"
                );
                warn_of_expiry(&member);
            }
            Err(error) => tracing::warn!(
                error = failure::chain(&error),
                next = "correct the files under `tls`, and send SIGHUP again",
                "the certificates cannot be used: the old ones stay"
            ),
        }
    }
}

fn warn_of_expiry(member: &Member) {
    let Some(tls) = member.replica.tls() else {
        return;
    };
    let days_left = tls
        .expires_ms()
        .saturating_sub(clock::now().0)
        .div_euclid(DAY_MS);
    if days_left < 0 {
        tracing::error!(
            days = -days_left,
            next = "replace the files under `tls`, and send SIGHUP: see Certificates in docs/operations.md",
            "a certificate ran out: nobody takes it"
        );
    } else if days_left < EXPIRY_WARNED_DAYS {
        tracing::warn!(
            days_left,
            next = "replace the files under `tls`, and send SIGHUP: see Certificates in docs/operations.md",
            "a certificate runs out"
        );
    }
}

/// Returns why the replica stopped for good.
pub(super) async fn fatal(replica: &Replica) -> String {
    let mut status = replica.watch_status();
    loop {
        if let Some(reason) = status.borrow_and_update().fatal.clone() {
            return reason;
        }
        if status.changed().await.is_err() {
            return "the replica ended".to_owned();
        }
    }
}

fn role_of(status: &Status, confirmed: Option<Proof>) -> Role {
    let silent = status
        .contact_ms
        .iter()
        .filter_map(|(id, ms)| Some((MemberId(*id), (*ms)?)));
    Role {
        leader: status.leader.map(MemberId),
        members: status.voters.iter().copied().map(MemberId).collect(),
        silent_ms: match status.leader == Some(status.node_id) {
            true => silent.collect(),
            false => Default::default(),
        },
        confirmed,
    }
}
