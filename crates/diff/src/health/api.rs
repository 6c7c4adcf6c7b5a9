//! What extends the API: CustomResourceDefinitions and APIServices.

use super::Profile;
use super::facts::{Conditions, healthy, waits};
use regraft_model::{Health, Object, Verdict};

/// Established, with accepted names.
pub(super) fn judge_crd(object: &Object, profile: Profile) -> Verdict {
    let conditions = Conditions::of(object);
    if let Some(refused) = conditions
        .get("NamesAccepted")
        .filter(|found| found.is_false())
    {
        return refused.verdict(Health::Degraded, "NamesNotAccepted");
    }
    // Argo CD alone looks at these: a schema that is not structural, a kind on its way out.
    if profile == Profile::Argo {
        if let Some(going) = conditions
            .get("Terminating")
            .filter(|found| found.is_true())
        {
            return going.verdict(Health::Progressing, "Terminating");
        }
        if let Some(bad) = conditions
            .get("NonStructuralSchema")
            .filter(|found| found.is_true())
        {
            return bad.verdict(Health::Degraded, "NonStructuralSchema");
        }
    }
    match conditions.get("Established") {
        Some(established) if established.is_true() => healthy("Established", "is established"),
        Some(refused) if refused.is_false() && refused.reason != "Installing" => {
            refused.verdict(Health::Degraded, "NotEstablished")
        }
        _ => waits(
            "Installing",
            "is being installed",
            ".status.conditions[type=Established].status",
        ),
    }
}

/// Available.
pub(super) fn judge_service(object: &Object, profile: Profile) -> Verdict {
    if profile == Profile::Kstatus {
        return super::generic::judge(object, profile);
    }
    match Conditions::of(object).get("Available") {
        Some(available) if available.is_true() => healthy("Available", "is available"),
        Some(other) => other.verdict(Health::Progressing, "NotAvailable"),
        None => waits(
            "NotProcessed",
            "the API server has not looked at it yet",
            ".status.conditions[type=Available].status",
        ),
    }
}
