//! What is said of a sample, and what supports it.

use super::baseline::{Band, Feature, RECENT_SAMPLES, USUAL_SAMPLES};
use regraft_model::Timestamp;
use serde::Serialize;
use std::fmt;

/// Features of a metric that its line names: the others say the same, less clearly.
const FEATURES_SHOWN: usize = 2;
/// Surprise beyond which odds are not told apart: one in half a thousand million.
const SURPRISE_SHOWN: f64 = 20.0;

/// What is said of a service at a moment.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Nothing can be said, and why: this is neither healthy nor sick.
    Unknown(Unknown),
    /// Nothing strange.
    Usual {
        /// Minus the natural logarithm of how often it is as strange as this.
        surprise: f64,
    },
    /// Strange enough to be told.
    Strange(Box<Anomaly>),
}

/// Why nothing can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Fewer samples than a baseline needs.
    TooLittleData {
        /// Samples so far.
        have: u32,
        /// Samples it takes.
        need: u32,
    },
    /// Samples have just come back after a gap.
    Gap {
        /// Samples until there is a verdict again.
        settling: u32,
    },
    /// No sample came for too long.
    Stale {
        /// Time of the last one; none when there never was one.
        last: Option<Timestamp>,
    },
    /// A sample that is doubled, or older than the newest one. It was left out.
    OutOfOrder,
    /// No metric has a number at this time.
    NoNumbers,
    /// Every metric has hardly ever changed, so that nothing says how much it may.
    NeverChanged,
}

/// Whether an anomaly is news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Episode {
    /// It begins with this sample.
    Begins,
    /// It was suspected before, and is an alarm from this sample on.
    Rises,
    /// It began before.
    GoesOn,
}

/// What an anomaly is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Grade {
    /// Evidence among others, too weak to call anybody.
    Suspicion,
    /// So rare that it may stand alone. An episode stays one.
    Alarm,
}

/// What keeps a suspicion from becoming an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restraint {
    /// It was as strange at this time on other days.
    Recurs,
    /// The service was rolled out a short time ago: its new pods are compared with the old ones instead.
    RolledOut,
}

/// Something strange, with its evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct Anomaly {
    /// Whether it is news.
    pub episode: Episode,
    /// What it is good for.
    pub grade: Grade,
    /// What keeps it from being an alarm, where it would be rare enough; none for an alarm.
    pub restraint: Option<Restraint>,
    /// Since when.
    pub since: Timestamp,
    /// When it was looked at.
    pub at: Timestamp,
    /// Minus the natural logarithm of how often the last samples are as strange as they are.
    pub surprise: f64,
    /// The surprise it takes for an alarm.
    pub threshold: f64,
    /// The strangest metrics, strangest first.
    pub metrics: Vec<MetricEvidence>,
}

/// What one metric says.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricEvidence {
    /// Name.
    pub metric: String,
    /// What was seen, in the metric's unit.
    pub observed: f64,
    /// What was seen before that, in the metric's unit; none after a gap. It takes two samples to be told, and the first may
    /// be the stranger one.
    pub before: Option<f64>,
    /// Where it would have been no news.
    pub band: Band,
    /// How far out, in units of what is usual for this metric.
    pub strangeness: f64,
    /// What of it is strange, strangest first, with the sign of the difference.
    pub features: Vec<(Feature, f64)>,
}

impl Verdict {
    /// The grade that somebody is told with this sample, once when an episode begins and once when it rises; none while
    /// nothing is news.
    #[must_use]
    pub fn told(&self) -> Option<Grade> {
        match self {
            Self::Strange(anomaly) if anomaly.episode != Episode::GoesOn => Some(anomaly.grade),
            Self::Strange(_) | Self::Usual { .. } | Self::Unknown(_) => None,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(why) => write!(f, "unknown: {why}"),
            Self::Usual { surprise } => {
                write!(f, "usual: as rare as one sample in {}", odds(*surprise))
            }
            Self::Strange(anomaly) => write!(f, "{anomaly}"),
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recent => write!(f, "against the last {RECENT_SAMPLES} samples"),
            Self::Usual => write!(f, "against the last {USUAL_SAMPLES} samples"),
            Self::Change => f.write_str("against the sample before"),
            Self::Season => f.write_str("against this time of day and week"),
        }
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Suspicion => "suspicion",
            Self::Alarm => "alarm",
        })
    }
}

impl fmt::Display for Restraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Recurs => "it was as strange at this time on other days",
            Self::RolledOut => "the service was rolled out a short time ago",
        })
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLittleData { have, need } => {
                write!(f, "too little data: {have} of {need} samples")
            }
            Self::Gap { settling } => {
                write!(
                    f,
                    "samples came back after a gap; settling for {settling} more"
                )
            }
            Self::Stale { last: Some(last) } => {
                write!(f, "stale: no sample since {}", last.to_rfc3339())
            }
            Self::Stale { last: None } => f.write_str("stale: there never was a sample"),
            Self::OutOfOrder => f.write_str("a doubled or late sample; it was left out"),
            Self::NoNumbers => f.write_str("no metric has a number"),
            Self::NeverChanged => f.write_str("no metric has ever changed enough to have a scale"),
        }
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} since {} ({} s): as rare as one sample in {}, an alarm above one in {}",
            self.grade,
            self.since.to_rfc3339(),
            self.at.millis_since(self.since) / 1000,
            odds(self.surprise),
            odds(self.threshold),
        )?;
        if let Some(restraint) = self.restraint {
            writeln!(f, "  no alarm: {restraint}")?;
        }
        for metric in &self.metrics {
            write!(f, "{metric}")?;
        }
        Ok(())
    }
}

impl fmt::Display for MetricEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Band { low, high, .. } = self.band;
        write!(f, "  {}: {}", self.metric, figure(self.observed))?;
        if let Some(before) = self.before {
            write!(f, " after {}", figure(before))?;
        }
        write!(f, " (usually {} to {})", figure(low), figure(high))?;
        for (feature, size) in self.features.iter().take(FEATURES_SHOWN) {
            write!(f, "; {size:+.1}x {feature}")?;
        }
        writeln!(f)
    }
}

/// One in how many.
fn odds(surprise: f64) -> String {
    let odds = libm::exp(surprise.clamp(0.0, SURPRISE_SHOWN));
    let round = |to: f64| libm::round(odds / to) * to;
    match odds {
        ..100.0 => format!("{odds:.0}"),
        ..10_000.0 => format!("{:.0}", round(10.0)),
        ..1e6 => format!("{:.0} thousand", odds / 1e3),
        _ => format!("{:.0} million", odds / 1e6),
    }
}

/// Four digits of a number.
pub(crate) fn figure(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = libm::log10(value.abs());
    if !(-3.0..7.0).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    let digits = (3.0 - magnitude.floor()).clamp(0.0, 6.0) as usize;
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}
