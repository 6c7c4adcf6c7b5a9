//! Reads a suite: folders of series and cases, tables of numbers, what is said about them. Never labels.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use regraft_model::Timestamp;
use serde::de::DeserializeOwned;

/// Numbers over time, column by column.
#[derive(Debug)]
pub(crate) struct Table {
    /// Names of the columns but the first, which is the time.
    pub(crate) names: Vec<String>,
    /// Seconds since 1970 of each row.
    pub(crate) times: Vec<i64>,
    /// For each name one value a row; NaN where the cell is empty or no number.
    pub(crate) columns: Vec<Vec<f64>>,
}

impl Table {
    /// The time of a row; the end of time for one beyond it.
    pub(crate) fn at(&self, row: usize) -> Timestamp {
        Timestamp(self.times[row].saturating_mul(1000))
    }

    /// The values of a row, in the order of the names.
    pub(crate) fn row(&self, row: usize) -> Vec<f64> {
        self.columns.iter().map(|column| column[row]).collect()
    }
}

/// Folders in a folder, by name; none when there is no such folder.
pub(crate) fn folders(parent: &Path) -> Result<Vec<PathBuf>> {
    if !parent.is_dir() {
        return Ok(Vec::new());
    }
    let mut folders = Vec::new();
    let entries =
        std::fs::read_dir(parent).with_context(|| format!("look into {}", parent.display()))?;
    for entry in entries {
        let path = entry
            .with_context(|| format!("look into {}", parent.display()))?
            .path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

/// Reads a table whose first column is the time.
pub(crate) fn table(path: &Path) -> Result<Table> {
    let place = || format!("read {}", path.display());
    let mut reader = csv::Reader::from_path(path).with_context(place)?;
    let names: Vec<String> = reader
        .headers()
        .with_context(place)?
        .iter()
        .skip(1)
        .map(str::to_owned)
        .collect();
    let mut table = Table {
        columns: vec![Vec::new(); names.len()],
        times: Vec::new(),
        names,
    };
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).with_context(place)? {
        let line = record.position().map_or(0, csv::Position::line);
        let time = record.get(0).unwrap_or_default();
        let seconds = time
            .parse()
            .ok()
            .filter(|seconds: &f64| seconds.is_finite());
        let seconds = seconds.with_context(|| {
            format!(
                "{}:{line}: {time:?} is no time, in seconds since 1970",
                path.display()
            )
        })?;
        #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970")]
        table.times.push(seconds as i64);
        for (column, cell) in table.columns.iter_mut().zip(record.iter().skip(1)) {
            column.push(cell.parse().unwrap_or(f64::NAN));
        }
    }
    Ok(table)
}

/// Reads what is said about a series or a case.
pub(crate) fn about<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))
}

/// A file of predictions, with the folder it is in.
pub(crate) fn predictions(path: &Path) -> Result<csv::Writer<std::fs::File>> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    csv::Writer::from_path(path).with_context(|| format!("write {}", path.display()))
}

/// The last part of a path, as text.
pub(crate) fn name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
