//! Sessions: what changes are counted in, and locks live in.
//!
//! Expected flow: one for each program, opened once, used from any number of tasks, closed at the end.
//! Guarantees: it is kept alive by a sign of life whenever a third of its time to live passed without an answer to a change.
//! It is told to be lost when a member says so, or when its time to live, less [`DRIFT`], passed since the last request was
//! sent that was answered: until then the members cannot have ended it.
//! Assumptions: the monotonic clock stands still at most while the whole machine sleeps; a machine that slept finds out by the
//! first answer.

use crate::change::{Change, timed};
use crate::clock;
use crate::error::{Error, Loss, Refusal};
use crate::members::{Answered, Doubt, Effect, Failure, Members, To};
use crate::record::Written;
use crate::settle::{self, CHORES_MAX};
use crate::slots::{Lease, NoSlot, SLOTS, Slots};
use regraft_wire::store::v1 as wire;
use regraft_wire::store::v1::change_response::Outcome;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// The part of a time to live in which this clock and the leader's may come apart: each by a thousandth, as the members
/// assume, too.
const DRIFT: u32 = 500;
/// A sign of life is due after this part of the time to live: two may be lost.
const SIGN: u32 = 3;

/// A session. Clones are handles of the same one; when the last one and the last [`Lock`](crate::Lock) of it are dropped
/// it is no longer kept alive, and ends after its time to live, with its locks. [`Session::close`] ends it at once.
#[derive(Clone, Debug)]
pub struct Session {
    pub(crate) core: Arc<Core>,
    pub(crate) deadline: Duration,
    /// Stops the session's tasks.
    _alive: Arc<DropGuard>,
}

/// What the session's tasks share with it.
pub(crate) struct Core {
    pub(crate) members: Arc<Members>,
    pub(crate) id: u64,
    ttl: Duration,
    pub(crate) slots: Arc<Slots>,
    /// When the last request was sent that was answered.
    heard: Mutex<Instant>,
    loss: watch::Sender<Option<Loss>>,
    stop: CancellationToken,
}

impl Session {
    pub(crate) async fn open(
        members: Arc<Members>,
        ttl: Duration,
        deadline: Duration,
    ) -> Result<Self, Error> {
        let request = wire::OpenSessionRequest {
            ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
        };
        let call = members.call(To::Leader, Effect::Change, clock::now() + deadline);
        let asked = members.ask(call, |mut client, span| async move {
            client.open_session(timed(request, span)).await
        });
        let opened = asked.await.map_err(|failure| {
            let failure = match failure {
                // Of the one that may have been opened nobody has the id: it ends unused.
                Failure::Unknown { why, source } => Failure::NotDone { why, source },
                failure => failure,
            };
            failure.of("opening a session")
        })?;
        Ok(Self::start(members, &opened, deadline))
    }

    fn start(
        members: Arc<Members>,
        opened: &Answered<wire::OpenSessionResponse>,
        deadline: Duration,
    ) -> Self {
        let wire::OpenSessionResponse { session, ttl_ms } = opened.message;
        let (sender, chores) = mpsc::channel(CHORES_MAX);
        let stop = CancellationToken::new();
        let core = Arc::new(Core {
            members,
            id: session,
            ttl: Duration::from_millis(ttl_ms),
            slots: Arc::new(Slots::new(session, sender)),
            heard: Mutex::new(opened.sent),
            loss: watch::Sender::new(None),
            stop: stop.clone(),
        });
        let tasks = TaskTracker::new();
        let signs = Arc::clone(&core).stay_alive();
        tasks.spawn(stop.clone().run_until_cancelled_owned(signs));
        let settling = settle::run(Arc::clone(&core), chores);
        tasks.spawn(stop.clone().run_until_cancelled_owned(settling));
        Self {
            core,
            deadline,
            _alive: Arc::new(stop.drop_guard()),
        }
    }

