//! What a ranking says, and how it reads.

use super::kind::Kind;
use std::fmt;

/// How many suspects the text names.
const SHOWN: usize = 5;

/// All services, the likeliest cause first.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    /// Whether the first is worth naming. The order is there in any case.
    pub verdict: Verdict,
    /// Every service of the input.
    pub suspects: Vec<Suspect>,
}

/// Whether the ranking names a cause.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The first suspect stands out.
    Named,
    /// No cause can be named.
    Unknown {
        /// What is missing.
        why: Why,
    },
}

/// Why no cause is named.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Why {
    /// No metric of any service has enough samples in both windows.
    TooFewSamples {
        /// Samples that a normal window needs.
        normal: usize,
    },
    /// Nothing moved by much more than it always does.
    NothingStandsOut {
        /// Score of the first suspect.
        score: f64,
        /// Score that is needed.
        needed: f64,
    },
    /// The evidence fits the second suspect as well as the first.
    CannotTellApart {
        /// Scores of both.
        first: f64,
        /// Score of the second.
        second: f64,
    },
}

/// A service and what is held against it.
#[derive(Clone, Debug, PartialEq)]
pub struct Suspect {
    /// [`super::Service::name`].
    pub service: String,
    /// Sum of the strengths, its own and those that it explains; 0 without evidence. Only fit for comparing within a
    /// ranking.
    pub score: f64,
    /// Metrics that speak for it, strongest first.
    pub evidence: Vec<Evidence>,
    /// Services whose evidence was put down to it.
    pub explains: Vec<String>,
    /// Seconds since it was changed, if it was not long before.
    pub changed_ago_s: Option<f64>,
    /// What speaks for its innocence.
    pub against: Vec<Against>,
}

/// A metric that moved.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// [`super::Metric::name`].
    pub metric: String,
    /// What it is taken to mean.
    pub kind: Kind,
    /// How its figures are to be read.
    pub reading: Reading,
    /// Median of the normal window.
    pub normal: f64,
    /// Median of the anomalous window, of those samples that belong to the incident.
    pub anomalous: f64,
    /// The difference in units of the metric's unrest, less what was so before and what happened to most services.
    pub shift: f64,
    /// What it counts: 0 for what is usual, growing with the logarithm of the shift.
    pub strength: f64,
}

/// How figures of a metric are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reading {
    /// As measured.
    Value,
    /// The share that does not succeed, 0 to 1.
    FailingShare,
    /// For each of the same that is received.
    PerReceived,
}

/// A reason to look elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub enum Against {
    /// Another service shows why.
    Explained {
        /// Who.
        by: String,
        /// Which part of the evidence, 0 to 1.
        share: f64,
    },
    /// A metric was like this right before the incident.
    WasSoBefore {
        /// Which.
        metric: String,
    },
    /// A metric moved likewise in most services.
    HappensToMost {
        /// Which.
        metric: String,
    },
}

impl fmt::Display for Ranking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.verdict)?;
        let shown = || {
            self.suspects
                .iter()
                .take(SHOWN)
                .filter(|one| one.score > 0.0)
        };
        for (place, suspect) in shown().enumerate() {
            writeln!(f, "{}. {suspect}", place + 1)?;
        }
        match self.suspects.len() - shown().count() {
            0 => Ok(()),
            more => writeln!(f, "and {more} more with less or no evidence"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named => f.write_str("The first is the likeliest cause."),
            Self::Unknown { why } => write!(f, "The cause is unknown: {why}."),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewSamples { normal } => write!(
                f,
                "no metric has {normal} samples from normal times and one from the incident"
            ),
            Self::NothingStandsOut { score, needed } => write!(
                f,
                "nothing stands out, the first scores {score:.2} and {needed:.2} is needed"
            ),
            Self::CannotTellApart { first, second } => write!(
                f,
                "the first two cannot be told apart, they score {first:.2} and {second:.2}"
            ),
        }
    }
}

impl fmt::Display for Suspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, score {:.2}", self.service, self.score)?;
        for evidence in &self.evidence {
            write!(f, "\n   for: {evidence}")?;
        }
        if !self.explains.is_empty() {
            write!(f, "\n   for: explains {}", self.explains.join(", "))?;
        }
        if let Some(ago_s) = self.changed_ago_s {
            write!(
                f,
                "\n   for: changed {:.0} min before",
                (ago_s / 60.0).max(0.0)
            )?;
        }
        for against in &self.against {
            write!(f, "\n   against: {against}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reading = match self.reading {
            Reading::Value => "",
            Reading::FailingShare => " (failing share)",
            Reading::PerReceived => " (per received)",
        };
        write!(
            f,
            "{}{reading} {} -> {}, {:+.1} times its unrest, strength {:.2} ({})",
            self.metric,
            figure(self.normal),
            figure(self.anomalous),
            self.shift,
            self.strength,
            self.kind
        )
    }
}

impl fmt::Display for Against {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Explained { by, share } => {
                write!(f, "{by} explains {:.0} % of it", share * 100.0)
            }
            Self::WasSoBefore { metric } => write!(f, "{metric} was so right before"),
            Self::HappensToMost { metric } => write!(f, "{metric} moved likewise in most services"),
        }
    }
}

/// Three digits that matter.
fn figure(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".to_owned()
    } else if !(0.001..1e6).contains(&size) {
        format!("{value:.2e}")
    } else if size < 1.0 {
        format!("{value:.4}")
    } else if size < 100.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.0}")
    }
}
