//! The thread on which one cluster is written to.
//!
//! Writing is also work (JSON, digests, diffs) and must delay no other cluster; and what a cluster does with a
//! request need not be able to move between threads. The network stays with the runtime all share.

use crate::clock;
use futures::future::{FutureExt as _, LocalBoxFuture};
use regraft_model::id::ClusterName;
use std::future::Future;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

/// Jobs not begun yet: an apply of each of a thousand applications.
const QUEUE_JOBS: usize = 1024;

type Job = Box<dyn FnOnce() -> LocalBoxFuture<'static, ()> + Send>;

/// Begins jobs. They all end, where they stand, when it is dropped.
pub(super) struct Hand(mpsc::Sender<Job>);

/// There is no room for another job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{QUEUE_JOBS} jobs wait for this cluster already")]
pub(super) struct Busy;

impl Hand {
    /// Starts the thread.
    pub(super) fn start(
        cluster: &ClusterName,
        runtime: tokio::runtime::Handle,
    ) -> std::io::Result<Self> {
        let (sender, mut jobs) = mpsc::channel::<Job>(QUEUE_JOBS);
        clock::start_thread(format!("to-{cluster}"), move || {
            runtime.block_on(LocalSet::new().run_until(async move {
                while let Some(job) = jobs.recv().await {
                    tokio::task::spawn_local(job());
                }
            }));
        })?;
        Ok(Self(sender))
    }

    /// Begins a job beside the others.
    pub(super) fn begin<F>(&self, job: impl FnOnce() -> F + Send + 'static) -> Result<(), Busy>
    where
        F: Future<Output = ()> + 'static,
    {
        let job: Job = Box::new(move || job().boxed_local());
        self.0.try_send(job).map_err(|_| Busy)
    }
}
