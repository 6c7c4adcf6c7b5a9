//! What is said about a series, as data and in words.

use super::hours::HOUR_MS;
use regraft_model::Timestamp;
use std::fmt;

/// What is known after a sample, or at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Too little of this life was seen, or too much of the window is missing. Nothing is said from it.
    TooLittleData {
        /// Hours of the window that hold samples.
        hours: u32,
        /// Hours that are needed.
        needed: u32,
    },
    /// The newest sample is too old to say anything.
    Stale {
        /// When the newest sample was taken.
        last: Timestamp,
    },
    /// Enough was seen, and no leak.
    Nothing,
    /// It leaks.
    Leak(Leak),
}

/// What grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// What is held in the middle of an hour.
    Middle,
    /// What remains when all that can be given back was given back: the floor of a garbage collector's sawtooth.
    Floor,
}

/// A leak, with its evidence. Values in the metric's unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leak {
    /// It grows since then at the latest.
    pub since: Timestamp,
    /// What the figures below are about.
    pub sight: Sight,
    /// Growth an hour.
    pub slope: f64,
    /// 95 % interval of the growth an hour.
    pub slope_interval: (f64, f64),
    /// How much of the variance a straight line explains, 0 to 1.
    pub r_squared: f64,
    /// Where the line stands at the end of the last hour.
    pub level: f64,
    /// Growth along the line over `hours`.
    pub growth: f64,
    /// Hours from the first to the last that were looked at.
    pub hours: u32,
    /// How many times faster it grows than nine in ten of the trends that this series had before; none when it was
    /// not asked, because the limit is near.
    pub times_usual: Option<f64>,
    /// The newest sample.
    pub observed: f64,
    /// When the limit is reached; none without a limit.
    pub exhaustion: Option<Exhaustion>,
}

/// How long it takes to a limit, if it goes on like that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exhaustion {
    /// The limit, in the metric's unit.
    pub limit: f64,
    /// Hours from the last hour that was looked at; 0 when the line is over the limit already.
    pub hours: f64,
    /// The same at the upper end of the slope's interval.
    pub soonest_hours: f64,
    /// The same at the lower end; none when growth may also be over.
    pub latest_hours: Option<f64>,
}

impl Exhaustion {
    /// How long a line takes from `level` to `limit`; none when it does not rise.
    pub(super) fn new(limit: f64, level: f64, slope: f64, interval: (f64, f64)) -> Option<Self> {
        let room = (limit - level).max(0.0);
        let hours = |slope: f64| (slope > 0.0).then(|| room / slope);
        Some(Self {
            limit,
            hours: hours(slope)?,
            soonest_hours: hours(interval.1)?,
            latest_hours: hours(interval.0),
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLittleData { hours, needed } => {
                write!(f, "too little data: {hours} of {needed} hours")
            }
            Self::Stale { last } => write!(f, "stale: no sample since {last}"),
            Self::Nothing => f.write_str("no leak"),
            Self::Leak(leak) => write!(f, "{leak}"),
        }
    }
}

impl fmt::Display for Leak {
    /// The evidence in one sentence a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.sight {
            Sight::Middle => "grows",
            Sight::Floor => "gives back less each time: its floor grows",
        };
        let (low, high) = self.slope_interval;
        writeln!(
            f,
            "It {what} by {} an hour ({} to {}), {} within {} hours, since {} at the latest.",
            Short(self.slope),
            Short(low),
            Short(high),
            Short(self.growth),
            self.hours,
            self.since
        )?;
        write!(
            f,
            "A straight line explains {:.0} % of it",
            self.r_squared * 100.0
        )?;
        if let Some(times) = self.times_usual.filter(|times| times.is_finite()) {
            write!(
                f,
                "; nine in ten of its earlier trends were at least {times:.1} times slower"
            )?;
        }
        write!(
            f,
            ". The line stands at {}, the newest sample is {}.",
            Short(self.level),
            Short(self.observed)
        )?;
        let Some(exhaustion) = self.exhaustion else {
            return Ok(());
        };
        write!(
            f,
            "\nAt that pace the limit {} is reached in {}, at the soonest in {}",
            Short(exhaustion.limit),
            Span(exhaustion.hours),
            Span(exhaustion.soonest_hours)
        )?;
        match exhaustion.latest_hours {
            Some(hours) => write!(f, ", at the latest in {}.", Span(hours)),
            None => write!(f, "; it may also stop before."),
        }
    }
}

/// A number with three or four figures and a decimal prefix.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.abs();
        let (unit, prefix) = match size {
            _ if size >= 1e12 => (1e12, "T"),
            _ if size >= 1e9 => (1e9, "G"),
            _ if size >= 1e6 => (1e6, "M"),
            _ if size >= 1e3 => (1e3, "k"),
            _ => (1.0, ""),
        };
        write!(f, "{:.2}{prefix}", self.0 / unit)
    }
}

/// Hours as a person says them.
struct Span(f64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 48.0 {
            write!(f, "{:.0} h", self.0)
        } else {
            write!(f, "{:.0} days", self.0 / 24.0)
        }
    }
}

/// The start of an hour.
pub(super) fn start_of(hour: i32) -> Timestamp {
    Timestamp(i64::from(hour).saturating_mul(HOUR_MS))
}
