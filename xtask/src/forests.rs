//! `cargo xtask bench isotree`: our isolation forest beside those of scikit-learn and of PyPI's isotree.
//!
//! Each round measures all of them, one after the other, on one thread and in processor time. A ratio is of one round, so
//! that a machine that is slow for a while is slow for both; the median of the rounds is told.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::bootstrap::{Prepared, python};
use crate::cargo;
use crate::figures::{self, median};
use crate::run;
use crate::say;
use crate::workspace::Workspace;

/// Measures ours; prints a line of JSON for each kind of number.
const OURS: &str = "speed";
/// Measures theirs in the same way.
const THEIRS: &str = "crates/isotree/benches/peers.py";
/// Libraries under numpy that would start threads by themselves.
const ONE_THREAD: [&str; 4] = [
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
];

/// How figures are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

/// A line of a program that measures: 100 trees of 256 rows on a million rows of 8 columns.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Measured {
    /// Whose forest.
    name: String,
    /// The numbers it works on: f32 or f64.
    numbers: String,
    /// Fit of all rows.
    fit_s: f64,
    /// Scores of all rows.
    rows_per_s: f64,
    /// The score of a row that comes alone.
    one_row_us: f64,
}

/// How many times faster ours is than another, working on the same kind of numbers.
#[derive(Debug, Serialize)]
struct Faster {
    than: String,
    numbers: String,
    fit: f64,
    scores: f64,
    one_row: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    rounds: usize,
    medians: Vec<Measured>,
    ours_is_faster: Vec<Faster>,
}

/// Builds ours, prepares theirs, measures and prints.
pub(crate) fn bench(workspace: &Workspace, rounds: u32, output: Output) -> Result<()> {
    let build = [
        "build",
        "--release",
        "--locked",
        "--package",
        "isotree",
        "--example",
        OURS,
    ];
    run::shown(&mut cargo::command(workspace, &Prepared::default(), &build))?;
    let ours = workspace.target_dir().join("release/examples").join(OURS);
    let python = python::find(workspace, &python::FORESTS)?;
    let mut measured = Vec::new();
    for round in 1..=rounds {
        say::note(&format!("round {round} of {rounds}"));
        measured.push(measure(&ours, &python, &workspace.root.join(THEIRS))?);
    }
    let report = report(&measured);
    match output {
        Output::Json => say::line(&serde_json::to_string_pretty(&report).context("write JSON")?),
        Output::Table => {
            say::line(
                "1 M rows of 8 columns, 100 trees of 256 rows, one thread; medians of processor time",
            );
            figures::lines(&rows(&report))
                .iter()
                .for_each(|line| say::line(line));
        }
    }
    Ok(())
}

/// One round.
fn measure(ours: &Path, python: &Path, theirs: &PathBuf) -> Result<Vec<Measured>> {
    let mut peers = Command::new(python);
    peers.args(["-W", "ignore"]).arg(theirs);
    peers.envs(ONE_THREAD.map(|variable| (variable, "1")));
    let lines = run::captured(Command::new(ours).arg("straight"))? + &run::captured(&mut peers)?;
    let parsed = lines.lines().map(serde_json::from_str);
    parsed
        .collect::<Result<_, _>>()
        .context("read what was measured")
}

fn report(rounds: &[Vec<Measured>]) -> Report {
    let all = || rounds.iter().flatten();
    let mut medians: Vec<Measured> = Vec::new();
    for one in all() {
        let is_it = |it: &&Measured| (&it.name, &it.numbers) == (&one.name, &one.numbers);
        if medians.iter().any(|it| is_it(&it)) {
            continue;
        }
        let of = |figure: fn(&Measured) -> f64| {
            median(all().filter(is_it).map(figure).collect()).unwrap_or_default()
        };
        medians.push(Measured {
            fit_s: of(|it| it.fit_s),
            rows_per_s: of(|it| it.rows_per_s),
            one_row_us: of(|it| it.one_row_us),
            ..one.clone()
        });
    }
    let faster = medians.iter().filter(|it| it.name != "ours");
    Report {
        rounds: rounds.len(),
        ours_is_faster: faster
            .filter_map(|than| faster_than(rounds, than))
            .collect(),
        medians,
    }
}

fn faster_than(rounds: &[Vec<Measured>], than: &Measured) -> Option<Faster> {
    let of = |ratio: fn(&Measured, &Measured) -> f64| {
        let ratios = rounds.iter().filter_map(|round| {
            let find = |name: &str| {
                let mut found = round.iter().filter(|it| it.numbers == than.numbers);
                found.find(|it| it.name == name)
            };
            Some(ratio(find("ours")?, find(&than.name)?))
        });
        median(ratios.collect())
    };
    Some(Faster {
        than: than.name.clone(),
        numbers: than.numbers.clone(),
        fit: of(|ours, theirs| theirs.fit_s / ours.fit_s)?,
        scores: of(|ours, theirs| ours.rows_per_s / theirs.rows_per_s)?,
        one_row: of(|ours, theirs| theirs.one_row_us / ours.one_row_us)?,
    })
}

fn rows(report: &Report) -> Vec<Vec<String>> {
    let titles = ["", "fit, ms", "scores, rows/s", "one row, µs"];
    let figures = report.medians.iter().map(|it| {
        [
            format!("{}, {}", it.name, it.numbers),
            format!("{:.1}", it.fit_s * 1e3),
            format!("{:.0}", it.rows_per_s),
            format!("{:.2}", it.one_row_us),
        ]
    });
    let faster = report.ours_is_faster.iter().map(|it| {
        [
            format!("ours is faster than {}, {}", it.than, it.numbers),
            format!("{:.1} ×", it.fit),
            format!("{:.1} ×", it.scores),
            format!("{:.1} ×", it.one_row),
        ]
    });
    let titles = std::iter::once(titles.map(str::to_owned));
    titles.chain(figures).chain(faster).map(Vec::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(slowness: f64) -> Vec<Measured> {
        let lines = [
            r#"{"name":"ours","numbers":"f64","cuts":"straight","fit_s":0.005,"rows_per_s":2000000,"one_row_us":2.0}"#,
            r#"{"name":"ours","numbers":"f32","cuts":"straight","fit_s":0.004,"rows_per_s":2000000,"one_row_us":2.5}"#,
            r#"{"name": "theirs", "numbers": "f32", "cuts": "straight", "fit_s": 0.4, "rows_per_s": 400000, "one_row_us": 5000}"#,
        ];
        let mut round: Vec<Measured> = lines
            .map(|line| serde_json::from_str(line).expect("a line"))
            .into();
        for it in &mut round {
            it.fit_s *= slowness;
            it.one_row_us *= slowness;
            it.rows_per_s /= slowness;
        }
        round
    }

    #[test]
    fn ratios_are_those_of_a_round_and_of_the_same_numbers() {
        let report = report(&[round(1.0), round(3.0), round(1.5)]);
        let expected = [
            "                                 fit, ms  scores, rows/s  one row, µs",
            "ours, f64                            7.5         1333333         3.00",
            "ours, f32                            6.0         1333333         3.75",
            "theirs, f32                        600.0          266667      7500.00",
            "ours is faster than theirs, f32  100.0 ×           5.0 ×     2000.0 ×",
        ];
        assert_eq!(figures::lines(&rows(&report)), expected);
    }
}
