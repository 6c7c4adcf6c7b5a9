//! What can be set about watching metrics.

use serde::{Deserialize, Serialize};

/// Samples that are still worth a half after this time: two weeks hold every weekday twice.
const HISTORY_DAYS: f64 = 14.0;
/// A person is called in vain at most this often.
const FALSE_ALARMS_A_MONTH: f64 = 1.0;
/// How much of the logarithm of the odds the threshold takes. Strangeness comes in clusters, one of which is one alarm, and
/// anomalies in the history make its tail too heavy: both let the plain quantile miss too much.
const CLUSTERED: f64 = 0.72;

/// When something is so strange that it is told.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Threshold {
    /// How many false alarms are bearable for a service in 30 days; above 0.
    FalseAlarmsAMonth(f64),
    /// The share of samples that is taken for anomalous, between 0 and 1. Known from other tools; one of 0.05 makes every
    /// twentieth sample strange, whatever it is.
    Contamination(f64),
}

/// What can be set about watching metrics. The defaults are meant to be left alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// When something is told.
    pub threshold: Threshold,
    /// After how many days a sample counts a half of a new one; above 0.
    pub history_days: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threshold: Threshold::FalseAlarmsAMonth(FALSE_ALARMS_A_MONTH),
            history_days: HISTORY_DAYS,
        }
    }
}

impl Settings {
    /// What is wrong with them, if anything.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        let threshold = match self.threshold {
            Threshold::FalseAlarmsAMonth(alarms) => alarms.is_finite() && alarms > 0.0,
            Threshold::Contamination(share) => share > 0.0 && share < 1.0,
        };
        if !threshold {
            return Some("the threshold has to be above 0, a contamination also below 1");
        }
        let history = self.history_days.is_finite() && self.history_days > 0.0;
        (!history).then_some("the days of history have to be above 0")
    }

    /// The surprise (minus the natural logarithm of a probability) above which something is told.
    pub(crate) fn threshold(&self, samples_a_month: f64) -> f64 {
        match self.threshold {
            Threshold::FalseAlarmsAMonth(alarms) => {
                CLUSTERED * libm::log((samples_a_month / alarms).max(1.0))
            }
            Threshold::Contamination(share) => -libm::log(share),
        }
    }
}
