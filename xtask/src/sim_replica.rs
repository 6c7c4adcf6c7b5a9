//! `cargo xtask sim replica`: members of the replicated state in simulated time, seed after seed, in some processes.
//!
//! They are a part of their crate's tests, for what is replaced there cannot be elsewhere. A process prints, beside what
//! libtest does, lines that begin with [`SUM_MARK`] (all its seeds so far) and, of each broken seed, what is between
//! [`BROKEN_MARK`] and [`AGAIN_MARK`].

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::Deserialize;

use crate::bootstrap::{self, Parts, Prepared};
use crate::cargo;
use crate::clock::{Stopwatch, human};
use crate::say;
use crate::workspace::Workspace;

/// The library whose tests they are.
const LIBRARY: &str = "regraft_replica";
const TEST: &str = "simulation::tests::members_keep_their_promises_whatever_happens";
const SUM_MARK: &str = "sum: ";
const BROKEN_MARK: &str = "broken: ";
const AGAIN_MARK: &str = "again: ";
/// After so many seeds it is told how far it is.
const TOLD_EVERY: u64 = 100;
/// More processes than cores help nobody.
const JOBS_MAX: u64 = 64;

/// Which seeds.
#[derive(Args)]
pub(crate) struct Options {
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many, from the first on
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Processes that share them; each is on one core
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=JOBS_MAX))]
    jobs: u64,
}

/// What seeds came to, as a process tells it.
#[derive(Clone, Debug, Default, Deserialize)]
struct Sum {
    seeds: u64,
    simulated_ms: u64,
    entries: u64,
    answered: u64,
    resent: u64,
    grants: u64,
    reads: u64,
    sessions_lost: u64,
    faults: BTreeMap<String, u64>,
    changes: BTreeMap<String, u64>,
    broken: Vec<u64>,
}

/// What a process says.
enum Said {
    Sum(Sum),
    /// A line about a broken seed.
    Broken(String),
}

#[derive(Deserialize)]
struct Built {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let prepared = bootstrap::prepare(workspace, Parts::Build)?;
    let program = build(workspace, &prepared)?;
    let watch = Stopwatch::start();
    let shares = shares(options);
    let sums = std::thread::scope(|scope| {
        let (told, heard) = mpsc::channel();
        let running: Vec<_> = shares
            .iter()
            .map(|share| {
                let (program, told) = (&program, told.clone());
                let first = share.0;
                scope.spawn(move || {
                    simulate(program, *share, &|said| {
                        // Nobody listens any more: the run is over.
                        let _ = told.send((first, said));
                    })
                })
            })
            .collect();
        drop(told);
        let sums = listen(&heard, options.seeds, watch);
        for running in running {
            running
                .join()
                .map_err(|_| anyhow::anyhow!("a listener panicked"))??;
        }
        anyhow::Ok(sums)
    })?;
    for line in summary(&sums).lines() {
        say::line(line);
    }
    say::line(&format!("took {}", human(watch.elapsed())));
    if !sums.broken.is_empty() {
        bail!("{} of {} seeds are broken", sums.broken.len(), sums.seeds);
    }
    if sums.seeds != options.seeds {
        bail!("only {} of {} seeds were run", sums.seeds, options.seeds);
    }
    Ok(())
}

