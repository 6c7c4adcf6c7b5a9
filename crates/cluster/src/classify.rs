//! Errors in the words of the model: what to do about them, a stable reason, and the server's own words.

use crate::error::Error;
use crate::failed;
use kube::core::Status;
use kube::core::response::StatusCause;
use regraft_model::ObjectKey;
use regraft_model::apply::{ApplyFailure, Retry};
use regraft_model::object::FIELD_MANAGER;
use regraft_model::text::redact;
use std::collections::BTreeMap;

/// The server's words for a field that cannot change; only these make a refusal `Immutable`.
const IMMUTABLE_PHRASES: &[&str] = &[
    "immutable",
    // StatefulSets, PersistentVolumeClaims and Pods say it in a sentence.
    "updates to statefulset spec for fields other than",
    "pod updates may not change fields other than",
    "cannot change roleRef",
];

/// The server's words for an object that it cannot even read, which it answers as an internal error.
const UNREADABLE_PHRASES: &[&str] = &[
    "failed to create typed patch object",
    "field not declared in schema",
    "illegal base64 data",
    "cannot unmarshal",
    "cannot convert",
];

/// Most conflicting fields named in a message.
const MAX_NAMED_FIELDS: usize = 20;

/// The failure that an error is. With a key it is about that object.
pub(crate) fn failure(key: Option<ObjectKey>, error: &Error) -> ApplyFailure {
    let secret = key
        .as_ref()
        .is_some_and(|key| key.kind == "Secret" && key.group.is_empty());
    let (retry, reason, message) = match error {
        Error::Refused { status, .. } => {
            let (retry, reason) = judge(status);
            let message = match (reason, secret) {
                ("Conflict", _) => redact(&conflict_message(status)),
                (_, true) => fields_only(status),
                (_, false) => redact(&status_message(status, error)),
            };
            (retry, reason, message)
        }
        Error::NotConnected { .. } | Error::Unreachable { .. } => {
            (Retry::Transient, "Unreachable", error.to_string())
        }
        Error::TimedOut { .. } => (Retry::Transient, "Timeout", error.to_string()),
        Error::Malformed { source, .. } => {
            let message = format!("{error}: {source}");
            (Retry::Transient, "MalformedAnswer", message)
        }
        Error::NoSuchKind { .. } => (Retry::Waiting, "NoSuchKind", error.to_string()),
        Error::NoDiscovery => (Retry::Stalled, "Unsupported", error.to_string()),
        Error::BadName { .. } => (Retry::Stalled, "Invalid", error.to_string()),
        Error::InventoryTooLarge { .. } => (Retry::Stalled, "InventoryTooLarge", error.to_string()),
        Error::InventoryMalformed { .. } => {
            (Retry::Stalled, "InventoryMalformed", error.to_string())
        }
        Error::InventoryDiffers { .. } => (Retry::Transient, "InventoryDiffers", error.to_string()),
        Error::InventoryNotOurs { .. } => (Retry::Stalled, "NotOurs", error.to_string()),
        Error::Kubeconfig { .. } | Error::Plugin { .. } | Error::Client { .. } => {
            (Retry::Waiting, "Credentials", error.to_string())
        }
    };
    failed(key, retry, reason, message)
}

/// Whose fields an apply conflicts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contenders {
    /// It is no conflict of fields.
    None,
    /// Only ours: we wrote them by another way.
    Ourselves,
    /// People's: whoever is no GitOps tool.
    People,
    /// Another GitOps tool's, perhaps among others.
    Tools,
}

/// Whose fields an apply conflicts with.
pub(crate) fn contenders(error: &Error) -> Contenders {
    let Error::Refused { status, .. } = error else {
        return Contenders::None;
    };
    let owners: Vec<&str> = causes(status)
        .iter()
        .filter(|cause| cause.reason == FIELD_CONFLICT)
        .map(|cause| owner(&cause.message))
        .collect();
    let is_tool = |owner: &&str| GITOPS_TOOLS.iter().any(|tool| owner.starts_with(tool));
    if status.code != 409 || owners.is_empty() {
        Contenders::None
    } else if owners.iter().any(is_tool) {
        Contenders::Tools
    } else if owners.iter().all(|owner| *owner == FIELD_MANAGER) {
        Contenders::Ourselves
    } else {
        Contenders::People
    }
}

/// How the field managers of other GitOps tools begin: Flux's controllers and command line, Argo CD's controllers.
const GITOPS_TOOLS: &[&str] = &["flux", "kustomize-controller", "helm-controller", "argocd"];

const FIELD_CONFLICT: &str = "FieldManagerConflict";

