//! What supports a symptom: the templates, the failing pods, the condition, the warnings.

use crate::container::{ContainerStatus, time};
use crate::view::{Age, WorkloadView, condition, is_ready};
use regraft_model::text::{one_line, redact, truncate};
use regraft_model::{Evidence, Object, ObjectKey, Timestamp};
use serde_json::Value;

/// Most pieces of evidence for one symptom: enough to judge, little enough to replicate.
pub(crate) const MAX_EVIDENCE: usize = 10;
/// Most failing containers shown; their siblings say the same.
const MAX_CONTAINERS: usize = 2;
/// Most warning events shown, newest first.
const MAX_EVENTS: usize = 3;
/// Most containers of a template whose images are named.
const MAX_IMAGES: usize = 4;
/// Field of the evidence that names the newest template.
const NEWEST_TEMPLATE: &str = "newest template";
/// Field of the evidence that stands for it while the controller has not seen the latest one.
const UNSETTLED_TEMPLATE: &str = "template being replaced";
/// Field of the evidence that names a template before it.
const OLDER_TEMPLATE: &str = "older template";

/// A container that fails, and the age of its template.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failing<'a> {
    pub(crate) age: Age,
    pub(crate) pod: &'a Object,
    pub(crate) container: ContainerStatus<'a>,
}

/// All evidence, most telling first, redacted and bounded. A time that no object names is `now`.
pub(crate) fn gather(
    view: &WorkloadView<'_>,
    failing: &[Failing<'_>],
    stuck: Option<&Value>,
    now: Timestamp,
) -> Vec<Evidence> {
    let mut gathered = vec![newest_template(view, now)];
    gathered.extend(
        view.older_replica_sets()
            .into_iter()
            .take(1)
            .map(|set| older_template(set, now)),
    );
    gathered.extend(stuck.map(|progressing| {
        item(
            view.workload.key(),
            time(&progressing["lastTransitionTime"]).unwrap_or(now),
            ".status.conditions[Progressing]",
            &with_message(progressing, "reason", "message"),
        )
    }));
    for failing in failing.iter().take(MAX_CONTAINERS) {
        gathered.extend(container_evidence(failing, now));
    }
    gathered.extend(warnings(view, now));
    gathered.truncate(MAX_EVIDENCE);
    gathered
}

fn newest_template(view: &WorkloadView<'_>, now: Timestamp) -> Evidence {
    let object = view.newest_template();
    let set = view
        .newest_replica_set()
        .filter(|set| set.name() == object.name && object.kind == "ReplicaSet");
    let (holder, at) = match set {
        Some(set) => (set, created(set, now)),
        None => (view.workload, created(view.workload, now)),
    };
    let pods: Vec<_> = view
        .live_pods()
        .filter(|pod| view.age(pod) == Age::Newest)
        .collect();
    let ready = pods.iter().filter(|pod| is_ready(pod)).count();
    let text = format!("{}; {ready} of {} pods ready", images(holder), pods.len());
    let field = match view.is_observed() {
        true => NEWEST_TEMPLATE,
        false => UNSETTLED_TEMPLATE,
    };
    item(object, at, field, &text)
}

fn older_template(set: &Object, now: Timestamp) -> Evidence {
    let text = format!(
        "{}; {} of {} pods ready",
        images(set),
        set.number("/status/readyReplicas").unwrap_or(0),
        set.number("/spec/replicas").unwrap_or(0),
    );
    let key = ObjectKey {
        group: "apps".to_owned(),
        kind: "ReplicaSet".to_owned(),
        ..set.key()
    };
    item(key, created(set, now), OLDER_TEMPLATE, &text)
}

fn images(holder: &Object) -> String {
    let pointer = match holder.kind() {
        "Pod" => "/spec/containers",
        _ => "/spec/template/spec/containers",
    };
    holder
        .list(pointer)
        .iter()
        .take(MAX_IMAGES)
        .map(|container| format!("{}={}", text(container, "name"), text(container, "image")))
        .collect::<Vec<_>>()
        .join(", ")
}

fn container_evidence(failing: &Failing<'_>, now: Timestamp) -> Vec<Evidence> {
    let (pod, container) = (failing.pod, failing.container);
    let key = ObjectKey {
        kind: "Pod".to_owned(),
        ..pod.key()
    };
    let field = format!(".status.{}[{}]", container.list, container.name());
    let unready_since = condition(pod, "Ready")
        .and_then(|ready| time(&ready["lastTransitionTime"]))
        .unwrap_or_else(|| created(pod, now));
    let mut evidence = Vec::new();
    let waiting = &container.status["state"]["waiting"];
    if waiting.is_object() {
        evidence.push(item(
            key.clone(),
            unready_since,
            &format!("{field}.state.waiting"),
            &with_message(waiting, "reason", "message"),
        ));
    }
    if let Some(end) = container.last_end() {
        let which = match container.status["state"]["terminated"].is_object() {
            true => "state",
            false => "lastState",
        };
        let text = format!(
            "exit code {} after {} restarts: {}",
            end["exitCode"].as_i64().unwrap_or(-1),
            container.restarts(),
            with_message(end, "reason", "message"),
        );
        evidence.push(item(
            key,
            time(&end["finishedAt"]).unwrap_or(unready_since),
            &format!("{field}.{which}.terminated"),
            &text,
        ));
    }
    evidence
}

/// The newest warnings among the Events of core/v1.
fn warnings(view: &WorkloadView<'_>, now: Timestamp) -> Vec<Evidence> {
    let mut warnings: Vec<_> = view
        .events
        .iter()
        .filter(|event| event.text("/type") == "Warning")
        .map(|event| (event_time(event).unwrap_or(now), *event))
        .collect();
    warnings.sort_by(|(at, event), (other_at, other)| {
        (other_at, other.name()).cmp(&(at, event.name()))
    });
    warnings
        .into_iter()
        .take(MAX_EVENTS)
        .map(|(at, event)| {
            let about = &event.0["involvedObject"];
            let key = ObjectKey {
                group: text(about, "apiVersion")
                    .split_once('/')
                    .map_or(String::new(), |(group, _)| group.to_owned()),
                kind: text(about, "kind").to_owned(),
                namespace: text(about, "namespace").to_owned(),
                name: text(about, "name").to_owned(),
            };
            let text = format!("{}: {}", event.text("/reason"), event.text("/message"));
            item(key, at, "event", &text)
        })
        .collect()
}

fn event_time(event: &Object) -> Option<Timestamp> {
    [
        "/series/lastObservedTime",
        "/lastTimestamp",
        "/eventTime",
        "/metadata/creationTimestamp",
    ]
    .into_iter()
    .find_map(|pointer| Timestamp::parse_rfc3339(event.text(pointer)))
}

fn created(object: &Object, now: Timestamp) -> Timestamp {
    Timestamp::parse_rfc3339(object.text("/metadata/creationTimestamp")).unwrap_or(now)
}

fn with_message(value: &Value, reason: &str, message: &str) -> String {
    match (text(value, reason), text(value, message)) {
        (reason, "") => reason.to_owned(),
        ("", message) => message.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

fn item(object: ObjectKey, at: Timestamp, field: &str, text: &str) -> Evidence {
    Evidence {
        object,
        at,
        field: field.to_owned(),
        text: truncate(&redact(&one_line(text)), Evidence::MAX_TEXT_BYTES),
    }
}
