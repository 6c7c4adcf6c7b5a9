//! What KWOK makes nodes and pods do here.
//!
//! Nodes are ready at once; a pod is ready about half a second after it is
//! bound, unless a fault is asked for: by the tag of a container's image
//! (`shop:crash`, `shop:crash-2`) or by the pod's annotation
//! `testbed.regraft.dev/fault: crash`.
//!
//! | fault | the pod |
//! |---|---|
//! | `crash` | CrashLoopBackOff with rising restarts, also when it was ready before |
//! | `crashlater` | ready first, crashes after `testbed.regraft.dev/after` (default 3 s) |
//! | `nopull` | ErrImagePull, then ImagePullBackOff |
//! | `badconfig` | CreateContainerConfigError |
//! | `slow` | runs and never gets ready |
//!
//! Every loop is bounded, or KWOK would patch for ever. Where a fault's
//! annotation is removed, the pod gets ready again.

use serde_json::{Value, json};

/// Restarts after which a crashing pod is left as it is.
const RESTARTS_MAX: u32 = 6;

/// The fault a pod asks for, or `none` (jq).
const FAULT: &str = r#"[(.metadata.annotations["testbed.regraft.dev/fault"] // ""), .spec.containers[].image] | map(capture("(^|:)(?<fault>crashlater|crash|nopull|badconfig|slow)([-.].*)?$").fault) | .[0] // "none""#;
const ALIVE: (&str, &[&str]) = (r#".metadata.deletionTimestamp // "none""#, &["none"]);
const PHASE: &str = ".status.phase";
const RESTARTS: &str = ".status.containerStatuses[0].restartCount // 0";
const WAITING: &str = r#".status.containerStatuses[0].state.waiting.reason // "none""#;
const READY: &str = r#"[.status.conditions[]? | select(.type == "Ready" and .status == "True")] | length | . > 0 | tostring"#;

const NODE_CONDITIONS: &str = r#"
{{ $now := Now }}
conditions:
{{ range NodeConditions }}
- type: {{ .type | Quote }}
  status: {{ .status | Quote }}
  reason: {{ .reason | Quote }}
  message: {{ .message | Quote }}
  lastHeartbeatTime: {{ $now | Quote }}
  lastTransitionTime: {{ $now | Quote }}
{{ end }}
"#;
const NODE_ADDRESSES: &str = r"
addresses:
- type: InternalIP
  address: {{ NodeIP | Quote }}
- type: Hostname
  address: {{ NodeName | Quote }}
phase: Running
";
const POD_ADDRESSES: &str = r#"
hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
podIP: {{ PodIPWith .spec.nodeName ( or .spec.hostNetwork false ) ( or .metadata.uid "" ) ( or .metadata.name "" ) ( or .metadata.namespace "" ) | Quote }}
"#;
const INIT_CONTAINERS: &str = r"
{{ with .spec.initContainers }}
initContainerStatuses:
{{ range . }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: true
  restartCount: 0
  state:
    terminated: {exitCode: 0, reason: Completed, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}
{{ end }}
{{ end }}
";

/// The stages as KWOK's configuration file: one JSON document each.
pub(super) fn configuration() -> String {
    let stages = [
        node_initialize(),
        node_heartbeat(),
        pod_ready("pod-ready", &[(FAULT, &["none"])]),
        pod_ready(
            "pod-ready-before-crash",
            &[(FAULT, &["crashlater"]), (RESTARTS, &["0"])],
        ),
        pod_complete(),
        pod_delete(),
        pod_crash(
            "pod-crash",
            &[(PHASE, &["Pending", "Running"]), (FAULT, &["crash"])],
            json!({"durationMilliseconds": 600}),
        ),
        pod_crash(
            "pod-crash-later",
            &[(PHASE, &["Running"]), (FAULT, &["crashlater"])],
            json!({
                "durationMilliseconds": 3000,
                "durationFrom": {"expressionFrom": r#".metadata.annotations["testbed.regraft.dev/after"]"#},
            }),
        ),
        pod_no_pull(),
        pod_pull_back_off(),
        pod_bad_config(),
        pod_slow(),
    ];
    stages
        .iter()
        .map(|stage| format!("{stage}\n"))
        .collect::<Vec<_>>()
        .join("---\n")
}

fn node_initialize() -> Value {
    let next = json!({"statusTemplate": format!("{NODE_CONDITIONS}{NODE_ADDRESSES}")});
    stage(
        "node-initialize",
        "Node",
        &[(READY, &["false"])],
        json!({}),
        next,
    )
}

/// KWOK renews the node's lease by itself; its status is refreshed rarely.
fn node_heartbeat() -> Value {
    let delay = json!({"durationMilliseconds": 600_000});
    stage(
        "node-heartbeat",
        "Node",
        &[(READY, &["true"])],
        delay,
        json!({"statusTemplate": NODE_CONDITIONS}),
    )
}

fn pod_ready(name: &str, more: &[(&str, &[&str])]) -> Value {
    let mut when = vec![
        ALIVE,
        (PHASE, ["Pending", "Running"].as_slice()),
        (READY, &["false"]),
    ];
    when.extend(more);
    let containers = containers(&["ready: true", "started: true", KEPT_RESTARTS, RUNNING]);
    let gates = "{{ range .spec.readinessGates }}\n- type: {{ .conditionType | Quote }}\n  status: \"True\"\n  lastTransitionTime: {{ $now | Quote }}\n{{ end }}\n";
    let template = format!(
        "{}{gates}{containers}{INIT_CONTAINERS}{POD_ADDRESSES}phase: Running\n{START}",
        conditions("True", "")
    );
    stage(
        name,
        "Pod",
        &when,
        json!({"durationMilliseconds": 400}),
        json!({"statusTemplate": template}),
    )
}

fn pod_complete() -> Value {
    let when = [
        ALIVE,
        (PHASE, ["Running"].as_slice()),
        (READY, &["true"]),
        (r"[.metadata.ownerReferences[]? | .kind] | .[0]", &["Job"]),
    ];
    let ended = "state:\n    terminated: {exitCode: 0, reason: Completed, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}";
    let containers = containers(&["ready: false", "started: false", KEPT_RESTARTS, ended]);
    let template = format!(
        "{}{containers}phase: Succeeded\n",
        conditions("False", "PodCompleted")
    );
    stage(
        "pod-complete",
        "Pod",
        &when,
        json!({"durationMilliseconds": 500}),
        json!({"statusTemplate": template}),
    )
}

fn pod_delete() -> Value {
    let when = [(
        r"(.metadata.deletionTimestamp != null) and ((.metadata.finalizers // []) | length == 0) | tostring",
        ["true"].as_slice(),
    )];
    stage(
        "pod-delete",
        "Pod",
        &when,
        json!({"durationMilliseconds": 100}),
        json!({"delete": true}),
    )
}

fn pod_crash(name: &str, more: &[(&str, &[&str])], delay: Value) -> Value {
    let bound = format!("{RESTARTS} | . < {RESTARTS_MAX} | tostring");
    let mut when = vec![ALIVE, (bound.as_str(), ["true"].as_slice())];
    when.extend(more);
    let waiting = waiting(
        "CrashLoopBackOff",
        "back-off restarting failed container={{ $container.name }} pod={{ $pod.metadata.name }}",
    );
    let last = "lastState:\n    terminated: {exitCode: 1, reason: Error, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}";
    let restarts = "restartCount: {{ add $restarts 1 }}";
    let template = format!(
        "{}{}phase: Running\n",
        conditions("False", "ContainersNotReady"),
        containers(&["ready: false", "started: false", restarts, &waiting, last])
    );
    let event = event("BackOff", "Back-off restarting failed container");
    stage(
        name,
        "Pod",
        &when,
        delay,
        json!({"event": event, "statusTemplate": template}),
    )
}

fn pod_no_pull() -> Value {
    let waiting = waiting(
        "ErrImagePull",
        "failed to pull and unpack image {{ $container.image }}: not found",
    );
    let event = event("Failed", "Failed to pull image: not found");
    pod_stuck(
        "pod-no-pull",
        &[(FAULT, &["nopull"]), (WAITING, &["none"])],
        &waiting,
        &event,
    )
}

fn pod_pull_back_off() -> Value {
    let waiting = waiting(
        "ImagePullBackOff",
        "Back-off pulling image {{ $container.image }}: not found",
    );
    let event = event("BackOff", "Back-off pulling image");
    pod_stuck(
        "pod-pull-back-off",
        &[(WAITING, &["ErrImagePull"])],
        &waiting,
        &event,
    )
}

fn pod_bad_config() -> Value {
    let waiting = waiting(
        "CreateContainerConfigError",
        "configmap {{ $container.name }}-settings not found",
    );
    let event = event("Failed", "Error: configmap not found");
    pod_stuck(
        "pod-bad-config",
        &[(FAULT, &["badconfig"]), (WAITING, &["none"])],
        &waiting,
        &event,
    )
}

fn pod_stuck(name: &str, more: &[(&str, &[&str])], waiting: &str, event: &Value) -> Value {
    let mut when = vec![ALIVE, (PHASE, ["Pending"].as_slice())];
    when.extend(more);
    let template = format!(
        "{}{}phase: Pending\n{START}",
        conditions("False", "ContainersNotReady"),
        containers(&["ready: false", "started: false", KEPT_RESTARTS, waiting])
    );
    let next = json!({"event": event, "statusTemplate": template});
    stage(
        name,
        "Pod",
        &when,
        json!({"durationMilliseconds": 600}),
        next,
    )
}

fn pod_slow() -> Value {
    let when = [
        ALIVE,
        (PHASE, ["Pending", "Running"].as_slice()),
        (FAULT, &["slow"]),
        (
            ".status.containerStatuses[0] | (. == null or .ready) | tostring",
            &["true"],
        ),
    ];
    let template = format!(
        "{}{}phase: Running\n{START}",
        conditions("False", "ContainersNotReady"),
        containers(&["ready: false", "started: true", KEPT_RESTARTS, RUNNING])
    );
    stage(
        "pod-slow",
        "Pod",
        &when,
        json!({"durationMilliseconds": 400}),
        json!({"statusTemplate": template}),
    )
}

const START: &str = "startTime: {{ or .status.startTime $now | Quote }}\n";
const KEPT_RESTARTS: &str = "restartCount: {{ $restarts }}";
const RUNNING: &str = "state:\n    running: {startedAt: {{ $now | Quote }}}";

/// Initialized is true in each of our states; the other two say whether the pod serves.
fn conditions(ready: &str, reason: &str) -> String {
    format!(
        "{{{{ $now := Now }}}}\n{{{{ $pod := . }}}}\nconditions:\n\
         - type: Initialized\n  status: \"True\"\n  lastTransitionTime: {{{{ $now | Quote }}}}\n\
         - type: Ready\n  status: \"{ready}\"\n  reason: \"{reason}\"\n  lastTransitionTime: {{{{ $now | Quote }}}}\n\
         - type: ContainersReady\n  status: \"{ready}\"\n  reason: \"{reason}\"\n  lastTransitionTime: {{{{ $now | Quote }}}}\n"
    )
}

/// A status for every container; the fields may use `$now`, `$pod`, `$container` and `$restarts`.
fn containers(fields: &[&str]) -> String {
    format!(
        "containerStatuses:\n{{{{ range $index, $container := .spec.containers }}}}\n\
         {{{{ $restarts := 0 }}}}\n\
         {{{{ with $pod.status.containerStatuses }}}}{{{{ $restarts = ( index . $index ).restartCount }}}}{{{{ end }}}}\n\
         - name: {{{{ $container.name | Quote }}}}\n  image: {{{{ $container.image | Quote }}}}\n  {}\n{{{{ end }}}}\n",
        fields.join("\n  ")
    )
}

fn waiting(reason: &str, message: &str) -> String {
    format!("state:\n    waiting: {{reason: {reason}, message: \"{message}\"}}")
}

fn event(reason: &str, message: &str) -> Value {
    json!({"type": "Warning", "reason": reason, "message": message})
}

fn stage(name: &str, kind: &str, when: &[(&str, &[&str])], delay: Value, next: Value) -> Value {
    let expressions: Vec<Value> = when
        .iter()
        .map(|(key, values)| json!({"key": key, "operator": "In", "values": values}))
        .collect();
    json!({
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": kind},
            "selector": {"matchExpressions": expressions},
            "delay": delay,
            "next": next,
        },
    })
}
