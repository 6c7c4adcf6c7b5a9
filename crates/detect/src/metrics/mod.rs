//! What is normal for the metrics of a service, and when it is not.
//!
//! ```text
//! values of one moment ─> Baseline of each metric ─ residuals in its own units ─> strangeness of each
//!                          levels, season, scales                                     │ mean of the strangest quarter
//!                                                                                     ▼
//! Verdict + evidence <─ alarm policy <─ surprise: how rare is that? <─ Tail: distribution of the service's strangeness
//!  suspicion, or alarm       └─ no alarm of what recurs each day, nor soon after a rollout
//!
//! Rate: a counter ─> values a second         compare: old against new         change_point: since when
//! ```
//!
//! One pass, nothing after the sample, bounded memory; the threshold comes from how many false alarms are bearable.

mod alarm;
mod baseline;
mod bounds;
mod cadence;
pub mod change_point;
mod chart;
pub mod compare;
mod grain;
mod level;
mod pace;
mod period;
mod prior;
mod ranks;
mod rate;
mod recurrence;
mod scale;
mod season;
mod settings;
mod stored;
mod summary;
mod tail;
mod verdict;
mod watch;

#[cfg(test)]
mod tests;

pub use baseline::{Band, Feature};
pub use chart::{CHART_POINTS_MAX, CHART_TOLD_MAX, Chart, Point, Told};
pub use rate::Rate;
pub use settings::{Settings, Threshold};
pub use stored::FORMAT;
pub use summary::{ENTRY_BYTES_MAX, SERVICE_ENTRY, SUMMARY_FORMAT, Summary};
pub(crate) use verdict::figure;
pub use verdict::{Anomaly, Episode, Grade, MetricEvidence, Restraint, Unknown, Verdict};
pub use watch::{BYTES_PER_METRIC_MAX, Learning, METRICS_MAX, NAME_BYTES_MAX, Watch};
