//! Staged server-side apply.

use crate::world::{
    World, config_map, deployment, done, failures, inventory, namespace, ours, request, shared,
    stage,
};
use regraft_model::apply::{ApplyRequest, StageWait, Written};
use regraft_model::config::Conflicts;
use regraft_model::object::INSTALLATION_ANNOTATION;
use regraft_model::{Object, ObjectKey};
use serde_json::{Value, json};

/// One of each kind that people deploy most, in forms that the server completes with defaults.
fn zoo(namespace: &str) -> Vec<Object> {
    let app = "zoo";
    let place = |name: &'static str| (namespace, name);
    let ns = |api_version: &str, kind: &str, name: &'static str, rest: Value| {
        ours(app, api_version, kind, place(name), rest)
    };
    let pod = json!({"metadata": {"labels": {"app": "a"}},
        "spec": {"containers": [{"name": "c", "image": "i:1", "env": [{"name": "A", "value": "1"}],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
            "volumes": [{"name": "v", "emptyDir": {}}]}});
    let never =
        json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}});
    vec![
        crd(),
        crate::world::namespace(app, namespace),
        ns(
            "zoo.example.com/v1",
            "Widget",
            "widget",
            json!({"spec": {"size": 3}}),
        ),
        deployment(app, place("deployment"), "i:1"),
        ns(
            "apps/v1",
            "StatefulSet",
            "stateful",
            json!({"spec": {"replicas": 0, "serviceName": "s",
            "selector": {"matchLabels": {"app": "a"}}, "template": pod,
            "volumeClaimTemplates": [{"metadata": {"name": "d"}, "spec": {"accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}}}}]}}),
        ),
        ns(
            "apps/v1",
            "DaemonSet",
            "daemon",
            json!({"spec": {"selector": {"matchLabels": {"app": "d"}},
            "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"nodeSelector": {"no": "where"},
                "containers": [{"name": "c", "image": "i:1"}]}}}}),
        ),
        ns(
            "batch/v1",
            "CronJob",
            "cron",
            json!({"spec": {"schedule": "0 0 1 1 *", "suspend": true,
            "jobTemplate": {"spec": {"template": never}}}}),
        ),
        ns(
            "v1",
            "Service",
            "service",
            json!({"spec": {"selector": {"app": "a"}, "ports": [{"port": 80}]}}),
        ),
        ns("v1", "ServiceAccount", "account", json!({})),
        ns(
            "v1",
            "ConfigMap",
            "config",
            json!({"data": {"a": "1"}, "binaryData": {"b": "AAEC"}}),
        ),
        ns(
            "v1",
            "Secret",
            "secret",
            json!({"stringData": {"a": "hunter2"}, "data": {"b": "aHVudGVyMw=="}}),
        ),
        ns(
            "v1",
            "PersistentVolumeClaim",
            "claim",
            json!({"spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}}),
        ),
        ns(
            "v1",
            "LimitRange",
            "limits",
            json!({"spec": {"limits": [{"type": "Pod", "max": {"cpu": "64"}}]}}),
        ),
        ns(
            "networking.k8s.io/v1",
            "Ingress",
            "ingress",
            json!({"spec": {"rules": [{"host": "a.example.com",
            "http": {"paths": [{"path": "/", "pathType": "Prefix",
                "backend": {"service": {"name": "service", "port": {"number": 80}}}}]}}]}}),
        ),
        ns(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            "policy",
            json!({"spec": {"podSelector": {},
            "policyTypes": ["Ingress"], "ingress": [{"from": [{"namespaceSelector": {}}]}]}}),
        ),
        ns(
            "policy/v1",
            "PodDisruptionBudget",
            "budget",
            json!({"spec": {"maxUnavailable": "50%",
            "selector": {"matchLabels": {"app": "a"}}}}),
        ),
        ns(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            "scaler",
            json!({"spec": {"minReplicas": 1, "maxReplicas": 2,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "nothing"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 80}}}]}}),
        ),
        ns(
            "rbac.authorization.k8s.io/v1",
            "Role",
            "role",
            json!({"rules": [{"apiGroups": [""],
            "resources": ["pods"], "verbs": ["get"]}]}),
        ),
        ns(
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            "binding",
            json!({
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "role"},
            "subjects": [{"kind": "ServiceAccount", "name": "account", "namespace": namespace}]}),
        ),
        ours(
            app,
            "rbac.authorization.k8s.io/v1",
            "ClusterRole",
            ("", "zoo:reader"),
            json!({"rules": []}),
        ),
        ours(
            app,
            "scheduling.k8s.io/v1",
            "PriorityClass",
            ("", "zoo"),
            json!({"value": 7}),
        ),
        ours(
            app,
            "storage.k8s.io/v1",
            "StorageClass",
            ("", "zoo"),
            json!({"provisioner": "zoo.example.com/none"}),
        ),
    ]
}

