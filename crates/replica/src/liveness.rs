//! Which sessions give signs of life: known to the leader alone, in memory, so that staying alive writes nothing to the log.
//!
//! ```text
//! requests that were applied ──┐
//! signs of life, confirmed ────┴─> heard at tick n ── silent for longer than its time to live ─> ExpireSession
//! ```
//!
//! - Expected flow: whoever begins to lead gives every session a whole time to live; from then on it counts ticks.
//! - Guarantees: a session is given up only by a leader that has counted its whole time to live in its own term, and what
//!   was heard by then is no longer overtaken: once given up, no sign of life is answered, unless an operation that this
//!   leader had not applied yet saves the session.
//! - Assumptions: ticks come at a steady rate. A process that was stopped has counted too few of them, which only lets
//!   sessions live longer.

use crate::changes::{Change, ChangesError, Subscription};
use crate::error::BarrierError;
use crate::local::{Local, ReadIndexError};
use crate::planted::{self, Bug};
use crate::types::LeaderId;
use prost::Message as _;
use regraft_state::command::Envelope;
use regraft_state::operation::{
    Answer, ExpireSession, Operation, Outcome, RefusalReason, Request, TTL_MIN_MS,
};
use regraft_state::store::{ReadError, Write};
use regraft_state::stored::Session;
use regraft_state::table;
use regraft_state::view::sessions as view;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two ticks: a quarter of the shortest time to live.
const TICK_MS: u64 = TTL_MIN_MS / 4;
/// Sessions given up in one tick; more of them follow in the next ones.
const GIVEN_UP_MAX: usize = 64;

/// What is known of sessions while this member leads.
#[derive(Default)]
pub(crate) struct Liveness(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Ticks so far.
    now: u64,
    /// As whose leadership this is known; nothing while another one leads.
    leads: Option<LeaderId>,
    /// The log index up to which it is known what sessions did.
    followed: u64,
    sessions: BTreeMap<u64, Life>,
}

struct Life {
    actor: String,
    ttl_ms: u64,
    /// The tick in which it was heard of last.
    heard: u64,
    /// Given up: no sign of life is answered any more.
    given_up: bool,
}

/// What became of a sign of life.
enum Sign {
    /// The session lives for so long from when the sign was sent, milliseconds.
    Lives(u64),
    /// There is no such session, or it was given up.
    Gone,
    /// This member does not know the sessions yet.
    Unknown,
}

impl Liveness {
    /// A sign of life of `session`, which `actor` must have opened, that came at `tick` to whom leads as `leader`.
    fn sign(&self, leader: Option<LeaderId>, session: u64, actor: &str, tick: u64) -> Sign {
        let mut known = self.lock();
        if known.leads.is_none() || known.leads != leader {
            return Sign::Unknown;
        }
        match known.sessions.get_mut(&session) {
            Some(life) if life.actor == actor && !life.given_up => {
                life.heard = life.heard.max(tick);
                Sign::Lives(life.ttl_ms)
            }
            _ => Sign::Gone,
        }
    }

    fn now(&self) -> u64 {
        self.lock().now
    }

    /// Forgets everything: another member leads, or something was missed.
    fn stop(&self) {
        let mut known = self.lock();
        known.leads = None;
        known.sessions.clear();
    }

    /// Gives every session a whole time to live.
    fn begin(&self, leader: LeaderId, followed: u64, sessions: Vec<(u64, Session)>) {
        let mut known = self.lock();
        let now = known.now;
        known.leads = Some(leader);
        known.followed = followed;
        known.sessions = sessions
            .into_iter()
            .map(|(id, session)| (id, life(session, now)))
            .collect();
    }

    fn leads(&self) -> Option<LeaderId> {
        self.lock().leads
    }

    /// Takes what the command at `index` wrote: sessions opened, ended and used.
    fn applied(&self, index: u64, writes: &[Write]) -> Result<(), ReadError> {
        self.lock().followed = index;
        for write in writes {
            let Some(id) = table::session_of(write.key()) else {
                continue;
            };
            let mut known = self.lock();
            let now = known.now;
            let opened = table::open_session(id);
            match write {
                Write::Put { key, value } if key == opened.as_bytes() => {
                    let session = view::decode_session(key, value)?;
                    let known = known.sessions.entry(id);
                    known
                        .and_modify(|life| life.heard = now)
                        .or_insert_with(|| life(session, now));
                }
                Write::Put { .. } => {
                    if let Some(life) = known.sessions.get_mut(&id) {
                        life.heard = now;
                        life.given_up = false;
                    }
                }
                Write::Delete { key } if key == opened.as_bytes() => {
                    known.sessions.remove(&id);
                }
                Write::Delete { .. } => {}
            }
        }
        Ok(())
    }

