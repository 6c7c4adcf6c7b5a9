//! Predictions of alarms: `timestamp,score,anomaly`, a row for each row of a series.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::suite;

/// What counts as an anomaly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Grade {
    /// Every episode, from its first sample on: suspicions and alarms
    #[default]
    Suspicion,
    /// Alarms only, from the sample on with which an episode is one
    Alarm,
}

/// Whether somebody is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    Silent,
    Told,
}

/// The predictions of one series.
pub(crate) struct Predictions {
    path: PathBuf,
    file: csv::Writer<std::fs::File>,
}

impl Predictions {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let mut predictions = Self {
            path: path.to_owned(),
            file: suite::predictions(path)?,
        };
        predictions.line(["timestamp", "score", "anomaly"])?;
        Ok(predictions)
    }

    /// What was said of a time, in seconds since 1970; a score is higher where an alarm is likelier.
    pub(crate) fn write(&mut self, time_s: i64, score: impl Display, alarm: Alarm) -> Result<()> {
        let alarm = match alarm {
            Alarm::Silent => "0",
            Alarm::Told => "1",
        };
        self.line([&time_s.to_string(), &score.to_string(), alarm])
    }

    pub(crate) fn finish(mut self) -> Result<()> {
        let place = || format!("write {}", self.path.display());
        self.file.flush().with_context(place)
    }

    fn line(&mut self, line: [&str; 3]) -> Result<()> {
        let place = || format!("write {}", self.path.display());
        self.file.write_record(line).with_context(place)
    }
}