    /// Its id: the revision that opened it. Never used twice.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.core.id
    }

    /// Silence after which the members end it.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.core.ttl
    }

    /// The same session, whose calls may take so long.
    #[must_use]
    pub fn within(&self, deadline: Duration) -> Self {
        Self {
            deadline,
            ..self.clone()
        }
    }

    /// How it was lost; none while it certainly lives. Once lost it stays so.
    #[must_use]
    pub fn loss(&self) -> Option<Loss> {
        self.core.loss()
    }

    /// Resolves when it is lost: from then on somebody else may have its locks.
    pub fn lost(&self) -> impl Future<Output = Loss> + Send + use<> {
        let core = Arc::clone(&self.core);
        async move { core.lost().await }
    }

    /// Writes a record: a key of 1 to 512 bytes, a value of at most 256 KiB.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::NotDone`], [`Error::SessionLost`] or [`Error::Unknown`].
    pub async fn put(
        &self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
    ) -> Result<Written, Error> {
        self.put_if(key.into(), value.into(), None).await
    }

    /// Writes a record if its revision is `expected`; 0: if there is none.
    ///
    /// # Errors
    /// [`Error::Refused`] as `RevisionChanged`, with the revision found, and as [`Session::put`].
    pub async fn compare_and_swap(
        &self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
        expected: u64,
    ) -> Result<Written, Error> {
        self.put_if(key.into(), value.into(), Some(expected)).await
    }

    /// Removes a record, if there is one.
    ///
    /// # Errors
    /// As [`Session::put`].
    pub async fn delete(&self, key: impl Into<Vec<u8>>) -> Result<Written, Error> {
        self.delete_if(key.into(), None).await
    }

    /// Removes a record if its revision is `expected`.
    ///
    /// # Errors
    /// As [`Session::compare_and_swap`].
    pub async fn compare_and_delete(
        &self,
        key: impl Into<Vec<u8>>,
        expected: u64,
    ) -> Result<Written, Error> {
        self.delete_if(key.into(), Some(expected)).await
    }

    /// Ends it, for all handles: its locks are released.
    ///
    /// # Errors
    /// [`Error::NotDone`] or [`Error::Unknown`]: then it ends after its time to live, for nothing keeps it alive any more.
    pub async fn close(self) -> Result<(), Error> {
        let core = &self.core;
        let request = wire::CloseSessionRequest { session: core.id };
        core.lose(Loss::Closed);
        let deadline = clock::now() + self.deadline;
        let call = core.members.call(To::Leader, Effect::Change, deadline);
        let asked = core.members.ask(call, |mut client, span| async move {
            client.close_session(timed(request, span)).await
        });
        // One that has ended already is closed, too.
        let closed = asked.await.map(drop);
        closed.map_err(|failure| failure.of(format_args!("closing session {}", core.id)))
    }

    /// Makes a change until the deadline.
    pub(crate) async fn change(&self, change: Change) -> Result<Outcome, Error> {
        self.change_by(change, clock::now() + self.deadline).await
    }

    pub(crate) async fn change_by(
        &self,
        change: Change,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let mut lease = self.core.lease(&change, deadline).await?;
        self.core.carry(&mut lease, change, deadline).await
    }

    async fn put_if(
        &self,
        key: Vec<u8>,
        value: Vec<u8>,
        expected: Option<u64>,
    ) -> Result<Written, Error> {
        let change = Change::Put(wire::PutRequest {
            id: None,
            key: key.into(),
            value: value.into(),
            expected,
        });
        self.written(change).await
    }

    async fn delete_if(&self, key: Vec<u8>, expected: Option<u64>) -> Result<Written, Error> {
        let change = Change::Delete(wire::DeleteRequest {
            id: None,
            key,
            expected,
        });
        self.written(change).await
    }

    async fn written(&self, change: Change) -> Result<Written, Error> {
        let operation = change.to_string();
        match self.change(change).await? {
            Outcome::Written(written) => Ok(Written {
                revision: written.revision,
                previous: written.previous,
            }),
            other => Err(unexpected(operation, &other)),
        }
    }
}

