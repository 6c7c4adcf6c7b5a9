//! Kinds nobody told us about: conditions, phase words, counts, observed generation.

use super::Profile;
use super::facts::{Condition, Conditions, healthy, short_of, stale_generation, verdict, waits};
use super::words::{Tone, parts, tone};
use regraft_model::{Health, Object, Verdict};
use serde_json::Value;

/// Conditions that sum up the others, by convention: what they say decides.
const SUMMARIES: &[&str] = &[
    "Ready",
    "Available",
    "Healthy",
    "Synced",
    "Succeeded",
    "Complete",
    "Completed",
    "Established",
    "Programmed",
    "Accepted",
    "ResolvedRefs",
    "Installed",
    "Valid",
    "FullyApplied",
    "Scheduled",
    "Initialized",
    "Active",
    "Deployed",
];
/// Fields of the status that hold one word about the whole.
const PHASES: &[&str] = &[
    "/status/phase",
    "/status/state",
    "/status/status",
    "/status/health",
    "/status/health/status",
    "/status/healthStatus",
    "/status/overallStatus",
    "/status/currentState",
    "/status/resourceState",
    "/status/compliant",
    "/status/protectionState",
    "/status/applicationState/state",
];

/// Names of such fields in the parts of a status.
const PART_PHASES: &[&str] = &["phase", "state", "status", "health"];
/// Fields of the status that hold an error when there is one.
const ERRORS: &[&str] = &[
    "/status/error",
    "/status/errorMessage",
    "/status/lastError",
    "/status/failureMessage",
];
/// How deep phases of parts are looked for.
const MAX_PHASE_DEPTH: usize = 4;

/// kstatus follows `Ready` alone, and calls an object current that has none. The others follow the conventions.
pub(super) fn judge(object: &Object, profile: Profile) -> Verdict {
    let conditions = Conditions::of(object);
    if profile == Profile::Kstatus {
        return match conditions.get("Ready") {
            Some(ready) if ready.is_true() => healthy("Ready", "is ready"),
            Some(ready) => ready.verdict(Health::Progressing, "NotReady"),
            None => healthy("Current", "says nothing about its state"),
        };
    }
    if let Some(paused) = paused(object) {
        return paused;
    }
    if profile == Profile::Argo
        && let Some(stale) = stale_generation(object)
    {
        return stale;
    }
    let said = [
        from_conditions(object, profile),
        from_phase(object),
        from_counts(object),
        from_error(object),
    ];
    let worst = said
        .into_iter()
        .flatten()
        .max_by_key(|verdict| gravity(verdict.health));
    worst.unwrap_or_else(|| silent(profile))
}

/// What stands still on purpose is told before what is wrong with it; the rest by gravity.
fn gravity(health: Health) -> u8 {
    match health {
        Health::Healthy => 0,
        Health::Unknown => 1,
        Health::Progressing => 2,
        Health::Missing => 3,
        Health::Degraded => 4,
        Health::Suspended => 5,
    }
}

/// An object that says nothing we understand: current for us, as for kstatus; Argo CD's rules for custom kinds wait.
fn silent(profile: Profile) -> Verdict {
    match profile {
        Profile::Argo => waits("NoStatus", "its controller has not reported yet", ".status"),
        Profile::Regraft | Profile::Kstatus => healthy("Current", "says nothing about its state"),
    }
}

fn paused(object: &Object) -> Option<Verdict> {
    [
        "/spec/paused",
        "/spec/suspend",
        "/spec/suspended",
        "/spec/pause",
    ]
    .iter()
    .find_map(|pointer| {
        (object.0.pointer(pointer)?.as_bool()?)
            .then(|| verdict(Health::Suspended, "Paused", "is paused", ""))
    })
}

fn from_conditions(object: &Object, profile: Profile) -> Option<Verdict> {
    let conditions = Conditions::everywhere(object);
    let generation = object.number("/metadata/generation");
    let context = Context {
        profile,
        has_ready: conditions.get("Ready").is_some(),
        working: conditions.iter().any(|condition| {
            condition.is_true() && condition_tone(condition.kind) == Some(Tone::Busy)
        }),
    };
    conditions
        .iter()
        .filter_map(|condition| {
            let stale = condition
                .observed_generation
                .zip(generation)
                .is_some_and(|(seen, now)| seen < now);
            match stale {
                true => Some(condition.verdict(Health::Progressing, "LatestGenerationNotObserved")),
                false => one_condition(&condition, &context),
            }
        })
        .max_by_key(|verdict| gravity(verdict.health))
}

/// What the other conditions say about how to read one.
struct Context {
    profile: Profile,
    /// Where there is a `Ready`, the others that want to be true explain it and do not decide.
    has_ready: bool,
    /// One says that something is going on: what is not ready now may be in a moment.
    working: bool,
}

