//! Without a planted bug every promise holds; one seed always is the same world.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first thing that is not as it should be"
)]

use regraft_sim::{OnBroken, Options, run, run_many};

/// Seeds of a test run; `cargo xtask sim --seeds N` runs more.
const SEEDS: u64 = 50;

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[test]
fn every_invariant_holds_in_fifty_worlds() {
    let summary = run_many(
        1,
        SEEDS,
        threads(),
        &Options::default(),
        OnBroken::Stop,
        |_| {},
    );
    if let Some(broken) = summary.broken.first() {
        panic!("{}", broken.report());
    }
    assert_eq!(summary.seeds, SEEDS);
    let tally = &summary.tally;
    for (what, count) in [
        ("commits", tally.commits),
        ("prunes", tally.prunes),
        ("vetoes", tally.vetoes),
        ("writes", tally.writes),
    ] {
        assert!(count > 0, "no {what} in {SEEDS} worlds: {tally:?}");
    }
    for outcome in ["Verified", "Recovered", "Superseded", "Escalated"] {
        assert!(
            tally.outcomes.contains_key(outcome),
            "no {outcome}: {tally:?}"
        );
    }
}

#[test]
fn one_seed_gives_one_trace() {
    for seed in [3, 17] {
        let (once, twice) = (
            run(seed, &Options::default()),
            run(seed, &Options::default()),
        );
        assert_eq!(once.trace_hash, twice.trace_hash, "seed {seed}");
        assert_eq!(once.steps, twice.steps, "seed {seed}");
        let other = run(seed + 1, &Options::default());
        assert_ne!(once.trace_hash, other.trace_hash, "seed {seed}");
    }
}
