//! What a cluster tells.

use crate::world::{World, config_map, deployment, done, namespace, ours, request, shared};
use regraft_model::apply::{ClusterEvent, KindScope, KindVersion};
use regraft_model::object::APPLICATION_LABEL;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_told_in_order_and_what_loses_our_label_is_gone() {
    let plane = shared();
    let mut world = World::ready(plane.regraft_kubeconfig(), &[("v1", "ConfigMap")]).await;
    world
        .until("the first list", |event| {
            matches!(event, ClusterEvent::Listed { kind, scope: KindScope::Namespaced } if kind.kind == "ConfigMap")
        })
        .await;
    let objects = [
        namespace("tell", "tell"),
        config_map("tell", ("tell", "told"), "1"),
    ];
    done(&world.cluster.apply(request("tell", &objects)).await);
    let seen = world.seen("ConfigMap", "told", |_| true).await;
    assert_eq!(seen.api_version(), "v1");
    assert_eq!(seen.text("/data/key"), "1");
    assert!(seen.0["metadata"].get("managedFields").is_none());
    let path = "/api/v1/namespaces/tell/configmaps/told";
    plane
        .api()
        .merge(path, &json!({"data": {"key": "2"}}))
        .unwrap();
    world
        .seen("ConfigMap", "told", |object| {
            object.text("/data/key") == "2"
        })
        .await;
    plane
        .api()
        .merge(
            path,
            &json!({"metadata": {"labels": {(APPLICATION_LABEL): null}}}),
        )
        .unwrap();
    world.gone("ConfigMap", "told").await;
    world.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_replica_sets_and_warnings_are_told_trimmed() {
    let plane = shared();
    let mut world = World::ready(plane.regraft_kubeconfig(), &[]).await;
    let mut web = deployment("pods", ("pods", "web"), "web:1");
    web.0["spec"]["replicas"] = json!(1);
    let objects = [namespace("pods", "pods"), web];
    done(&world.cluster.apply(request("pods", &objects)).await);
    let running = world
        .until("a running pod", |event| match event {
            ClusterEvent::Seen(object) => {
                object.kind() == "Pod"
                    && object.namespace() == "pods"
                    && object.text("/status/phase") == "Running"
            }
            _ => false,
        })
        .await;
    let Some(ClusterEvent::Seen(pod)) = running.last() else {
        panic!("no pod");
    };
    assert_eq!(pod.text("/spec/containers/0/image"), "web:1");
    assert!(pod.0["spec"]["containers"][0].get("resources").is_none());
    assert_eq!(
        pod.controller().map(|(kind, _, _)| kind),
        Some("ReplicaSet")
    );
    let replica_set = running.iter().rev().find_map(|event| match event {
        ClusterEvent::Seen(object)
            if object.kind() == "ReplicaSet" && object.namespace() == "pods" =>
        {
            Some(object)
        }
        _ => None,
    });
    let replica_set = replica_set.expect("the ReplicaSet of the pod");
    assert_eq!(
        replica_set.annotation("deployment.kubernetes.io/revision"),
        Some("1")
    );
    assert_eq!(
        replica_set.text("/spec/template/spec/containers/0/image"),
        "web:1"
    );

    let warning = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "warned", "namespace": "pods"},
        "type": "Warning", "reason": "BackOff", "message": "Back-off restarting failed container",
        "involvedObject": {"kind": "Pod", "namespace": "pods", "name": pod.name(), "uid": pod.uid()}});
    plane
        .api()
        .create("/api/v1/namespaces/pods/events", &warning)
        .unwrap();
    let event = world.seen("Event", "warned", |_| true).await;
    assert_eq!(event.text("/reason"), "BackOff");
    assert_eq!(event.text("/involvedObject/uid"), pod.uid());
    world.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_comes_later_is_told_missing_then_listed_then_missing_again() {
    let plane = shared();
    let kind = KindVersion::new("late.example.com/v1", "Latecomer");
    let mut world = World::ready(
        plane.regraft_kubeconfig(),
        &[("late.example.com/v1", "Latecomer")],
    )
    .await;
    let missing = ClusterEvent::NoSuchKind {
        kind: kind.clone(),
        served_otherwise: false,
    };
    world
        .until("that the kind is missing", |event| *event == missing)
        .await;
    let crd = ours(
        "late",
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        ("", "latecomers.late.example.com"),
        json!({"spec": {"group": "late.example.com", "names": {"kind": "Latecomer", "plural": "latecomers"},
            "scope": "Cluster", "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}}),
    );
    let object = ours(
        "late",
        "late.example.com/v1",
        "Latecomer",
        ("", "one"),
        json!({"spec": {"any": 1}}),
    );
    done(&world.cluster.apply(request("late", &[crd, object])).await);
    // Listed while still empty, or with the object: both are right.
    let listed = ClusterEvent::Listed {
        kind: kind.clone(),
        scope: KindScope::Cluster,
    };
    let told = world
        .until(
            "the object",
            |event| matches!(event, ClusterEvent::Seen(object) if object.kind() == "Latecomer"),
        )
        .await;
    if !told.contains(&listed) {
        world.until("the list", |event| *event == listed).await;
    }
    plane
        .api()
        .delete(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/latecomers.late.example.com",
        )
        .unwrap();
    world.gone("Latecomer", "one").await;
    world
        .until("that the kind is missing again", |event| *event == missing)
        .await;
    world.cluster.stop().await;
}
