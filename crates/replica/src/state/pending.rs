//! Entries that are applied together: each sees the writes of those before it, and one write puts all of them into the
//! database.

use super::View;
use regraft_state::store::{Batch, Read, ReadError, Walk, Write};
use std::collections::BTreeMap;

/// The database, and over it what is not written yet.
pub(super) struct Pending<'a> {
    below: View<'a>,
    /// By key; nothing: deleted.
    written: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl<'a> Pending<'a> {
    pub(super) fn over(below: View<'a>) -> Self {
        Self {
            below,
            written: BTreeMap::new(),
        }
    }

    /// Takes the writes of one entry.
    pub(super) fn add(&mut self, batch: &Batch) {
        for write in &batch.writes {
            match write {
                Write::Put { key, value } => self.written.insert(key.clone(), Some(value.clone())),
                Write::Delete { key } => self.written.insert(key.clone(), None),
            };
        }
    }
}

impl Read for Pending<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        match self.written.get(key) {
            Some(written) => Ok(written.clone()),
            None => self.below.get(key),
        }
    }

    fn scan(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Walk,
    ) -> Result<(), ReadError> {
        let above = self.written.range(prefix.to_vec()..);
        let mut above = above
            .take_while(|(key, _)| key.starts_with(prefix))
            .peekable();
        let mut walk = Walk::Continue;
        self.below.scan(prefix, &mut |key, value| {
            while walk == Walk::Continue
                && let Some((key, written)) = above.next_if(|(above, _)| above.as_slice() < key)
            {
                walk = show(key, written.as_deref(), visit);
            }
            if walk == Walk::Continue {
                walk = match above.next_if(|(above, _)| above.as_slice() == key) {
                    Some((key, written)) => show(key, written.as_deref(), visit),
                    None => visit(key, value),
                };
            }
            walk
        })?;
        while walk == Walk::Continue
            && let Some((key, written)) = above.next()
        {
            walk = show(key, written.as_deref(), visit);
        }
        Ok(())
    }
}

/// Shows what is written, unless it is deleted.
fn show(key: &[u8], written: Option<&[u8]>, visit: &mut dyn FnMut(&[u8], &[u8]) -> Walk) -> Walk {
    written.map_or(Walk::Continue, |value| visit(key, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::{self, Keeps};
    use crate::state::data_key;

    fn scanned(read: &dyn Read, prefix: &str, most: usize) -> Vec<String> {
        let mut found = Vec::new();
        read.scan(prefix.as_bytes(), &mut |key, value| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            found.push(format!("{}={}", text(key), text(value)));
            match found.len() < most {
                true => Walk::Continue,
                false => Walk::Stop,
            }
        })
        .unwrap();
        found
    }

    #[test]
    fn what_is_not_written_yet_lies_over_what_is() {
        let dir = tempfile::tempdir().unwrap();
        let db = database::open(&dir.path().join("db"), Keeps::AllUpToSomePoint).unwrap();
        for key in ["a/1", "a/3", "a/5", "b/1"] {
            db.put(data_key(key.as_bytes()), "old").unwrap();
        }
        let mut pending = Pending::over(View::live(&db));
        assert_eq!(
            scanned(&pending, "a/", 9),
            ["a/1=old", "a/3=old", "a/5=old"]
        );
        let put = |key: &str| Write::Put {
            key: key.into(),
            value: "new".into(),
        };
        let delete = |key: &str| Write::Delete { key: key.into() };
        pending.add(&Batch {
            writes: vec![
                put("a/2"),
                put("a/3"),
                delete("a/1"),
                put("a/6"),
                put("b/0"),
            ],
        });
        pending.add(&Batch {
            writes: vec![delete("a/2"), put("a/4")],
        });
        assert_eq!(
            scanned(&pending, "a/", 9),
            ["a/3=new", "a/4=new", "a/5=old", "a/6=new"]
        );
        assert_eq!(scanned(&pending, "a/", 2), ["a/3=new", "a/4=new"]);
        assert_eq!(scanned(&pending, "b/", 9), ["b/0=new", "b/1=old"]);
        assert_eq!(pending.get(b"a/1"), Ok(None));
        assert_eq!(pending.get(b"a/5"), Ok(Some(b"old".to_vec())));
        assert_eq!(pending.get(b"a/6"), Ok(Some(b"new".to_vec())));
    }
}
