//! What a run found, for people and for programs.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use comfy_table::{CellAlignment, Table, presets};
use regraft_history::{Answer, Call, Freshness, History, Operation, Searched, Violation};
use serde::Serialize;

use super::fault::{Kind, Victim};
use super::strike::Struck;
use super::{Happened, Suffered, Work};
use crate::bench::Output;

/// Steps of the search for an order for each operation of a key: an order that is there is found in about one.
const STEPS_PER_OPERATION: usize = 8;
/// Violations that are shown.
const SHOWN_MAX: usize = 10;
/// Operations on the key that are shown before and after a violation.
const SHOWN_AROUND: usize = 12;

/// Everything that is told at the end.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    seed: u64,
    seconds: f64,
    /// Kinds that could not be had here.
    left_out: Vec<Kind>,
    faults: Vec<Row>,
    /// By what was asked, then by how it ended.
    operations: BTreeMap<String, BTreeMap<String, u64>>,
    locks: BTreeMap<String, u64>,
    holds: usize,
    sessions_lost: BTreeMap<String, u64>,
    /// How often members ended by themselves and were started again, by how they ended, with numbers left out.
    ended: BTreeMap<String, u64>,
    /// Members that did not recover until a person killed them.
    restarts: Vec<String>,
    /// Those of both that only had a full disk: a member has to go on by itself when there is room again.
    stopped_by_full_disk: Vec<String>,
    search: Search,
    stuck: Option<String>,
    violation_count: usize,
    violations: Vec<Shown>,
}

/// All faults of one kind.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    /// None: two faults together.
    kind: Option<Kind>,
    count: usize,
    /// How many of them hit the leader.
    of_leader: usize,
    /// Of those that came alone: the longest time without an acknowledged write, milliseconds; median and greatest.
    silence_median_ms: Option<u64>,
    silence_longest_ms: Option<u64>,
    /// From its end until all members were well.
    recovery_median_ms: Option<u64>,
    recovery_longest_ms: Option<u64>,
}

/// Keys, by what the search for an order that believes no revision found.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Search {
    linearizable: usize,
    not_linearizable: usize,
    gave_up: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    violation: Violation,
    /// What happened to the key around then.
    around: Vec<String>,
}

impl Report {
    pub(super) fn new(
        seed: u64,
        seconds: f64,
        left_out: Vec<Kind>,
        happened: &Happened,
        work: &Work,
        history: &History,
    ) -> Self {
        let violations = regraft_history::check(history);
        let violation_count = violations.len();
        let mut operations: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for operation in &history.operations {
            let by_end = operations.entry(asked(operation)).or_default();
            *by_end.entry(ended(operation).to_owned()).or_default() += 1;
        }
        Self {
            seed,
            seconds,
            left_out,
            faults: rows(happened, &acknowledged(history)),
            operations,
            locks: work.locks.clone(),
            holds: history.holds.len(),
            sessions_lost: work.lost.clone(),
            ended: alike(happened.ended.iter().map(|it| it.how.as_str())),
            restarts: happened.restarts.iter().map(|it| it.how.clone()).collect(),
            stopped_by_full_disk: happened.stopped_by_full_disk(),
            search: search(history),
            stuck: happened.stuck.clone(),
            violation_count,
            violations: shown(violations, history),
        }
    }

    /// Whether every promise was kept.
    pub(super) fn is_clean(&self) -> bool {
        self.violation_count == 0
            && self.search.not_linearizable == 0
            && self.stuck.is_none()
            && self.stopped_by_full_disk.is_empty()
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
    }

    pub(super) fn print(&self, output: Output) -> Result<()> {
        match output {
            Output::Json => println!("{}", serde_json::to_string_pretty(self)?),
            Output::Table => println!("{}", self.text()),
        }
        Ok(())
    }

    fn text(&self) -> String {
        let mut parts = vec![
            format!("seed {}, {:.0} s under faults\n", self.seed, self.seconds),
            self.fault_table(),
            self.operation_table(),
            format!(
                "locks: {}; relied on {} times",
                list(&self.locks),
                self.holds
            ),
            format!("sessions lost: {}", list(&self.sessions_lost)),
        ];
        if !self.left_out.is_empty() {
            parts.push(format!("left out here: {:?}", self.left_out));
        }
        for (how, count) in &self.ended {
            parts.push(format!("started again {count} times: {how}"));
        }
        for restart in &self.restarts {
            parts.push(format!("killed by hand: {restart}"));
        }
        for how in &self.stopped_by_full_disk {
            parts.push(format!("did not go on by itself after a full disk: {how}"));
        }
        let Search {
            linearizable,
            not_linearizable,
            gave_up,
        } = self.search;
        parts.push(format!(
            "without revisions: {linearizable} keys linearizable, {not_linearizable} not, {gave_up} undecided"
        ));
        parts.extend(self.stuck.clone());
        for Shown { violation, around } in &self.violations {
            let Violation {
                kind,
                subject,
                message,
                ..
            } = violation;
            parts.push(format!("\n{kind:?} at {subject}: {message}"));
            parts.extend(around.iter().map(|line| format!("    {line}")));
        }
        parts.push(match self.violation_count {
            0 => "no violation".to_owned(),
            count => format!("{count} violations"),
        });
        parts.join("\n")
    }

