//! Prune, orphan and the inventory.

use crate::world::{
    INSTALLATION, World, config_map, done, entry, failures, inventory, namespace, request, shared,
};
use regraft_cluster::Cluster;
use regraft_model::apply::{ApplyOutcome, ApplyRequest, ClusterEvent, Inventory};
use regraft_model::object::{
    APPLICATION_LABEL, INSTALLATION_ANNOTATION, PRUNE_ANNOTATION, PRUNE_DISABLED,
};
use regraft_model::{Object, ObjectKey};
use regraft_testbed::ControlPlane;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

fn path(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps/{name}")
}

/// What the ConfigMap of an application says, or nothing.
fn stored(plane: &ControlPlane, application: &str) -> Option<Value> {
    let object = plane
        .api()
        .get(&path(
            "regraft-system",
            &format!("regraft-inventory-{application}"),
        ))
        .ok()?;
    serde_json::from_str(object["data"]["entries"].as_str()?).ok()
}

/// Applies what stays and lets the rest go.
async fn shrink(
    cluster: &Cluster,
    application: &str,
    before: &[Object],
    stays: &[Object],
) -> ApplyOutcome {
    let prune = before
        .iter()
        .filter(|object| stays.iter().all(|kept| kept.key() != object.key()))
        .map(entry)
        .collect();
    let request = ApplyRequest {
        prune,
        inventory_before: inventory(before),
        ..request(application, stays)
    };
    cluster.apply(request).await
}

