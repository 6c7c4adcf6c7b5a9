//! `sim --seeds N [--seed S] [--plant BUG] [--steps N] [--trace]`: see `cargo xtask sim`.

#![expect(
    clippy::print_stdout,
    reason = "a command-line program speaks on its standard output"
)]

use regraft_sim::{OnBroken, Options, PlantedBug, TraceLength, run, run_many};
use std::process::ExitCode;

const USAGE: &str = "usage: sim [--seeds N] [--seed S] [--plant BUG] [--steps N] [--threads N] [--trace] [--all]\n\n  \
                     --seeds N    run N seeds (default 100), from --seed on\n  \
                     --seed S     without --seeds: run this seed alone\n  \
                     --plant BUG  put a known bug back\n  \
                     --steps N    cut each run short after N occurrences\n  \
                     --threads N  threads (default: the machine's)\n  \
                     --trace      print the whole trace of a single seed\n  \
                     --all        go on after a broken seed";
/// Seeds without `--seeds` and `--seed`.
const DEFAULT_SEEDS: u64 = 100;
/// Seeds after each of which it is told how far it is.
const PROGRESS_EVERY: u64 = 200;

struct Arguments {
    seed: Option<u64>,
    seeds: Option<u64>,
    threads: Option<usize>,
    options: Options,
    on_broken: OnBroken,
}

fn main() -> ExitCode {
    match arguments(std::env::args().skip(1)) {
        Ok(Some(arguments)) => simulate(&arguments),
        Ok(None) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            println!("{problem}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn simulate(arguments: &Arguments) -> ExitCode {
    if let (Some(seed), None) = (arguments.seed, arguments.seeds) {
        let outcome = run(seed, &arguments.options);
        if arguments.options.trace == TraceLength::Whole {
            println!("{}", outcome.trace.join("\n"));
        }
        let Some(violation) = &outcome.violation else {
            println!(
                "seed {seed}: all promises held in {} steps, trace {:016x}\n{:?}",
                outcome.steps, outcome.trace_hash, outcome.tally
            );
            return ExitCode::SUCCESS;
        };
        match arguments.options.trace {
            TraceLength::Whole => println!("BROKEN {violation:?}"),
            TraceLength::Recent => println!("{}", outcome.report()),
        }
        return ExitCode::FAILURE;
    }
    let threads = arguments
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    let summary = run_many(
        arguments.seed.unwrap_or(1),
        arguments.seeds.unwrap_or(DEFAULT_SEEDS),
        threads,
        &arguments.options,
        arguments.on_broken,
        |so_far| {
            if so_far.seeds.is_multiple_of(PROGRESS_EVERY) {
                println!("{} seeds, {} broken", so_far.seeds, so_far.broken.len());
            }
        },
    );
    if let Some(first) = summary.broken.first() {
        println!("{}", first.report());
    }
    for outcome in &summary.broken {
        if let Some(violation) = &outcome.violation {
            let beside = violation.promise.split(':').next().unwrap_or_default();
            let name = violation
                .invariant
                .map_or_else(|| beside.to_owned(), |id| id.to_string());
            let message: String = violation.message.chars().take(200).collect();
            println!("seed {:>6}  {name:<8}  {message}", outcome.seed);
        }
    }
    println!(
        "{} seeds, {} broken, {} occurrences\n{:?}",
        summary.seeds,
        summary.broken.len(),
        summary.steps,
        summary.tally
    );
    match summary.broken.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn arguments(mut words: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
    let mut found = Arguments {
        seed: None,
        seeds: None,
        threads: None,
        options: Options::default(),
        on_broken: OnBroken::Stop,
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--help" | "-h" => return Ok(None),
            "--seed" => found.seed = Some(number(&value()?)?),
            "--seeds" => found.seeds = Some(number(&value()?)?),
            "--steps" => found.options.steps = Some(number(&value()?)?),
            "--threads" => found.threads = usize::try_from(number(&value()?)?).ok(),
            "--plant" => {
                let bug: PlantedBug = value()?.parse().map_err(|error| format!("{error}"))?;
                found.options.plant = Some(bug);
            }
            "--trace" => found.options.trace = TraceLength::Whole,
            "--all" => found.on_broken = OnBroken::Continue,
            _ => return Err(format!("{word} is not known")),
        }
    }
    Ok(Some(found))
}

fn number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not a number"))
}
