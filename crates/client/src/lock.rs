//! Locks: asked for, waited for, and given back when their guard goes.

use crate::change::{Change, timed};
use crate::clock;
use crate::error::{Error, Loss, Refusal};
use crate::members::{Effect, Failure, To};
use crate::session::{Session, unexpected};
use crate::settle::Chore;
use regraft_wire::store::v1 as wire;
use regraft_wire::store::v1::change_response::Outcome;
use tokio::time::Instant;

/// What a lock is asked for with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockRequest {
    scope: String,
    permits: u32,
    budgets: Vec<wire::Budget>,
}

/// A lock that was granted. When it is dropped it is given back in the background, as long as its session lives;
/// [`Lock::release`] tells that it was.
///
/// It protects nothing by itself: what is done under it must be refused with a smaller fence than one that was seen
/// before, for a process can be paused at any point and go on when its session has ended.
#[derive(Debug)]
pub struct Lock {
    place: Place,
    fence: u64,
}

/// A lock, or a place in its queue. Given back when dropped.
#[derive(Debug)]
struct Place {
    session: Session,
    scope: String,
    stand: Stand,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Has,
    GaveBack,
}

impl LockRequest {
    /// A lock of `scope`: `fleet`, `cluster/C`, `namespace/C/N`, `service/C/N/S`, `application/A`, or `named/X` for what
    /// has nothing to do with the fleet. It excludes those of every scope above it and below it.
    #[must_use]
    pub fn new(scope: impl Into<String>) -> Self {
        Self {
            scope: scope.into(),
            permits: 1,
            budgets: Vec::new(),
        }
    }

    /// How many may hold exactly this scope at the same time, 1 to 256; all must say the same number.
    #[must_use]
    pub fn permits(mut self, permits: u32) -> Self {
        self.permits = permits;
        self
    }

    /// The most live locks, this one included, below `level`: a scope that this one lies below, or itself. At most four.
    #[must_use]
    pub fn budget(mut self, level: impl Into<String>, most: u32) -> Self {
        let level = level.into();
        self.budgets.push(wire::Budget { level, most });
        self
    }

    fn acquire(&self, queue: bool) -> Change {
        Change::Acquire(wire::AcquireRequest {
            id: None,
            scope: self.scope.clone(),
            permits: self.permits,
            budgets: self.budgets.clone(),
            queue,
        })
    }
}

impl Session {
    /// Takes a lock if it is free.
    ///
    /// # Errors
    /// [`Error::Refused`], as `Busy` when it is not free; [`Error::NotDone`], [`Error::SessionLost`]; after
    /// [`Error::Unknown`] it is given back if it was granted.
    pub async fn try_acquire(&self, request: &LockRequest) -> Result<Lock, Error> {
        let change = request.acquire(false);
        let operation = change.to_string();
        match self.change(change).await? {
            Outcome::Granted(granted) => Ok(self.lock(&request.scope, granted.fence)),
            other => Err(unexpected(operation, &other)),
        }
    }

    /// Takes a lock, and waits for it until the deadline when it is not free. Those who wait are served in order.
    ///
    /// # Errors
    /// As [`Session::try_acquire`]; [`Error::NotDone`] also when it was not granted by the deadline: then its place in the
    /// queue is given back in the background, and with it the lock, if it was granted just then.
    pub async fn acquire(&self, request: &LockRequest) -> Result<Lock, Error> {
        let deadline = clock::now() + self.deadline;
        let change = request.acquire(true);
        let operation = change.to_string();
        match self.change_by(change, deadline).await? {
            Outcome::Granted(granted) => Ok(self.lock(&request.scope, granted.fence)),
            Outcome::Queued(_) => {
                let mut place = self.place(&request.scope);
                let waiting = place.granted(deadline);
                let fence = tokio::select! {
                    loss = self.lost() => Err(self.core.lost_before(&operation, loss)),
                    fence = waiting => fence,
                }?;
                Ok(Lock { place, fence })
            }
            other => Err(unexpected(operation, &other)),
        }
    }

    fn lock(&self, scope: &str, fence: u64) -> Lock {
        let place = self.place(scope);
        Lock { place, fence }
    }

    fn place(&self, scope: &str) -> Place {
        Place {
            session: self.clone(),
            scope: scope.to_owned(),
            stand: Stand::Has,
        }
    }
}

impl Lock {
    /// Higher than that of every earlier holder of anything it overlaps.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// What it covers.
    #[must_use]
    pub fn scope(&self) -> &str {
        &self.place.scope
    }

    /// How it was lost, with its session; none while it is certainly held.
    #[must_use]
    pub fn loss(&self) -> Option<Loss> {
        self.place.session.loss()
    }

    /// Resolves when it is lost, with its session: whatever is done under it has to stop.
    pub fn lost(&self) -> impl Future<Output = Loss> + Send + use<> {
        self.place.session.lost()
    }

    /// Gives it back.
    ///
    /// # Errors
    /// [`Error::SessionLost`] when it was lost before; [`Error::NotDone`] and [`Error::Unknown`]: it is given back in the
    /// background, or ends with its session.
    pub async fn release(mut self) -> Result<(), Error> {
        let place = &mut self.place;
        let change = Change::release(&place.scope);
        let released = place.session.change(change).await;
        match &released {
            // An unknown release is settled by itself, and one that was not done by dropping this.
            Ok(_) | Err(Error::Unknown { .. } | Error::SessionLost { .. } | Error::Refused(_)) => {
                place.stand = Stand::GaveBack;
            }
            Err(_) => {}
        }
        released.map(drop)
    }
}

impl Place {
    /// Waits until it is granted; gives the fence.
    async fn granted(&mut self, deadline: Instant) -> Result<u64, Error> {
        let request = wire::WaitRequest {
            session: self.session.id(),
            scope: self.scope.clone(),
        };
        let operation = || format!("waiting for {}", self.scope);
        let members = &self.session.core.members;
        let call = members.call(To::Leader, Effect::Wait, deadline);
        let asked = members.ask(call, |mut client, span| {
            let request = timed(request.clone(), span);
            async move { client.wait(request).await }
        });
        let outcome = match asked.await {
            Ok(answered) => answered.message.outcome,
            // It holds a place, and gives it back: so it is not done.
            Err(Failure::Unknown { why, source } | Failure::NotDone { why, source }) => {
                return Err(Failure::NotDone { why, source }.of(operation()));
            }
            Err(failure) => return Err(failure.of(operation())),
        };
        match outcome {
            Some(Outcome::Granted(granted)) => Ok(granted.fence),
            Some(Outcome::Refused(refused)) => {
                let refusal = Refusal {
                    operation: operation(),
                    reason: refused.reason,
                    message: refused.message,
                    found: refused.found,
                };
                self.stand = Stand::GaveBack;
                Err(Error::Refused(refusal))
            }
            _ => Err(Error::NotDone {
                operation: operation(),
                why: "the answer is of another request, or of a newer version".to_owned(),
                source: None,
            }),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.stand == Stand::Has {
            let scope = std::mem::take(&mut self.scope);
            let slots = &self.session.core.slots;
            slots.leave_to_settle(Chore::GiveBack(scope));
        }
    }
}
