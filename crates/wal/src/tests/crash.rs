//! Many seeds, and the bugs that they must find.

use super::model::run;
use crate::planted::{self, Bug};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Seeds of a common run of the tests: a few seconds.
const SEEDS: u64 = 400;
/// Seeds in which a bug that was put in has to show.
const BUG_SEEDS: u64 = 2000;

/// Runs these seeds; what went wrong first.
fn run_all(seeds: impl Iterator<Item = u64>) -> Result<u64, String> {
    let mut crashes = 0;
    for seed in seeds {
        crashes += run(seed)?;
    }
    Ok(crashes)
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn after_any_crash_the_log_holds_a_prefix_with_all_that_was_answered() {
    let seeds = number_from("WAL_SEEDS").unwrap_or(SEEDS);
    let first = number_from("WAL_FIRST_SEED").unwrap_or(0);
    match run_all(first..first + seeds) {
        Ok(crashes) => {
            println!("{seeds} seeds, {crashes} crashes");
            assert!(
                crashes > seeds,
                "too few crashes to tell anything: {crashes}"
            );
        }
        Err(found) => panic!("{found}"),
    }
}

#[test]
fn one_seed() {
    run(number_from("WAL_SEED").unwrap_or(1)).unwrap();
}

/// A panic of the run counts as found too: the model's own checks are such.
fn check_found(bug: Bug) {
    let found = (0..BUG_SEEDS).find_map(|seed| {
        let outcome = catch_unwind(AssertUnwindSafe(|| planted::with(Some(bug), || run(seed))));
        planted::with(None, || match outcome {
            Ok(Ok(_)) => None,
            Ok(Err(found)) => Some(found),
            Err(_) => Some(format!("seed {seed}: a panic")),
        })
    });
    match found {
        Some(found) => println!("{bug:?}: {found}"),
        None => panic!("{bug:?} is not found in {BUG_SEEDS} seeds"),
    }
}

#[test]
fn an_answer_before_the_sync_is_found() {
    check_found(Bug::NoSync);
}

#[test]
fn a_purge_that_deletes_before_it_is_synced_is_found() {
    check_found(Bug::EarlyRelease);
}

#[test]
fn a_purge_that_deletes_one_segment_too_many_is_found() {
    check_found(Bug::ReleaseOneMore);
}

#[test]
fn leaving_the_torn_end_in_the_file_is_found() {
    check_found(Bug::NoZeroing);
}

#[test]
fn believing_that_what_was_read_is_on_the_disk_is_found() {
    check_found(Bug::NoRewriting);
}

#[test]
fn going_on_in_the_next_segment_before_the_sync_is_found() {
    check_found(Bug::NoSyncBetweenSegments);
}
