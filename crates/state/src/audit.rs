//! The audit chain: each entry hashes its predecessor, so that nobody can take one out or change it unseen.

use crate::Halt;
use crate::record::AuditEntry;
use crate::store::{Batch, Read, ReadError, Walk};
use crate::table;
use crate::transaction::Transaction;
use data_encoding::HEXLOWER;
use regraft_model::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Entries kept, some hundred bytes each, so that a snapshot stays at a few MiB; the hash of the last one dropped stays
/// as the chain's checkpoint.
pub const MAX_AUDIT_ENTRIES: u64 = 10_000;

/// Where the chain stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditHead {
    /// Number of the newest entry.
    pub newest: u64,
    /// Number of the oldest entry kept.
    pub oldest: u64,
    /// Hash of the newest entry.
    pub hash: String,
    /// Hash of the entry before the oldest one kept.
    pub checkpoint: String,
}

impl Default for AuditHead {
    fn default() -> Self {
        Self {
            newest: 0,
            oldest: 1,
            hash: "0".repeat(64),
            checkpoint: "0".repeat(64),
        }
    }
}

/// The chain, or a part of it, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chain {
    /// Where the whole chain stands.
    pub head: AuditHead,
    /// Entries without a gap, oldest first.
    pub entries: Vec<AuditEntry>,
}

impl Chain {
    /// At most `limit` entries from number `from` on, and the head beside them. Errors: the store cannot be read.
    pub fn read(read: &dyn Read, from: u64, limit: usize) -> Result<Self, ReadError> {
        let mut chain = Self::default();
        let mut refused = Ok(());
        if let Some(value) = read.get(table::AUDIT_HEAD.as_bytes())? {
            chain.add(table::AUDIT_HEAD.as_bytes(), &value)?;
        }
        let after = table::audit(from.saturating_sub(1));
        read.scan_after(
            table::prefix::AUDIT.as_bytes(),
            after.as_bytes(),
            &mut |key, value| {
                if chain.entries.len() < limit {
                    refused = chain.add(key, value);
                }
                match chain.entries.len() < limit && refused.is_ok() {
                    true => Walk::Continue,
                    false => Walk::Stop,
                }
            },
        )?;
        refused.map(|()| chain)
    }

    /// Takes a pair of the store in, if it is of the chain; entries come in their order. Errors: the record cannot be
    /// read.
    pub fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), ReadError> {
        let unreadable = |error: serde_json::Error| {
            let key = String::from_utf8_lossy(key);
            ReadError(format!("state record {key} cannot be read: {error}"))
        };
        if key == table::AUDIT_HEAD.as_bytes() {
            self.head = serde_json::from_slice(value).map_err(unreadable)?;
        } else if key.starts_with(table::prefix::AUDIT.as_bytes()) {
            let entry = serde_json::from_slice(value).map_err(unreadable)?;
            self.entries.push(entry);
        }
        Ok(())
    }
}

/// What is wrong with a chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenChain {
    /// An entry is missing.
    #[error("audit entry {0} is missing")]
    Missing(u64),
    /// An entry does not name the hash of the one before.
    #[error("audit entry {0} does not continue the chain")]
    NotContinued(u64),
    /// An entry's own hash is not that of its content.
    #[error("audit entry {0} was changed")]
    Changed(u64),
}

/// Checks a chain from its checkpoint to its head. `entries` are those kept, oldest first. Errors: the first entry that
/// does not fit.
pub fn verify(head: &AuditHead, entries: &[AuditEntry]) -> Result<(), BrokenChain> {
    let mut previous = head.checkpoint.clone();
    for (entry, number) in entries.iter().zip(head.oldest..) {
        if entry.number != number {
            return Err(BrokenChain::Missing(number));
        }
        if entry.previous != previous {
            return Err(BrokenChain::NotContinued(number));
        }
        if entry.hash != hash(entry) {
            return Err(BrokenChain::Changed(number));
        }
        previous.clone_from(&entry.hash);
    }
    let kept = u64::try_from(entries.len()).unwrap_or(u64::MAX);
    if head.oldest + kept != head.newest + 1 {
        return Err(BrokenChain::Missing(head.oldest + kept));
    }
    if previous == head.hash {
        Ok(())
    } else {
        Err(BrokenChain::NotContinued(head.newest))
    }
}

/// What a state from a backup gets before it is used: the word of it in the chain. `index` is that of the new log's
/// beginning, `taken` when the backup was taken. The same for every member, as everything in the state is. Errors: the
/// store cannot be read.
pub fn note_restore(
    read: &dyn Read,
    index: u64,
    taken: Timestamp,
    message: String,
) -> Result<Batch, Halt> {
    let mut transaction = Transaction::new(read, index, taken, "restore".to_owned());
    let before: Timestamp = transaction.get(table::TIME)?.unwrap_or_default();
    transaction.now = before.max(taken);
    append(&mut transaction, "StateRestored", "state", message)?;
    let now = transaction.now;
    transaction.put(table::TIME.to_owned(), &now)?;
    Ok(transaction.into_batch())
}

/// Appends an entry about `subject`.
pub(crate) fn append(
    transaction: &mut Transaction<'_>,
    reason: &str,
    subject: &str,
    message: String,
) -> Result<(), Halt> {
    let mut head: AuditHead = transaction.get(table::AUDIT_HEAD)?.unwrap_or_default();
    let mut entry = AuditEntry {
        number: head.newest + 1,
        index: transaction.index,
        at: transaction.now,
        actor: transaction.actor.clone(),
        reason: reason.to_owned(),
        subject: subject.to_owned(),
        message,
        previous: std::mem::take(&mut head.hash),
        hash: String::new(),
    };
    entry.hash = hash(&entry);
    head.newest = entry.number;
    head.hash.clone_from(&entry.hash);
    while head.newest - head.oldest >= MAX_AUDIT_ENTRIES {
        let key = table::audit(head.oldest);
        if let Some(dropped) = transaction.get::<AuditEntry>(&key)? {
            head.checkpoint = dropped.hash;
        }
        transaction.delete(key);
        head.oldest += 1;
    }
    transaction.put(table::audit(entry.number), &entry)?;
    transaction.put(table::AUDIT_HEAD.to_owned(), &head)
}

fn hash(entry: &AuditEntry) -> String {
    let mut hasher = Sha256::new();
    for part in [
        entry.number.to_string().as_str(),
        &entry.index.to_string(),
        &entry.at.0.to_string(),
        &entry.actor,
        &entry.reason,
        &entry.subject,
        &entry.message,
        &entry.previous,
    ] {
        // Length first, so that no two different entries give the same bytes.
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    HEXLOWER.encode(&hasher.finalize())
}
