//! The audit chain: each entry hashes its predecessor, so that nobody can take one out or change it unseen.

use crate::Halt;
use crate::record::AuditEntry;
use crate::table;
use crate::transaction::Transaction;
use data_encoding::HEXLOWER;
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
