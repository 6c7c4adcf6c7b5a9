//! Services and Ingresses.

use super::Profile;
use super::facts::{healthy, waits};
use regraft_model::{Object, Verdict};

/// Only load balancers wait: for an address (ours, Argo CD), for a cluster IP (kstatus).
pub(super) fn judge_service(object: &Object, profile: Profile) -> Verdict {
    if object.text("/spec/type") != "LoadBalancer" {
        return healthy("Current", "needs nothing to be current");
    }
    match profile {
        Profile::Kstatus if object.text("/spec/clusterIP").is_empty() => {
            waits("NoIPAssigned", "has no cluster IP", ".spec.clusterIP")
        }
        Profile::Kstatus => healthy("Current", "has a cluster IP"),
        Profile::Regraft | Profile::Argo => address(object),
    }
}

/// Argo CD waits for an address. Many controllers never write one, and nothing in the object tells: ours does not.
pub(super) fn judge_ingress(object: &Object, profile: Profile) -> Verdict {
    match profile {
        Profile::Argo => address(object),
        Profile::Regraft | Profile::Kstatus => healthy("Current", "needs nothing to be current"),
    }
}

fn address(object: &Object) -> Verdict {
    match object.list("/status/loadBalancer/ingress").is_empty() {
        true => waits(
            "NoAddress",
            "has no address yet",
            ".status.loadBalancer.ingress",
        ),
        false => healthy("Addressed", "has an address"),
    }
}
