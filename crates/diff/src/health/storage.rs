//! Volume claims.

use super::Profile;
use super::facts::{healthy, verdict, waits};
use regraft_model::{Health, Object, Verdict};

/// Bound is what counts; a claim that lost its volume does not come back by itself.
pub(super) fn judge_claim(object: &Object, profile: Profile) -> Verdict {
    match (object.text("/status/phase"), profile) {
        ("Bound", _) => healthy("Bound", "is bound"),
        ("Lost", Profile::Regraft | Profile::Argo) => verdict(
            Health::Degraded,
            "Lost",
            "its volume is gone",
            ".status.phase",
        ),
        ("Pending", _) | (_, Profile::Kstatus) | ("", Profile::Regraft) => {
            waits("NotBound", "is not bound", ".status.phase")
        }
        (phase, _) => verdict(
            Health::Unknown,
            "UnknownPhase",
            format!("phase is `{phase}`"),
            ".status.phase",
        ),
    }
}