fn judge(status: &Status) -> (Retry, &'static str) {
    let says = |phrase: &str| status.message.contains(phrase);
    let has_cause = |reason: &str| causes(status).iter().any(|cause| cause.reason == reason);
    let about = |kind: &str| {
        status
            .details
            .as_ref()
            .is_some_and(|details| details.kind == kind)
    };
    match status.code {
        _ if says("denied the request") && says("admission webhook") => {
            (Retry::Stalled, "WebhookDenied")
        }
        _ if says("failed calling webhook") => (Retry::Transient, "WebhookUnavailable"),
        _ if has_cause("NamespaceTerminating") || says("because it is being terminated") => {
            (Retry::Waiting, "NamespaceTerminating")
        }
        400 | 413 | 415 => (Retry::Stalled, "Invalid"),
        401 => (Retry::Waiting, "Unauthorized"),
        403 if says("exceeded quota") => (Retry::Waiting, "QuotaExceeded"),
        403 => (Retry::Stalled, "Forbidden"),
        404 if about("namespaces") => (Retry::Waiting, "NamespaceMissing"),
        // A path that the server does not serve has no details.
        404 if status
            .details
            .as_ref()
            .is_none_or(|details| details.name.is_empty()) =>
        {
            (Retry::Waiting, "NoSuchKind")
        }
        404 => (Retry::Transient, "NotFound"),
        405 => (Retry::Stalled, "Invalid"),
        409 if has_cause(FIELD_CONFLICT) => (Retry::Stalled, "Conflict"),
        409 => (Retry::Transient, "Changed"),
        422 if is_immutable(status) => (Retry::Stalled, "Immutable"),
        422 => (Retry::Stalled, "Invalid"),
        429 => (Retry::Transient, "TooManyRequests"),
        500 if UNREADABLE_PHRASES.iter().any(|phrase| says(phrase)) => (Retry::Stalled, "Invalid"),
        504 => (Retry::Transient, "Timeout"),
        _ => (Retry::Transient, "ServerError"),
    }
}

/// Every cause must say so: with another mistake beside it, replacing the object would not help.
fn is_immutable(status: &Status) -> bool {
    let immutable = |text: &str| IMMUTABLE_PHRASES.iter().any(|phrase| text.contains(phrase));
    match causes(status) {
        [] => immutable(&status.message),
        causes => causes.iter().all(|cause| immutable(&cause.message)),
    }
}

/// `.spec.replicas is owned by kubectl; ...`: fields by manager.
fn conflict_message(status: &Status) -> String {
    let mut fields: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let conflicts = causes(status)
        .iter()
        .filter(|cause| cause.reason == FIELD_CONFLICT);
    let mut total = 0;
    for cause in conflicts {
        total += 1;
        if total <= MAX_NAMED_FIELDS {
            fields
                .entry(owner(&cause.message))
                .or_default()
                .push(&cause.field);
        }
    }
    let mut parts: Vec<String> = fields
        .iter()
        .map(|(owner, fields)| format!("{} owned by {owner}", fields.join(", ")))
        .collect();
    if total > MAX_NAMED_FIELDS {
        parts.push(format!("and {} more fields", total - MAX_NAMED_FIELDS));
    }
    parts.join("; ")
}

/// The manager in `conflict with "kubectl" using apps/v1`.
fn owner(message: &str) -> &str {
    message
        .split_once('"')
        .and_then(|(_, rest)| rest.split_once('"'))
        .map_or(message, |(owner, _)| owner)
}

/// Which fields of a Secret are wrong, without the server's words: they quote values.
fn fields_only(status: &Status) -> String {
    let fields: Vec<_> = causes(status)
        .iter()
        .map(|cause| cause.field.as_str())
        .filter(|field| !field.is_empty())
        .collect();
    let reason = match status.reason.as_str() {
        "" => "refused",
        reason => reason,
    };
    match fields.as_slice() {
        [] => format!(
            "{reason} (HTTP {}); the server's words are withheld, it is a Secret",
            status.code
        ),
        fields => format!("{reason}: {}", fields.join(", ")),
    }
}

fn status_message(status: &Status, error: &Error) -> String {
    match status.message.as_str() {
        "" => error.to_string(),
        message => message.to_owned(),
    }
}

