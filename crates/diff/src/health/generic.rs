//! Kinds nobody told us about: conditions, phase words, observed generation.

use super::Profile;
use super::facts::{Conditions, healthy};
use regraft_model::{Health, Object, Verdict};

/// kstatus follows `Ready` alone, and calls an object current that has none.
pub(super) fn judge(object: &Object, _profile: Profile) -> Verdict {
    match Conditions::of(object).get("Ready") {
        Some(ready) if ready.is_true() => healthy("Ready", "is ready"),
        Some(ready) => ready.verdict(Health::Progressing, "NotReady"),
        None => healthy("Current", "says nothing about its state"),
    }
}
