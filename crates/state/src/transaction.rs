//! One command's reads and writes: reads see the writes before them, a refusal drops them all.

use crate::Halt;
use crate::store::{Batch, Read, ReadError, Walk, Write};
use bytes::{Buf, Bytes};
use prost::Message;
use regraft_model::id::Fence;
use regraft_model::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// Reads a pair.
type Item<'a, T> = &'a dyn Fn(&[u8], &[u8]) -> Result<T, Halt>;

pub(crate) struct Transaction<'a> {
    read: &'a dyn Read,
    written: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Writes that a refusal leaves.
    kept: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    pub(crate) index: u64,
    pub(crate) now: Timestamp,
    pub(crate) actor: String,
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(read: &'a dyn Read, index: u64, now: Timestamp, actor: String) -> Self {
        Self {
            read,
            written: BTreeMap::new(),
            kept: BTreeMap::new(),
            index,
            now,
            actor,
        }
    }

    /// The fence of whatever this command grants.
    pub(crate) fn fence(&self) -> Fence {
        Fence(self.index)
    }

    /// A record of JSON.
    pub(crate) fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Halt> {
        let bytes = self.bytes(key.as_bytes())?;
        bytes.map(|bytes| decode(key, &bytes)).transpose()
    }

    pub(crate) fn put<T: Serialize>(&mut self, key: String, value: &T) -> Result<(), Halt> {
        let bytes = serde_json::to_vec(value).map_err(|error| Halt::Unwritable {
            what: format!("record {key}"),
            reason: error.to_string(),
        })?;
        self.written.insert(key.into_bytes(), Some(bytes));
        Ok(())
    }

    /// A record of prost.
    pub(crate) fn message<M: Message + Default>(&self, key: &[u8]) -> Result<Option<M>, Halt> {
        let bytes = self.bytes(key)?;
        bytes
            .map(|bytes| parse(key, Bytes::from(bytes)))
            .transpose()
    }

    pub(crate) fn put_message(&mut self, key: impl Into<Vec<u8>>, message: &impl Message) {
        self.written
            .insert(key.into(), Some(message.encode_to_vec()));
    }

    pub(crate) fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.written.insert(key.into(), None);
    }

    /// Every record of JSON below `prefix`, in key order, own writes included.
    pub(crate) fn all<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<(String, T)>, Halt> {
        self.below(prefix.as_bytes(), usize::MAX, &|key, value| {
            let key = String::from_utf8_lossy(key).into_owned();
            decode(&key, value).map(|record| (key, record))
        })
    }

    /// The first `limit` records of prost below `prefix`, in key order, own writes included.
    pub(crate) fn messages<M: Message + Default>(
        &self,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, M)>, Halt> {
        self.below(prefix, limit, &|key, value| {
            parse(key, value).map(|message| (key.to_vec(), message))
        })
    }

    /// Every key below `prefix`, in order, own writes included.
    pub(crate) fn keys(&self, prefix: &[u8]) -> Result<Vec<Vec<u8>>, Halt> {
        self.below(prefix, usize::MAX, &|key, _| Ok(key.to_vec()))
    }

    /// Whether there is a record.
    pub(crate) fn has(&self, key: &[u8]) -> Result<bool, Halt> {
        Ok(self.bytes(key)?.is_some())
    }

    /// A refusal from here on leaves what was written so far.
    pub(crate) fn keep(&mut self) {
        if !self.written.is_empty() {
            self.kept.clone_from(&self.written);
        }
    }

    /// Forgets every write but those that are kept: the command was refused.
    pub(crate) fn drop_writes(&mut self) {
        self.written.clone_from(&self.kept);
    }

    pub(crate) fn into_batch(self) -> Batch {
        let writes = self.written.into_iter().map(|(key, value)| match value {
            Some(value) => Write::Put { key, value },
            None => Write::Delete { key },
        });
        Batch {
            writes: writes.collect(),
        }
    }

    fn bytes(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Halt> {
        Ok(match self.written.get(key) {
            Some(written) => written.clone(),
            None => self.read.get(key)?,
        })
    }

    /// The first `limit` pairs below `prefix`, read by `item`, own writes included.
    fn below<T>(&self, prefix: &[u8], limit: usize, item: Item<'_, T>) -> Result<Vec<T>, Halt> {
        let written = self.written.range(prefix.to_vec()..);
        let mut own = written
            .take_while(|(key, _)| key.starts_with(prefix))
            .peekable();
        let mut items: Vec<Result<T, Halt>> = Vec::new();
        self.read.scan(prefix, &mut |key, value| {
            // Own writes that come before it.
            while let Some((before, written)) = own.next_if(|(own, _)| own.as_slice() < key) {
                items.extend(written.as_ref().map(|written| item(before, written)));
            }
            match own.next_if(|(own, _)| own.as_slice() == key) {
                Some((_, written)) => {
                    items.extend(written.as_ref().map(|written| item(key, written)));
                }
                None => items.push(item(key, value)),
            }
            match items.len() < limit {
                true => Walk::Continue,
                false => Walk::Stop,
            }
        })?;
        for (key, written) in own {
            items.extend(written.as_ref().map(|written| item(key, written)));
        }
        items.truncate(limit);
        items.into_iter().collect()
    }
}

fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, Halt> {
    serde_json::from_slice(bytes).map_err(|error| unreadable(key.as_bytes(), &error))
}

fn parse<M: Message + Default>(key: &[u8], bytes: impl Buf) -> Result<M, Halt> {
    M::decode(bytes).map_err(|error| unreadable(key, &error))
}

fn unreadable(key: &[u8], error: &dyn std::error::Error) -> Halt {
    let key = String::from_utf8_lossy(key);
    ReadError(format!("record {key} cannot be read: {error}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Memory;
    use crate::stored::Client;

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

    #[test]
    fn a_scan_sees_own_writes_in_their_places_and_no_more_than_asked_for() {
        let client = |used: u64| Client { floor: 0, used };
        let store = Memory(
            [("t/a", 1), ("t/c", 3), ("t/e", 5), ("u/a", 9)]
                .map(|(key, used)| (key.into(), client(used).encode_to_vec()))
                .into(),
        );
        let mut transaction = Transaction::new(&store, 1, Timestamp(0), "me".to_owned());
        let seen = |transaction: &Transaction<'_>, limit: usize| -> Vec<u64> {
            let clients = transaction.messages::<Client>(b"t/", limit).unwrap();
            clients.iter().map(|(_, client)| client.used).collect()
        };
        assert_eq!(seen(&transaction, 9), [1, 3, 5]);
        transaction.put_message("t/b", &client(2));
        transaction.put_message("t/c", &client(30));
        transaction.put_message("t/f", &client(6));
        transaction.put_message("s/z", &client(9));
        transaction.delete("t/a");
        transaction.delete("t/d");
        let all = [2, 30, 5, 6];
        for limit in 1..=5 {
            assert_eq!(seen(&transaction, limit), all[..limit.min(4)]);
        }
        transaction.delete("t/e");
        assert_eq!(seen(&transaction, 3), [2, 30, 6]);
    }
}
