//! One log entry in, one batch and one answer out.

use crate::command::{Command, Envelope, FORMAT, Rejection, RejectionReason, Response, Stamped};
use crate::operation::{self, Operation, Outcome, Request};
use crate::store::{Batch, Read, ReadError};
use crate::table;
use crate::transaction::Transaction;
use crate::{
    audit, baseline, client, format, git, hold, incident, lock, people, queue, records, session,
    target,
};
use bytes::Bytes;
use prost::Message;
use regraft_model::time::Timestamp;

/// What one applied command did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Writes for the owner of the store; already reflect dedupe and audit.
    pub batch: Batch,
    /// The answer for whoever proposed it: to a command a [`Response`] as JSON, to an operation an encoded
    /// [`crate::operation::Answer`].
    pub response: Vec<u8>,
}

/// The machine cannot go on: the member must stop applying and say so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] ReadError),
    /// A record or an answer has no text.
    #[error("{what} cannot be written: {reason}")]
    Unwritable {
        /// Which.
        what: String,
        /// Why.
        reason: String,
    },
    /// The bytes at this index are no command this version knows.
    #[error("log entry {index} is not a command this version knows: {reason}")]
    Unknown {
        /// Log index.
        index: u64,
        /// Why.
        reason: String,
    },
}

/// Applies one entry, an encoded [`Stamped`]. Deterministic in (store, index, entry).
///
/// A refusal is an answer, not an error; it writes nothing but the session, the time, and what ran out by time. Errors:
/// [`Halt`], with nothing written, when the store cannot be read or the entry is of a newer version.
pub fn apply(read: &dyn Read, index: u64, entry: &[u8]) -> Result<Applied, Halt> {
    let unknown = |reason: String| Halt::Unknown { index, reason };
    let stamped = Stamped::decode(entry).map_err(|error| unknown(error.to_string()))?;
    // The values in it are not copied: they are parts of these bytes.
    let envelope = Envelope::decode(Bytes::from(stamped.command))
        .map_err(|error| unknown(error.to_string()))?;
    if envelope.format > FORMAT {
        return Err(unknown(format!(
            "format {} is newer than {FORMAT}",
            envelope.format
        )));
    }
    let asked = match envelope.operation {
        Some(operation) => {
            Asked::Operation(operation::read(operation, envelope.format).map_err(unknown)?)
        }
        None => Asked::Command(
            serde_json::from_slice(&envelope.command)
                .map_err(|error| unknown(format!("{error}, from {}", envelope.actor)))?,
        ),
    };
    let mut transaction = Transaction::new(read, index, Timestamp(0), envelope.actor);
    let before: Timestamp = transaction.get(table::TIME)?.unwrap_or_default();
    // A leader with a slow clock must not turn time back: leases would live twice.
    transaction.now = before.max(Timestamp(stamped.stamped_ms));

    let response = match asked {
        Asked::Operation((operation, request)) => operate(&mut transaction, &operation, request)?,
        Asked::Command(command) => {
            let client = (envelope.client.as_str(), envelope.sequence);
            once(&mut transaction, client, command)?
        }
    };
    let now = transaction.now;
    transaction.put(table::TIME.to_owned(), &now)?;
    Ok(Applied {
        batch: transaction.into_batch(),
        response,
    })
}

/// What an entry asks for.
enum Asked {
    Command(Command),
    Operation((Operation, Request)),
}

/// Applies a command unless it was applied before.
fn once(
    transaction: &mut Transaction<'_>,
    (client, sequence): (&str, u64),
    command: Command,
) -> Result<Vec<u8>, Halt> {
    queue::lapse(transaction)?;
    let kept = match client::seen(transaction, client, sequence)? {
        client::Seen::Answered(answer) => return Ok(answer.into()),
        client::Seen::New(kept) => kept,
    };
    let response = execute(transaction, command)?;
    if matches!(response, Response::Rejected(_)) {
        transaction.drop_writes();
    }
    let json = serde_json::to_vec(&response).map_err(|error| Halt::Unwritable {
        what: format!("the answer to log entry {}", transaction.index),
        reason: error.to_string(),
    })?;
    client::remember(transaction, (client, sequence), kept, response, &json)?;
    Ok(json)
}

