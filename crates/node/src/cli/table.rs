//! Tables as kubectl prints them, and ages as people say them.

use comfy_table::{Table, presets};
use regraft_model::time::Timestamp;

/// Shortest room for the last cell: a message says nothing in less.
const LAST_CHARS_MIN: usize = 20;
/// Shortest room for another cell.
const CELL_CHARS_MIN: usize = 6;
/// Spaces between columns.
const GAP_CHARS: usize = 3;
/// Spaces before what stands below a heading.
const INDENT_CHARS: usize = 2;
const SECOND_MS: i64 = 1000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// How much of a table is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// Every column, nothing cut.
    Full,
    /// Nothing cut: for pipes.
    Endless,
    /// Rows fit a terminal of so many columns.
    Columns(usize),
}

/// Columns that are not always shown.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shown {
    /// Only with [`Width::Full`].
    pub(super) only_full: &'static [&'static str],
    /// Left out of a terminal too narrow for them, the first of these first.
    pub(super) give_way: &'static [&'static str],
}

impl Width {
    /// What fits where standard output goes.
    pub(super) fn of_stdout() -> Self {
        Table::new()
            .width()
            .map_or(Self::Endless, |columns| Self::Columns(columns.into()))
    }

    /// The same, behind an indentation.
    pub(super) fn indented(self) -> Self {
        match self {
            Self::Columns(columns) => Self::Columns(columns.saturating_sub(INDENT_CHARS)),
            other => other,
        }
    }
}

/// Rows below upper-case headers, columns three spaces apart, no borders.
pub(super) fn table<const N: usize>(
    width: Width,
    headers: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    table_where(width, headers, Shown::default(), rows)
}

/// As [`table`], without the columns that are not shown. In a terminal the last column gives way first, then those that
/// can be missed, then the longest texts of the others.
pub(super) fn table_where<const N: usize>(
    width: Width,
    headers: [&str; N],
    shown: Shown,
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut columns: Vec<Vec<String>> = headers.iter().map(|it| vec![(*it).to_owned()]).collect();
    for row in rows {
        for (column, cell) in columns.iter_mut().zip(row) {
            column.push(one_line(&cell));
        }
    }
    if width != Width::Full {
        columns.retain(|column| !is_in(shown.only_full, column));
    }
    if let Width::Columns(chars) = width {
        fit(&mut columns, chars, shown.give_way);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let rows = columns.first().map_or(0, Vec::len);
    for row in 0..rows {
        table.add_row(columns.iter().map(|column| &column[row]));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, u16::try_from(GAP_CHARS).unwrap_or(u16::MAX)));
    }
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n") + "\n"
}

/// Makes columns, each with its header first, fit a row of so many characters.
fn fit(columns: &mut Vec<Vec<String>>, chars: usize, give_way: &[&str]) {
    let mut give_way = give_way.iter();
    let mut widths: Vec<usize> = columns.iter().map(|column| natural(column)).collect();
    while before_last(&widths) + last_min(&widths) > chars {
        let Some(name) = give_way.next() else { break };
        columns.retain(|column| !is_in(&[name], column));
        widths = columns.iter().map(|column| natural(column)).collect();
    }
    while before_last(&widths) + last_min(&widths) > chars {
        let others = widths.len().saturating_sub(1);
        let longest = widths.iter_mut().take(others).max_by_key(|it| **it);
        match longest {
            Some(longest) if *longest > CELL_CHARS_MIN => *longest -= 1,
            _ => break,
        }
    }
    let (before, least) = (before_last(&widths), last_min(&widths));
    if let Some(last) = widths.last_mut() {
        *last = chars.saturating_sub(before).max(least);
    }
    for (column, width) in columns.iter_mut().zip(widths) {
        for cell in column {
            *cell = cut(cell, width);
        }
    }
}

fn natural(column: &[String]) -> usize {
    let cells = column.iter().map(|cell| cell.chars().count());
    cells.max().unwrap_or_default()
}

fn before_last(widths: &[usize]) -> usize {
    let others = widths.iter().take(widths.len().saturating_sub(1));
    others.map(|width| width + GAP_CHARS).sum()
}

fn last_min(widths: &[usize]) -> usize {
    widths
        .last()
        .copied()
        .unwrap_or_default()
        .min(LAST_CHARS_MIN)
}

fn is_in(names: &[&str], column: &[String]) -> bool {
    column
        .first()
        .is_some_and(|it| names.contains(&it.as_str()))
}

