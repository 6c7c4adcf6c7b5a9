//! What was applied, for those who follow the state.

use regraft_state::store::Write;
use std::sync::Arc;
use tokio::sync::broadcast;

/// Changes kept for a slow subscriber; who falls behind further lists again.
const BUFFER_CHANGES_MAX: usize = 1024;

/// Something changed in the applied state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The command at `index` was applied.
    Applied {
        /// Its log index.
        index: u64,
        /// What it wrote.
        writes: Arc<[Write]>,
    },
    /// The whole state was replaced by a snapshot: list again.
    Reset {
        /// The log index of the snapshot.
        index: u64,
    },
}

/// Why there is no next change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangesError {
    /// Changes were lost because the subscriber was too slow: list again.
    #[error("{missed} changes were missed: list again")]
    Lagged {
        /// How many.
        missed: u64,
    },
    /// The replica is gone.
    #[error("the replica has stopped")]
    Stopped,
}

/// The changes from the moment of subscribing on, in order.
#[derive(Debug)]
pub struct Subscription(broadcast::Receiver<Change>);

impl Subscription {
    /// Waits for the next change.
    ///
    /// # Errors
    /// [`ChangesError::Lagged`] once after changes were lost; then they go on.
    pub async fn next(&mut self) -> Result<Change, ChangesError> {
        self.0.recv().await.map_err(|error| match error {
            broadcast::error::RecvError::Lagged(missed) => ChangesError::Lagged { missed },
            broadcast::error::RecvError::Closed => ChangesError::Stopped,
        })
    }
}

/// The publishing side.
pub(crate) struct Changes(broadcast::Sender<Change>);

impl Changes {
    pub(crate) fn publish(&self, change: Change) {
        // Fails when nobody listens, which is fine.
        let _ = self.0.send(change);
    }

    pub(crate) fn subscribe(&self) -> Subscription {
        Subscription(self.0.subscribe())
    }
}

impl Default for Changes {
    fn default() -> Self {
        Self(broadcast::channel(BUFFER_CHANGES_MAX).0)
    }
}
