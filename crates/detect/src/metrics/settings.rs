//! What can be set about watching metrics.

use serde::{Deserialize, Serialize};

/// Samples that are still worth a half after this time: two weeks hold every weekday twice.
const HISTORY_DAYS: f64 = 14.0;
/// A person is called in vain at most this often.
const FALSE_ALARMS_A_MONTH: f64 = 1.0;
/// Share of an alarm's surprise that is suspicious. An alarm has to be right alone, so it comes late or never for what is
/// just strange; a suspicion is one piece of evidence among others, and may be wrong some ten times as often.
const SUSPICIOUS: f64 = 0.72;

/// Surprises (minus the natural logarithm of a probability) above which something is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limits {
    /// As a suspicion.
    pub(crate) suspicion: f64,
    /// As an alarm; never lower.
    pub(crate) alarm: f64,
}

/// When something is so strange that it is told.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Threshold {
    /// How many false alarms are bearable for a service in 30 days; above 0. Suspicions are more frequent.
    FalseAlarmsAMonth(f64),
    /// The share of samples that is taken for anomalous, between 0 and 1. Known from other tools; one of 0.05 makes every
    /// twentieth sample an alarm, whatever it is. Suspicions and alarms are then the same.
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

    pub(crate) fn limits(&self, samples_a_month: f64) -> Limits {
        match self.threshold {
            Threshold::FalseAlarmsAMonth(alarms) => {
                let alarm = libm::log((samples_a_month / alarms).max(1.0));
                Limits {
                    suspicion: SUSPICIOUS * alarm,
                    alarm,
                }
            }
            Threshold::Contamination(share) => {
                let alarm = -libm::log(share);
                Limits {
                    suspicion: alarm,
                    alarm,
                }
            }
        }
    }
}
