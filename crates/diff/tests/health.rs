//! Our own judgement of the objects people run, with the field that is waited for.

use regraft_diff::health::{Profile, judge, status_word};
use regraft_model::{Object, Timestamp};
use serde_json::{Value, json};

/// 2026-01-01T00:00:00Z.
const NOW: Timestamp = Timestamp(1_767_225_600_000);

/// `expected` is `Health Reason [field]`.
#[track_caller]
fn check(object: Value, expected: &str) {
    let verdict = judge(&Object(object), Profile::Regraft, NOW);
    let told = format!(
        "{} {} {}",
        verdict.health, verdict.reason, verdict.waits_for
    );
    assert_eq!(told.trim_end(), expected, "{}", verdict.message);
}

fn deployment(spec: Value, status: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "generation": 2},
        "spec": spec, "status": status})
}

fn rolled_out(replicas: i64) -> Value {
    json!({"observedGeneration": 2, "replicas": replicas, "updatedReplicas": replicas, "readyReplicas": replicas,
        "availableReplicas": replicas, "conditions": [
            {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
            {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"}]})
}

fn with(mut value: Value, pointer: &str, new: Value) -> Value {
    *value.pointer_mut(pointer).expect("it is there") = new;
    value
}

fn pod(phase: &str, status: Value) -> Value {
    let mut status = status;
    status["phase"] = json!(phase);
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1"}, "status": status})
}

fn waiting(reason: &str) -> Value {
    json!({"containerStatuses": [{"name": "web", "state": {"waiting": {"reason": reason}}}]})
}

#[test]
fn deployments() {
    let spec = json!({"replicas": 2, "progressDeadlineSeconds": 600});
    check(deployment(spec.clone(), rolled_out(2)), "Healthy Available");
    check(
        deployment(json!({"replicas": 0}), rolled_out(0)),
        "Healthy Available",
    );
    check(
        deployment(
            spec.clone(),
            with(rolled_out(2), "/observedGeneration", json!(1)),
        ),
        "Progressing LatestGenerationNotObserved .status.observedGeneration",
    );
    check(
        deployment(
            spec.clone(),
            with(rolled_out(2), "/updatedReplicas", json!(1)),
        ),
        "Progressing LessUpdated .status.updatedReplicas",
    );
    check(
        deployment(
            spec.clone(),
            with(
                rolled_out(2),
                "/conditions/0/reason",
                json!("ProgressDeadlineExceeded"),
            ),
        ),
        "Degraded ProgressDeadlineExceeded .status.conditions[type=Progressing].status",
    );
    check(
        deployment(
            spec.clone(),
            with(
                rolled_out(2),
                "/conditions/1",
                json!({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"}),
            ),
        ),
        "Degraded FailedCreate .status.conditions[type=ReplicaFailure].status",
    );
    check(
        deployment(json!({"replicas": 2, "paused": true}), rolled_out(2)),
        "Suspended Paused",
    );
    check(
        deployment(spec, json!({})),
        "Progressing LessReplicas .status.replicas",
    );
}

#[test]
fn pods() {
    let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    let unschedulable = |since: &str| {
        json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/3 nodes are available", "lastTransitionTime": since}]})
    };
    check(pod("Running", ready), "Healthy PodReady");
    check(pod("Succeeded", json!({})), "Healthy PodSucceeded");
    check(pod("Failed", json!({})), "Degraded PodFailed .status.phase");
    check(
        pod("Running", json!({})),
        "Progressing PodRunningNotReady .status.conditions[type=Ready].status",
    );
    for reason in [
        "CrashLoopBackOff",
        "ImagePullBackOff",
        "ErrImagePull",
        "CreateContainerConfigError",
        "InvalidImageName",
    ] {
        check(
            pod("Pending", waiting(reason)),
            &format!("Degraded {reason} .status.containerStatuses[name=web].state"),
        );
    }
    check(
        pod("Pending", waiting("ContainerCreating")),
        "Progressing PodPending .status.phase",
    );
    check(
        pod(
            "Pending",
            json!({"initContainerStatuses": [{"name": "init", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
        ),
        "Degraded CrashLoopBackOff .status.initContainerStatuses[name=init].state",
    );
    check(
        pod("Pending", unschedulable("2025-12-31T23:59:50Z")),
        "Progressing PodNotScheduled .status.conditions[type=PodScheduled].status",
    );
    check(
        pod("Pending", unschedulable("2025-12-31T23:59:30Z")),
        "Degraded PodUnschedulable .status.conditions[type=PodScheduled].status",
    );
}

#[test]
fn other_built_in_kinds() {
    let job = |status: Value| json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {}, "status": status});
    check(
        job(json!({"startTime": "x", "active": 1})),
        "Progressing JobInProgress .status.conditions[type=Complete].status",
    );
    check(
        job(json!({"conditions": [{"type": "Complete", "status": "True"}]})),
        "Healthy JobComplete",
    );
    check(
        job(
            json!({"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}),
        ),
        "Degraded BackoffLimitExceeded .status.conditions[type=Failed].status",
    );
    let claim = |phase: &str| json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "status": {"phase": phase}});
    check(claim("Bound"), "Healthy Bound");
    check(claim("Pending"), "Progressing NotBound .status.phase");
    check(claim("Lost"), "Degraded Lost .status.phase");
    let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {}, "spec": {"replicas": 3},
        "status": {"replicas": 3, "readyReplicas": 3, "currentReplicas": 3, "currentRevision": "a", "updateRevision": "b"}});
    check(set, "Progressing RevisionMismatch .status.currentRevision");
    let daemons = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {},
        "status": {"desiredNumberScheduled": 3, "currentNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 2}});
    check(daemons, "Progressing LessAvailable .status.numberAvailable");
    let balancer = json!({"apiVersion": "v1", "kind": "Service", "spec": {"type": "LoadBalancer"}});
    check(
        balancer,
        "Progressing NoAddress .status.loadBalancer.ingress",
    );
    check(
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress"}),
        "Healthy Current",
    );
    check(
        json!({"apiVersion": "v1", "kind": "ConfigMap"}),
        "Healthy Current",
    );
    let hpa = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "status": {"conditions": [
        {"type": "AbleToScale", "status": "True"}, {"type": "ScalingActive", "status": "False", "reason": "FailedGetResourceMetric"}]}});
    check(
        hpa,
        "Degraded FailedGetResourceMetric .status.conditions[type=ScalingActive].status",
    );
    check(
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"deletionTimestamp": "x"}}),
        "Progressing Terminating .metadata.deletionTimestamp",
    );
    check(json!("text"), "Unknown NotAnObject");
}

#[test]
fn kinds_nobody_told_us_about() {
    let custom = |status: Value| json!({"apiVersion": "example.com/v1", "kind": "Database", "metadata": {"generation": 2}, "status": status});
    let condition = |kind: &str, status: &str, reason: &str| {
        custom(json!({"conditions": [{"type": kind, "status": status, "reason": reason}]}))
    };
    check(custom(json!({})), "Healthy Current");
    check(
        custom(json!({"observedGeneration": 1})),
        "Progressing LatestGenerationNotObserved .status.observedGeneration",
    );
    check(condition("Ready", "True", "AllGood"), "Healthy AllGood");
    check(
        condition("Ready", "False", "Creating"),
        "Progressing Creating .status.conditions[type=Ready].status",
    );
    check(
        condition("Ready", "False", "BackupFailed"),
        "Degraded BackupFailed .status.conditions[type=Ready].status",
    );
    check(
        condition("Ready", "False", "Whatever"),
        "Progressing Whatever .status.conditions[type=Ready].status",
    );
    check(
        condition("Stalled", "True", "Quota"),
        "Degraded Quota .status.conditions[type=Stalled].status",
    );
    check(
        custom(json!({"phase": "Failed"})),
        "Degraded Failed .status.phase",
    );
    check(
        custom(json!({"phase": "Provisioning"})),
        "Progressing Provisioning .status.phase",
    );
    check(custom(json!({"phase": "Running"})), "Healthy Running");
    let parents = json!({"parents": [{"conditions": [{"type": "Accepted", "status": "False", "reason": "InvalidKind"}]}]});
    check(
        custom(parents),
        "Degraded InvalidKind .status.conditions[type=Accepted].status",
    );
}

#[test]
fn verdicts_are_told_in_the_words_of_each_tool() {
    let words = |object: Value| {
        [Profile::Regraft, Profile::Kstatus, Profile::Argo]
            .map(|profile| status_word(profile, &judge(&Object(object.clone()), profile, NOW)))
            .join(" ")
    };
    let deleted =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"deletionTimestamp": "x"}});
    assert_eq!(words(deleted), "Progressing Terminating Progressing");
    assert_eq!(words(pod("Failed", json!({}))), "Degraded Failed Degraded");
    assert_eq!(
        words(deployment(json!({"replicas": 2}), rolled_out(2))),
        "Healthy Current Healthy"
    );
    let started = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {}, "status": {"startTime": "x"}});
    assert_eq!(words(started), "Progressing Current Progressing");
}
