//! The thread that consensus and the network of a member run on, apart from everything else in the process.
//!
//! - Why one thread: a write passes through a dozen tasks, and each hop to another thread costs more than the work in it.
//!   Why a thread of its own: whatever else keeps the process busy delays no heartbeat.
//! - Guarantees: no write waits for the disk here: the log is written on another thread, and so is a state that would
//!   have to be waited for.
//! - Assumptions: what is read while entries are applied is in memory, or comes from a disk that answers.

use crate::error::Error;
use futures::FutureExt as _;
use std::future::Future;
use std::io;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

const THREAD: &str = "raft";

/// Where a member's tasks run.
#[derive(Clone)]
pub(crate) struct Home {
    pub(crate) runtime: Handle,
    ended: CancellationToken,
}

impl Home {
    /// Starts the thread.
    pub(crate) fn start() -> Result<Self, Error> {
        let failed = |source| Error::Thread {
            name: THREAD,
            source,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let home = Self {
            runtime: runtime.handle().clone(),
            ended: CancellationToken::new(),
        };
        let ended = home.ended.clone();
        std::thread::Builder::new()
            .name(THREAD.to_owned())
            .spawn(move || runtime.block_on(ended.cancelled()))
            .map_err(failed)?;
        Ok(home)
    }

    /// The runtime that this is called in: a simulation has no threads.
    #[cfg(test)]
    pub(crate) fn here() -> Self {
        Self {
            runtime: Handle::current(),
            ended: CancellationToken::new(),
        }
    }

    /// Ends the thread; tasks that have not ended by then are dropped.
    pub(crate) fn end(&self) {
        self.ended.cancel();
    }
}

/// Starts what may wait for the disk, away from this thread; a simulation, where no disk is waited for, does it at once.
///
/// # Errors
/// When it did not come to its end.
pub(crate) fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = io::Result<T>> + Send {
    #[cfg(test)]
    let started = match crate::simulation::is_here() {
        true => futures::future::Either::Left(std::future::ready(Ok(work()))),
        false => futures::future::Either::Right(tokio::task::spawn_blocking(work)),
    };
    #[cfg(not(test))]
    let started = tokio::task::spawn_blocking(work);
    started.map(|ended| ended.map_err(io::Error::other))
}
