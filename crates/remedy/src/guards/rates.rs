//! How much was done already: budgets, rates, quiet times (I8).

use super::{ASK_AGAIN, passed, refused, wait};
use crate::case::Case;
use regraft_model::{
    ApplicationName, ClusterName, Guard, GuardResult, Incident, Phase, Seconds, Timestamp,
};

const HOUR: Seconds = Seconds(3600);
const DAY: Seconds = Seconds(24 * 3600);

/// Budget of repairs under way in the whole fleet.
pub(super) fn concurrent_repairs(case: &Case<'_>) -> GuardResult {
    let limit = case.application.policy.max_concurrent_repairs;
    let under_way: Vec<&Incident> = case
        .incidents
        .iter()
        .copied()
        .filter(|other| other.id != case.incident.id)
        .filter(|other| {
            matches!(
                other.phase,
                Phase::Planned | Phase::Locked | Phase::Committed
            )
        })
        .collect();
    if count(under_way.len()) < limit {
        return passed(
            Guard::ConcurrentRepairs,
            format!("{} of at most {limit} repairs under way", under_way.len()),
        );
    }
    let names: Vec<_> = under_way.iter().map(|other| other.id.as_str()).collect();
    // They end by their deadlines at the latest; most end before, and then the world changed.
    let until = under_way.iter().map(|other| other.deadline).min();
    wait(
        Guard::ConcurrentRepairs,
        case.now,
        until.unwrap_or(case.now.plus(ASK_AGAIN)),
        format!(
            "{} of at most {limit} repairs under way (maxConcurrentRepairs of policy {}): {}",
            under_way.len(),
            case.application.policy.name,
            names.join(", ")
        ),
    )
}

/// Actions in the last hour, in the cluster that saw the most of them.
pub(super) fn action_rate(case: &Case<'_>) -> GuardResult {
    let limit = case.application.policy.max_actions_per_hour;
    let mut most = 0;
    for cluster in &case.application.clusters {
        let mut times: Vec<Timestamp> = case
            .incidents
            .iter()
            .filter(|incident| touches(case, incident, cluster))
            .filter_map(|incident| incident.committed_at)
            .filter(|at| case.now.millis_since(*at) < HOUR.as_millis())
            .collect();
        times.sort_unstable();
        if count(times.len()) >= limit {
            // When so many have left the hour that one more fits.
            let leaves = times.len().saturating_sub(limit.max(1) as usize);
            let until = times.get(leaves).copied().unwrap_or(case.now).plus(HOUR);
            return wait(
                Guard::ActionRate,
                case.now,
                until,
                format!(
                    "{} of at most {limit} actions in the last hour in {cluster} (maxActionsPerHour of policy {})",
                    times.len(),
                    case.application.policy.name
                ),
            );
        }
        most = most.max(times.len());
    }
    passed(
        Guard::ActionRate,
        format!("at most {most} of {limit} actions in the last hour in each cluster"),
    )
}

/// The same action on the same application, done without a person. What people approved says nothing of regraft going
/// round in circles.
pub(super) fn same_action(case: &Case<'_>) -> GuardResult {
    let limit = case.application.policy.max_same_action_per_day;
    let done = of_application(case, &case.application.name)
        .filter(|incident| !incident.is_approved())
        .filter_map(|incident| incident.committed_at)
        .filter(|at| case.now.millis_since(*at) < DAY.as_millis())
        .count();
    let reason = format!("{done} of at most {limit} rollbacks of it without a person in 24h");
    match count(done) < limit {
        true => passed(Guard::SameAction, reason),
        false => refused(
            Guard::SameAction,
            format!(
                "{reason}: commit a fix, or raise maxSameActionPerDay of policy {}",
                case.application.policy.name
            ),
        ),
    }
}

pub(super) fn cooldown(case: &Case<'_>) -> GuardResult {
    let quiet = case.application.policy.cooldown;
    let until = of_application(case, &case.application.name)
        .filter(|other| other.id != case.incident.id && other.committed.is_some())
        .filter_map(|other| other.ended_at)
        .map(|ended_at| ended_at.plus(quiet))
        .max();
    match until.filter(|until| *until > case.now) {
        Some(until) => wait(
            Guard::Cooldown,
            case.now,
            until,
            format!(
                "a repair of this application ended less than {quiet} ago (cooldown of policy {})",
                case.application.policy.name
            ),
        ),
        None => passed(
            Guard::Cooldown,
            format!("no repair of this application ended within {quiet}"),
        ),
    }
}

fn of_application<'a>(
    case: &Case<'a>,
    name: &'a ApplicationName,
) -> impl Iterator<Item = &'a Incident> + use<'a> {
    case.incidents
        .iter()
        .copied()
        .filter(move |incident| incident.application == *name)
}

/// Whether an incident's repair reaches a cluster: its application runs there, as far as this repository tells.
fn touches(case: &Case<'_>, incident: &Incident, cluster: &ClusterName) -> bool {
    incident.targets.contains_key(cluster)
        || case
            .fleet
            .applications
            .get(&incident.application)
            .is_some_and(|application| application.clusters.contains(cluster))
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
