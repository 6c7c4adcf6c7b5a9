//! Seeded fake worlds around the real engine and the real state: members, a log, a remote, clusters, people and faults
//! in virtual time. What breaks an invariant is looked for at the occurrence that can break it: each log entry,
//! question to a cluster or remote, write and push. I4 is checked by what each member makes of each entry, and over its
//! whole state at rest; I6, and that every incident has ended (I8), at rest.
//!
//! ```text
//!            ┌── Event ──> regraft_engine::Engine ── Effect ──┐
//! World ─────┤                 (three of them)                ├──> World: log, remote, clusters
//!  (queue)   └── entry ──> regraft_state::apply ── writes ────┘        │
//!                                            checkers I1-I11  <─────────┘
//! ```
//!
//! One seed is one world: the same seed gives the same occurrences for ever. It opens no socket, starts no server and
//! reads no clock. The checkers know the ground truth of the world and never look inside an engine.

mod apply;
mod check;
mod content;
mod faults;
mod git;
mod kube;
mod link;
mod member;
pub mod metrics;
mod people;
mod plant;
mod raft;
mod rng;
mod runner_git;
mod scenario;
mod trace;
mod world;

pub use check::Tally;
pub use plant::{PlantedBug, UnknownBug};
pub use world::Violation;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use trace::RECENT_LINES;
use world::World;

/// What to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A known bug to put back.
    pub plant: Option<PlantedBug>,
    /// Occurrences after which a run is cut short; unlimited when absent.
    pub steps: Option<u64>,
    /// How much of the trace is kept for the report.
    pub trace: TraceLength,
}

/// How much of a trace is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TraceLength {
    /// The last lines.
    #[default]
    Recent,
    /// Everything.
    Whole,
}

/// How one seed went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The planted bug, if any.
    pub plant: Option<PlantedBug>,
    /// The broken promise, if any.
    pub violation: Option<Violation>,
    /// Occurrences that happened.
    pub steps: u64,
    /// Hash over the whole trace: equal for equal runs.
    pub trace_hash: u64,
    /// The last lines of the trace.
    pub trace: Vec<String>,
    /// What was exercised.
    pub tally: Tally,
}

impl Outcome {
    /// The report of a broken promise, with the line that reproduces it; empty when all held.
    pub fn report(&self) -> String {
        let Some(violation) = &self.violation else {
            return String::new();
        };
        let promise = match violation.invariant {
            Some(id) => format!("{id}: {}", violation.promise),
            None => violation.promise.to_owned(),
        };
        let plant = self
            .plant
            .map_or_else(String::new, |bug| format!(" --plant {bug}"));
        format!(
            "BROKEN {promise}\n  {}\n  seed {}, step {}\n\nlast lines of the trace:\n{}\n\nreproduce it with\n  \
             cargo xtask sim --seed {}{plant}\n",
            violation.message,
            self.seed,
            self.steps,
            self.trace.join("\n"),
            self.seed
        )
    }
}

/// Runs one seed until its world came to rest, a promise broke, or the steps ran out. Equal arguments give equal
/// outcomes.
pub fn run(seed: u64, options: &Options) -> Outcome {
    let keep = match options.trace {
        TraceLength::Recent => RECENT_LINES,
        TraceLength::Whole => usize::MAX,
    };
    let mut world = World::new(seed, options.plant, keep);
    let limit = options.steps.unwrap_or(u64::MAX);
    while world.steps < limit && world.step() {}
    Outcome {
        seed,
        plant: options.plant,
        violation: world.broken.clone(),
        steps: world.steps,
        trace_hash: world.trace.hash(),
        trace: world.trace.recent(),
        tally: world.checks.tally.clone(),
    }
}

/// What many seeds came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Seeds that were run.
    pub seeds: u64,
    /// The broken ones, by seed.
    pub broken: Vec<Outcome>,
    /// What all of them exercised together.
    pub tally: Tally,
    /// Occurrences in all seeds together.
    pub steps: u64,
}

/// Whether to go on after a broken seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBroken {
    /// Stop soon after the first one.
    Stop,
    /// Run all seeds.
    Continue,
}

/// Runs `count` seeds from `first` on `threads` threads, at least one. After each it tells what there is so far.
pub fn run_many(
    first: u64,
    count: u64,
    threads: usize,
    options: &Options,
    on_broken: OnBroken,
    progress: impl Fn(&Summary) + Sync,
) -> Summary {
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let summary = Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count || stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let outcome = run(first.wrapping_add(number), options);
                    if outcome.violation.is_some() && on_broken == OnBroken::Stop {
                        stop.store(true, Ordering::Relaxed);
                    }
                    let mut summary = summary
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    summary.seeds += 1;
                    summary.steps += outcome.steps;
                    summary.tally.add(&outcome.tally);
                    if outcome.violation.is_some() {
                        summary.broken.push(outcome);
                    }
                    progress(&summary);
                }
            });
        }
    });
    let mut summary = summary
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    summary.broken.sort_by_key(|outcome| outcome.seed);
    summary
}
