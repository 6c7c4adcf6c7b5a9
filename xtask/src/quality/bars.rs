//! What our figures are shown beside: floors and bars.
//!
//! A floor is what simple, public methods reached on the development half of the suite: isolation forest on relative
//! features, refit daily, and one alarm rule tuned for each set; windowed backward regression for leaks; the mean of
//! Holt-Winters with an AR(1) error and a ridge on lags for forecasts; robust z-scores or the call graph for root causes.
//! They were measured with the scorer whose figures stand beside them. That of the clean month was given with its bar and
//! not measured here: 8 false alarms a day and service of a forest on raw values. A bar is what was asked of this project.

use super::scores::Measure;

/// What is wanted of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bar {
    AtLeast(f64),
    AtMost(f64),
    Between(f64, f64),
}

impl Bar {
    pub(super) fn holds(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(least) => figure >= least,
            Self::AtMost(most) => figure <= most,
            Self::Between(least, most) => (least..=most).contains(&figure),
        }
    }

    pub(super) fn text(self) -> String {
        match self {
            Self::AtLeast(least) => format!("≥ {least}"),
            Self::AtMost(most) => format!("≤ {most}"),
            Self::Between(least, most) => format!("{least}–{most}"),
        }
    }
}

/// The figure of one set, the floor as it is told, and the bar.
type Beside = (Measure, &'static str, &'static str, Bar);

const BESIDE: [Beside; 18] = [
    (Measure::EventF1, "nab", "0.46", Bar::AtLeast(0.60)),
    (Measure::EventF1, "msft", "0.41", Bar::AtLeast(0.50)),
    (Measure::EventF1, "wsd", "0.77", Bar::AtLeast(0.85)),
    (Measure::EventF1, "smd", "0.63", Bar::AtLeast(0.68)),
    (Measure::EventF1, "sockshop_k8s", "0.62", Bar::AtLeast(0.70)),
    (Measure::Nab, "nab", "57.6", Bar::AtLeast(70.0)),
    (Measure::LeakF1, "leak", "0.70", Bar::AtLeast(0.92)),
    (Measure::LeakFalseAlarms, "leak", "0.12", Bar::AtMost(0.02)),
    (Measure::Mase, "fc", "0.71", Bar::AtMost(0.62)),
    (Measure::Pinball, "fc", "0.28", Bar::AtMost(0.24)),
    (
        Measure::Coverage,
        "fc",
        "0.67–0.78",
        Bar::Between(0.78, 0.82),
    ),
    (
        Measure::CauseFirst,
        "sockshop_k8s",
        "0.68",
        Bar::AtLeast(0.78),
    ),
    (
        Measure::CauseAverage,
        "sockshop_k8s",
        "0.71",
        Bar::AtLeast(0.81),
    ),
    (Measure::CauseFirst, "nezha_ob", "0.38", Bar::AtLeast(0.48)),
    (
        Measure::CauseAverage,
        "nezha_ob",
        "0.65",
        Bar::AtLeast(0.75),
    ),
    (Measure::CauseFirst, "petshop", "0.31", Bar::AtLeast(0.41)),
    (Measure::CauseAverage, "petshop", "0.79", Bar::AtLeast(0.89)),
    (Measure::CleanAlarms, "clean month", "240", Bar::AtMost(1.0)),
];

/// The floor and the bar of a figure; none for a set that nothing was measured on.
pub(super) fn beside(measure: Measure, set: &str) -> Option<(&'static str, Bar)> {
    let found = BESIDE
        .iter()
        .find(|beside| (beside.0, beside.1) == (measure, set));
    found.map(|(_, _, floor, bar)| (*floor, *bar))
}