/// `5s`, `3m10s`, `2h5m`, `4d`; `-` for a moment that never was.
pub(super) fn age(since: Timestamp, now: Timestamp) -> String {
    if since == Timestamp::default() {
        return "-".to_owned();
    }
    let ms = now.millis_since(since);
    let (days, hours, minutes, seconds) =
        (ms / DAY_MS, ms / HOUR_MS, ms / MINUTE_MS, ms / SECOND_MS);
    match () {
        () if days >= 3 => format!("{days}d"),
        () if hours >= 10 => format!("{hours}h"),
        () if hours >= 1 => format!("{hours}h{}m", minutes % 60),
        () if minutes >= 10 => format!("{minutes}m"),
        () if minutes >= 1 => format!("{minutes}m{}s", seconds % 60),
        () => format!("{seconds}s"),
    }
}

/// `-` for nothing.
pub(super) fn or_dash(text: &str) -> String {
    match text {
        "" => "-".to_owned(),
        text => text.to_owned(),
    }
}

pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let kept: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_no_borders_and_no_trailing_spaces() {
        let text = table(
            Width::Endless,
            ["NAME", "AGE", "MESSAGE"],
            [
                [
                    "storefront".to_owned(),
                    "5s".to_owned(),
                    "a message\nover two lines".to_owned(),
                ],
                ["x".to_owned(), "3m10s".to_owned(), String::new()],
            ],
        );
        insta::assert_snapshot!(text, @r"
        NAME         AGE     MESSAGE
        storefront   5s      a message over two lines
        x            3m10s
        ");
    }

    #[test]
    fn lines_are_cut_to_the_terminal_and_whole_elsewhere() {
        let long = "one two three four five six seven eight nine ten";
        let shown = |width| {
            let row = ["x".to_owned(), long.to_owned()];
            let text = table(width, ["NAME", "MESSAGE"], [row]);
            text.lines().last().unwrap_or_default().to_owned()
        };
        assert_eq!(shown(Width::Columns(30)), "x      one two three four fiv…");
        assert_eq!(shown(Width::Columns(5)), "x      one two three four…");
        assert_eq!(shown(Width::Endless), format!("x      {long}"));
        for width in [Width::Endless, Width::Full] {
            let row = ["y".repeat(70), String::new()];
            let text = table(width, ["NAME", "MESSAGE"], [row]);
            assert!(text.contains(&"y".repeat(70)), "{text}");
        }
    }

    #[test]
    fn a_narrow_terminal_takes_the_message_then_columns_then_the_longest_names() {
        let shown = |width| {
            let row = [
                "storefront-of-the-north",
                "eu-west",
                "0123abcd",
                "a message that goes on and on",
            ];
            let give_way = Shown {
                only_full: &[],
                give_way: &["COMMIT"],
            };
            let headers = ["NAME", "CLUSTER", "COMMIT", "MESSAGE"];
            let text = table_where(width, headers, give_way, [row.map(str::to_owned)]);
            text.lines().last().unwrap_or_default().to_owned()
        };
        let whole = "storefront-of-the-north   eu-west   0123abcd   a message that goes on and on";
        assert_eq!(shown(Width::Endless), whole);
        assert_eq!(shown(Width::Full), whole);
        assert_eq!(shown(Width::Columns(76)), whole);
        assert_eq!(
            shown(Width::Columns(70)),
            "storefront-of-the-north   eu-west   0123abcd   a message that goes on…"
        );
        assert_eq!(
            shown(Width::Columns(60)),
            "storefront-of-the-north   eu-west   a message that goes on…"
        );
        assert_eq!(
            shown(Width::Columns(50)),
            "storefront-of-th…   eu-west   a message that goes…"
        );
        for chars in [50, 60, 70, 76, 200] {
            assert!(shown(Width::Columns(chars)).chars().count() <= chars);
        }
    }

    #[test]
    fn ages_lose_precision_as_they_grow() {
        let now = Timestamp(10 * DAY_MS);
        let ages: Vec<String> = [0, 59, 61, 599, 601, 3_700, 40_000, 300_000]
            .map(|seconds| age(Timestamp(now.0 - seconds * SECOND_MS), now))
            .into();
        assert_eq!(
            ages,
            ["0s", "59s", "1m1s", "9m59s", "10m", "1h1m", "11h", "3d"]
        );
        assert_eq!(age(Timestamp(0), now), "-");
    }
}
