//! What is normal for the metrics of a service, and when it is not.
//!
//! ```text
//! values of one moment ─> Baseline of each metric ─ residuals in its own units ─> strangeness of each
//!                          levels, season, scales                                     │ mean of the strangest quarter
//!                                                                                     ▼
//! Verdict + evidence <─ alarm policy <─ surprise: how rare is that? <─ Tail: distribution of the service's strangeness
//! ```
//!
//! One pass, nothing after the sample, bounded memory; the threshold comes from how many false alarms are bearable.

mod alarm;
mod baseline;
mod cadence;
mod level;
mod pace;
mod prior;
mod scale;
mod season;
mod settings;
mod summary;
mod tail;
mod verdict;
mod watch;

pub use baseline::Feature;
pub use settings::{Settings, Threshold};
pub use summary::{ENTRY_BYTES_MAX, SERVICE_ENTRY, SUMMARY_FORMAT, Summary};
pub use verdict::{Anomaly, Episode, MetricEvidence, Unknown, Verdict};
pub use watch::{BYTES_PER_METRIC_MAX, Learning, METRICS_MAX, Watch};
