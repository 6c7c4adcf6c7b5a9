//! Tables as kubectl prints them, and ages as people say them.

use comfy_table::{Table, presets};
use regraft_model::time::Timestamp;

/// Longest text of a cell that is not the last one.
const CELL_CHARS_MAX: usize = 60;
/// Shortest room for the last cell, on terminals too narrow for the others.
const LAST_CHARS_MIN: usize = 20;
/// Spaces before what stands below a heading.
const INDENT_CHARS: usize = 2;
const SECOND_MS: i64 = 1000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// How much of a text is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// All of it.
    Full,
    /// Long cells are cut, lines end nowhere: for pipes.
    Endless,
    /// Long cells and lines are cut: for a terminal of so many columns.
    Columns(usize),
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
    table_where(width, headers, &[], rows)
}

/// As [`table`], without the columns that only [`Width::Full`] shows.
pub(super) fn table_where<const N: usize>(
    width: Width,
    headers: [&str; N],
    only_full: &[&str],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let shown = headers.map(|header| width == Width::Full || !only_full.contains(&header));
    let headers: Vec<&str> = kept(headers, shown).collect();
    let last = headers.len().saturating_sub(1);
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(&headers);
    for row in rows {
        let cells = kept(row, shown).enumerate().map(|(index, text)| {
            match index == last || width == Width::Full {
                true => one_line(&text),
                false => cut(&one_line(&text), CELL_CHARS_MAX),
            }
        });
        table.add_row(cells.collect::<Vec<_>>());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    let lines: Vec<String> = match (width, headers.last()) {
        (Width::Columns(columns), Some(last)) => {
            let before = lines.first().and_then(|line| line.rfind(last));
            let fits = columns.max(before.unwrap_or_default() + LAST_CHARS_MIN);
            lines.iter().map(|line| cut(line, fits)).collect()
        }
        _ => lines,
    };
    lines.join("\n") + "\n"
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

fn kept<T, const N: usize>(cells: [T; N], shown: [bool; N]) -> impl Iterator<Item = T> {
    let cells = cells.into_iter().zip(shown);
    cells.filter_map(|(cell, is_shown)| is_shown.then_some(cell))
}

fn one_line(text: &str) -> String {
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
        let first = |width| {
            let row = ["y".repeat(70), String::new()];
            table(width, ["NAME", "MESSAGE"], [row])
        };
        assert!(first(Width::Endless).contains('…'));
        assert!(first(Width::Full).contains(&"y".repeat(70)));
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
