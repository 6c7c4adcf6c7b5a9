//! The changes of records, told as they are applied.

use super::{convert, stopping};
use crate::changes::{Change, ChangesError, Subscription};
use futures::stream::{BoxStream, StreamExt as _};
use regraft_state::store::{ReadError, Write};
use regraft_state::view::sessions as view;
use regraft_wire::store::v1 as wire;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;

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
        if !changes.is_empty() {
            return Ok(wire::WatchResponse { revision, changes });
        }
    }
}

/// What a write means to who follows records; nothing when it is of something else.
fn change(write: &Write, prefix: &[u8]) -> Option<Result<wire::Change, ReadError>> {
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
