//! Between the messages of programs and those of the machine.

use crate::local::Proposed;
use bytes::Bytes;
use prost::Message as _;
use regraft_state::command::Envelope;
use regraft_state::operation as state;
use regraft_state::operation::{Operation, Outcome, Request};
use regraft_state::stored::Record;
use regraft_wire::store::v1 as wire;
use regraft_wire::store::v1::change_response::Outcome as Told;
use tonic::Status;

/// The bytes that are proposed.
pub(crate) fn command(actor: &str, operation: Operation) -> Vec<u8> {
    Envelope::of_operation(actor, operation).encode_to_vec()
}

/// A request that needs no place in a session.
pub(crate) fn outside(request: Request) -> Operation {
    Operation {
        request: Some(request),
        ..Operation::default()
    }
}

pub(crate) fn put(request: wire::PutRequest) -> Result<Operation, Status> {
    let put = state::Put {
        key: request.key,
        value: request.value,
        expected: request.expected,
    };
    within(request.id, Request::Put(put))
}

pub(crate) fn delete(request: wire::DeleteRequest) -> Result<Operation, Status> {
    let delete = state::Delete {
        key: Bytes::from(request.key),
        expected: request.expected,
    };
    within(request.id, Request::Delete(delete))
}

pub(crate) fn acquire(request: wire::AcquireRequest) -> Result<Operation, Status> {
    let wait = match request.queue {
        true => state::Wait::Queue,
        false => state::Wait::Try,
    };
    let budgets = request.budgets.into_iter().map(|budget| state::Budget {
        level: budget.level,
        most: budget.most,
    });
    let acquire = state::Acquire {
        scope: request.scope,
        permits: request.permits,
        budgets: budgets.collect(),
        wait: wait.into(),
    };
    within(request.id, Request::Acquire(acquire))
}

pub(crate) fn release(request: wire::ReleaseRequest) -> Result<Operation, Status> {
    let release = state::Release {
        scope: request.scope,
    };
    within(request.id, Request::Release(release))
}

fn within(id: Option<wire::RequestId>, request: Request) -> Result<Operation, Status> {
    let id = id.ok_or_else(|| Status::invalid_argument("the request has no id"))?;
    Ok(Operation {
        session: id.session,
        slot: id.slot,
        sequence: id.sequence,
        request: Some(request),
    })
}

/// What the machine answered.
pub(crate) fn outcome(proposed: &Proposed) -> Result<Outcome, Status> {
    let answer = state::Answer::decode(proposed.response.as_slice())
        .map_err(|error| Status::internal(format!("the answer cannot be read: {error}")))?;
    answer
        .outcome
        .ok_or_else(|| Status::internal("the answer is of a newer version"))
}

pub(crate) fn record(key: Vec<u8>, record: Record) -> wire::Record {
    wire::Record {
        key,
        value: record.value,
        revision: record.revision,
        created: record.created,
        version: record.version,
    }
}

pub(crate) fn change(proposed: &Proposed) -> Result<wire::ChangeResponse, Status> {
    let told = match outcome(proposed)? {
        Outcome::Opened(_) | Outcome::Done(_) => Told::Done(wire::Done {}),
        Outcome::Written(written) => Told::Written(wire::Written {
            revision: written.revision,
            previous: written.previous,
        }),
        Outcome::Granted(granted) => Told::Granted(wire::Granted {
            fence: granted.fence,
        }),
        Outcome::Queued(queued) => Told::Queued(wire::Queued {
            ticket: queued.ticket,
            ahead: queued.ahead,
        }),
        Outcome::Refused(refused) => Told::Refused(wire::Refused {
            reason: refused.reason,
            message: refused.message,
            found: refused.found,
        }),
    };
    Ok(wire::ChangeResponse {
        revision: proposed.index,
        outcome: Some(told),
    })
}
