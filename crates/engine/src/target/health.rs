//! How well a target is, what fails in it, and whether its inputs are known to be good.

use super::TargetMemory;
use crate::Engine;
use crate::observed::ObservedCluster;
use crate::source::Rendered;
use regraft_detect::Confirmation;
use regraft_diff::health::{Profile, judge};
use regraft_model::finding::{Change, Finding, Symptom, SyncState, TargetStatus};
use regraft_model::health::Health;
use regraft_model::object::ObjectKey;
use regraft_model::time::Timestamp;

impl Engine {
    /// Health and findings from what is live; Unknown when it cannot be seen.
    pub(super) fn judge_health(
        &self,
        now: Timestamp,
        memory: &mut TargetMemory,
        status: &mut TargetStatus,
    ) {
        let suspended = status.sync.state == SyncState::Suspended;
        let visible = match status.sync.state {
            SyncState::Synced | SyncState::OutOfSync | SyncState::Blocked => true,
            SyncState::Suspended => self.is_seen(&status.key),
            SyncState::Unknown | SyncState::Unreachable => false,
        };
        let parts = (
            self.rendered.get(&status.key.application),
            self.observed.get(&status.key.cluster),
            self.application(&status.key.application),
        );
        let (true, (Some(rendered), Some(observed), Some(application))) = (visible, parts) else {
            status.health = Health::Unknown;
            status.health_message.clone_from(&status.sync.message);
            memory.health = None;
            status.health_since = now;
            return;
        };
        let (mut health, mut message) = worst(now, rendered, observed);
        status.workloads = u32::try_from(rendered.inputs.len()).unwrap_or(u32::MAX);
        // Between a new head and its apply nothing that fails can be blamed on either.
        let settled = status
            .applied
            .as_ref()
            .is_some_and(|it| it.tree == rendered.tree);
        memory
            .dwell
            .keep_only(|key| rendered.inputs.contains_key(key));
        for (key, digest) in &rendered.inputs {
            let Some(workload) = observed.live.get(key) else {
                memory.dwell.forget(key);
                continue;
            };
            let view = observed.view_of(workload);
            let confirm_for = application.policy.confirm_for;
            for held in memory.dwell.observe_view(&view, now, confirm_for) {
                // A person has what is suspended in hand: it shows how it is, and asks for no repair.
                if settled && !suspended && held.confirmation == Confirmation::Confirmed {
                    let change = change_of(status, key, digest);
                    let (symptom, since) = (held.symptom, held.since);
                    // A rollout that goes on beside pods that are known to fail is not on its way.
                    if health < Health::Degraded {
                        health = Health::Degraded;
                        message = format!("{key}: {}: {}", symptom.class, seen(&symptom));
                    }
                    status.findings.push(Finding {
                        symptom,
                        since,
                        change,
                    });
                }
            }
        }
        status.health = health;
        status.health_message = message;
        let since = match memory.health {
            Some((known, since)) if known == health => since,
            _ => now,
        };
        memory.health = Some((health, since));
        status.health_since = since;
    }
}

/// The first thing that was seen of a failure.
fn seen(symptom: &Symptom) -> &str {
    symptom.evidence.first().map_or("", |it| it.text.as_str())
}

/// The worst health among an application's objects, and who has it.
fn worst(now: Timestamp, rendered: &Rendered, observed: &ObservedCluster) -> (Health, String) {
    let mut worst = (Health::Healthy, String::new());
    for desired in observed.placed(&rendered.objects).iter() {
        let key = desired.key();
        let (health, message) = match observed.live.get(&key) {
            None => (Health::Missing, format!("{key} is not there")),
            Some(live) => {
                let verdict = judge(live, Profile::Regraft, now);
                (
                    verdict.health,
                    format!("{key}: {}: {}", verdict.reason, verdict.message),
                )
            }
        };
        if health > worst.0 {
            worst = (health, message);
        }
    }
    worst
}

fn change_of(status: &TargetStatus, workload: &ObjectKey, digest: &str) -> Change {
    match (
        &status.verified,
        status.verified_inputs.get(&workload.to_string()),
    ) {
        (None, _) => Change::Unknown,
        (Some(_), Some(verified)) if verified == digest => Change::Unchanged,
        (Some(_), _) => Change::Changed,
    }
}

/// Takes the applied inputs as verified when they were healthy for the policy's window without a break.
/// Returns when to look again, while the window still runs.
pub(super) fn verify_revision(
    engine: &Engine,
    now: Timestamp,
    status: &mut TargetStatus,
) -> Option<Timestamp> {
    let healthy = status.sync.state == SyncState::Synced
        && status.health == Health::Healthy
        && status.findings.is_empty();
    let (true, Some(applied)) = (healthy, status.applied.clone()) else {
        return None;
    };
    // The same files applied again, as after a revert, are verified again: what broke may not have been the files.
    if status.verified.as_ref() == Some(&applied) {
        return None;
    }
    let application = engine.application(&status.key.application)?;
    let until = status
        .health_since
        .max(applied.at)
        .plus(application.policy.verify_for);
    if now < until {
        return Some(until);
    }
    let rendered = engine.rendered.get(&status.key.application)?;
    if rendered.tree != applied.tree {
        return None;
    }
    status.verified_inputs = rendered
        .inputs
        .iter()
        .map(|(key, digest)| (key.to_string(), digest.clone()))
        .collect();
    status.verified = Some(applied);
    None
}