fn names(keys: impl IntoIterator<Item = ObjectKey>) -> Vec<String> {
    keys.into_iter().map(|key| key.name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_still_carries_our_marks_is_deleted() {
    let plane = shared();
    let world = World::ready(plane.regraft_kubeconfig(), &[]).await;
    let map = |name: &str| config_map("trim", ("trim", name), "1");
    let names_of_maps = ["gone", "mine", "foreign", "moved", "protected", "released"];
    let mut objects = vec![namespace("trim", "trim")];
    objects.extend(names_of_maps.map(map));
    done(&world.cluster.apply(request("trim", &objects)).await);
    let patch = |name: &str, patch: Value| plane.api().merge(&path("trim", name), &patch).unwrap();
    plane.api().delete(&path("trim", "gone")).unwrap();
    patch(
        "foreign",
        json!({"metadata": {"annotations": {(INSTALLATION_ANNOTATION): "two"}}}),
    );
    patch(
        "moved",
        json!({"metadata": {"labels": {(APPLICATION_LABEL): "other"}}}),
    );
    patch(
        "protected",
        json!({"metadata": {"annotations": {(PRUNE_ANNOTATION): PRUNE_DISABLED}}}),
    );
    patch(
        "released",
        json!({"metadata": {"labels": {(APPLICATION_LABEL): null}}}),
    );

    let outcome = shrink(&world.cluster, "trim", &objects, &objects[..1]).await;
    assert_eq!(
        failures(&outcome),
        [
            "ConfigMap trim/foreign: Stalled NotOurs: it belongs to application trim of installation two"
        ]
    );
    assert_eq!(names(outcome.pruned), ["gone", "mine"]);
    let there: Vec<_> = names_of_maps
        .into_iter()
        .filter(|name| plane.api().get(&path("trim", name)).is_ok())
        .collect();
    assert_eq!(there, ["foreign", "moved", "protected", "released"]);
    assert_eq!(
        stored(&plane, "trim"),
        Some(json!({"v1": {"Namespace": {"": ["trim"]}, "ConfigMap": {"trim": ["foreign"]}}})),
        "what could not be let go stays in the inventory"
    );
    world.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_stay_without_our_marks_and_an_empty_inventory_is_removed() {
    let plane = shared();
    let world = World::ready(plane.regraft_kubeconfig(), &[]).await;
    let objects = [
        namespace("leave", "leave"),
        config_map("leave", ("leave", "a"), "1"),
    ];
    done(&world.cluster.apply(request("leave", &objects)).await);
    assert!(stored(&plane, "leave").is_some());
    let orphan = ApplyRequest {
        stages: Vec::new(),
        orphan: objects.iter().map(entry).collect(),
        inventory_before: inventory(&objects),
        ..request("leave", &[])
    };
    done(&world.cluster.apply(orphan.clone()).await);
    let object = Object(plane.api().get(&path("leave", "a")).unwrap());
    assert_eq!(object.label(APPLICATION_LABEL), None);
    assert_eq!(object.annotation(INSTALLATION_ANNOTATION), None);
    assert_eq!(object.text("/data/key"), "1");
    assert_eq!(stored(&plane, "leave"), None);

    let writes = world.cluster.stats().writes;
    done(&world.cluster.apply(orphan).await);
    // What a stale request takes for listed is listed until it was looked at; nothing else is touched again.
    assert!(world.cluster.stats().writes - writes <= 2);
    world.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_pruned_after_a_failure_and_the_inventory_stays_wide() {
    let plane = shared();
    let world = World::ready(plane.regraft_kubeconfig(), &[]).await;
    let objects = [
        namespace("halt", "halt"),
        config_map("halt", ("halt", "old"), "1"),
    ];
    done(&world.cluster.apply(request("halt", &objects)).await);
    let stays = [
        objects[0].clone(),
        config_map("halt", ("nowhere", "new"), "1"),
    ];
    let outcome = shrink(&world.cluster, "halt", &objects, &stays).await;
    assert_eq!(outcome.failures[0].reason, "NamespaceMissing");
    assert!(outcome.pruned.is_empty());
    assert!(plane.api().get(&path("halt", "old")).is_ok());
    assert_eq!(
        stored(&plane, "halt"),
        Some(
            json!({"v1": {"Namespace": {"": ["halt"]}, "ConfigMap": {"halt": ["old"], "nowhere": ["new"]}}})
        )
    );
    world.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inventory_of_another_installation_stops_the_application() {
    let plane = shared();
    let world = World::ready(plane.regraft_kubeconfig(), &[]).await;
    let objects = [namespace("shared", "shared")];
    done(&world.cluster.apply(request("shared", &objects)).await);
    let mut other = request("shared", &objects);
    other.inventory.installation = "two".to_owned();
    let outcome = world.cluster.apply(other).await;
    assert_eq!(
        failures(&outcome),
        [
            "request: Stalled NotOurs: ConfigMap regraft-system/regraft-inventory-shared belongs to installation one"
        ]
    );
    world.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inventories_are_told_after_ready_and_an_unreadable_one_stops_only_its_application() {
    let plane = shared();
    let world = World::ready(plane.regraft_kubeconfig(), &[]).await;
    let good = [
        namespace("good-list", "good-list"),
        config_map("good-list", ("good-list", "a"), "1"),
    ];
    let bad = [namespace("bad-list", "bad-list")];
    done(&world.cluster.apply(request("good-list", &good)).await);
    done(&world.cluster.apply(request("bad-list", &bad)).await);
    world.cluster.stop().await;
    let bad_path = path("regraft-system", "regraft-inventory-bad-list");
    plane
        .api()
        .merge(&bad_path, &json!({"data": {"entries": "oops"}}))
        .unwrap();

    let mut world = World::start(plane.regraft_kubeconfig(), &[]);
    assert!(matches!(world.next().await, ClusterEvent::Ready { .. }));
    let ClusterEvent::Inventories(told) = world.next().await else {
        panic!("inventories come after ready");
    };
    assert_eq!(told.get("good-list"), Some(&inventory(&good)));
    assert_eq!(told.get("bad-list"), None);

    let outcome = world.cluster.apply(request("bad-list", &bad)).await;
    let empty = world.cluster.apply(request("bad-list", &[])).await;
    assert_eq!(failures(&empty), failures(&outcome), "it is not empty");
    assert_eq!(
        failures(&outcome),
        [
            "request: Stalled InventoryMalformed: ConfigMap regraft-system/regraft-inventory-bad-list cannot be read as \
          an inventory: data.entries: expected value at line 1 column 1"
        ]
    );
    plane.api().delete(&bad_path).unwrap();
    done(&world.cluster.apply(request("bad-list", &bad)).await);
    world.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inventory_that_another_member_wrote_since_it_was_told_is_not_overwritten() {
    let plane = shared();
    let mut late = World::ready(plane.regraft_kubeconfig(), &[]).await;
    let other = World::ready(plane.regraft_kubeconfig(), &[]).await;
    let theirs = [
        namespace("handed", "handed"),
        config_map("handed", ("handed", "theirs"), "1"),
    ];
    done(&other.cluster.apply(request("handed", &theirs)).await);
    let before = stored(&plane, "handed");

    let ours = [
        namespace("handed", "handed"),
        config_map("handed", ("handed", "ours"), "1"),
    ];
    let refused = late.cluster.apply(request("handed", &ours)).await;
    assert_eq!(
        failures(&refused),
        ["request: Transient InventoryDiffers: ConfigMap \
          regraft-system/regraft-inventory-handed was written by another one; reading all anew"]
    );
    assert_eq!(stored(&plane, "handed"), before, "nothing is forgotten");
    let told = late
        .until(
            "all inventories anew",
            |event| matches!(event, ClusterEvent::Inventories(all) if all.contains_key("handed")),
        )
        .await;
    assert!(matches!(
        told.last(),
        Some(ClusterEvent::Inventories(all)) if all["handed"] == inventory(&theirs)
    ));
    let informed = ApplyRequest {
        inventory_before: inventory(&theirs),
        ..request("handed", &ours)
    };
    done(&late.cluster.apply(informed).await);
    late.cluster.stop().await;
    other.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_cut_at_any_moment_leaves_nothing_unlisted_and_is_completed_by_the_next() {
    let plane = shared();
    let world = World::ready(plane.regraft_kubeconfig(), &[]).await;
    for cut_ms in [1, 4, 8, 15, 25, 40, 70] {
        let name = format!("cut-{cut_ms}");
        let mut objects = vec![namespace(&name, &name)];
        objects
            .extend((0..8).map(|index| config_map(&name, (&name, &format!("map-{index}")), "1")));
        let first = request(&name, &objects);
        let cut = tokio::time::timeout(
            Duration::from_millis(cut_ms),
            world.cluster.apply(first.clone()),
        );
        let finished = cut.await.is_ok();
        let there = plane
            .api()
            .get(&format!(
                "/api/v1/namespaces/{name}/configmaps?labelSelector={APPLICATION_LABEL}"
            ))
            .unwrap();
        let count = there["items"].as_array().map_or(0, Vec::len);
        let listed = stored(&plane, &name);
        assert!(
            count == 0 || listed.is_some(),
            "{count} objects exist unlisted after {cut_ms} ms"
        );
        let again = ApplyRequest {
            inventory_before: listed.map_or_else(Inventory::default, |_| inventory(&objects)),
            ..first
        };
        done(&world.cluster.apply(again).await);
        assert!(!finished || count == 8);
        let complete = stored(&plane, &name).expect("the inventory");
        assert_eq!(
            complete["v1"]["ConfigMap"][&name].as_array().map(Vec::len),
            Some(8)
        );
    }
    world.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_of_the_same_request_ends_the_same() {
    let plane = shared();
    let world = World::ready(plane.regraft_kubeconfig(), &[]).await;
    let objects = [
        namespace("twice", "twice"),
        config_map("twice", ("twice", "a"), "1"),
        config_map("twice", ("twice", "b"), "1"),
    ];
    done(&world.cluster.apply(request("twice", &objects)).await);
    for _ in 0..2 {
        let outcome = shrink(&world.cluster, "twice", &objects, &objects[..2]).await;
        done(&outcome);
        assert_eq!(names(outcome.pruned), ["b"]);
    }
    let expected = Inventory {
        installation: INSTALLATION.to_owned(),
        entries: objects[..2].iter().map(entry).collect::<BTreeMap<_, _>>(),
    };
    assert_eq!(expected, inventory(&objects[..2]));
    assert_eq!(
        stored(&plane, "twice"),
        Some(json!({"v1": {"Namespace": {"": ["twice"]}, "ConfigMap": {"twice": ["a"]}}}))
    );
    world.cluster.stop().await;
}
