use super::world::Outcome;
use super::*;
use serde::Serialize;
use std::collections::BTreeMap;

/// Seeds of every run of the tests; the long search is `cargo xtask sim replica --seeds 10000`. They are clean, so what they
/// find with a bug planted is the bug.
const SEEDS: u64 = 40;

/// After so many seeds it is told how far it is.
const TOLD_EVERY: u64 = 20;
/// Lines that are shown of a broken seed: the last.
const TRACE_LINES: usize = 400;
/// After so many broken seeds there is enough to look at.
const BROKEN_MAX: usize = 5;
/// Lines for programs begin with this: a [`Sum`] as JSON.
const SUM_MARK: &str = "sum: ";

/// What many seeds came to.
#[derive(Default, Serialize)]
struct Sum {
    seeds: u64,
    simulated_ms: u64,
    entries: u64,
    answered: u64,
    resent: u64,
    grants: u64,
    reads: u64,
    sessions_lost: u64,
    faults: BTreeMap<&'static str, u64>,
    changes: BTreeMap<&'static str, u64>,
    broken: Vec<u64>,
}

impl Sum {
    fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.simulated_ms += outcome.simulated_ms;
        self.entries += outcome.entries;
        self.answered += outcome.tally.answered;
        self.resent += outcome.tally.resent;
        self.grants += outcome.tally.grants;
        self.reads += outcome.tally.reads;
        self.sessions_lost += outcome.tally.sessions_lost;
        for (what, count) in &outcome.faults {
            *self.faults.entry(what).or_default() += count;
        }
        for (what, count) in &outcome.changes {
            *self.changes.entry(what).or_default() += count;
        }
        if !outcome.violations.is_empty() {
            self.broken.push(outcome.seed);
        }
    }

    fn print(&self) {
        println!("{SUM_MARK}{}", serde_json::to_string(self).unwrap());
    }
}

/// `cargo xtask sim replica` shows what is between the first and the last of these lines.
fn tell(outcome: &Outcome) {
    println!("broken: seed {}", outcome.seed);
    let shown = outcome.trace.len().saturating_sub(TRACE_LINES);
    for line in outcome.trace.iter().skip(shown) {
        println!("{line}");
    }
    for violation in &outcome.violations {
        println!("{violation}");
    }
    println!("again: cargo xtask sim replica --seed {}", outcome.seed);
}

/// Runs seeds, and tells of those that are broken.
fn check(first: u64, count: u64) {
    let mut sum = Sum::default();
    for seed in first..first + count {
        let outcome = run(seed, None);
        sum.add(&outcome);
        if !outcome.violations.is_empty() {
            tell(&outcome);
        }
        if sum.broken.len() == BROKEN_MAX {
            break;
        }
        if sum.seeds.is_multiple_of(TOLD_EVERY) && sum.seeds < count {
            sum.print();
        }
    }
    sum.print();
    assert!(sum.broken.is_empty(), "broken seeds: {:?}", sum.broken);
}

/// That the bug breaks a seed, and for what it is: a violation says `told`.
fn check_is_found(bug: Bug, told: &str) {
    let found = (1..=SEEDS).find_map(|seed| {
        let outcome = run(seed, Some(bug));
        let text = outcome.violations.into_iter().find(|it| it.contains(told));
        text.map(|text| (seed, text))
    });
    let (seed, text) = found.unwrap_or_else(|| panic!("{bug:?} is not found as {told:?}"));
    println!("{bug:?} is found by seed {seed}: {text}");
}

/// `cargo xtask sim replica` says from which seed on, and how many, by SIMULATION_SEED and SIMULATION_SEEDS.
#[test]
fn members_keep_their_promises_whatever_happens() {
    let number = |name: &str, or: u64| match std::env::var(name) {
        Ok(text) => text.parse().unwrap(),
        Err(_) => or,
    };
    check(
        number("SIMULATION_SEED", 1),
        number("SIMULATION_SEEDS", SEEDS),
    );
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 1..4 {
        let (one, other) = (run(seed, None), run(seed, None));
        if one.digest != other.digest {
            let mut lines = one.trace.iter().zip(&other.trace);
            let same = lines.clone().take_while(|(a, b)| a == b).count();
            let differs = lines.nth(same);
            for line in one.trace.iter().take(same).skip(same.saturating_sub(60)) {
                println!("{line}");
            }
            panic!("seed {seed} differs: {differs:#?}");
        }
    }
}

#[test]
fn a_commit_without_a_quorum_is_found() {
    check_is_found(Bug::LostAnswerIsYes, "was acknowledged, but there are");
}

#[test]
fn an_answer_before_the_sync_is_found() {
    check_is_found(Bug::UnsyncedAppend, "is another on member");
}

#[test]
fn a_snapshot_older_than_it_says_is_found() {
    check_is_found(Bug::OldSnapshot, "does something else on member");
}

#[test]
fn a_read_without_a_quorum_is_found() {
    check_is_found(Bug::ReadWithoutQuorum, "before it began");
}

#[test]
fn a_request_applied_twice_is_found() {
    check_is_found(Bug::NoDedupe, "and again at");
}

#[test]
fn a_change_of_voters_without_its_joint_step_is_found() {
    check_is_found(Bug::NoJointStep, "the members that member");
}

#[test]
fn a_change_of_voters_that_nobody_ends_is_found() {
    check_is_found(Bug::HalfDoneStays, "does not come to rest");
}

#[test]
fn a_change_that_is_told_before_it_is_sure_is_found() {
    check_is_found(Bug::ChangeToldEarly, "nobody has applied it");
}

#[test]
fn a_session_that_ends_before_its_time_is_found() {
    check_is_found(Bug::EarlyExpiry, "was ended though it was told to live");
}
