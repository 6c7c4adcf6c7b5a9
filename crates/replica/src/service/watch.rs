//! The changes of records, told as they are applied.

use super::{convert, stopping};
use crate::changes::{Change, ChangesError, Subscription};
use futures::stream::{BoxStream, StreamExt as _};
use regraft_state::store::{ReadError, Write};
use regraft_state::view::sessions as view;
use regraft_wire::store::v1 as wire;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;

/// Commands that changed nothing below a prefix, after which it is told how far the watch is: a quarter of what is kept, so
/// that a quiet watch that is cut off can go on.
const UNTOLD_MAX: u32 = 4_096;

/// Tells what changes below `prefix`, until the caller or the replica goes.
pub(super) fn stream(
    changes: Subscription,
    prefix: Vec<u8>,
    slot: OwnedSemaphorePermit,
) -> BoxStream<'static, Result<wire::WatchResponse, Status>> {
    let watching = (changes, prefix, slot);
    futures::stream::unfold(Some(watching), |watching| async {
        let (mut changes, prefix, slot) = watching?;
        match next(&mut changes, &prefix).await {
            Ok(response) => Some((Ok(response), Some((changes, prefix, slot)))),
            Err(status) => Some((Err(status), None)),
        }
    })
    .boxed()
}

async fn next(changes: &mut Subscription, prefix: &[u8]) -> Result<wire::WatchResponse, Status> {
    let mut untold = 0;
    loop {
        let (revision, writes) = match changes.next().await {
            Ok(Change::Applied { index, writes }) => (index, writes),
            Ok(Change::Reset { .. }) | Err(ChangesError::Lagged { .. }) => {
                return Err(Status::out_of_range(
                    "compacted: list again, and watch from that revision",
                ));
            }
            Err(ChangesError::Stopped) => {
                return Err(stopping());
            }
        };
        let changes = writes.iter().filter_map(|write| change(write, prefix));
        let changes: Vec<wire::Change> = changes
            .collect::<Result<_, _>>()
            .map_err(|error| super::unreadable(&error))?;
        untold += 1;
        if !changes.is_empty() || untold >= UNTOLD_MAX {
            return Ok(wire::WatchResponse { revision, changes });
        }
    }
}

/// What a write means to who follows records; nothing when it is of something else.
pub(crate) fn change(write: &Write, prefix: &[u8]) -> Option<Result<wire::Change, ReadError>> {
    let (stored, value) = match write {
        Write::Put { key, value } => (key, Some(value)),
        Write::Delete { key } => (key, None),
    };
    let key = view::record_key(stored).filter(|key| key.starts_with(prefix))?;
    let change = match value {
        None => Ok(wire::change::Change::Deleted(key.to_vec())),
        Some(value) => view::decode_record(stored, value)
            .map(|record| wire::change::Change::Put(convert::record(key.to_vec(), record))),
    };
    Some(change.map(|change| wire::Change {
        change: Some(change),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::Changes;
    use regraft_state::table;
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    fn put(key: &str) -> Vec<Write> {
        let value = Vec::new();
        let key = table::record(key.as_bytes());
        vec![Write::Put { key, value }]
    }

    #[tokio::test]
    async fn a_quiet_watch_is_told_how_far_it_is() {
        let slot = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let changes = Changes::new(0);
        let mut told = stream(changes.subscribe(), b"w/".to_vec(), slot);
        let many = u64::from(UNTOLD_MAX) + 10;
        changes.publish((1..=many).map(|index| (index, put("other"))).collect());
        changes.publish(vec![(many + 1, put("w/1"))]);
        let quiet = told.next().await.unwrap().unwrap();
        assert_eq!(
            (quiet.revision, quiet.changes.len()),
            (UNTOLD_MAX.into(), 0)
        );
        let loud = told.next().await.unwrap().unwrap();
        assert_eq!((loud.revision, loud.changes.len()), (many + 1, 1));
    }
}
