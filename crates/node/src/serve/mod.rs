//! `regraft serve`: a member, from its configuration file to its last breath.
//!
//! ```text
//!  follow: state changes, role, ticks ─┐                       ┌─> propose ─> replica
//!  git, clusters: answers ─────────────┴─> engine ─> runner ───┼─> git (a thread a repository)
//!                                            ^                 └─> clusters (a bulkhead each)
//!  admin (gRPC), http: questions ────────────┘
//! ```
//!
//! Only [`engine`] decides and only [`runner`] acts; [`announce`] tells the log what was decided and done. Queues are
//! bounded; the engine never waits for one: what does not fit is answered as failed and asked for again.

mod admin;
mod announce;
mod clusters;
mod documents;
mod engine;
mod follow;
mod gate;
mod git;
mod hand;
mod http;
mod member;
mod metrics;
mod propose;
mod runner;
mod secret;
mod start;
mod state;
mod waits;

pub(crate) use start::replica_config;

use crate::failure::{Exit, Failure};
use crate::{config, log};
use std::path::Path;

/// Threads for everything that does not block: two cores are enough for a thousand applications.
const WORKER_THREADS: usize = 2;
/// Threads for name resolution and files; Git and the engine have their own.
const BLOCKING_THREADS_MAX: usize = 8;
/// Stack of each: deep recursion happens nowhere.
const STACK_BYTES: usize = 1024 * 1024;

/// Runs a member until it is told to stop.
pub(crate) fn run(path: &Path) -> Result<(), Failure> {
    let config = config::read(path).map_err(|problems| Failure::problems(&problems))?;
    log::init(config.log_format, &config.log_level)?;
    for warning in &config.warnings {
        tracing::warn!(
            at = %warning.location,
            reason = warning.reason,
            next = warning.action,
            "{}",
            warning.message
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_stack_size(STACK_BYTES)
        .thread_name("regraft")
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::of(
                Exit::Failed,
                "NoRuntime",
                &error,
                "are there too many threads or open files?",
            )
        })?;
    runtime.block_on(start::serve(config))
}
