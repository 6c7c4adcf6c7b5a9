//! How well an object, an application or a target is.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Health, from best to worst for aggregation: the worst member decides.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Health {
    /// It is what it should be.
    Healthy,
    /// A person paused it.
    Suspended,
    /// On its way.
    Progressing,
    /// Desired, not there.
    Missing,
    /// It failed, or does not do its work.
    Degraded,
    /// Cannot be told. Unknown is not healthy and not sick (I7).
    #[default]
    Unknown,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
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
