//! Whether the holders of locks were apart.

use crate::operation::Hold;
use crate::violation::{Kind, Violation};

/// Locks of one holder at a time; two scopes are in each other's way as `regraft.store.v1` says, but for applications, of
/// which a history does not know where they run.
pub(crate) fn check(holds: &[Hold]) -> Vec<Violation> {
    // A lock whose grant was told too late was relied on by nobody.
    let relied_on = holds.iter().filter(|hold| hold.until_us > hold.from_us);
    let mut in_time: Vec<&Hold> = relied_on.collect();
    in_time.sort_by_key(|hold| (hold.from_us, hold.fence));
    let mut violations = Vec::new();
    // Those that may still last, and of each scope the newest: nothing older has a greater fence, or it was told already.
    let mut last: Vec<&Hold> = Vec::new();
    for hold in in_time {
        for other in last
            .iter()
            .filter(|other| overlap(&other.scope, &hold.scope))
        {
            let told = |kind, how: &str| Violation {
                kind,
                subject: hold.scope.clone(),
                at_us: hold.from_us,
                message: format!("{} {how} {}", words(hold), words(other)),
            };
            if other.until_us > hold.from_us && other.session != hold.session {
                violations.push(told(Kind::OverlappingLocks, "held it together with"));
            }
            if other.fence >= hold.fence {
                violations.push(told(Kind::FenceNotRising, "held it after"));
            }
        }
        last.retain(|other| other.scope != hold.scope || other.until_us > hold.from_us);
        last.push(hold);
    }
    violations
}

fn words(hold: &Hold) -> String {
    format!(
        "client {} (session {}, {} with fence {}, {} to {} us)",
        hold.client, hold.session, hold.scope, hold.fence, hold.from_us, hold.until_us
    )
}

/// Whether one scope is the other, or lies above it.
fn overlap(one: &str, other: &str) -> bool {
    let (Some(one), Some(other)) = (path(one), path(other)) else {
        return one == other;
    };
    one.iter().zip(&other).all(|(one, other)| one == other)
}

/// The names from the fleet down; none for what is in no tree.
fn path(scope: &str) -> Option<Vec<&str>> {
    let mut parts = scope.split('/');
    match parts.next()? {
        "fleet" | "cluster" | "namespace" | "service" => Some(parts.collect()),
        _ => None,
    }
}
