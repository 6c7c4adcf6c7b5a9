//! States over time to symptoms that held long enough to count.
//!
//! ```text
//! WorkloadView (live objects) ── symptoms ──> Symptom (seen now, with redacted evidence)
//! Symptom ── Dwell::observe_view ──> Held { since, Pending | Confirmed }
//! ```
//!
//! It says what fails and since when, never why and never what to do. It reads no clock, and a failure that was not
//! watched without a break is not confirmed: unknown is not sick (I7).

mod container;
mod dwell;
mod evidence;
pub mod leak;
mod symptom;
mod view;

#[cfg(test)]
mod tests;

pub use dwell::{Confirmation, Dwell, Held};
pub use view::WorkloadView;

use regraft_model::Seconds;

/// How long a crash loop may look well before it is over: kubelet's shortest back-off, during which a container
/// that was just started again runs and may even be ready.
pub const CRASH_LOOP_GRACE: Seconds = Seconds(10);
