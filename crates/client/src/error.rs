//! How calls end that do not end well.

use std::fmt;
use tonic::Status;

/// Why a call did not give what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Nothing was changed, and sending it again changes nothing.
    #[error("{0}")]
    Refused(Refusal),
    /// It was not done, and will not be.
    #[error("{operation} was not done: {why}")]
    NotDone {
        /// What was asked for.
        operation: String,
        /// What hindered it at last.
        why: String,
        /// What a member answered at last, or how the connection to it failed.
        #[source]
        source: Option<Status>,
    },
    /// The deadline passed after it was sent: it may have been done, or not.
    ///
    /// The session sees to it that this is settled: what is not done by then never will be, and a lock that was granted
    /// is given back. A read tells what became of a record.
    #[error("whether {operation} was done is unknown: {why}")]
    Unknown {
        /// What was asked for.
        operation: String,
        /// What hindered it at last.
        why: String,
        /// What a member answered at last, or how the connection to it failed.
        #[source]
        source: Option<Status>,
    },
    /// It was not done, for the session is no more: its locks may be somebody else's. Open another one.
    #[error("{operation} was not done: session {session} {loss}")]
    SessionLost {
        /// What was asked for.
        operation: String,
        /// Which session.
        session: u64,
        /// How it was lost.
        loss: Loss,
    },
    /// What changed after this revision is not known any more where it was asked: list again, and watch from the
    /// revision of the list.
    #[error(
        "the changes after revision {after} are kept no more: list again, and watch from that revision"
    )]
    Compacted {
        /// The last revision of which everything was told.
        after: u64,
    },
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was asked for.
    pub operation: String,
    /// A stable word: a reason of the state (such as `RevisionChanged`, `Busy`, `NotHeld`, `OutOfBounds`), or the name of
    /// a gRPC code (such as `PermissionDenied`).
    pub reason: String,
    /// For people.
    pub message: String,
    /// With `RevisionChanged`: the revision found; 0: there is no such record.
    pub found: u64,
}

/// How a session was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Loss {
    /// It was closed here.
    Closed,
    /// A member said that it ended.
    Expired,
    /// No member answered for so long that it may have ended.
    Silent,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            operation,
            reason,
            message,
            ..
        } = self;
        write!(f, "{operation} was refused: {reason}: {message}")
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Loss::Closed => "was closed",
            Loss::Expired => "has ended",
            Loss::Silent => "may have ended: no member answered for its time to live",
        })
    }
}
