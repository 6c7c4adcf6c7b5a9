//! What fails in one workload now.

use crate::container::ContainerStatus;
use crate::evidence::{self, Failing};
use crate::view::{Age, WorkloadView, condition};
use regraft_model::finding::Template;
use regraft_model::{FailureClass, Symptom, Timestamp};
use serde_json::Value;
use std::collections::BTreeMap;

/// The failures that show in a workload's live objects, at most one for each class, ordered by class.
///
/// `now` only tells whether a container that runs has outlived its last crash; the evidence carries the times that
/// the objects name, so that the same objects give the same symptoms (I6).
pub(crate) fn symptoms(view: &WorkloadView<'_>, now: Timestamp) -> Vec<Symptom> {
    if !view.workload.text("/metadata/deletionTimestamp").is_empty() {
        return Vec::new();
    }
    let mut by_class = failing_containers(view, now);
    let stuck = stuck_rollout(view);
    if stuck.is_some() {
        by_class
            .entry(FailureClass::ProgressDeadlineExceeded)
            .or_default();
    }
    let older_fail = |failing: &[Failing<'_>]| failing.iter().any(|f| f.age == Age::Older);
    let any_older = by_class.values().any(|failing| older_fail(failing));
    by_class
        .iter()
        .map(|(&class, failing)| {
            let also_older = match class {
                FailureClass::ProgressDeadlineExceeded => any_older,
                _ => older_fail(failing),
            };
            Symptom {
                workload: view.workload.key(),
                class,
                template: if also_older {
                    Template::AlsoOlder
                } else {
                    Template::Newest
                },
                newest_template: view.is_observed().then(|| view.newest_template()),
                evidence: match class {
                    FailureClass::ProgressDeadlineExceeded => {
                        let all: Vec<_> = by_class.values().flatten().copied().collect();
                        evidence::gather(view, &all, stuck, now)
                    }
                    _ => evidence::gather(view, failing, None, now),
                },
            }
        })
        .collect()
}

/// Whether any live pod still bears the marks of a crash: until then a crash loop that does not show may only pause.
/// Pods on their way out do not count.
pub(crate) fn bears_crash_marks(view: &WorkloadView<'_>) -> bool {
    let older_count = !view.replaces_older_pods();
    let mut pods = view
        .live_pods()
        .filter(|pod| older_count || view.age(pod) == Age::Newest);
    pods.any(|pod| {
        ContainerStatus::of(pod).any(|container| {
            container.restarts() > 0 || container.waiting_reason() == Some("CrashLoopBackOff")
        })
    })
}

fn failing_containers<'a>(
    view: &WorkloadView<'a>,
    now: Timestamp,
) -> BTreeMap<FailureClass, Vec<Failing<'a>>> {
    let mut by_class: BTreeMap<_, Vec<Failing<'a>>> = BTreeMap::new();
    for pod in view.live_pods() {
        for container in ContainerStatus::of(pod) {
            if let Some(class) = container.failure(now) {
                by_class.entry(class).or_default().push(Failing {
                    age: view.age(pod),
                    pod,
                    container,
                });
            }
        }
    }
    if view.replaces_older_pods() {
        // Pods that are on their way out say nothing about the newest template: their successors may be the fix.
        by_class.retain(|_, failing| failing.iter().any(|f| f.age == Age::Newest));
    }
    for failing in by_class.values_mut() {
        failing.sort_by_key(|f| (f.age, f.pod.name(), f.container.name()));
    }
    by_class
}

/// The Progressing condition of a Deployment that gave up on its current template.
fn stuck_rollout<'a>(view: &WorkloadView<'a>) -> Option<&'a Value> {
    (view.workload.kind() == "Deployment" && view.is_observed())
        .then(|| condition(view.workload, "Progressing"))
        .flatten()
        .filter(|progressing| {
            progressing["status"] == "False" && progressing["reason"] == "ProgressDeadlineExceeded"
        })
}