/// Builds the tests of all libraries, as every other test run does, and finds the one.
fn build(workspace: &Workspace, prepared: &Prepared) -> Result<PathBuf> {
    let args = [
        "test",
        "--quiet",
        "--locked",
        "--workspace",
        "--lib",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ];
    let output = cargo::command(workspace, prepared, &args)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("start cargo")?;
    if !output.status.success() {
        bail!("the tests were not built");
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let built = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let ours = |built: Built| {
        built.target.filter(|target| target.name == LIBRARY)?;
        built.executable
    };
    built
        .filter_map(ours)
        .next_back()
        .with_context(|| format!("cargo does not tell where the tests of {LIBRARY} are"))
}

/// First seed and count of each process.
fn shares(options: &Options) -> Vec<(u64, u64)> {
    let jobs = options.jobs.min(options.seeds);
    let (each, more) = (options.seeds / jobs, options.seeds % jobs);
    let mut first = options.seed;
    let mut shares = Vec::new();
    for job in 0..jobs {
        let count = each + u64::from(job < more);
        shares.push((first, count));
        first += count;
    }
    shares
}

/// Runs one process to its end. It ends with an error where a seed is broken, which is told; anything else is a failure.
fn simulate(program: &PathBuf, (first, count): (u64, u64), tell: &dyn Fn(Said)) -> Result<()> {
    let mut child = Command::new(program)
        .args(["--exact", TEST, "--nocapture"])
        .env("SIMULATION_SEED", first.to_string())
        .env("SIMULATION_SEEDS", count.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    let output = child.stdout.take().context("its output")?;
    let mut errors = child.stderr.take().context("its errors")?;
    let (is_broken, errors) = std::thread::scope(|scope| {
        let errors = scope.spawn(move || {
            let mut text = String::new();
            errors.read_to_string(&mut text).map(|_| text)
        });
        (follow(output, tell), errors.join())
    });
    let status = child.wait().context("wait for the simulation")?;
    if status.success() || is_broken? {
        return Ok(());
    }
    let errors = errors.ok().and_then(Result::ok).unwrap_or_default();
    bail!("the seeds from {first} on ended with {status}:\n{errors}")
}

/// Tells what a process says; whether a seed was broken.
fn follow(output: impl Read, tell: &dyn Fn(Said)) -> Result<bool> {
    let (mut is_broken, mut is_shown) = (false, false);
    for line in BufReader::new(output).lines() {
        let line = line.context("read what the simulation says")?;
        if let Some(sum) = line.strip_prefix(SUM_MARK) {
            tell(Said::Sum(serde_json::from_str(sum).context("read a sum")?));
            continue;
        }
        is_shown |= line.starts_with(BROKEN_MARK);
        is_broken |= is_shown;
        let is_last = line.starts_with(AGAIN_MARK);
        if is_shown {
            tell(Said::Broken(line));
        }
        is_shown &= !is_last;
    }
    Ok(is_broken)
}

/// Shows how far it is, and what is broken; gives the sum in the end.
fn listen(heard: &mpsc::Receiver<(u64, Said)>, seeds: u64, watch: Stopwatch) -> Sum {
    let mut sums: BTreeMap<u64, Sum> = BTreeMap::new();
    // A trace is shown whole, not among the lines of another.
    let mut traces: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut told = 0;
    for (process, said) in heard {
        match said {
            Said::Broken(line) => {
                let is_last = line.starts_with(AGAIN_MARK);
                traces.entry(process).or_default().push(line);
                for line in traces
                    .remove(&process)
                    .filter(|_| is_last)
                    .into_iter()
                    .flatten()
                {
                    say::line(&line);
                }
            }
            Said::Sum(sum) => {
                sums.insert(process, sum);
                let sum = total(sums.values());
                if sum.seeds / TOLD_EVERY > told {
                    told = sum.seeds / TOLD_EVERY;
                    let broken = sum.broken.len();
                    let time = human(watch.elapsed());
                    say::note(&format!(
                        "{} of {seeds} seeds, {broken} broken, {time}",
                        sum.seeds
                    ));
                }
            }
        }
    }
    total(sums.values())
}

fn total<'a>(sums: impl Iterator<Item = &'a Sum>) -> Sum {
    let mut total = Sum::default();
    for sum in sums {
        total.seeds += sum.seeds;
        total.simulated_ms += sum.simulated_ms;
        total.entries += sum.entries;
        total.answered += sum.answered;
        total.resent += sum.resent;
        total.grants += sum.grants;
        total.reads += sum.reads;
        total.sessions_lost += sum.sessions_lost;
        total.broken.extend(&sum.broken);
        for (what, count) in &sum.faults {
            *total.faults.entry(what.clone()).or_default() += count;
        }
        for (what, count) in &sum.changes {
            *total.changes.entry(what.clone()).or_default() += count;
        }
    }
    total
}

/// For people.
fn summary(sum: &Sum) -> String {
    let counts = |counts: &BTreeMap<String, u64>| {
        let counts = counts.iter().map(|(what, count)| format!("{what} {count}"));
        counts.collect::<Vec<_>>().join(", ")
    };
    let mut lines = vec![
        format!(
            "{} seeds, {} simulated seconds, {} entries",
            sum.seeds,
            sum.simulated_ms / 1_000,
            sum.entries
        ),
        format!(
            "clients: {} answers, {} sent again, {} reads, {} locks, {} sessions lost",
            sum.answered, sum.resent, sum.reads, sum.grants, sum.sessions_lost
        ),
        format!("faults: {}", counts(&sum.faults)),
        format!("members: {}", counts(&sum.changes)),
    ];
    match sum.broken.as_slice() {
        [] => lines.push("no seed is broken".to_owned()),
        broken => {
            for seed in broken {
                lines.push(format!("broken: cargo xtask sim replica --seed {seed}"));
            }
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn processes_share_all_seeds() {
        let check = |jobs, seeds, expected: &[(u64, u64)]| {
            let options = Options {
                seed: 10,
                seeds,
                jobs,
            };
            assert_eq!(shares(&options), expected);
        };
        check(1, 5, &[(10, 5)]);
        check(2, 5, &[(10, 3), (13, 2)]);
        check(4, 2, &[(10, 1), (11, 1)]);
    }

    #[test]
    fn of_what_a_process_prints_only_sums_and_broken_seeds_are_told() {
        let sum = r#"{"seeds":2,"simulated_ms":1,"entries":1,"answered":1,"resent":0,"grants":0,"reads":0,"sessions_lost":0,"faults":{},"changes":{},"broken":[7]}"#;
        let check = |printed: &str, told: &[&str], is_broken: bool| {
            let said = RefCell::new(Vec::new());
            let followed = follow(printed.as_bytes(), &|it| {
                said.borrow_mut().push(match it {
                    Said::Sum(sum) => format!("{} seeds, {:?}", sum.seeds, sum.broken),
                    Said::Broken(line) => line,
                });
            });
            assert_eq!(followed.unwrap(), is_broken, "{printed}");
            assert_eq!(said.into_inner(), told, "{printed}");
        };
        check("\nrunning 1 test\ntest it ... ok\n", &[], false);
        check(
            &format!(
                "running 1 test\nbroken: seed 7\n  1 a step\nagain: it\nsum: {sum}\nfailures:\n"
            ),
            &["broken: seed 7", "  1 a step", "again: it", "2 seeds, [7]"],
            true,
        );
    }

    #[test]
    fn the_summary_ends_with_how_to_repeat_what_is_broken() {
        let sum = |seeds, broken: &[u64]| Sum {
            seeds,
            simulated_ms: 20_500,
            faults: BTreeMap::from([("cut".to_owned(), 3), ("kill".to_owned(), 1)]),
            changes: BTreeMap::from([("added".to_owned(), 2)]),
            broken: broken.to_vec(),
            ..Sum::default()
        };
        let check = |sums: &[Sum], expected: &str| {
            assert_eq!(summary(&total(sums.iter())), expected);
        };
        check(
            &[sum(100, &[])],
            "100 seeds, 20 simulated seconds, 0 entries\n\
             clients: 0 answers, 0 sent again, 0 reads, 0 locks, 0 sessions lost\n\
             faults: cut 3, kill 1\n\
             members: added 2\n\
             no seed is broken",
        );
        check(
            &[sum(100, &[7]), sum(50, &[120])],
            "150 seeds, 41 simulated seconds, 0 entries\n\
             clients: 0 answers, 0 sent again, 0 reads, 0 locks, 0 sessions lost\n\
             faults: cut 6, kill 2\n\
             members: added 4\n\
             broken: cargo xtask sim replica --seed 7\n\
             broken: cargo xtask sim replica --seed 120",
        );
    }
}
