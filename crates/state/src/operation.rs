//! Format 2: what clients ask for by sessions, in bytes that are cheap to read and to write.
//!
//! ```text
//! Envelope { actor, format: 2, operation: Operation { session, slot, sequence, request } }  ->  Answer
//! ```
//!
//! [`Request::OpenSession`], [`Request::CloseSession`], [`Request::ExpireSession`], [`Request::RaiseFormat`] and
//! [`Request::NoteMembers`] leave the operation's own `session`, `slot` and `sequence` zero. All others name the session they belong to, one of its [`SLOTS`] slots, and the next sequence
//! of that slot, from 1. A slot has one request at a time: the next one is sent when the one before was answered. So a
//! request of unknown outcome is sent again, byte for byte, and is applied once.

use crate::command::FORMAT;
use bytes::Bytes;
use regraft_model::words;

/// Slots of a session: the most requests that it can have under way at a time.
pub const SLOTS: u32 = 64;
/// Shortest time to live of a session, milliseconds: longer than the choice of a new leader takes.
pub const TTL_MIN_MS: u64 = 1_000;
/// Longest time to live of a session, milliseconds: a day, for what a person holds while nothing keeps it alive.
pub const TTL_MAX_MS: u64 = 86_400_000;
/// Most sessions that are open: each keeps up to [`SLOTS`] answers of some hundred bytes.
pub const SESSIONS_MAX: u64 = 10_000;
/// Most bytes of a record's key.
pub const KEY_BYTES_MAX: usize = 512;
/// Most bytes of a record's value: an entry of the log stays far below the largest message between members.
pub const VALUE_BYTES_MAX: usize = 256 * 1024;
/// Most locks and places in queues of one session: ending it gives all of them back in one command.
pub const LOCKS_PER_SESSION_MAX: usize = 256;
/// Most requests that wait for locks, of all sessions: each lock that is given back looks at all of them.
pub const WAITING_MAX: u64 = 1_024;
/// Most holders of one counted lock: they are one record.
pub const PERMITS_MAX: u32 = 256;
/// Most budgets of one request: one for each level that a service lies below, and one for itself.
pub const BUDGETS_MAX: usize = 4;

/// What a client asks for.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Operation {
    /// The session it belongs to.
    #[prost(uint64, tag = "1")]
    pub session: u64,
    /// The slot, below [`SLOTS`].
    #[prost(uint32, tag = "2")]
    pub slot: u32,
    /// Number within the slot, from 1, rising by one.
    #[prost(uint64, tag = "3")]
    pub sequence: u64,
    /// What.
    #[prost(oneof = "Request", tags = "4, 5, 6, 7, 8, 9, 10, 11, 12")]
    pub request: Option<Request>,
}

/// The kinds of requests.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum Request {
    /// Opens a session of the envelope's actor.
    #[prost(message, tag = "4")]
    OpenSession(OpenSession),
    /// Ends a session. Who may end whose is for those to say who take the request.
    #[prost(message, tag = "5")]
    CloseSession(CloseSession),
    /// Ends a session that the leader has not heard of for its time to live.
    #[prost(message, tag = "6")]
    ExpireSession(ExpireSession),
    /// Writes a record.
    #[prost(message, tag = "7")]
    Put(Put),
    /// Deletes a record.
    #[prost(message, tag = "8")]
    Delete(Delete),
    /// Asks for a lock.
    #[prost(message, tag = "9")]
    Acquire(Acquire),
    /// Gives a lock, or a place in its queue, back.
    #[prost(message, tag = "10")]
    Release(Release),
    /// Says that every member reads a newer format.
    #[prost(message, tag = "11")]
    RaiseFormat(RaiseFormat),
    /// Puts into the audit chain that somebody changes the members.
    #[prost(message, tag = "12")]
    NoteMembers(NoteMembers),
}

/// Says that every member reads `format`: from now on it may be proposed, and a member that does not read it halts.
/// Answered with [`Done`], also when it was said before.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct RaiseFormat {
    /// At most [`FORMAT`].
    #[prost(uint32, tag = "1")]
    pub format: u32,
}

