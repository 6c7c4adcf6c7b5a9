//! Records and what is read of them.

use regraft_wire::store::v1 as wire;
use regraft_wire::store::v1::change::Change;

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Consistency {
    /// Everything acknowledged before the read is seen, whichever member answers.
    Linearizable,
    /// What some member has applied, which may be old; needs no leader. Two such reads may go back in time.
    Stale,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its key, 1 to 512 bytes.
    pub key: Vec<u8>,
    /// Its value, at most 256 KiB.
    pub value: Vec<u8>,
    /// Revision of its last write.
    pub revision: u64,
    /// Revision of its first write since it was last removed.
    pub created: u64,
    /// Writes since then.
    pub version: u64,
}

/// What was read, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<T> {
    /// The state's revision that was read.
    pub revision: u64,
    /// What was there.
    pub value: T,
}

/// Which records are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// What their keys begin with; nothing: all.
    pub prefix: Vec<u8>,
    /// Only those behind this key: the last one of the page before.
    pub after: Option<Vec<u8>>,
    /// Most records of the page; 0: as many as a member gives at once.
    pub limit: u32,
}

/// Some records, in the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The records.
    pub records: Vec<Record>,
    /// The key after which there are more, if there are.
    pub next: Option<Vec<u8>>,
}

/// A record was written or deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The record's revision from now on.
    pub revision: u64,
    /// The one it had before; 0: there was none.
    pub previous: u64,
}

/// What happened to a record that is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It was written: as it is from now on.
    Put(Record),
    /// It was removed.
    Deleted {
        /// Its key.
        key: Vec<u8>,
    },
}

impl From<Consistency> for wire::Consistency {
    fn from(consistency: Consistency) -> Self {
        match consistency {
            Consistency::Linearizable => Self::Linearizable,
            Consistency::Stale => Self::Stale,
        }
    }
}

impl From<wire::Record> for Record {
    fn from(record: wire::Record) -> Self {
        Self {
            key: record.key,
            value: record.value.into(),
            revision: record.revision,
            created: record.created,
            version: record.version,
        }
    }
}

impl From<wire::ListResponse> for Page {
    fn from(response: wire::ListResponse) -> Self {
        let records: Vec<Record> = response.records.into_iter().map(Record::from).collect();
        let last = records.last().filter(|_| response.more);
        Self {
            next: last.map(|record| record.key.clone()),
            records,
        }
    }
}

impl Changed {
    /// Nothing when a newer version tells what this one does not know.
    pub(crate) fn read(change: wire::Change) -> Option<Self> {
        Some(match change.change? {
            Change::Put(record) => Self::Put(record.into()),
            Change::Deleted(key) => Self::Deleted { key },
        })
    }
}
