//! A cluster's first days: the suite cut for the scorer, so that it looks at no day after them.
//!
//! ```text
//! suite/ad ─> quality cold ─> OUT/cold/{alone,peers,always}/ad ─┐
//!     └─ rows and labels of the first days ─> OUT/cold/suite/ad ─┴─> scorer, once for each ─> F1 of all sets together
//! ```

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::{Asked, Part, Place, Told, read, score, scores, series, unscored};
use crate::bootstrap::python;
use crate::run;

/// Days of a new cluster that are scored.
const DAYS: u32 = 2;
/// Folders of predictions, and how they are told.
const BEGINNINGS: [(&str, &str); 3] = [
    ("alone", "alone"),
    ("peers", "with peers"),
    ("always", "always ran"),
];
const DAY_S: i64 = 86_400;

#[derive(Deserialize)]
struct About {
    /// Seconds since 1970 of the first row after the training part.
    train_end: i64,
}

/// Scores the first days of a cluster that is new. What an earlier run wrote of them is removed.
pub(super) fn judge(place: &Place<'_>, told: &mut Told) -> Result<()> {
    let folder = place.out.join("cold");
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", folder.display()));
        }
        _ => {}
    }
    let mut command = Command::new(&place.program);
    command.arg("cold").arg("--suite").arg(&place.suite);
    command.arg("--out").arg(&folder);
    command.args(["--days", &DAYS.to_string()]);
    command.args(["--grade", place.grade.name()]);
    run::shown(&mut command)?;
    let Some(scorer) = &place.scorer else {
        return Ok(());
    };
    let series = series(&place.suite.join(Part::Ad.name()), Part::Ad)?;
    if let Some(why) = unscored(Part::Ad, &series) {
        told.remarks.push(format!("the first days: {why}"));
        return Ok(());
    }
    let suite = folder.join("suite");
    if cut(&place.suite, &suite, &series)? == 0 {
        let why = "the first days are not scored: no series has a row in them";
        told.remarks.push(why.to_owned());
        return Ok(());
    }
    let python = python::find(place.workspace, &python::SCORER)?;
    for (name, words) in BEGINNINGS {
        let title = format!("cold-{name}");
        let predictions = folder.join(name);
        let asked = Asked {
            title: &title,
            suite: &suite,
            predictions: &predictions,
            part: Part::Ad,
        };
        let f1 = scores::f1_together(&score(&python, scorer, &place.out, &asked)?)?;
        let figure = f1.map(|f1| scores::Figure::new(scores::Measure::ColdF1, words, f1));
        told.figures.extend(figure);
    }
    Ok(())
}

/// Writes the first days of these series to `cut`, as a suite of their own, and tells of how many. A series without a row
/// then is left out: the scorer has nothing to score there.
fn cut(suite: &Path, cut: &Path, series: &[PathBuf]) -> Result<usize> {
    let mut written = 0;
    for folder in series {
        let place = folder
            .strip_prefix(suite)
            .with_context(|| format!("find {} in the suite", folder.display()))?;
        let about = read(&folder.join("meta.json"))?;
        let end = serde_json::from_str::<About>(&about)
            .with_context(|| format!("read {}", folder.join("meta.json").display()))?;
        let begin_s = end.train_end;
        let end_s = begin_s.saturating_add(i64::from(DAYS) * DAY_S);
        let (data, times) = rows_before(&read(&folder.join("data.csv"))?, end_s);
        let Some(last_s) = times.last().copied().filter(|last_s| *last_s >= begin_s) else {
            continue;
        };
        let labels = labels_until(&read(&folder.join("labels.csv"))?, last_s);
        let target = cut.join(place);
        std::fs::create_dir_all(&target).with_context(|| format!("create {}", target.display()))?;
        for (name, text) in [
            ("meta.json", about),
            ("data.csv", data),
            ("labels.csv", labels),
        ] {
            let file = target.join(name);
            std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        }
        written += 1;
    }
    Ok(written)
}

/// The titles and the rows before the first one of this time, and their times.
fn rows_before(table: &str, end_s: i64) -> (String, Vec<i64>) {
    let mut lines = table.lines();
    let mut kept = format!("{}\n", lines.next().unwrap_or_default());
    let mut times = Vec::new();
    for line in lines {
        match second(line.split(',').next()) {
            Some(time_s) if time_s < end_s => times.push(time_s),
            _ => break,
        }
        kept.push_str(line);
        kept.push('\n');
    }
    (kept, times)
}

/// The events that begin until the last row, cut there.
fn labels_until(table: &str, last_s: i64) -> String {
    let mut lines = table.lines();
    let mut kept = format!("{}\n", lines.next().unwrap_or_default());
    for line in lines {
        let mut cells = line.split(',');
        if let (Some(start_s), Some(end_s)) = (second(cells.next()), second(cells.next()))
            && start_s <= last_s
        {
            kept.push_str(&format!("{start_s},{}\n", end_s.min(last_s)));
        }
    }
    kept
}

/// A time in seconds since 1970, whole or not.
fn second(cell: Option<&str>) -> Option<i64> {
    let (second, _) = cell?.split_once('.').unwrap_or((cell?, ""));
    second.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_events_end_with_the_first_days() {
        let (rows, times) = rows_before("timestamp,a\n10,1\n20.0,\n30,3\n25,4\n", 30);
        assert_eq!(rows, "timestamp,a\n10,1\n20.0,\n");
        assert_eq!(times, [10, 20]);
        let labels = labels_until("start,end\n5,10\n15,40\n25,40\n", 20);
        assert_eq!(labels, "start,end\n5,10\n15,20\n");
    }
}