/// What the envelope's actor changes about the members. Answered with [`Done`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NoteMembers {
    /// The member that it is about.
    #[prost(uint64, tag = "1")]
    pub member: u64,
    /// What: a stable word of the audit chain, for example `MemberRemoved`.
    #[prost(string, tag = "2")]
    pub reason: String,
    /// For people.
    #[prost(string, tag = "3")]
    pub message: String,
}

/// Opens a session. Answered with [`Opened`]. Of one whose answer was lost the client knows no id: it expires unused.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct OpenSession {
    /// How long it lives unheard of, milliseconds, from [`TTL_MIN_MS`] to [`TTL_MAX_MS`].
    #[prost(uint64, tag = "1")]
    pub ttl_ms: u64,
}

/// Ends a session: its locks and its places in queues are given back. Answered with [`Done`]; a session that has ended
/// already is refused as [`RefusalReason::SessionExpired`].
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct CloseSession {
    /// Which.
    #[prost(uint64, tag = "1")]
    pub session: u64,
}

/// Ends a silent session, unless it was used after what its proposer knew.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ExpireSession {
    /// Which.
    #[prost(uint64, tag = "1")]
    pub session: u64,
    /// Log index that the leader had applied when it found the session silent: an operation of the session above it is
    /// one that the leader did not know of, and refuses this request as [`RefusalReason::SessionInUse`].
    #[prost(uint64, tag = "2")]
    pub last_heard: u64,
}

/// Writes a record. Answered with [`Written`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Put {
    /// 1 to [`KEY_BYTES_MAX`] bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// At most [`VALUE_BYTES_MAX`] bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
    /// Only when the record has this revision; 0: only when there is no such record.
    #[prost(uint64, optional, tag = "3")]
    pub expected: Option<u64>,
}

/// Deletes a record, if there is one. Answered with [`Written`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Delete {
    /// Its key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Only when the record has this revision.
    #[prost(uint64, optional, tag = "2")]
    pub expected: Option<u64>,
}

/// Asks for a lock. Answered with [`Granted`] or [`Queued`]. A session has one lock or place at most of a scope.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Acquire {
    /// What it covers: a `regraft_model::LockScope` as text.
    #[prost(string, tag = "1")]
    pub scope: String,
    /// How many may hold exactly this scope at a time, this one included; all of them say the same. 0 is read as 1.
    #[prost(uint32, tag = "2")]
    pub permits: u32,
    /// At most [`BUDGETS_MAX`].
    #[prost(message, repeated, tag = "3")]
    pub budgets: Vec<Budget>,
    /// What happens when it is not free.
    #[prost(enumeration = "Wait", tag = "4")]
    pub wait: i32,
}

/// The most live locks below a level.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Budget {
    /// A scope that the requested one lies below, or itself, as text.
    #[prost(string, tag = "1")]
    pub level: String,
    /// Most live locks below `level` or on it, the requested one included; at least 1.
    #[prost(uint32, tag = "2")]
    pub most: u32,
}

/// What a request for a lock does when the lock is not free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Wait {
    /// It is refused as [`RefusalReason::Busy`].
    Try = 0,
    /// It takes the last place of the queue; [`Release`] leaves it.
    Queue = 1,
}

/// Gives a lock back, or the place in its queue. Answered with [`Done`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Release {
    /// The scope it was asked for, as text.
    #[prost(string, tag = "1")]
    pub scope: String,
}

/// The machine's answer to an [`Operation`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Answer {
    /// What happened; none only in an answer of a newer version.
    #[prost(oneof = "Outcome", tags = "1, 2, 3, 4, 5, 6")]
    pub outcome: Option<Outcome>,
}

/// The kinds of answers.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum Outcome {
    /// A session was opened.
    #[prost(message, tag = "1")]
    Opened(Opened),
    /// A record was written or deleted.
    #[prost(message, tag = "2")]
    Written(Written),
    /// A lock was granted.
    #[prost(message, tag = "3")]
    Granted(Granted),
    /// The request waits for a lock.
    #[prost(message, tag = "4")]
    Queued(Queued),
    /// Done.
    #[prost(message, tag = "5")]
    Done(Done),
    /// Refused; nothing changed.
    #[prost(message, tag = "6")]
    Refused(Refused),
}

