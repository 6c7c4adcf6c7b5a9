//! Pods.

use super::Profile;
use super::facts::{Conditions, healthy, verdict, waits};
use regraft_model::{Health, Object, Seconds, Timestamp, Verdict};
use serde_json::Value;

/// How long a pod may be unschedulable before it counts as failed (kstatus' `ScheduleWindow`).
const SCHEDULE_WINDOW: Seconds = Seconds(15);
/// Argo CD's annotation for pods that run on purpose with a restart policy for finite work.
const ARGO_IGNORE_RESTART_POLICY: &str = "argocd.argoproj.io/ignore-restart-policy";
/// Annotations that make an object a hook of Argo CD (or of Helm, which it honours).
const ARGO_HOOKS: [&str; 2] = ["argocd.argoproj.io/hook", "helm.sh/hook"];

/// By phase; a container that waits for an error or in back-off is a failure whatever the phase says.
pub(super) fn judge(object: &Object, profile: Profile, now: Timestamp) -> Verdict {
    let always = matches!(object.text("/spec/restartPolicy"), "" | "Always");
    let failing = failing_container(object, profile);
    match profile {
        Profile::Regraft => {
            if let Some(verdict) = failing {
                return verdict;
            }
        }
        Profile::Argo => {
            if let Some(verdict) = failing.filter(|_| always || ignores_restart_policy(object)) {
                return verdict;
            }
        }
        Profile::Kstatus => {}
    }
    match object.text("/status/phase") {
        "Succeeded" => healthy("PodSucceeded", "has completed"),
        "Failed" => verdict(
            Health::Degraded,
            "PodFailed",
            failure(object),
            ".status.phase",
        ),
        "Running" => running(object, profile, always),
        "Pending" => pending(object, profile, now),
        "" if profile != Profile::Argo => waits(
            "PodNotObserved",
            "the kubelet has not seen it yet",
            ".status.phase",
        ),
        phase => verdict(
            Health::Unknown,
            "UnknownPhase",
            format!("phase is `{phase}`"),
            ".status.phase",
        ),
    }
}

fn running(object: &Object, profile: Profile, always: bool) -> Verdict {
    let ready = Conditions::of(object)
        .get("Ready")
        .is_some_and(|condition| condition.is_true());
    if profile == Profile::Argo && !always && !ignores_restart_policy(object) {
        return waits("PodRunning", "runs until it completes", ".status.phase");
    }
    if ready {
        return healthy("PodReady", "is ready");
    }
    if profile == Profile::Kstatus
        && let Some(failing) = failing_container(object, profile)
    {
        return failing;
    }
    if profile == Profile::Argo
        && let Some(failure) = last_failure(object)
    {
        return verdict(
            Health::Degraded,
            "ContainerTerminated",
            failure,
            ".status.conditions[type=Ready].status",
        );
    }
    waits(
        "PodRunningNotReady",
        "runs and is not ready",
        ".status.conditions[type=Ready].status",
    )
}

fn pending(object: &Object, profile: Profile, now: Timestamp) -> Verdict {
    let field = ".status.conditions[type=PodScheduled].status";
    let unschedulable = object
        .list("/status/conditions")
        .iter()
        .find(|condition| condition["type"] == "PodScheduled" && condition["status"] == "False")
        .filter(|condition| condition["reason"] == "Unschedulable");
    let Some(condition) = unschedulable.filter(|_| profile != Profile::Argo) else {
        return waits("PodPending", "is pending", ".status.phase");
    };
    let message = condition["message"]
        .as_str()
        .unwrap_or("cannot be scheduled");
    let since = condition["lastTransitionTime"]
        .as_str()
        .and_then(Timestamp::parse_rfc3339);
    let waited_too_long =
        since.is_none_or(|since| now.millis_since(since) > SCHEDULE_WINDOW.as_millis());
    match waited_too_long {
        true => verdict(Health::Degraded, "PodUnschedulable", message, field),
        false => waits("PodNotScheduled", message, field),
    }
}

/// A container that waits with an error or in back-off.
fn failing_container(object: &Object, profile: Profile) -> Option<Verdict> {
    let lists: &[&str] = match profile {
        Profile::Regraft => &["initContainerStatuses", "containerStatuses"],
        Profile::Kstatus | Profile::Argo => &["containerStatuses"],
    };
    lists.iter().find_map(|list| {
        object
            .list(&format!("/status/{list}"))
            .iter()
            .find_map(|status| {
                let waiting = status.pointer("/state/waiting")?;
                let reason = waiting.get("reason")?.as_str()?;
                let fails = match profile {
                    Profile::Kstatus => reason == "CrashLoopBackOff",
                    Profile::Argo => is_error(reason),
                    Profile::Regraft => is_error(reason) || reason == "InvalidImageName",
                };
                let name = status["name"].as_str().unwrap_or_default();
                let message = waiting
                    .get("message")
                    .and_then(Value::as_str)
                    .unwrap_or(reason);
                fails.then(|| {
                    verdict(
                        Health::Degraded,
                        reason,
                        format!("container {name}: {message}"),
                        &format!(".status.{list}[name={name}].state"),
                    )
                })
            })
    })
}

/// Argo CD's convention: `Err*`, `*Error`, `*BackOff`.
fn is_error(reason: &str) -> bool {
    reason.starts_with("Err") || reason.ends_with("Error") || reason.ends_with("BackOff")
}

fn ignores_restart_policy(object: &Object) -> bool {
    object
        .annotation(ARGO_IGNORE_RESTART_POLICY)
        .is_some_and(|text| text != "false")
        && !ARGO_HOOKS
            .iter()
            .any(|hook| object.annotation(hook).is_some())
}

/// Why a pod failed, in the words of its status or of the first container that ended badly.
fn failure(object: &Object) -> String {
    let said = object.text("/status/message");
    if !said.is_empty() {
        return said.to_owned();
    }
    let ended = ["initContainerStatuses", "containerStatuses"]
        .iter()
        .find_map(|list| {
            object
                .list(&format!("/status/{list}"))
                .iter()
                .find_map(|status| ended_badly(status, "/state/terminated"))
        });
    match (ended, object.text("/status/reason")) {
        (Some(ended), _) => ended,
        (None, "") => "has failed".to_owned(),
        (None, reason) => reason.to_owned(),
    }
}

fn last_failure(object: &Object) -> Option<String> {
    object
        .list("/status/containerStatuses")
        .iter()
        .find_map(|status| {
            status.pointer("/lastState/terminated")?;
            Some(
                ended_badly(status, "/lastState/terminated")
                    .unwrap_or_else(|| "a container ended".to_owned()),
            )
        })
}

fn ended_badly(status: &Value, pointer: &str) -> Option<String> {
    let ended = status.pointer(pointer)?;
    let name = status["name"].as_str().unwrap_or_default();
    let text = |key: &str| {
        ended
            .get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let code = ended.get("exitCode").and_then(Value::as_i64).unwrap_or(0);
    match (text("message"), text("reason")) {
        (Some(message), _) => Some(format!("container {name}: {message}")),
        (None, Some("OOMKilled")) => {
            Some(format!("container {name} was killed for want of memory"))
        }
        _ if code != 0 => Some(format!("container {name} ended with exit code {code}")),
        _ => None,
    }
}
