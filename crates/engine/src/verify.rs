//! When inputs count as known to be good.

use crate::Engine;
use regraft_model::finding::{SyncState, TargetStatus};
use regraft_model::health::Health;
use regraft_model::time::Timestamp;

/// Takes the applied inputs as verified when they were healthy for the policy's window without a break.
/// Returns when to look again, while the window still runs.
pub(crate) fn verify_revision(
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
    let same = status
        .verified
        .as_ref()
        .is_some_and(|verified| verified.tree == applied.tree);
    if same {
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
