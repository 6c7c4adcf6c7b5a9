//! Records of format 2 as they lie in the store: prost, for they are read and written with every operation.

use crate::operation::Budget;
use bytes::Bytes;

/// A record that clients keep.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Record {
    /// Log index of the last write.
    #[prost(uint64, tag = "1")]
    pub revision: u64,
    /// Log index of the write that made it.
    #[prost(uint64, tag = "2")]
    pub created: u64,
    /// Writes since it was made, from 1.
    #[prost(uint64, tag = "3")]
    pub version: u64,
    /// What the client wrote.
    #[prost(bytes = "bytes", tag = "4")]
    pub value: Bytes,
}

/// An open session, by its id.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Session {
    /// Who opened it: nobody else can use it.
    #[prost(string, tag = "1")]
    pub actor: String,
    /// How long it lives unheard of, milliseconds.
    #[prost(uint64, tag = "2")]
    pub ttl_ms: u64,
    /// When it was opened, milliseconds since the epoch, in the log's time.
    #[prost(int64, tag = "3")]
    pub opened_ms: i64,
    /// Scopes of its locks, as text, in order of their grants.
    #[prost(string, repeated, tag = "4")]
    pub held: Vec<String>,
    /// What it waits for, in order of the requests.
    #[prost(message, repeated, tag = "5")]
    pub places: Vec<Place>,
}

/// A session's place in the queue.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Place {
    /// The scope it waits for, as text.
    #[prost(string, tag = "1")]
    pub scope: String,
    /// Log index of the request.
    #[prost(uint64, tag = "2")]
    pub ticket: u64,
}

/// The newest answer of a slot.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Slot {
    /// Sequence that it answers.
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
    /// Log index at which the slot was used last.
    #[prost(uint64, tag = "2")]
    pub index: u64,
    /// Whose session it is, so that reading the slot is enough; empty with format 1.
    #[prost(string, tag = "3")]
    pub actor: String,
    /// The answer as it was given: an encoded [`crate::operation::Answer`], with format 1 a response as JSON.
    #[prost(bytes = "bytes", tag = "4")]
    pub answer: Bytes,
}

/// A client of format 1 whose answers lie in slots.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Client {
    /// Highest sequence whose answer was dropped before there were slots.
    #[prost(uint64, tag = "1")]
    pub floor: u64,
    /// A log index at which it was used; its slots may know a later one.
    #[prost(uint64, tag = "2")]
    pub used: u64,
}

/// Who holds a scope by sessions.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Held {
    /// The scope, as text.
    #[prost(string, tag = "1")]
    pub scope: String,
    /// How many may hold it at a time; at least 1.
    #[prost(uint32, tag = "2")]
    pub permits: u32,
    /// Who does, in order of the grants; never empty.
    #[prost(message, repeated, tag = "3")]
    pub holders: Vec<Holder>,
}

/// One holder of a scope.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Holder {
    /// The session.
    #[prost(uint64, tag = "1")]
    pub session: u64,
    /// Whose session it is.
    #[prost(string, tag = "2")]
    pub actor: String,
    /// Log index of the command that granted it.
    #[prost(uint64, tag = "3")]
    pub fence: u64,
    /// When, milliseconds since the epoch, in the log's time.
    #[prost(int64, tag = "4")]
    pub granted_ms: i64,
}

/// A request that waits for a lock, by its ticket: the log index of the request.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Waiter {
    /// The session.
    #[prost(uint64, tag = "1")]
    pub session: u64,
    /// Whose session it is.
    #[prost(string, tag = "2")]
    pub actor: String,
    /// The scope, as text.
    #[prost(string, tag = "3")]
    pub scope: String,
    /// How many may hold the scope at a time.
    #[prost(uint32, tag = "4")]
    pub permits: u32,
    /// Its budgets.
    #[prost(message, repeated, tag = "5")]
    pub budgets: Vec<Budget>,
    /// Since when, milliseconds since the epoch, in the log's time.
    #[prost(int64, tag = "6")]
    pub since_ms: i64,
}

/// What every command on locks has to know of the queue.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Queue {
    /// Requests that wait.
    #[prost(uint64, tag = "1")]
    pub count: u64,
    /// When the lease of a repair runs out next, milliseconds since the epoch: a repair that is renewed may live longer.
    /// None: none is under way.
    #[prost(int64, optional, tag = "2")]
    pub lapses_ms: Option<i64>,
}