    fn fault_table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header([
            "FAULT",
            "COUNT",
            "OF LEADER",
            "SILENCE MS",
            "LONGEST",
            "RECOVERY MS",
            "LONGEST",
        ]);
        for row in &self.faults {
            let name = row.kind.map_or("two at once".to_owned(), |kind| {
                serde_json::to_value(kind)
                    .ok()
                    .and_then(|name| name.as_str().map(str::to_owned))
                    .unwrap_or_default()
            });
            let cell = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
            table.add_row([
                name,
                row.count.to_string(),
                row.of_leader.to_string(),
                cell(row.silence_median_ms),
                cell(row.silence_longest_ms),
                cell(row.recovery_median_ms),
                cell(row.recovery_longest_ms),
            ]);
        }
        right(table)
    }

    fn operation_table(&self) -> String {
        let mut ends: Vec<&str> = self
            .operations
            .values()
            .flat_map(|by_end| by_end.keys().map(String::as_str))
            .collect();
        ends.sort_unstable();
        ends.dedup();
        let mut table = Table::new();
        let head = ends.iter().map(|end| end.to_uppercase());
        table
            .load_style(presets::NOTHING)
            .set_header(std::iter::once("ASKED".to_owned()).chain(head));
        for (asked, by_end) in &self.operations {
            let counts = ends
                .iter()
                .map(|end| by_end.get(*end).copied().unwrap_or_default().to_string());
            table.add_row(std::iter::once(asked.clone()).chain(counts));
        }
        right(table)
    }
}

fn right(mut table: Table) -> String {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{table}\n")
}

fn list(counts: &BTreeMap<String, u64>) -> String {
    let each: Vec<String> = counts
        .iter()
        .map(|(how, count)| format!("{count} {how}"))
        .collect();
    match each.is_empty() {
        true => "none".to_owned(),
        false => each.join(", "),
    }
}

/// Counts lines that differ in numbers and in folders only.
fn alike<'a>(lines: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for line in lines {
        let words = line
            .split_whitespace()
            .map(|word| match word.contains('/') {
                true => "…".to_owned(),
                false => without_digits(word),
            });
        let words: Vec<String> = words.collect();
        *counts.entry(words.join(" ")).or_default() += 1;
    }
    counts
}

fn without_digits(word: &str) -> String {
    let mut short = String::new();
    for letter in word.chars() {
        match letter.is_ascii_digit() {
            true if short.ends_with('#') => {}
            true => short.push('#'),
            false => short.push(letter),
        }
    }
    short
}

fn asked(operation: &Operation) -> String {
    let name = match &operation.call {
        Call::Put { expected: None, .. } => "put",
        Call::Put { .. } => "compare and swap",
        Call::Delete { .. } => "delete",
        Call::Get {
            freshness: Freshness::Linearizable,
            ..
        } => "get",
        Call::Get { .. } => "stale get",
    };
    name.to_owned()
}

fn ended(operation: &Operation) -> &'static str {
    match operation.answer {
        Answer::Written { .. } | Answer::Read { .. } => "done",
        Answer::Changed { .. } => "refused",
        Answer::NotDone => "not done",
        Answer::Unknown => "unknown",
    }
}

/// When writes were acknowledged, in order.
fn acknowledged(history: &History) -> Vec<u64> {
    let written = history
        .operations
        .iter()
        .filter(|operation| matches!(operation.answer, Answer::Written { .. }));
    let mut times: Vec<u64> = written.map(|operation| operation.end_us).collect();
    times.sort_unstable();
    times
}

/// The longest time without an acknowledged write that is not over before `from` and begins before `to`, milliseconds.
fn silence(times: &[u64], from: u64, to: u64) -> u64 {
    let first = times.partition_point(|time| *time < from).saturating_sub(1);
    let gaps = times[first..]
        .windows(2)
        .take_while(|pair| pair[0] < to)
        .map(|pair| pair[1] - pair[0]);
    gaps.max().unwrap_or_default() / 1_000
}