/// Applies an operation unless it was applied before.
fn operate(
    transaction: &mut Transaction<'_>,
    operation: &Operation,
    request: Request,
) -> Result<Vec<u8>, Halt> {
    if !matches!(request, Request::Put(_) | Request::Delete(_)) {
        queue::lapse(transaction)?;
    }
    let is_slotted = match request {
        Request::OpenSession(_)
        | Request::CloseSession(_)
        | Request::ExpireSession(_)
        | Request::RaiseFormat(_)
        | Request::NoteMembers(_) => false,
        Request::Put(_) | Request::Delete(_) | Request::Acquire(_) | Request::Release(_) => true,
    };
    if is_slotted {
        match session::seen(transaction, operation)? {
            session::Seen::Answered(answer) => return Ok(answer.into()),
            session::Seen::Refused(refusal) => return Ok(session::encode(refusal)),
            session::Seen::Next => {}
        }
    }
    let outcome = match request {
        Request::OpenSession(request) => session::open(transaction, request)?,
        Request::CloseSession(request) => session::close(transaction, request)?,
        Request::ExpireSession(request) => session::expire(transaction, request)?,
        Request::Put(request) => records::put(transaction, request)?,
        Request::Delete(request) => records::delete(transaction, &request)?,
        Request::Acquire(request) => {
            let wait = request.wait();
            hold::acquire(transaction, operation.session, &request, wait)?
        }
        Request::Release(request) => hold::release(transaction, operation.session, &request)?,
        Request::RaiseFormat(request) => format::raise(transaction, request)?,
        Request::NoteMembers(request) => format::note_members(transaction, request)?,
    };
    if matches!(outcome, Outcome::Refused(_)) {
        transaction.drop_writes();
    }
    let answer = session::encode(outcome);
    if is_slotted {
        session::remember(transaction, operation, &answer);
    }
    Ok(answer)
}

fn execute(transaction: &mut Transaction<'_>, command: Command) -> Result<Response, Halt> {
    match command {
        Command::Initialise { installation } => initialise(transaction, &installation),
        Command::RecordHead(new) => git::record_head(transaction, new),
        Command::RecordConfiguration {
            repository,
            branch,
            revision,
            fleet,
        } => git::record_configuration(transaction, repository, branch, revision, fleet),
        Command::ForgetRepository { repository } => git::forget(transaction, &repository),
        Command::RegisterCluster { cluster, uid } => target::register(transaction, cluster, uid),
        Command::ForgetCluster { cluster } => target::forget(transaction, &cluster),
        Command::Assign {
            after,
            grants,
            revoked,
        } => target::assign(transaction, after, grants, revoked),
        Command::Report { status } => target::report(transaction, &status),
        Command::ShareBaselines(shared) => baseline::share(transaction, shared),
        Command::OpenIncident(fault) => incident::open(transaction, fault),
        Command::AssignExecutor { incident, member } => {
            incident::assign_executor(transaction, &incident, member)
        }
        Command::Advance {
            incident,
            fence,
            transition,
        } => incident::advance(transaction, &incident, fence, *transition),
        Command::Acquire(request) => lock::acquire(transaction, request),
        Command::Renew {
            incident,
            fence,
            lease,
        } => lock::renew(transaction, &incident, fence, lease),
        Command::RecordVeto {
            incident,
            fingerprint,
            revision,
        } => people::record_undone(transaction, &incident, fingerprint, &revision),
        Command::Suspend { subject, reason } => people::suspend(transaction, subject, reason),
        Command::Resume { subject } => people::resume(transaction, &subject),
        Command::Approve {
            incident,
            diff_hash,
        } => people::approve(transaction, &incident, diff_hash),
        Command::Veto {
            incident,
            fingerprint,
            reason,
        } => people::veto(transaction, &incident, fingerprint, reason),
        Command::ConfirmDelete(confirmation) => people::confirm_delete(transaction, confirmation),
        Command::Retired { target } => git::retired(transaction, &target),
        Command::SyncNow { application } => people::sync_now(transaction, application),
        Command::RemoteAsked { application, fence } => {
            people::remote_asked(transaction, &application, fence)
        }
    }
}

fn initialise(transaction: &mut Transaction<'_>, installation: &str) -> Result<Response, Halt> {
    if transaction.get::<String>(table::INSTALLATION)?.is_some() {
        return Ok(rejected(
            RejectionReason::AlreadyDone,
            "the installation has an id already",
        ));
    }
    transaction.put(table::INSTALLATION.to_owned(), &installation)?;
    audit::append(
        transaction,
        "Initialised",
        installation,
        "installation named".to_owned(),
    )?;
    Ok(Response::Done)
}

/// A refusal.
pub(crate) fn rejected(reason: RejectionReason, message: impl Into<String>) -> Response {
    Response::Rejected(Rejection {
        reason,
        message: message.into(),
    })
}
