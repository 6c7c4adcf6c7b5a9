//! One command's reads and writes: reads see the writes before them, a refusal drops them all.

use crate::Halt;
use crate::store::{Batch, Read, ReadError, Walk, Write};
use regraft_model::id::Fence;
use regraft_model::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

pub(crate) struct Transaction<'a> {
    read: &'a dyn Read,
    written: BTreeMap<String, Option<Vec<u8>>>,
    pub(crate) index: u64,
    pub(crate) now: Timestamp,
    pub(crate) actor: String,
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(read: &'a dyn Read, index: u64, now: Timestamp, actor: String) -> Self {
        Self {
            read,
            written: BTreeMap::new(),
            index,
            now,
            actor,
        }
    }

    /// The fence of whatever this command grants.
    pub(crate) fn fence(&self) -> Fence {
        Fence(self.index)
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Halt> {
        let bytes = match self.written.get(key) {
            Some(written) => written.clone(),
            None => self.read.get(key.as_bytes())?,
        };
        bytes.map(|bytes| decode(key, &bytes)).transpose()
    }

    pub(crate) fn put<T: Serialize>(&mut self, key: String, value: &T) -> Result<(), Halt> {
        let bytes = serde_json::to_vec(value).map_err(|error| Halt::Unwritable {
            what: format!("record {key}"),
            reason: error.to_string(),
        })?;
        self.written.insert(key, Some(bytes));
        Ok(())
    }

    pub(crate) fn delete(&mut self, key: String) {
        self.written.insert(key, None);
    }

    /// Every record below `prefix`, in key order, own writes included.
    pub(crate) fn all<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<(String, T)>, Halt> {
        let mut pairs: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        self.read.scan(prefix.as_bytes(), &mut |key, value| {
            pairs.insert(String::from_utf8_lossy(key).into_owned(), value.to_vec());
            Walk::Continue
        })?;
        for (key, value) in self.written.range(prefix.to_owned()..) {
            if !key.starts_with(prefix) {
                break;
            }
            match value {
                Some(value) => pairs.insert(key.clone(), value.clone()),
                None => pairs.remove(key),
            };
        }
        pairs
            .into_iter()
            .map(|(key, value)| decode(&key, &value).map(|record| (key, record)))
            .collect()
    }

    /// Forgets every write: the command was refused.
    pub(crate) fn drop_writes(&mut self) {
        self.written.clear();
    }

    pub(crate) fn into_batch(self) -> Batch {
        let writes = self.written.into_iter().map(|(key, value)| match value {
            Some(value) => Write::Put {
                key: key.into_bytes(),
                value,
            },
            None => Write::Delete {
                key: key.into_bytes(),
            },
        });
        Batch {
            writes: writes.collect(),
        }
    }
}

fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, Halt> {
    serde_json::from_slice(bytes)
        .map_err(|error| ReadError(format!("record {key} cannot be read: {error}")).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Memory;

    #[test]
    fn a_record_that_cannot_be_written_is_not_told_as_unreadable() {
        let store = Memory::default();
        let mut transaction = Transaction::new(&store, 1, Timestamp(0), "me".to_owned());
        // JSON has only texts for keys.
        let record = BTreeMap::from([((1, 2), 3)]);
        let halt = transaction.put("lock/1".to_owned(), &record).unwrap_err();
        let text = halt.to_string();
        assert_eq!(
            text,
            "record lock/1 cannot be written: key must be a string"
        );
    }
}
