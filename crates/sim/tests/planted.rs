//! The harness is proved: each known bug, put back, breaks the promise that guards against it within 200 worlds.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first thing that is not as it should be"
)]

use regraft_model::InvariantId;
use regraft_sim::{OnBroken, Options, PlantedBug, Violation, run_many};

/// A planted bug has to show within this many seeds.
const SEEDS: u64 = 200;

/// What breaks when our own commits are not found on the branch: one is made twice, made again after a veto, or not
/// counted among the actions that are allowed.
const COMMITS_NOT_FOUND: [InvariantId; 3] = [InvariantId::I11, InvariantId::I9, InvariantId::I8];

#[track_caller]
fn check(bug: PlantedBug, expected: &[InvariantId]) {
    let violation = found(bug);
    assert!(
        violation.invariant.is_some_and(|id| expected.contains(&id)),
        "{bug} shows as something else: {violation:?}"
    );
}

/// The first promise that a bug breaks.
#[track_caller]
fn found(bug: PlantedBug) -> Violation {
    let options = Options {
        plant: Some(bug),
        ..Options::default()
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let summary = run_many(1, SEEDS, threads, &options, OnBroken::Stop, |_| {});
    let broken = summary.broken.first();
    let Some(violation) = broken.and_then(|outcome| outcome.violation.as_ref()) else {
        panic!("{bug} is not found in {SEEDS} worlds: {:?}", summary.tally);
    };
    let report = broken.map(regraft_sim::Outcome::report).unwrap_or_default();
    let line = format!("--plant {bug}");
    assert!(
        report.contains("cargo xtask sim --seed ") && report.contains(&line),
        "{report}"
    );
    violation.clone()
}

#[test]
fn a_stale_fence_that_is_accepted_is_found() {
    check(PlantedBug::StaleFence, &[InvariantId::I2]);
}

#[test]
fn a_missing_trailer_check_is_found() {
    check(PlantedBug::NoTrailerCheck, &COMMITS_NOT_FOUND);
}

#[test]
fn a_tip_that_is_reset_unnoticed_is_found() {
    check(PlantedBug::TipResetUnnoticed, &[InvariantId::I3]);
}

#[test]
fn pruning_after_problems_is_found() {
    check(PlantedBug::PruneAfterProblems, &[InvariantId::I5]);
}

#[test]
fn acting_on_the_unknown_is_found() {
    check(PlantedBug::ActOnUnknown, &[InvariantId::I7]);
}

#[test]
fn a_double_revert_after_a_crash_is_found() {
    check(PlantedBug::DoubleRevertAfterCrash, &COMMITS_NOT_FOUND);
}

#[test]
fn a_forgotten_veto_is_found() {
    check(PlantedBug::VetoForgotten, &[InvariantId::I9]);
}

#[test]
fn an_ignored_storm_is_found() {
    check(PlantedBug::StormIgnored, &[InvariantId::I10]);
}

#[test]
fn a_repair_that_nobody_approved_is_found() {
    let violation = found(PlantedBug::ConsentIgnored);
    assert_eq!(violation.invariant, None);
    assert!(violation.promise.starts_with("consent"), "{violation:?}");
}