/// A session was opened.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Opened {
    /// Its id: the log index that opened it. Never used twice.
    #[prost(uint64, tag = "1")]
    pub session: u64,
    /// How long it lives unheard of, milliseconds.
    #[prost(uint64, tag = "2")]
    pub ttl_ms: u64,
}

/// A record was written or deleted.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Written {
    /// The log index that did it: the record's revision from now on.
    #[prost(uint64, tag = "1")]
    pub revision: u64,
    /// The revision the record had before; 0: there was none.
    #[prost(uint64, tag = "2")]
    pub previous: u64,
}

/// A lock was granted.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Granted {
    /// The log index that granted it.
    #[prost(uint64, tag = "1")]
    pub fence: u64,
}

/// A request waits. When it is granted, the session is among the holders of the scope, under the fence of the command that
/// freed it.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Queued {
    /// Its place: the log index that took it. Smaller ones come first.
    #[prost(uint64, tag = "1")]
    pub ticket: u64,
    /// How many wait before it for what overlaps it.
    #[prost(uint64, tag = "2")]
    pub ahead: u64,
}

/// Done.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Done {}

/// A refusal.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Refused {
    /// A [`RefusalReason`] as its word.
    #[prost(string, tag = "1")]
    pub reason: String,
    /// For people.
    #[prost(string, tag = "2")]
    pub message: String,
    /// With [`RefusalReason::RevisionChanged`]: the revision found; 0: there is no such record.
    #[prost(uint64, tag = "3")]
    pub found: u64,
}

words! {
    /// Stable words for refusals of operations.
    pub enum RefusalReason {
        /// The session ended, or never was. What it asked for and was not answered may have been done.
        SessionExpired => "SessionExpired",
        /// The session is another actor's.
        NotYours => "NotYours",
        /// The session was used after the leader found it silent.
        SessionInUse => "SessionInUse",
        /// As many sessions are open as there may be.
        TooManySessions => "TooManySessions",
        /// The slot has answered a later request already.
        StaleSequence => "StaleSequence",
        /// The slot has not seen the request before this one.
        OutOfOrder => "OutOfOrder",
        /// A length, a number or a name is not within its bounds.
        OutOfBounds => "OutOfBounds",
        /// The record has another revision than the expected one.
        RevisionChanged => "RevisionChanged",
        /// Somebody holds what overlaps, waits for it, or a budget is used up.
        Busy => "Busy",
        /// The session itself holds this scope, or waits for it, or holds what overlaps it.
        AlreadyHeld => "AlreadyHeld",
        /// The holders of this scope say another number of permits.
        PermitsDiffer => "PermitsDiffer",
        /// As many requests wait as there may.
        QueueFull => "QueueFull",
        /// The session holds and waits for as much as it may.
        TooManyLocks => "TooManyLocks",
        /// The session neither holds this scope nor waits for it.
        NotHeld => "NotHeld",
    }
}

impl Refused {
    /// The reason; none when a newer version has given one that this one does not know.
    pub fn known_reason(&self) -> Option<RefusalReason> {
        let mut all = RefusalReason::ALL.iter().copied();
        all.find(|reason| reason.as_str() == self.reason)
    }
}

/// What an operation of an envelope of `format` asks for. Errors: what this version does not know.
pub(crate) fn read(mut operation: Operation, format: u32) -> Result<(Operation, Request), String> {
    if format != FORMAT {
        return Err(format!("an operation in format {format}"));
    }
    let Some(request) = operation.request.take() else {
        return Err("an operation of an unknown kind".to_owned());
    };
    match &request {
        Request::Acquire(acquire) if Wait::try_from(acquire.wait).is_err() => {
            Err(format!("a lock with the unknown wait {}", acquire.wait))
        }
        Request::RaiseFormat(raise) if raise.format > FORMAT => Err(format!(
            "all others read format {}, which is newer than {FORMAT}",
            raise.format
        )),
        _ => Ok((operation, request)),
    }
}
