//! `Policy`: when and how much healing may act.

use crate::fields::{Fields, Reader};
use regraft_model::Seconds;
use regraft_model::config::{Mode, PartialFailure, Policy};

/// Fields of `Policy.spec`.
pub(crate) const POLICY_FIELDS: &[&str] = &[
    "mode",
    "confirmFor",
    "verifyFor",
    "rolloutWait",
    "verifyDeadline",
    "cooldown",
    "maxActionsPerHour",
    "maxSameActionPerDay",
    "maxConcurrentRepairs",
    "lockLease",
    "stormPercent",
    "stormWorkloads",
    "stormWindow",
    "partialFailure",
    "deleteCapPercent",
];

/// Words for [`Mode`].
pub(crate) const MODES: &[(&str, Mode)] = &[
    ("observe", Mode::Observe),
    ("propose", Mode::Propose),
    ("auto", Mode::Auto),
];

/// Longest duration in a policy: what takes longer than this nobody waits for.
const LONGEST: Seconds = Seconds(30 * 86_400);
/// Shortest lease: it has to survive a change of the Raft leader (about 1.5 s) with room to renew.
const SHORTEST_LEASE: Seconds = Seconds(5);

/// Reads `spec`, defaults filled in, and the mode if it says one.
pub(crate) fn policy(
    reader: &mut Reader<'_>,
    name: &str,
    spec: Fields<'_>,
) -> (Policy, Option<Mode>) {
    let mut policy = Policy {
        name: name.to_owned(),
        ..Policy::default()
    };
    read_spans(reader, spec, &mut policy);
    read_counts(reader, spec, &mut policy);
    let partial = [
        ("Propose", PartialFailure::Propose),
        ("Revert", PartialFailure::Revert),
    ];
    if let Some(choice) = reader.word(spec, "partialFailure", &partial) {
        policy.partial_failure = choice;
    }
    let mode = reader.word(spec, "mode", MODES);
    (policy, mode)
}

fn read_spans(reader: &mut Reader<'_>, spec: Fields<'_>, policy: &mut Policy) {
    const SOME: Seconds = Seconds(1);
    const NONE: Seconds = Seconds(0);
    let spans: [(&str, &mut Seconds, Seconds); 7] = [
        ("confirmFor", &mut policy.confirm_for, SOME),
        ("verifyFor", &mut policy.verify_for, SOME),
        ("rolloutWait", &mut policy.rollout_wait, NONE),
        ("verifyDeadline", &mut policy.verify_deadline, SOME),
        ("cooldown", &mut policy.cooldown, NONE),
        ("lockLease", &mut policy.lock_lease, SHORTEST_LEASE),
        ("stormWindow", &mut policy.storm_window, SOME),
    ];
    for (field, place, shortest) in spans {
        if let Some(span) = reader.duration(spec, field, shortest..=LONGEST) {
            *place = span;
        }
    }
}

fn read_counts(reader: &mut Reader<'_>, spec: Fields<'_>, policy: &mut Policy) {
    let counts: [(&str, &mut u32, u32, u32); 6] = [
        (
            "maxActionsPerHour",
            &mut policy.max_actions_per_hour,
            1,
            u32::MAX,
        ),
        (
            "maxSameActionPerDay",
            &mut policy.max_same_action_per_day,
            1,
            u32::MAX,
        ),
        (
            "maxConcurrentRepairs",
            &mut policy.max_concurrent_repairs,
            1,
            u32::MAX,
        ),
        ("stormPercent", &mut policy.storm_percent, 1, 100),
        ("stormWorkloads", &mut policy.storm_workloads, 1, u32::MAX),
        ("deleteCapPercent", &mut policy.delete_cap_percent, 0, 100),
    ];
    for (field, place, least, most) in counts {
        if let Some(count) = reader.number(spec, field, least..=most) {
            *place = count;
        }
    }
}
