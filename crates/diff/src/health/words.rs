//! What the words of phases, reasons and condition types mean.
//!
//! Kinds nobody told us about still speak English: `ProvisioningFailed`, `NotReady`, `Succeeded`. A word is cut into
//! its parts at capitals and punctuation, and the parts decide, the gravest first.

/// What a word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// All is well.
    Good,
    /// Something is being done, or is still to be done.
    Busy,
    /// It lacks something good: `NotReady`.
    NotYet,
    /// A person wanted it to stand still.
    Paused,
    /// Something went wrong.
    Bad,
    /// It is not there.
    Gone,
    /// Nobody can tell.
    Unsure,
}

const BAD: &[&str] = &[
    "fail",
    "failed",
    "failing",
    "failure",
    "failures",
    "error",
    "errors",
    "errored",
    "err",
    "invalid",
    "degraded",
    "unhealthy",
    "crash",
    "crashed",
    "crashloop",
    "backoff",
    "denied",
    "forbidden",
    "unauthorized",
    "rejected",
    "refused",
    "conflict",
    "conflicted",
    "conflicting",
    "lost",
    "broken",
    "stalled",
    "aborted",
    "expired",
    "exceeded",
    "timeout",
    "timedout",
    "unavailable",
    "unreachable",
    "unresolved",
    "unsupported",
    "incompatible",
    "misconfigured",
    "bad",
    "critical",
    "terminal",
    "noncompliant",
    "violated",
    "cannot",
    "unable",
    "warning",
    "red",
    "insufficient",
    "mismatch",
    "nonstructural",
    "faulted",
    "inconsistent",
    "corrupt",
    "corrupted",
    "dead",
    "offline",
    "fallback",
    "blocked",
    "removed",
    "partially",
    "partial",
    "canceled",
    "cancelled",
    "killed",
    "evicted",
    "incorrect",
    "orphaned",
];
const BUSY: &[&str] = &[
    "pending",
    "progress",
    "progressing",
    "inprogress",
    "creating",
    "updating",
    "provisioning",
    "initializing",
    "initialising",
    "starting",
    "waiting",
    "wait",
    "awaiting",
    "installing",
    "reconciling",
    "deploying",
    "upgrading",
    "scaling",
    "scheduling",
    "issuing",
    "terminating",
    "deleting",
    "queued",
    "requested",
    "promoting",
    "syncing",
    "preparing",
    "validating",
    "processing",
    "launching",
    "allocating",
    "binding",
    "attaching",
    "migrating",
    "restarting",
    "rolling",
    "building",
    "importing",
    "configuring",
    "bootstrapping",
    "finalising",
    "finalizing",
    "modifying",
    "executing",
    "running",
    "submitted",
    "outofsync",
    "outdated",
    "new",
    "init",
    "started",
    "analysis",
    "analyzing",
    "yellow",
    "growing",
    "shrinking",
    "applying",
    "recovering",
    "unready",
    "unscheduled",
    "doing",
];
const PAUSED: &[&str] = &[
    "paused",
    "suspended",
    "stopped",
    "hibernated",
    "hibernating",
    "disabled",
    "halted",
    "inactive",
];
const GOOD: &[&str] = &[
    "ready",
    "available",
    "active",
    "bound",
    "healthy",
    "succeeded",
    "success",
    "successful",
    "successfully",
    "complete",
    "completed",
    "finished",
    "deployed",
    "established",
    "ok",
    "synced",
    "insync",
    "exists",
    "exist",
    "online",
    "provisioned",
    "configured",
    "valid",
    "validated",
    "connected",
    "done",
    "normal",
    "created",
    "updated",
    "uptodate",
    "accepted",
    "programmed",
    "resolved",
    "applied",
    "installed",
    "initialized",
    "compliant",
    "green",
    "true",
    "passed",
    "enabled",
    "reconciled",
    "protected",
    "registered",
    "running",
    "schedulable",
    "scheduled",
    "attached",
    "operational",
    "current",
    "stable",
    "present",
    "admitted",
    "satisfied",
];
const GONE: &[&str] = &["notfound", "missing"];
const UNSURE: &[&str] = &["unknown", "inconclusive", "undefined", "unspecified"];
/// A word of more parts is a sentence: `Waiting for pods to be ready`.
const MAX_WORD_PARTS: usize = 3;
const NEGATIONS: &[&str] = &["not", "no", "never", "non", "un", "without", "in"];

/// What a word says, if it says anything. `Running` is good here: a phase of things that are meant to run.
pub(super) fn tone(word: &str) -> Option<Tone> {
    let parts = parts(word);
    let whole = parts.concat();
    let has = |list: &[&str]| {
        parts.iter().any(|part| list.contains(&part.as_str())) || list.contains(&whole.as_str())
    };
    let negated = |list: &[&str]| {
        parts
            .windows(2)
            .any(|pair| NEGATIONS.contains(&pair[0].as_str()) && list.contains(&pair[1].as_str()))
    };
    if has(GONE) || negated(&["found"]) {
        Some(Tone::Gone)
    } else if has(BAD) && !negated(BAD) {
        Some(Tone::Bad)
    } else if has(UNSURE) {
        Some(Tone::Unsure)
    } else if negated(GOOD) {
        Some(Tone::NotYet)
    } else if has(PAUSED) {
        Some(Tone::Paused)
    } else if (has(BUSY) || ongoing(&parts)) && !(has(GOOD) && ends_well(&parts)) {
        Some(Tone::Busy)
    } else if has(GOOD) || negated(BAD) {
        Some(Tone::Good)
    } else {
        None
    }
}

/// Whether a word (not a whole sentence) ends in a good part: `RolloutCompleted`, `Running`.
fn ends_well(parts: &[String]) -> bool {
    parts.len() <= MAX_WORD_PARTS
        && parts
            .last()
            .is_some_and(|part| GOOD.contains(&part.as_str()))
}

/// Whether something is going on: `Cloning`, `Waiting for pods`.
pub(super) fn ongoing(parts: &[String]) -> bool {
    parts
        .iter()
        .any(|part| part.len() > 5 && part.ends_with("ing") && !GOOD.contains(&part.as_str()))
}

/// `ProvisioningFailed` to `provisioning`, `failed`; `PROVISIONING` and `in-progress` as they are.
pub(super) fn parts(word: &str) -> Vec<String> {
    let (mut parts, mut part, mut before) = (Vec::new(), String::new(), ' ');
    for c in word.chars() {
        let boundary = !c.is_alphanumeric() || (c.is_uppercase() && before.is_lowercase());
        if boundary && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
        }
        if c.is_alphanumeric() {
            part.extend(c.to_lowercase());
        }
        before = c;
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_understood_by_their_parts() {
        for (word, expected) in [
            ("ProvisioningFailed", Some(Tone::Bad)),
            ("Failed", Some(Tone::Bad)),
            ("NoErrors", Some(Tone::Good)),
            ("NotReady", Some(Tone::NotYet)),
            ("PROVISIONING", Some(Tone::Busy)),
            ("in-progress", Some(Tone::Busy)),
            ("RolloutCompleted", Some(Tone::Good)),
            ("Running", Some(Tone::Good)),
            ("Waiting for pods to be ready", Some(Tone::Busy)),
            ("Cloning", Some(Tone::Busy)),
            ("Paused", Some(Tone::Paused)),
            ("NotFound", Some(Tone::Gone)),
            ("Unknown", Some(Tone::Unsure)),
            ("Bananas", None),
            ("", None),
        ] {
            assert_eq!(tone(word), expected, "{word}");
        }
    }
}
