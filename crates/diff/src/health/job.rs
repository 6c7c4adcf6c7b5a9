//! Jobs and CronJobs.

use super::Profile;
use super::facts::{Conditions, count, healthy, verdict, waits};
use regraft_model::{Health, Object, Timestamp, Verdict};

/// By the conditions Complete and Failed. kstatus calls a Job current once it has started; ours waits for its end.
pub(super) fn judge(object: &Object, profile: Profile) -> Verdict {
    let conditions = Conditions::of(object);
    let holds = |kind| conditions.get(kind).filter(|condition| condition.is_true());
    if let Some(failed) = holds("Failed") {
        return failed.verdict(Health::Degraded, "JobFailed");
    }
    if holds("Complete").is_some() {
        return healthy(
            "JobComplete",
            format!("{} pods succeeded", count(object, "succeeded")),
        );
    }
    let suspended =
        holds("Suspended").is_some() || object.0.pointer("/spec/suspend") == Some(&true.into());
    if suspended && profile != Profile::Kstatus {
        return verdict(Health::Suspended, "JobSuspended", "is suspended", "");
    }
    match (profile, object.text("/status/startTime")) {
        (Profile::Kstatus | Profile::Regraft, "") => {
            waits("JobNotStarted", "has not started", ".status.startTime")
        }
        (Profile::Kstatus, _) => healthy("JobStarted", "has started"),
        _ => waits(
            "JobInProgress",
            format!(
                "{} pods active, {} succeeded",
                count(object, "active"),
                count(object, "succeeded")
            ),
            ".status.conditions[type=Complete].status",
        ),
    }
}

/// A schedule is current as it is; a person may have suspended it. Argo CD looks at its last run as well.
pub(super) fn judge_cron(object: &Object, profile: Profile) -> Verdict {
    let suspended = object.0.pointer("/spec/suspend") == Some(&true.into());
    match profile {
        Profile::Regraft if suspended => {
            verdict(Health::Suspended, "CronJobSuspended", "is suspended", "")
        }
        Profile::Argo if !suspended && last_run_failed(object) => verdict(
            Health::Degraded,
            "LastRunFailed",
            "its last run did not succeed",
            ".status.lastSuccessfulTime",
        ),
        _ => healthy("Current", "is scheduled"),
    }
}

fn last_run_failed(object: &Object) -> bool {
    let time = |pointer| Timestamp::parse_rfc3339(object.text(pointer));
    object.list("/status/active").is_empty()
        && time("/status/lastSuccessfulTime")
            .zip(time("/status/lastScheduleTime"))
            .is_some_and(|(succeeded, scheduled)| succeeded < scheduled)
}
