//! What the judges read: conditions, generations, counts; and how they answer.

use regraft_model::{Health, Object, Verdict};
use serde_json::Value;

/// Reason of an object that is being deleted.
pub(super) const TERMINATING: &str = "Terminating";

/// Makes a verdict.
pub(super) fn verdict(
    health: Health,
    reason: &str,
    message: impl Into<String>,
    waits_for: &str,
) -> Verdict {
    Verdict {
        health,
        reason: reason.to_owned(),
        message: message.into(),
        waits_for: waits_for.to_owned(),
    }
}

/// Healthy, with the words for people.
pub(super) fn healthy(reason: &str, message: impl Into<String>) -> Verdict {
    verdict(Health::Healthy, reason, message, "")
}

/// Progressing, waiting for a field.
pub(super) fn waits(reason: &str, message: impl Into<String>, waits_for: &str) -> Verdict {
    verdict(Health::Progressing, reason, message, waits_for)
}

/// Waits until a count of the status has reached a number.
pub(super) fn short_of(reason: &str, what: &str, has: i64, wants: i64, field: &str) -> Verdict {
    waits(
        reason,
        format!("{has} of {wants} {what}"),
        &format!(".status.{field}"),
    )
}

/// A count of the status, 0 when it is absent.
pub(super) fn count(object: &Object, field: &str) -> i64 {
    object.number(&format!("/status/{field}")).unwrap_or(0)
}

/// The generation that the controller has not looked at yet, if so.
pub(super) fn stale_generation(object: &Object) -> Option<Verdict> {
    let generation = object.number("/metadata/generation")?;
    let observed = observed_generation(object)?;
    (generation != observed).then(|| {
        waits(
            "LatestGenerationNotObserved",
            format!("generation is {generation}, the controller has seen {observed}"),
            ".status.observedGeneration",
        )
    })
}

/// `status.observedGeneration`; some controllers write it as text.
pub(super) fn observed_generation(object: &Object) -> Option<i64> {
    match object.0.pointer("/status/observedGeneration")? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// Whether a group comes with Kubernetes itself.
pub(super) fn is_built_in(group: &str) -> bool {
    group.is_empty()
        || ["apps", "batch", "autoscaling", "policy", "extensions"].contains(&group)
        // Groups under k8s.io are Kubernetes' own, except those of its sub-projects' custom kinds.
        || (group.strip_suffix(".k8s.io").is_some_and(|name| {
            [
                "admissionregistration", "apiextensions", "apiregistration", "authentication", "authorization",
                "certificates", "coordination", "discovery", "events", "flowcontrol.apiserver", "internal.apiserver",
                "networking", "node", "rbac.authorization", "resource", "scheduling", "storage", "storagemigration",
            ]
            .contains(&name)
        }))
}

/// The conditions of an object.
pub(super) struct Conditions<'a>(Vec<Condition<'a>>);

/// One condition.
#[derive(Clone, Copy)]
pub(super) struct Condition<'a> {
    /// Its type.
    pub(super) kind: &'a str,
    /// `True`, `False`, `Unknown`.
    pub(super) status: &'a str,
    /// Its reason.
    pub(super) reason: &'a str,
    /// Its message.
    pub(super) message: &'a str,
    /// The generation it speaks of, where it says so.
    pub(super) observed_generation: Option<i64>,
}

impl<'a> Conditions<'a> {
    /// From `status.conditions`.
    pub(super) fn of(object: &'a Object) -> Self {
        Self(
            object
                .list("/status/conditions")
                .iter()
                .filter_map(condition)
                .collect(),
        )
    }

    /// From every list named `conditions` in the status: Gateway API routes keep theirs per parent.
    pub(super) fn everywhere(object: &'a Object) -> Self {
        let mut found = Vec::new();
        if let Some(status) = object.0.get("status") {
            gather(status, 0, &mut found);
        }
        Self(found)
    }

    /// The condition of this type.
    pub(super) fn get(&self, kind: &str) -> Option<Condition<'a>> {
        self.0
            .iter()
            .find(|condition| condition.kind == kind)
            .copied()
    }

    /// All of them, in the order of the object.
    pub(super) fn iter(&self) -> impl Iterator<Item = Condition<'a>> + '_ {
        self.0.iter().copied()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How deep conditions are looked for: `status.parents[].conditions` and the like.
const MAX_CONDITION_DEPTH: usize = 4;

fn gather<'a>(value: &'a Value, depth: usize, found: &mut Vec<Condition<'a>>) {
    if depth > MAX_CONDITION_DEPTH {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::Array(items) if name == "conditions" => {
                        found.extend(items.iter().filter_map(condition))
                    }
                    other => gather(other, depth + 1, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, depth + 1, found)),
        _ => {}
    }
}

fn condition(value: &Value) -> Option<Condition<'_>> {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    Some(Condition {
        kind: text("type")?,
        status: text("status").unwrap_or_default(),
        reason: text("reason").unwrap_or_default(),
        message: text("message").unwrap_or_default(),
        observed_generation: value.get("observedGeneration").and_then(Value::as_i64),
    })
}

impl Condition<'_> {
    /// Whether its status is `True`.
    pub(super) fn is_true(&self) -> bool {
        self.status.eq_ignore_ascii_case("true")
    }

    /// Whether its status is `False`.
    pub(super) fn is_false(&self) -> bool {
        self.status.eq_ignore_ascii_case("false")
    }

    /// A verdict in this condition's words, with a reason for the case that it has none.
    pub(super) fn verdict(&self, health: Health, default_reason: &str) -> Verdict {
        let reason = match self.reason {
            "" => default_reason,
            reason => reason,
        };
        let message = match self.message {
            "" => format!("{} is {}", self.kind, self.status),
            message => message.to_owned(),
        };
        let waits_for = match health {
            Health::Healthy | Health::Suspended => String::new(),
            _ => format!(".status.conditions[type={}].status", self.kind),
        };
        verdict(health, reason, message, &waits_for)
    }
}