fn crd() -> Object {
    ours(
        "zoo",
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        ("", "widgets.zoo.example.com"),
        json!({"spec": {
            "group": "zoo.example.com",
            "names": {"kind": "Widget", "plural": "widgets"},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object",
                "properties": {"spec": {"type": "object", "properties": {
                    "size": {"type": "integer"}, "colour": {"type": "string", "default": "red"}}}},
            }}}],
        }}),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_and_its_object_go_in_one_request_and_the_same_again_writes_nothing() {
    let plane = shared();
    let kinds = [
        ("apps/v1", "Deployment"),
        ("v1", "Service"),
        ("zoo.example.com/v1", "Widget"),
    ];
    let mut world = World::ready(plane.regraft_kubeconfig(), &kinds).await;
    let objects = zoo("zoo");
    let first = world.cluster.apply(request("zoo", &objects)).await;
    assert!(
        done(&first)
            .iter()
            .all(|(_, written)| *written == Written::Written),
        "{:#?}",
        done(&first)
    );
    assert_eq!(first.objects.len(), objects.len());
    // Its fingerprint comes from the watch; the kinds that are not watched are read.
    world.seen("Widget", "widget", |_| true).await;

    let before = world.cluster.stats();
    let again = ApplyRequest {
        inventory_before: inventory(&objects),
        ..request("zoo", &objects)
    };
    let second = world.cluster.apply(again).await;
    let changed: Vec<_> = done(&second)
        .into_iter()
        .filter(|(_, written)| *written == Written::Written)
        .collect();
    assert!(changed.is_empty(), "{changed:#?}");
    let after = world.cluster.stats();
    assert_eq!(after.writes, before.writes, "{after:?}");
    assert_eq!(after.unchanged - before.unchanged, objects.len() as u64);
    let versions = |outcome: &regraft_model::apply::ApplyOutcome| -> Vec<(ObjectKey, String)> {
        outcome
            .objects
            .iter()
            // Their controllers write these on their own.
            .filter(|(object, _)| {
                !matches!(
                    object.kind(),
                    "Deployment"
                        | "StatefulSet"
                        | "DaemonSet"
                        | "CustomResourceDefinition"
                        | "HorizontalPodAutoscaler"
                        | "PodDisruptionBudget"
                        | "PersistentVolumeClaim"
                        | "Namespace"
                )
            })
            .map(|(object, _)| (object.key(), object.resource_version().to_owned()))
            .collect()
    };
    assert_eq!(versions(&first), versions(&second));
    world.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_object_keeps_its_whole_stage_from_being_written() {
    let plane = shared();
    let world = World::ready(plane.regraft_kubeconfig(), &[]).await;
    let bad = |name, rest| ours("bad", "apps/v1", "Deployment", ("bad", name), rest);
    let objects = [
        namespace("bad", "bad"),
        config_map("bad", ("bad", "good"), "1"),
        bad("unknown-field", json!({"spec": {"replica": 3}})),
        bad("incomplete", json!({"spec": {"replicas": 1}})),
        config_map("bad", ("nowhere", "lost"), "1"),
        ours(
            "bad",
            "example.com/v9",
            "Gadget",
            ("bad", "gadget"),
            json!({}),
        ),
        ours(
            "bad",
            "v1",
            "Secret",
            ("bad", "secret"),
            json!({"data": {"key": "hunter2!"}}),
        ),
        ours("bad", "v1", "ConfigMap", ("bad", "Upper_Case"), json!({})),
    ];
    let outcome = world.cluster.apply(request("bad", &objects)).await;
    insta::assert_snapshot!(failures(&outcome).join("\n"));
    assert_eq!(
        outcome.objects.len(),
        1,
        "only the namespace, an earlier stage"
    );
    assert!(
        plane
            .api()
            .get("/api/v1/namespaces/bad/configmaps/good")
            .is_err()
    );
    world.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_of_another_manager_is_a_named_conflict_until_it_is_forced() {
    let plane = shared();
    let world = World::ready(plane.regraft_kubeconfig(), &[]).await;
    let objects = [
        namespace("fight", "fight"),
        deployment("fight", ("fight", "web"), "web:1"),
    ];
    let path = "/apis/apps/v1/namespaces/fight/deployments/web";
    let mut foreign = deployment("fight", ("fight", "web"), "web:9").0;
    foreign["spec"]["replicas"] = json!(5);
    foreign["metadata"] = json!({"name": "web"});
    foreign["spec"]["template"]["spec"]["containers"] = json!([{"name": "main", "image": "web:9"}]);
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fight"}});
    for (path, object) in [("/api/v1/namespaces/fight", &space), (path, &foreign)] {
        let taken = plane.api().request(
            "PATCH",
            &format!("{path}?fieldManager=kubectl"),
            Some(("application/apply-patch+yaml", &object.to_string())),
        );
        assert_eq!(taken.unwrap().status, 201);
    }

    let mut again = request("fight", &objects);
    let refused = world.cluster.apply(again.clone()).await;
    assert_eq!(
        failures(&refused),
        [
            "Deployment.apps fight/web: Stalled Conflict: .spec.replicas, \
          .spec.template.spec.containers[name=\"main\"].image owned by kubectl"
        ]
    );
    assert_eq!(plane.api().get(path).unwrap()["spec"]["replicas"], 5);

    again.stages[1].objects[0].conflicts = Conflicts::Force;
    let forced = world.cluster.apply(again.clone()).await;
    assert_eq!(done(&forced)[1].1, Written::Written);
    assert_eq!(plane.api().get(path).unwrap()["spec"]["replicas"], 0);

    // A plain patch under our own name is no stranger.
    let patched = plane
        .api()
        .request(
            "PATCH",
            &format!("{path}?fieldManager=regraft"),
            Some((
                "application/merge-patch+json",
                &json!({"spec": {"replicas": 4}}).to_string(),
            )),
        )
        .unwrap();
    assert_eq!(patched.status, 200);
    again.stages[1].objects[0].conflicts = Conflicts::Refuse;
    done(&world.cluster.apply(again).await);
    assert_eq!(plane.api().get(path).unwrap()["spec"]["replicas"], 0);
    world.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_edited_after_our_apply_is_put_back_and_what_a_tool_took_is_a_conflict() {
    let plane = shared();
    let world = World::ready(plane.regraft_kubeconfig(), &[]).await;
    let mut web = deployment("edited", ("edited", "web"), "web:1");
    web.0["metadata"]["annotations"][INSTALLATION_ANNOTATION] = json!("home");
    let objects = [namespace("edited", "edited"), web];
    done(&world.cluster.apply(request("edited", &objects)).await);
    let path = "/apis/apps/v1/namespaces/edited/deployments/web";
    let edit = |manager: &str| {
        let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "web:9"}]}}}});
        let answer = plane.api().request(
            "PATCH",
            &format!("{path}?fieldManager={manager}"),
            Some(("application/strategic-merge-patch+json", &image.to_string())),
        );
        assert_eq!(answer.unwrap().status, 200);
    };
    let image = || {
        plane.api().get(path).unwrap()["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    };
    let again = ApplyRequest {
        inventory_before: inventory(&objects),
        ..request("edited", &objects)
    };

    edit("kubectl-edit");
    done(&world.cluster.apply(again.clone()).await);
    assert_eq!(image(), "web:1");

    edit("kustomize-controller");
    let refused = world.cluster.apply(again).await;
    assert_eq!(
        failures(&refused),
        ["Deployment.apps edited/web: Stalled Conflict: \
             .spec.template.spec.containers[name=\"main\"].image owned by kustomize-controller"]
    );
    assert_eq!(image(), "web:9");
    world.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_cannot_change_is_told_as_immutable() {
    let plane = shared();
    let world = World::ready(plane.regraft_kubeconfig(), &[]).await;
    let objects = [
        namespace("stone", "stone"),
        deployment("stone", ("stone", "web"), "web:1"),
    ];
    done(&world.cluster.apply(request("stone", &objects)).await);
    let mut changed = objects.clone();
    changed[1].0["spec"]["selector"]["matchLabels"]["app"] = json!("other");
    changed[1].0["spec"]["template"]["metadata"]["labels"]["app"] = json!("other");
    let outcome = world.cluster.apply(request("stone", &changed)).await;
    let told = failures(&outcome);
    assert_eq!(told.len(), 1);
    assert!(
        told[0].starts_with("Deployment.apps stone/web: Stalled Immutable: ")
            && told[0].contains("field is immutable"),
        "{told:?}"
    );
    world.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_shows_live_next_to_would_be_and_writes_nothing() {
    let plane = shared();
    let world = World::ready(plane.regraft_kubeconfig(), &[]).await;
    let objects = [
        namespace("look", "look"),
        config_map("look", ("look", "old"), "1"),
    ];
    done(&world.cluster.apply(request("look", &objects)).await);
    let writes = world.cluster.stats().writes;
    let asked = stage(
        &[
            config_map("look", ("look", "old"), "2"),
            config_map("look", ("look", "new"), "3"),
            config_map("look", ("nowhere", "lost"), "4"),
        ],
        StageWait::Nothing,
    );
    let previews = world.cluster.preview(asked.objects).await;
    let told: Vec<_> = previews
        .iter()
        .map(|preview| {
            let value = |object: &Option<Object>| {
                object
                    .as_ref()
                    .map(|object| object.text("/data/key").to_owned())
            };
            let failure = preview
                .failure
                .as_ref()
                .map(|failure| failure.reason.as_str());
            (
                preview.key.name.as_str(),
                value(&preview.live),
                value(&preview.would_be),
                failure,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("old", Some("1".to_owned()), Some("2".to_owned()), None),
            ("new", None, Some("3".to_owned()), None),
            ("lost", None, None, Some("NamespaceMissing")),
        ]
    );
    assert_eq!(world.cluster.stats().writes, writes);
    world.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_the_cluster_may_carry_a_namespace_it_does_not_have() {
    let plane = shared();
    let world = World::ready(plane.regraft_kubeconfig(), &[]).await;
    let role = ours(
        "roam",
        "rbac.authorization.k8s.io/v1",
        "ClusterRole",
        ("roam", "roam:reader"),
        json!({"rules": []}),
    );
    let outcome = world
        .cluster
        .apply(request("roam", std::slice::from_ref(&role)))
        .await;
    assert_eq!(
        done(&outcome),
        [(
            "ClusterRole.rbac.authorization.k8s.io roam:reader".to_owned(),
            Written::Written
        )]
    );
    let again = world.cluster.apply(request("roam", &[role])).await;
    assert_eq!(done(&again)[0].1, Written::Unchanged);
    world.cluster.stop().await;
}
