//! How well an object, an application or a target is.

use crate::words;
use serde::{Deserialize, Serialize};

words! {
    /// Health, from best to worst for aggregation: the worst member decides.
    #[derive(Default)]
    pub enum Health {
        /// It is what it should be.
        Healthy => "Healthy",
        /// A person paused it.
        Suspended => "Suspended",
        /// On its way.
        Progressing => "Progressing",
        /// Desired, not there.
        Missing => "Missing",
        /// It failed, or does not do its work.
        Degraded => "Degraded",
        /// Cannot be told. Unknown is not healthy and not sick (I7).
        #[default]
        Unknown => "Unknown",
    }
}

/// A judgement of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The health.
    pub health: Health,
    /// Stable word, `RolloutInProgress`.
    pub reason: String,
    /// For people.
    pub message: String,
    /// The field that is waited for, as a path (`.status.availableReplicas`), empty when nothing waits.
    pub waits_for: String,
}
