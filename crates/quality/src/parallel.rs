//! The same work on many things, on all cores, with progress.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// Does the work on each thing, on as many threads as there are cores. One that fails does not keep the others from it.
///
/// # Errors
/// How many failed, and why the first of them did, in the order of the things.
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
    let failures = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.min(things.len()) {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(thing) = things.get(place) else {
                        break;
                    };
                    if let Err(error) = work(thing)
                        && let Ok(mut failures) = failures.lock()
                    {
                        failures.insert(place, error);
                    }
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish();
    let failures = failures.into_inner().unwrap_or_default();
    let (failed, all) = (failures.len(), things.len());
    match failures.into_values().next() {
        Some(first) => Err(first.context(format!("{title}: {failed} of {all} failed, the first"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_told_and_hinders_no_other() {
        let done = AtomicUsize::new(0);
        let things: Vec<usize> = (0..20).collect();
        let told = each("odd", &things, |thing| {
            done.fetch_add(1, Ordering::Relaxed);
            anyhow::ensure!(thing % 2 == 0, "{thing} is odd");
            Ok(())
        });
        let told = told.expect_err("half of them are odd");
        assert_eq!(
            format!("{told:#}"),
            "odd: 10 of 20 failed, the first: 1 is odd"
        );
        assert_eq!(done.into_inner(), 20);
    }
}
