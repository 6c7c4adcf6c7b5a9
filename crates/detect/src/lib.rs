//! States and metrics over time: what fails, what is strange, what leaks, what comes.
//!
//! ```text
//! WorkloadView (live objects) ── symptoms ──> Symptom (seen now, with redacted evidence)
//! Symptom ── Dwell::observe_view ──> Held { since, Pending | Confirmed }
//! metrics of a service ── metrics::Watch ──> Verdict (unknown, usual, strange with evidence)
//! memory of a pod ── leak::Detector ──> Verdict (a leak since when, and when it is out of memory)
//! a request rate ── forecast::Forecaster ──> Forecast (points and bands ahead) ── scale_hint ──> replicas
//! ```
//!
//! It says what fails and since when, never why and never what to do. It reads no clock, and a failure that was not
//! watched without a break is not confirmed: unknown is not sick (I7).

mod container;
mod dwell;
mod error;
mod evidence;
pub mod forecast;
pub mod leak;
pub mod metrics;
mod symptom;
mod view;

#[cfg(test)]
mod tests;

pub use dwell::{Confirmation, Dwell, Held};
pub use error::{Error, Stored};
pub use view::WorkloadView;

use regraft_model::Seconds;

/// How long a crash loop may look well before it is over: kubelet's shortest back-off, during which a container
/// that was just started again runs and may even be ready.
pub const CRASH_LOOP_GRACE: Seconds = Seconds(10);
