//! A client of the machine: a session, and the requests that tests send through it.

use crate::harness::Machine;
use bytes::Bytes;
use prost::Message;
use regraft_state::command::{Envelope, Stamped};
use regraft_state::operation::{
    Acquire, Answer, Budget, CloseSession, Delete, ExpireSession, OpenSession, Operation, Outcome,
    Put, RefusalReason, Release, Request, Wait,
};

pub(crate) const TTL_MS: u64 = 10_000;

/// A session as its owner knows it.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) actor: String,
    pub(crate) session: u64,
    /// Of slot 0, which is all that most tests use.
    pub(crate) sequence: u64,
}

impl Client {
    pub(crate) fn open(machine: &mut Machine, actor: &str) -> Self {
        let request = Request::OpenSession(OpenSession { ttl_ms: TTL_MS });
        match machine.operate(actor, loose(request)) {
            Outcome::Opened(opened) => Self {
                actor: actor.to_owned(),
                session: opened.session,
                sequence: 0,
            },
            other => panic!("{other:?}"),
        }
    }

    /// The next request of slot 0.
    pub(crate) fn next(&mut self, request: Request) -> Operation {
        self.sequence += 1;
        Operation {
            session: self.session,
            slot: 0,
            sequence: self.sequence,
            request: Some(request),
        }
    }

    pub(crate) fn ask(&mut self, machine: &mut Machine, request: Request) -> Outcome {
        let operation = self.next(request);
        machine.operate(&self.actor, operation)
    }

    #[track_caller]
    pub(crate) fn granted(&mut self, machine: &mut Machine, request: Request) -> u64 {
        match self.ask(machine, request) {
            Outcome::Granted(granted) => granted.fence,
            other => panic!("not granted: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn queued(&mut self, machine: &mut Machine, request: Request) -> u64 {
        match self.ask(machine, request) {
            Outcome::Queued(queued) => queued.ticket,
            other => panic!("not queued: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn refused(
        &mut self,
        machine: &mut Machine,
        request: Request,
    ) -> (RefusalReason, String) {
        refusal(self.ask(machine, request))
    }

    #[track_caller]
    pub(crate) fn release(&mut self, machine: &mut Machine, scope: &str) {
        let outcome = self.ask(machine, release(scope));
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    }

    #[track_caller]
    pub(crate) fn close(&self, machine: &mut Machine) {
        let outcome = machine.operate(&self.actor, loose(close(self.session)));
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    }
}

impl Machine {
    pub(crate) fn operate(&mut self, actor: &str, operation: Operation) -> Outcome {
        let entry = self.operation(actor, operation);
        let answer = Answer::decode(self.apply_bytes(&entry).as_slice()).unwrap();
        answer.outcome.unwrap()
    }

    pub(crate) fn operation(&self, actor: &str, operation: Operation) -> Vec<u8> {
        entry(self.now, actor, operation)
    }

    /// Who holds a scope by sessions, with their fences.
    pub(crate) fn holders(&self, scope: &str) -> Vec<(u64, u64)> {
        let scope = scope.parse().unwrap();
        let held = regraft_state::view::sessions::held(&self.store, &scope).unwrap();
        let holders = held.map(|held| held.holders).unwrap_or_default();
        holders
            .iter()
            .map(|holder| (holder.session, holder.fence))
            .collect()
    }
}

pub(crate) fn entry(now: i64, actor: &str, operation: Operation) -> Vec<u8> {
    Stamped {
        stamped_ms: now,
        command: Envelope::of_operation(actor, operation).encode_to_vec(),
    }
    .encode_to_vec()
}

#[track_caller]
pub(crate) fn refusal(outcome: Outcome) -> (RefusalReason, String) {
    match outcome {
        Outcome::Refused(refused) => (refused.known_reason().unwrap(), refused.message),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// A request that belongs to no session.
pub(crate) fn loose(request: Request) -> Operation {
    Operation {
        request: Some(request),
        ..Operation::default()
    }
}

pub(crate) fn close(session: u64) -> Request {
    Request::CloseSession(CloseSession { session })
}

pub(crate) fn expire(session: u64, last_heard: u64) -> Request {
    Request::ExpireSession(ExpireSession {
        session,
        last_heard,
    })
}

pub(crate) fn put(key: &str, value: &str, expected: Option<u64>) -> Request {
    Request::Put(Put {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        expected,
    })
}

pub(crate) fn delete(key: &str, expected: Option<u64>) -> Request {
    Request::Delete(Delete {
        key: Bytes::copy_from_slice(key.as_bytes()),
        expected,
    })
}

pub(crate) fn lock(scope: &str, wait: Wait) -> Acquire {
    Acquire {
        scope: scope.to_owned(),
        permits: 1,
        budgets: vec![],
        wait: wait.into(),
    }
}

pub(crate) fn try_lock(scope: &str) -> Request {
    Request::Acquire(lock(scope, Wait::Try))
}

pub(crate) fn queue_for(scope: &str) -> Request {
    Request::Acquire(lock(scope, Wait::Queue))
}

pub(crate) fn counted(scope: &str, permits: u32, wait: Wait) -> Request {
    Request::Acquire(Acquire {
        permits,
        ..lock(scope, wait)
    })
}

pub(crate) fn budgeted(scope: &str, budgets: &[(&str, u32)], wait: Wait) -> Request {
    let budgets = budgets.iter().map(|(level, most)| Budget {
        level: (*level).to_owned(),
        most: *most,
    });
    Request::Acquire(Acquire {
        budgets: budgets.collect(),
        ..lock(scope, wait)
    })
}

pub(crate) fn release(scope: &str) -> Request {
    Request::Release(Release {
        scope: scope.to_owned(),
    })
}