    /// Counts a tick and gives up on those that were silent for too long. Gives them, and up to where it is known.
    fn tick(&self) -> (Vec<u64>, u64) {
        let mut known = self.lock();
        known.now += 1;
        let now = known.now;
        let silent = known.sessions.iter_mut().filter(|(_, life)| {
            let whole_ms = match planted::has(Bug::EarlyExpiry) {
                true => life.ttl_ms / 2,
                false => life.ttl_ms,
            };
            // The ticks at both ends may be cut: only whole ones between them count.
            life.given_up || (now - life.heard).saturating_sub(1) * TICK_MS > whole_ms
        });
        let given_up = silent.take(GIVEN_UP_MAX).map(|(id, life)| {
            life.given_up = true;
            *id
        });
        let given_up = given_up.collect();
        (given_up, known.followed)
    }

    /// Takes back that a session was given up: it was used.
    fn lives(&self, session: u64) {
        let mut known = self.lock();
        let now = known.now;
        if let Some(life) = known.sessions.get_mut(&session) {
            life.given_up = false;
            life.heard = now;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn life(session: Session, now: u64) -> Life {
    Life {
        actor: session.actor,
        ttl_ms: session.ttl_ms,
        heard: now,
        given_up: false,
    }
}

/// Answers a sign of life, if this member leads: a leader that was replaced may not promise anything, so it asks a quorum
/// first. The sign counts from when it came. Gives the time to live, 0 when the session is no more.
pub(crate) async fn keep_alive(
    local: &Local,
    liveness: &Liveness,
    actor: &str,
    session: u64,
) -> Result<u64, BarrierError> {
    let came = liveness.now();
    let unavailable = |reason: String| Err(BarrierError::Unavailable { reason });
    match local.read_index().await {
        Ok(_) => {}
        Err(ReadIndexError::NotLeader(Some(leader))) => {
            return unavailable(format!("member {leader} leads: tell it"));
        }
        Err(ReadIndexError::NotLeader(None)) => {
            return unavailable("no member is known to lead".to_owned());
        }
        Err(ReadIndexError::Unavailable(reason)) => return unavailable(reason),
        Err(ReadIndexError::Halted(reason)) => return Err(BarrierError::Halted { reason }),
    }
    match liveness.sign(local.leads(), session, actor, came) {
        Sign::Lives(ttl_ms) => Ok(ttl_ms),
        Sign::Gone => Ok(0),
        Sign::Unknown => unavailable("this member has just begun to lead".to_owned()),
    }
}

/// Follows the sessions while this member leads, and ends those that are silent.
pub(crate) async fn follow(local: Arc<Local>, liveness: Arc<Liveness>, stop: CancellationToken) {
    let mut every = tokio::time::interval(Duration::from_millis(TICK_MS));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut changes: Option<Subscription> = None;
    loop {
        let change = async {
            match &mut changes {
                Some(changes) => changes.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = every.tick() => {
                let (given_up, followed) = liveness.tick();
                let leads = local.leads();
                if leads.is_none() {
                    liveness.stop();
                    changes = None;
                } else if leads != liveness.leads() {
                    changes = begin(&local, &liveness, leads).await;
                } else if let Some(leader) = leads {
                    let ending = given_up
                        .into_iter()
                        .map(|id| end(&local, &liveness, leader, followed, id));
                    futures::future::join_all(ending).await;
                }
            }
            change = change => match change {
                Ok(Change::Applied { index, writes }) => {
                    if let Err(error) = liveness.applied(index, &writes) {
                        tracing::error!(%error, "a session cannot be followed");
                    }
                }
                // Begun anew at the next tick, with a whole time to live for all.
                Ok(Change::Reset { .. }) | Err(ChangesError::Lagged { .. }) => {
                    liveness.stop();
                    changes = None;
                }
                Err(ChangesError::Stopped) => return,
            }
        }
    }
}

/// Knows all sessions once everything is applied that was committed before this leadership.
async fn begin(
    local: &Local,
    liveness: &Liveness,
    leads: Option<LeaderId>,
) -> Option<Subscription> {
    let leader = leads?;
    let index = local.read_index().await.ok()?;
    let changes = local.state.changes().subscribe();
    let read = local.state.read(|read, applied| {
        let ready = applied >= index;
        let sessions = ready.then(|| view::all(read)).transpose()?;
        Ok::<_, ReadError>(sessions.map(|sessions| (applied, sessions)))
    });
    match read.flatten() {
        Ok(read) => {
            let (applied, sessions) = read?;
            liveness.begin(leader, applied, sessions);
        }
        Err(error) => {
            tracing::error!(%error, "the sessions cannot be read");
            return None;
        }
    }
    Some(changes)
}

/// Proposes the end of a session, in the leadership that gave it up: another leader may have heard of it.
/// What the session did after `followed` saves it.
async fn end(local: &Local, liveness: &Liveness, leader: LeaderId, followed: u64, session: u64) {
    let expire = ExpireSession {
        session,
        last_heard: followed,
    };
    let operation = Operation {
        request: Some(Request::ExpireSession(expire)),
        ..Operation::default()
    };
    let actor = format!("member/{}", leader.node_id);
    let command = Envelope::of_operation(actor, operation).encode_to_vec();
    let answer = match local.propose_as(leader, command).await {
        Ok(proposed) => Answer::decode(proposed.response.as_slice()),
        Err(error) => {
            tracing::debug!(session, %error, "a silent session is not ended yet");
            return;
        }
    };
    match answer.map(|answer| answer.outcome) {
        Ok(Some(Outcome::Done(_))) => tracing::info!(session, "a silent session was ended"),
        Ok(Some(Outcome::Refused(refused)))
            if refused.known_reason() == Some(RefusalReason::SessionInUse) =>
        {
            liveness.lives(session);
        }
        other => tracing::debug!(session, ?other, "a silent session was not ended"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::vote::RaftLeaderId as _;

    const SESSION: u64 = 7;
    const TTL_MS: u64 = 1_000;

    fn leader(term: u64) -> LeaderId {
        LeaderId::new(term, 1)
    }

    /// Leads since term 2, has followed up to entry 20, and knows one session.
    fn leading() -> Liveness {
        let session = Session {
            actor: "user/one".to_owned(),
            ttl_ms: TTL_MS,
            ..Session::default()
        };
        let liveness = Liveness::default();
        liveness.begin(leader(2), 20, vec![(SESSION, session)]);
        liveness
    }

    fn used() -> Write {
        Write::Put {
            key: format!("{}{SESSION:016x}/00", table::prefix::SLOTS).into_bytes(),
            value: Vec::new(),
        }
    }

    fn lives(liveness: &Liveness, term: u64, actor: &str) -> bool {
        let sign = liveness.sign(Some(leader(term)), SESSION, actor, liveness.now());
        matches!(sign, Sign::Lives(TTL_MS))
    }

    /// Ticks until a session is given up; how many, and up to where it was followed.
    fn silence(liveness: &Liveness) -> (u64, u64) {
        let began = liveness.now();
        loop {
            let (given_up, followed) = liveness.tick();
            if !given_up.is_empty() {
                assert_eq!(given_up, [SESSION]);
                return (liveness.now() - began, followed);
            }
            assert!(liveness.now() - began < 100, "it is never given up");
        }
    }

    #[test]
    fn a_session_is_given_up_after_its_whole_time_and_then_no_sign_of_life_is_answered() {
        let liveness = leading();
        let (ticks, followed) = silence(&liveness);
        assert!((ticks - 1) * TICK_MS > TTL_MS, "{ticks} ticks");
        assert_eq!(followed, 20);
        assert!(!lives(&liveness, 2, "user/one"));
        // It was used after all.
        liveness.applied(31, &[used()]).unwrap();
        assert!(lives(&liveness, 2, "user/one"));
        assert_eq!(silence(&liveness).1, 31);
    }

    #[test]
    fn a_sign_of_life_counts_from_its_owner_and_for_the_leadership_that_knows_the_session() {
        let liveness = leading();
        assert!(!lives(&liveness, 2, "user/other"));
        assert!(!lives(&liveness, 3, "user/one"));
        for _ in 0..20 {
            assert!(lives(&liveness, 2, "user/one"));
            assert_eq!(liveness.tick().0, Vec::<u64>::new());
        }
        liveness.stop();
        assert!(!lives(&liveness, 2, "user/one"));
    }
}
