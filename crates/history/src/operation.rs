//! What is written down of a client's work.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// All that the clients of one run saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// In any order.
    pub operations: Vec<Operation>,
    /// In any order.
    pub holds: Vec<Hold>,
}

impl History {
    /// The operations on each record.
    #[must_use]
    pub fn by_key(&self) -> BTreeMap<&str, Vec<&Operation>> {
        let mut by_key: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
        for operation in &self.operations {
            by_key
                .entry(operation.call.key())
                .or_default()
                .push(operation);
        }
        by_key
    }
}

/// One request on a record, with all the times it was sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// Whose it is; for people.
    pub client: u32,
    /// Before it was sent first, microseconds of the one clock.
    pub begin_us: u64,
    /// After the answer came. An operation of unknown outcome has no end: it may still happen.
    pub end_us: u64,
    /// What was asked.
    pub call: Call,
    /// What was answered.
    pub answer: Answer,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Call {
    /// A record is written.
    Put {
        /// Its key.
        key: String,
        /// No other put of the key has the same.
        value: String,
        /// Only if this is its revision; 0: only if there is none.
        expected: Option<u64>,
    },
    /// A record is removed.
    Delete {
        /// Its key.
        key: String,
        /// Only if this is its revision.
        expected: Option<u64>,
    },
    /// A record is read.
    Get {
        /// Its key.
        key: String,
        /// How new the answer must be.
        freshness: Freshness,
    },
}

/// How new an answer must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Freshness {
    /// Nothing that was answered before may be missing.
    Linearizable,
    /// A state there once was.
    Stale,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// It was written or removed.
    Written {
        /// The place in the log.
        revision: u64,
        /// The record's revision before; 0: there was none.
        previous: u64,
    },
    /// It was refused for the record's revision.
    Changed {
        /// That revision; 0: there was none.
        found: u64,
        /// When.
        decided: Decided,
    },
    /// What was read.
    Read {
        /// The place in the log up to which everything is in the answer.
        revision: u64,
        /// The record, if there was one.
        record: Option<Seen>,
    },
    /// It certainly was not done, and never will be.
    NotDone,
    /// Nobody knows whether it was done, or will be.
    Unknown,
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// Its value.
    pub value: String,
    /// Its revision.
    pub revision: u64,
}

/// At which place of the log a request was decided that wrote nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Decided {
    /// There.
    At(u64),
    /// There or before: it was sent more than once, and the answer is of the first time.
    By(u64),
    /// The client was not told.
    Untold,
}

/// The time in which a client relied on a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// Whose it is; for people.
    pub client: u32,
    /// The session that holds it.
    pub session: u64,
    /// What it covers, as `regraft.store.v1` has it.
    pub scope: String,
    /// Its fence: the place in the log that granted it.
    pub fence: u64,
    /// Before it was asked for.
    pub asked_us: u64,
    /// After the grant was answered.
    pub from_us: u64,
    /// Before it was given back, or when the client could be sure of its session no more.
    pub until_us: u64,
}

impl Call {
    /// The key of the record.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key, .. } | Self::Get { key, .. } => key,
        }
    }

    /// The revision that a write asks for.
    pub(crate) fn expected(&self) -> Option<u64> {
        match self {
            Self::Put { expected, .. } | Self::Delete { expected, .. } => *expected,
            Self::Get { .. } => None,
        }
    }
}

impl Operation {
    /// When it certainly was over; never, where its outcome is unknown.
    pub(crate) fn over_us(&self) -> Option<u64> {
        (self.answer != Answer::Unknown).then_some(self.end_us)
    }

    /// Whether it is a read that may be old.
    pub(crate) fn is_stale(&self) -> bool {
        matches!(
            self.call,
            Call::Get {
                freshness: Freshness::Stale,
                ..
            }
        )
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |us: u64| format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
        write!(
            f,
            "{}..{} client {}: {} -> {}",
            seconds(self.begin_us),
            seconds(self.end_us),
            self.client,
            self.call,
            self.answer
        )
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put {
                key,
                value,
                expected: None,
            } => write!(f, "put {key} {value}"),
            Self::Put {
                key,
                value,
                expected: Some(expected),
            } => write!(f, "put {key} {value} if at {expected}"),
            Self::Delete {
                key,
                expected: None,
            } => write!(f, "delete {key}"),
            Self::Delete {
                key,
                expected: Some(expected),
            } => write!(f, "delete {key} if at {expected}"),
            Self::Get {
                key,
                freshness: Freshness::Linearizable,
            } => write!(f, "get {key}"),
            Self::Get {
                key,
                freshness: Freshness::Stale,
            } => write!(f, "get {key}, stale"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written { revision, previous } => {
                write!(f, "written at {revision}, before it {previous}")
            }
            Self::Changed {
                found,
                decided: Decided::At(at),
            } => write!(f, "refused at {at}, found {found}"),
            Self::Changed {
                found,
                decided: Decided::By(by),
            } => write!(f, "refused by {by}, found {found}"),
            Self::Changed {
                found,
                decided: Decided::Untold,
            } => write!(f, "refused, found {found}"),
            Self::Read {
                revision,
                record: None,
            } => write!(f, "nothing, at {revision}"),
            Self::Read {
                revision,
                record: Some(seen),
            } => write!(f, "{} of {}, at {revision}", seen.value, seen.revision),
            Self::NotDone => f.write_str("not done"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}
