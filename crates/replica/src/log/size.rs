//! Keeps the log within its share of the disk, however large its entries are.
//!
//! The engine takes a snapshot every so many entries and purges what is behind it, but for some. Where these are large, that
//! is too late and too little: a snapshot is taken as soon as the log has grown to its bound, and half of it is purged.

use super::Shared;
use crate::local::Local;
use openraft::async_runtime::watch::WatchReceiver as _;
use regraft_wal::SEGMENT_BYTES;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the log is looked at: within this it grows by some segments at most.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Fewer are not worth a snapshot.
const SEGMENTS_MIN: usize = 4;

/// The log's size on disk. Does not keep it open.
pub(crate) struct LogSize(pub(super) Weak<Shared>);

/// What has to be done about the size of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    Snapshot,
    /// Everything below this entry.
    Purge(u64),
}

impl LogSize {
    /// What is due when the log may have so many segments and all up to `snapshot` is in the newest snapshot.
    fn due(&self, segments_max: usize, snapshot: u64) -> Due {
        let Some(shared) = self.0.upgrade() else {
            return Due::Nothing;
        };
        if shared.reader.segments() <= segments_max {
            return Due::Nothing;
        }
        match shared.reader.first_of_newest(segments_max / 2) {
            Some(first) if first <= snapshot => Due::Purge(first),
            Some(_) => Due::Snapshot,
            None => Due::Nothing,
        }
    }
}

/// Keeps the log below `bytes_max`, and what is written within a second.
pub(crate) async fn follow(
    local: Arc<Local>,
    size: LogSize,
    bytes_max: u64,
    stop: CancellationToken,
) {
    let segments_max = usize::try_from(bytes_max / SEGMENT_BYTES).unwrap_or(usize::MAX);
    let segments_max = segments_max.max(SEGMENTS_MIN);
    let mut every = tokio::time::interval(LOOK_INTERVAL);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => {}
        }
        let metrics = local.raft.metrics().borrow_watched().clone();
        let snapshot = metrics.snapshot.map_or(0, |id| id.index);
        let purged = metrics.purged.map_or(0, |id| id.index);
        let asked = match size.due(segments_max, snapshot) {
            Due::Nothing => continue,
            // Asked for already: followers that are sent what is purged next come first.
            Due::Purge(first) if first <= purged + 1 => continue,
            Due::Purge(first) => local.raft.trigger().purge_log(first - 1).await,
            Due::Snapshot => local.raft.trigger().snapshot().await,
        };
        if let Err(error) = asked {
            tracing::debug!(%error, "the log is not made smaller");
        }
    }
}