impl Core {
    /// How the session was lost, also when nobody noticed yet.
    pub(crate) fn loss(&self) -> Option<Loss> {
        if let Some(loss) = *self.loss.borrow() {
            return Some(loss);
        }
        (clock::now() >= self.trusted_until()).then(|| self.lose(Loss::Silent))
    }

    pub(crate) async fn lost(&self) -> Loss {
        let mut told = self.loss.subscribe();
        loop {
            if let Some(loss) = *told.borrow_and_update() {
                return loss;
            }
            // Its sender is in this very value: it does not go.
            if told.changed().await.is_err() {
                return Loss::Silent;
            }
        }
    }

    /// A slot for `change`.
    pub(crate) async fn lease(&self, change: &Change, deadline: Instant) -> Result<Lease, Error> {
        if let Some(loss) = self.loss() {
            return Err(self.lost_before(change, loss));
        }
        self.slots.lease(deadline).await.map_err(|none| match none {
            NoSlot::Closed => self.lost_before(change, self.loss().unwrap_or(Loss::Silent)),
            NoSlot::AllTaken => Error::NotDone {
                operation: change.to_string(),
                why: format!("all {SLOTS} slots of the session were under way until the deadline"),
                source: None,
            },
        })
    }

    /// Makes a change in a slot until the deadline.
    pub(crate) async fn carry(
        &self,
        lease: &mut Lease,
        change: Change,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        if let Some(loss) = self.loss() {
            return Err(self.lost_before(&change, loss));
        }
        let change = lease.stake(change);
        let call = self.members.call(To::Leader, Effect::Change, deadline);
        let asked = self
            .members
            .ask(call, |client, span| change.clone().send(client, span));
        match asked.await {
            Ok(answered) => self.take(lease, &change, answered),
            Err(failure) => {
                match failure {
                    Failure::Unknown { .. } => lease.doubted(),
                    Failure::Refused { .. } | Failure::NotDone { .. } => lease.undone(),
                }
                Err(failure.of(&change))
            }
        }
    }