fn rows(happened: &Happened, times: &[u64]) -> Vec<Row> {
    let mut by_kind: BTreeMap<Kind, Vec<&Suffered>> = BTreeMap::new();
    let mut together = Vec::new();
    for blow in &happened.blows {
        match blow.faults.as_slice() {
            [alone] => by_kind.entry(alone.kind).or_default().push(blow),
            several => {
                together.push(blow);
                for fault in several {
                    by_kind.entry(fault.kind).or_default();
                }
            }
        }
    }
    let all = || happened.blows.iter().flat_map(|blow| &blow.faults);
    let mut rows: Vec<Row> = by_kind
        .iter()
        .map(|(kind, alone)| {
            let faults: Vec<&Struck> = all().filter(|fault| fault.kind == *kind).collect();
            row(Some(*kind), &faults, alone, times)
        })
        .collect();
    if !together.is_empty() {
        let first = together.iter().filter_map(|blow| blow.faults.first());
        rows.push(row(None, &first.collect::<Vec<_>>(), &together, times));
    }
    rows
}

fn row(kind: Option<Kind>, faults: &[&Struck], blows: &[&Suffered], times: &[u64]) -> Row {
    let span = |blow: &Suffered| {
        let begins = blow.faults.iter().map(|fault| fault.begin_us);
        let ends = blow.faults.iter().map(|fault| fault.end_us);
        (
            begins.min().unwrap_or_default(),
            ends.max().unwrap_or_default(),
        )
    };
    let silences = sorted(blows, |blow| {
        silence(times, span(blow).0, blow.recovered_us)
    });
    let recoveries = sorted(blows, |blow| {
        blow.recovered_us.saturating_sub(span(blow).1) / 1_000
    });
    let of_leader = faults.iter().filter(|fault| fault.victim == Victim::Leader);
    Row {
        kind,
        count: faults.len(),
        of_leader: of_leader.count(),
        silence_median_ms: silences.get(silences.len() / 2).copied(),
        silence_longest_ms: silences.last().copied(),
        recovery_median_ms: recoveries.get(recoveries.len() / 2).copied(),
        recovery_longest_ms: recoveries.last().copied(),
    }
}

fn sorted(blows: &[&Suffered], of: impl Fn(&Suffered) -> u64) -> Vec<u64> {
    let mut each: Vec<u64> = blows.iter().map(|blow| of(blow)).collect();
    each.sort_unstable();
    each
}

fn search(history: &History) -> Search {
    let mut found = Search::default();
    for operations in history.by_key().values() {
        let steps_max = STEPS_PER_OPERATION * operations.len();
        match regraft_history::search(operations, steps_max) {
            Searched::Linearizable => found.linearizable += 1,
            Searched::NotLinearizable => found.not_linearizable += 1,
            Searched::GaveUp => found.gave_up += 1,
        }
    }
    found
}

fn shown(mut violations: Vec<Violation>, history: &History) -> Vec<Shown> {
    violations.sort_by_key(|violation| violation.at_us);
    violations.truncate(SHOWN_MAX);
    let shown = violations.into_iter().map(|violation| {
        let mut of_key: Vec<&Operation> = history
            .operations
            .iter()
            .filter(|operation| operation.call.key() == violation.subject)
            .collect();
        of_key.sort_by_key(|operation| operation.begin_us);
        let at = of_key.partition_point(|operation| operation.begin_us < violation.at_us);
        let first = at.saturating_sub(SHOWN_AROUND);
        let around = of_key.iter().skip(first).take(2 * SHOWN_AROUND);
        Shown {
            around: around.map(ToString::to_string).collect(),
            violation,
        }
    });
    shown.collect()
}

/// One line of progress.
#[expect(clippy::print_stderr, reason = "progress, beside the report")]
pub(super) fn tell(line: &str) {
    eprintln!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_differ_in_numbers_and_folders_only_are_counted_together() {
        let lines = [
            "member 1 ended: /a/1 is full",
            "member 23 ended: /b/2 is full",
        ];
        let counts = alike(lines);
        let expected = BTreeMap::from([("member # ended: … is full".to_owned(), 2)]);
        assert_eq!(counts, expected);
    }

    #[test]
    fn silence_is_the_longest_gap_that_touches_the_time_asked_for() {
        let times = [1_000, 2_000, 9_000, 10_000, 30_000].map(|ms| ms * 1_000);
        let silence = |from: u64, to: u64| silence(&times, from * 1_000, to * 1_000);
        assert_eq!(silence(2_500, 9_500), 7_000);
        assert_eq!(silence(9_500, 9_600), 1_000);
        assert_eq!(silence(2_500, 10_500), 20_000);
        assert_eq!(silence(31_000, 32_000), 0);
    }
}
