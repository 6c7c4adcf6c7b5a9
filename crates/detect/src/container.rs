//! How one container of a pod fails, if it does.

use crate::CRASH_LOOP_GRACE;
use regraft_model::{FailureClass, Object, Seconds, Timestamp};
use serde_json::Value;

/// Fewest restarts of a crash loop, where kubelet does not call it one yet.
const CRASH_LOOP_RESTARTS: i64 = 2;
/// A container that ran longer than this before it crashed does not loop. Kubelet's longest back-off.
const LONGEST_CRASHING_RUN: Seconds = Seconds(300);

/// One container's status in a pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ContainerStatus<'a> {
    /// `containerStatuses` or `initContainerStatuses`.
    pub(crate) list: &'static str,
    pub(crate) status: &'a Value,
}

impl<'a> ContainerStatus<'a> {
    /// All containers of a pod that have a status, init containers first.
    pub(crate) fn of(pod: &'a Object) -> impl Iterator<Item = ContainerStatus<'a>> {
        [
            (
                "initContainerStatuses",
                pod.list("/status/initContainerStatuses"),
            ),
            ("containerStatuses", pod.list("/status/containerStatuses")),
        ]
        .into_iter()
        .flat_map(|(list, statuses)| {
            statuses
                .iter()
                .map(move |status| ContainerStatus { list, status })
        })
    }

    pub(crate) fn name(&self) -> &'a str {
        self.status["name"].as_str().unwrap_or("?")
    }

    pub(crate) fn restarts(&self) -> i64 {
        self.status["restartCount"].as_i64().unwrap_or(0)
    }

    /// Why it waits, when it waits.
    pub(crate) fn waiting_reason(&self) -> Option<&'a str> {
        self.status["state"]["waiting"]["reason"].as_str()
    }

    /// Its last end: the state itself while nothing came after it.
    pub(crate) fn last_end(&self) -> Option<&'a Value> {
        [
            &self.status["state"]["terminated"],
            &self.status["lastState"]["terminated"],
        ]
        .into_iter()
        .find(|end| end.is_object())
    }

    /// How it fails now.
    pub(crate) fn failure(&self, now: Timestamp) -> Option<FailureClass> {
        match self.waiting_reason() {
            Some("CrashLoopBackOff") => return Some(FailureClass::CrashLoopBackOff),
            Some(
                "ErrImagePull"
                | "ImagePullBackOff"
                | "InvalidImageName"
                | "ErrImageNeverPull"
                | "ImageInspectError"
                | "RegistryUnavailable",
            ) => return Some(FailureClass::ImagePull),
            Some("CreateContainerConfigError" | "CreateContainerError") => {
                return Some(FailureClass::ContainerConfig);
            }
            _ => {}
        }
        self.is_between_crashes(now)
            .then_some(FailureClass::CrashLoopBackOff)
    }

    /// Whether it crashed again and again and has not outlived its last run since: kubelet shows the back-off only
    /// part of the time, and without a readiness probe the container is even ready in between.
    fn is_between_crashes(&self, now: Timestamp) -> bool {
        let Some(end) = self.last_end() else {
            return false;
        };
        if self.restarts() < CRASH_LOOP_RESTARTS || end["exitCode"].as_i64().unwrap_or(0) == 0 {
            return false;
        }
        let (started, finished) = (time(&end["startedAt"]), time(&end["finishedAt"]));
        let last_run_ms = match (started, finished) {
            (Some(started), Some(finished)) => finished.millis_since(started),
            _ => 0,
        };
        if last_run_ms > LONGEST_CRASHING_RUN.as_millis() {
            return false;
        }
        match time(&self.status["state"]["running"]["startedAt"]) {
            Some(running_since) => {
                now.millis_since(running_since) <= last_run_ms + CRASH_LOOP_GRACE.as_millis()
            }
            // Neither running nor ready; the next back-off is never longer than this.
            None => finished
                .is_none_or(|at| now.millis_since(at) <= 2 * LONGEST_CRASHING_RUN.as_millis()),
        }
    }
}

/// An RFC 3339 time in an object.
pub(crate) fn time(value: &Value) -> Option<Timestamp> {
    Timestamp::parse_rfc3339(value.as_str()?)
}