fn one_condition(condition: &Condition<'_>, context: &Context) -> Option<Verdict> {
    let summary = ends_like_a_summary(condition.kind);
    let decides = match context.has_ready {
        true => condition.kind == "Ready",
        false => summary,
    };
    let told = |health| Some(condition.verdict(health, condition.kind));
    let why = tone(condition.reason);
    match (condition_tone(condition.kind), condition.is_true()) {
        (Some(Tone::NotYet), true) if why == Some(Tone::Busy) => told(Health::Progressing),
        (Some(Tone::Bad | Tone::Gone | Tone::NotYet), true) => told(Health::Degraded),
        (Some(Tone::Paused), true) => told(Health::Suspended),
        (Some(Tone::Busy), true) if why != Some(Tone::Good) => told(Health::Progressing),
        (Some(Tone::Bad | Tone::Gone | Tone::NotYet | Tone::Paused | Tone::Busy), _) => None,
        (_, true) if decides && why == Some(Tone::Bad) => told(Health::Degraded),
        (_, true) => told(Health::Healthy),
        _ if condition.is_false() && why == Some(Tone::Bad) && summary => told(Health::Degraded),
        _ if !decides => None,
        _ if !condition.is_false() || context.working => told(Health::Progressing),
        _ => told(match (why, context.profile) {
            (Some(Tone::Busy), _) => Health::Progressing,
            (Some(Tone::Paused), _) => Health::Suspended,
            // Unready without a word of failure: Argo CD's rules call it degraded, kstatus and we in progress.
            (_, Profile::Argo) => Health::Degraded,
            (_, Profile::Regraft | Profile::Kstatus) => Health::Progressing,
        }),
    }
}

/// The tone of a condition's type. In a type, what ends in `-ing` is going on.
fn condition_tone(kind: &str) -> Option<Tone> {
    let ends_busy = parts(kind).last().is_some_and(|part| part.ends_with("ing"));
    match tone(kind) {
        Some(Tone::Good) | None if ends_busy => Some(Tone::Busy),
        other => other,
    }
}

/// `DatabaseReady`, `RevisionHealthy`: parts of a whole that speak like it.
fn ends_like_a_summary(kind: &str) -> bool {
    SUMMARIES.iter().any(|summary| kind.ends_with(summary))
}

fn from_phase(object: &Object) -> Option<Verdict> {
    let top = PHASES
        .iter()
        .find_map(|pointer| phase(object, object.text(pointer), &pointer.replace('/', ".")));
    top.or_else(|| {
        let mut found = Vec::new();
        gather_phases(object.0.get("status")?, ".status", 0, &mut found);
        found
            .into_iter()
            .filter_map(|(word, field)| phase(object, word, &field))
            .max_by_key(|verdict| gravity(verdict.health))
    })
}

fn phase(object: &Object, word: &str, field: &str) -> Option<Verdict> {
    let health = match tone(word)? {
        Tone::Good => Health::Healthy,
        Tone::Busy | Tone::NotYet => Health::Progressing,
        Tone::Paused => Health::Suspended,
        Tone::Bad => Health::Degraded,
        Tone::Gone => Health::Missing,
        Tone::Unsure => Health::Unknown,
    };
    let message = ["/status/message", "/status/reason"]
        .iter()
        .map(|pointer| object.text(pointer))
        .find(|text| !text.is_empty())
        .map_or_else(|| format!("{field} is {word}"), str::to_owned);
    let waits_for = if health == Health::Healthy { "" } else { field };
    Some(verdict(health, word, message, waits_for))
}

/// Phases of the parts, for kinds that have none of the whole.
fn gather_phases<'a>(
    value: &'a Value,
    path: &str,
    depth: usize,
    found: &mut Vec<(&'a str, String)>,
) {
    if depth > MAX_PHASE_DEPTH {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, field) in fields
                .iter()
                .filter(|(name, _)| *name != "conditions" && *name != "history")
            {
                let path = format!("{path}.{name}");
                match field {
                    Value::String(word) if PART_PHASES.contains(&name.as_str()) => {
                        found.push((word, path))
                    }
                    other => gather_phases(other, &path, depth + 1, found),
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                gather_phases(item, &format!("{path}[{index}]"), depth + 1, found);
            }
        }
        _ => {}
    }
}

/// A text that says what went wrong.
fn from_error(object: &Object) -> Option<Verdict> {
    ERRORS.iter().find_map(|pointer| {
        let text = object.text(pointer);
        let field = pointer.replace('/', ".");
        (!text.is_empty()).then(|| verdict(Health::Degraded, "Error", text, &field))
    })
}

/// Kinds that look like workloads: how many are wanted, updated, ready, available.
fn from_counts(object: &Object) -> Option<Verdict> {
    let by_node = object.number("/status/desiredNumberScheduled");
    let (wanted, fields) = match by_node {
        Some(wanted) => (
            wanted,
            ["updatedNumberScheduled", "numberReady", "numberAvailable"],
        ),
        None => (
            object.number("/spec/replicas")?,
            ["updatedReplicas", "readyReplicas", "availableReplicas"],
        ),
    };
    let told: Vec<_> = fields
        .into_iter()
        .filter_map(|field| Some((field, object.number(&format!("/status/{field}"))?)))
        .collect();
    let short = told.iter().find(|(_, has)| *has < wanted);
    match short {
        Some((field, has)) => Some(short_of("LessReplicas", "replicas", *has, wanted, field)),
        None if told.is_empty() => None,
        None => Some(healthy("Available", format!("{wanted} replicas"))),
    }
}