    /// Counts an answered request as a sign of life.
    fn hear(&self, sent: Instant) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        *heard = sent.max(*heard);
    }

    /// The session is lost from now on. Gives how, which may have been told before.
    pub(crate) fn lose(&self, how: Loss) -> Loss {
        let is_new = self.loss.send_if_modified(|loss| {
            let is_new = loss.is_none();
            loss.get_or_insert(how);
            is_new
        });
        if is_new {
            match how {
                Loss::Closed => tracing::debug!(session = self.id, "the session is closed"),
                Loss::Expired | Loss::Silent => {
                    tracing::warn!(session = self.id, ?how, "the session is lost");
                }
            }
            self.slots.close();
            self.stop.cancel();
        }
        self.loss.borrow().unwrap_or(how)
    }

    /// What the members decided.
    fn take(
        &self,
        lease: &mut Lease,
        change: &Change,
        answered: Answered<wire::ChangeResponse>,
    ) -> Result<Outcome, Error> {
        let refused = match answered.message.outcome {
            Some(Outcome::Refused(refused)) => refused,
            Some(outcome) => {
                lease.answered();
                self.hear(answered.sent);
                return Ok(outcome);
            }
            None => {
                lease.answered();
                return Err(Error::Unknown {
                    operation: change.to_string(),
                    why: "the answer is of a newer version".to_owned(),
                    source: None,
                });
            }
        };
        let in_doubt = answered.doubt == Doubt::Yes;
        match refused.reason.as_str() {
            "SessionExpired" => {
                let loss = self.lose(Loss::Expired);
                if !in_doubt {
                    lease.undone();
                    return Err(self.lost_before(change, loss));
                }
            }
            // Not of this request, but of the slot: the session is used by somebody else, too.
            "StaleSequence" | "OutOfOrder" => lease.retire(),
            "NotYours" => match in_doubt {
                true => lease.doubted(),
                false => lease.undone(),
            },
            _ => {
                lease.answered();
                self.hear(answered.sent);
                return Err(refusal(change, refused));
            }
        }
        tracing::warn!(session = self.id, %change, reason = refused.reason, message = refused.message, "a change was not taken");
        match in_doubt {
            true => Err(Error::Unknown {
                operation: change.to_string(),
                why: format!("{}: {}", refused.reason, refused.message),
                source: None,
            }),
            false => Err(refusal(change, refused)),
        }
    }

    pub(crate) fn lost_before(&self, operation: impl std::fmt::Display, loss: Loss) -> Error {
        Error::SessionLost {
            operation: operation.to_string(),
            session: self.id,
            loss,
        }
    }

    fn heard(&self) -> Instant {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until when the members have not ended it.
    fn trusted_until(&self) -> Instant {
        self.heard() + trusted(self.ttl)
    }

    /// Gives signs of life until the session is lost.
    async fn stay_alive(self: Arc<Self>) {
        while self.loss().is_none() {
            let due = self.heard() + self.ttl / SIGN;
            if clock::now() < due {
                clock::until(due).await;
                // A change may have been answered meanwhile.
                continue;
            }
            let until = self.trusted_until();
            match self.sign(until).await {
                Ok(Some(sent)) => self.hear(sent),
                Ok(None) => {
                    self.lose(Loss::Expired);
                }
                Err(failure) => {
                    tracing::debug!(session = self.id, ?failure, "no sign of life was taken");
                    clock::pause(self.members.settings.backoff_max.min(self.ttl / 10)).await;
                }
            }
        }
    }

    /// A sign of life; gives when it was sent, or none when the session is no more.
    async fn sign(&self, deadline: Instant) -> Result<Option<Instant>, Failure> {
        let request = wire::KeepAliveRequest { session: self.id };
        let mut call = self.members.call(To::Leader, Effect::Read, deadline);
        // So that more than one can be tried.
        call.attempt = call.attempt.min(self.ttl / SIGN);
        let asked = self.members.ask(call, |mut client, span| async move {
            client.keep_alive(timed(request, span)).await
        });
        let answered = asked.await?;
        Ok((answered.message.ttl_ms > 0).then_some(answered.sent))
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("id", &self.id)
            .field("ttl", &self.ttl)
            .field("loss", &*self.loss.borrow())
            .finish_non_exhaustive()
    }
}

fn refusal(change: &Change, refused: wire::Refused) -> Error {
    Error::Refused(Refusal {
        operation: change.to_string(),
        reason: refused.reason,
        message: refused.message,
        found: refused.found,
    })
}

/// A member answered what does not belong to the request.
pub(crate) fn unexpected(operation: String, outcome: &Outcome) -> Error {
    Error::Unknown {
        operation,
        why: format!("the answer is of another request: {outcome:?}"),
        source: None,
    }
}

/// How long after a sign of life was sent no clock of a member can have ended the session.
fn trusted(ttl: Duration) -> Duration {
    ttl - ttl / DRIFT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_trusted_no_longer_than_the_fastest_clock_lets_it_live_by_the_slowest() {
        for ttl_ms in [1_000, 30_000, 3_600_000] {
            let ttl = Duration::from_millis(ttl_ms);
            // A thousandth slow here, and fast where it is counted down.
            let trusted_at_most = trusted(ttl).mul_f64(1.0 / (1.0 - 0.001));
            let lives_at_least = ttl.mul_f64(1.0 / (1.0 + 0.001));
            assert!(trusted_at_most <= lives_at_least, "{ttl_ms} ms");
            assert!(trusted(ttl) > ttl.mul_f64(0.99), "{ttl_ms} ms");
        }
    }
}