fn causes(status: &Status) -> &[StatusCause] {
    status
        .details
        .as_ref()
        .map_or(&[], |details| details.causes.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn tell(kind: &str, status: Value) -> String {
        let error = Error::Refused {
            verb: "patch",
            subject: "it".to_owned(),
            status: Box::new(serde_json::from_value(status).unwrap()),
        };
        let key = ObjectKey {
            kind: kind.to_owned(),
            ..ObjectKey::default()
        };
        let failure = failure(Some(key), &error);
        format!(
            "{:?} {}: {}",
            failure.retry, failure.reason, failure.message
        )
    }

    fn check(status: Value, expected: &str) {
        assert_eq!(tell("Deployment", status), expected);
    }

    fn conflict(managers: &[(&str, &str)]) -> Value {
        let causes: Vec<_> = managers
            .iter()
            .map(|(manager, field)| {
                json!({"reason": "FieldManagerConflict", "field": field,
                    "message": format!("conflict with \"{manager}\" using apps/v1")})
            })
            .collect();
        json!({"code": 409, "reason": "Conflict", "message": "Apply failed with conflicts",
            "details": {"causes": causes}})
    }

    #[test]
    fn a_conflict_names_its_fields_and_their_managers() {
        check(
            conflict(&[
                ("kubectl", ".spec.replicas"),
                ("flux", ".spec.paused"),
                ("kubectl", ".spec.x"),
            ]),
            "Stalled Conflict: .spec.paused owned by flux; .spec.replicas, .spec.x owned by kubectl",
        );
    }

    #[test]
    fn a_conflict_says_who_contends() {
        let with = |managers: &[(&str, &str)]| {
            contenders(&Error::Refused {
                verb: "patch",
                subject: "it".to_owned(),
                status: Box::new(serde_json::from_value(conflict(managers)).unwrap()),
            })
        };
        assert_eq!(with(&[]), Contenders::None);
        assert_eq!(with(&[("regraft", ".a")]), Contenders::Ourselves);
        assert_eq!(
            with(&[("regraft", ".a"), ("kubectl-edit", ".b")]),
            Contenders::People
        );
        for tool in ["kustomize-controller", "argocd-controller"] {
            assert_eq!(with(&[("kubectl", ".a"), (tool, ".b")]), Contenders::Tools);
        }
    }

    #[test]
    fn only_the_words_for_immutable_make_it_immutable() {
        let invalid = |messages: &[&str]| {
            let causes: Vec<_> = messages
                .iter()
                .map(|message| json!({"message": message, "field": "spec.x"}))
                .collect();
            json!({"code": 422, "reason": "Invalid", "message": messages.join(", "), "details": {"causes": causes}})
        };
        check(
            invalid(&["field is immutable"]),
            "Stalled Immutable: field is immutable",
        );
        check(
            invalid(&[
                "Forbidden: updates to statefulset spec for fields other than 'replicas' are forbidden",
            ]),
            "Stalled Immutable: Forbidden: updates to statefulset spec for fields other than 'replicas' are forbidden",
        );
        check(
            invalid(&["must be positive"]),
            "Stalled Invalid: must be positive",
        );
        check(
            invalid(&["field is immutable", "must be positive"]),
            "Stalled Invalid: field is immutable, must be positive",
        );
    }

    #[test]
    fn what_waits_what_is_transient_and_what_stalls() {
        let status = |code: u16, message: &str, details: Value| json!({"code": code, "message": message, "details": details});
        for (given, expected) in [
            (
                status(
                    404,
                    "namespaces \"a\" not found",
                    json!({"kind": "namespaces", "name": "a"}),
                ),
                "Waiting NamespaceMissing",
            ),
            (
                status(404, "404 page not found", json!({})),
                "Waiting NoSuchKind",
            ),
            (
                status(
                    404,
                    "deployments \"a\" not found",
                    json!({"kind": "deployments", "name": "a"}),
                ),
                "Transient NotFound",
            ),
            (
                status(
                    403,
                    "unable to create new content in namespace a because it is being terminated",
                    json!({"causes": [{"reason": "NamespaceTerminating"}]}),
                ),
                "Waiting NamespaceTerminating",
            ),
            (
                status(403, "exceeded quota: q", json!({})),
                "Waiting QuotaExceeded",
            ),
            (status(403, "user may not", json!({})), "Stalled Forbidden"),
            (
                status(401, "Unauthorized", json!({})),
                "Waiting Unauthorized",
            ),
            (
                status(
                    400,
                    "admission webhook \"w\" denied the request: no",
                    json!({}),
                ),
                "Stalled WebhookDenied",
            ),
            (
                status(500, "failed calling webhook \"w\": timeout", json!({})),
                "Transient WebhookUnavailable",
            ),
            (
                status(500, "failed to create typed patch object", json!({})),
                "Stalled Invalid",
            ),
            (
                status(409, "the object has been modified", json!({})),
                "Transient Changed",
            ),
            (
                status(429, "slow down", json!({})),
                "Transient TooManyRequests",
            ),
            (status(503, "not ready", json!({})), "Transient ServerError"),
            (status(504, "timeout", json!({})), "Transient Timeout"),
        ] {
            let told = tell("Deployment", given);
            assert!(told.starts_with(&format!("{expected}: ")), "{told}");
        }
    }

    #[test]
    fn values_of_a_secret_are_never_told() {
        let status = json!({"code": 422, "reason": "Invalid", "message": "Invalid value: \"hunter2\"",
            "details": {"causes": [{"field": "data[key]", "message": "Invalid value: \"hunter2\""}]}});
        assert_eq!(
            tell("Secret", status),
            "Stalled Invalid: Invalid: data[key]"
        );
        let status =
            json!({"code": 400, "reason": "BadRequest", "message": "cannot decode hunter2"});
        assert_eq!(
            tell("Secret", status),
            "Stalled Invalid: BadRequest (HTTP 400); the server's words are withheld, it is a Secret"
        );
    }

    #[test]
    fn the_words_of_a_server_are_told_without_secrets_and_not_at_any_length() {
        let message = "admission webhook \"w\" denied the request: password=hunter2 is weak";
        let status = json!({"code": 400, "reason": "BadRequest", "message": message});
        insta::assert_snapshot!(tell("Deployment", status), @r#"Stalled WebhookDenied: admission webhook "w" denied the request: password=[redacted] is weak"#);
        let status = json!({"code": 422, "message": "spec is wrong; ".repeat(10_000)});
        assert!(tell("Deployment", status).len() < crate::MAX_MESSAGE_BYTES + 100);
    }
}
