//! The same work on many things, on all cores, with progress.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// Does the work on each thing, on as many threads as there are cores.
///
/// # Errors
/// The first that any of the work ended with; what was begun is finished.
pub(crate) fn each<T: Sync>(
    title: &'static str,
    things: &[T],
    work: impl Fn(&T) -> Result<()> + Sync,
) -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let bar = ProgressBar::new(things.len() as u64).with_prefix(title);
    if let Ok(style) = ProgressStyle::with_template("{prefix:8} {wide_bar} {pos}/{len} {elapsed}") {
        bar.set_style(style);
    }
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(things.len()) {
            scope.spawn(|| {
                while let Some(thing) = things.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = work(thing) {
                        if let Ok(mut failure) = failure.lock() {
                            failure.get_or_insert(error);
                        }
                        next.store(things.len(), Ordering::Relaxed);
                    }
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish();
    match failure.into_inner() {
        Ok(Some(error)) => Err(error),
        _ => Ok(()),
    }
}
