//! Losing a cluster and getting it back. These kill servers, so each has a control plane of its own.

use crate::world::{World, brief, config_map, done, inventory, namespace, request};
use regraft_model::apply::{ApplyRequest, ClusterEvent};
use regraft_testbed::{ControlPlane, StartOptions, TestDir};
use std::time::Duration;
use tokio::time::Instant;

/// A frozen server is noticed by probes: three of 5 s each, and the pauses between them.
const FROZEN_BOUND: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_cluster_is_told_once_refuses_at_once_and_tells_everything_anew_when_it_is_back() {
    let dir = TestDir::new("cluster-lost").unwrap();
    let mut plane = ControlPlane::start(dir.path(), &StartOptions::named("west")).unwrap();
    let mut world = World::ready(plane.regraft_kubeconfig(), &[("v1", "ConfigMap")]).await;
    let objects = [
        namespace("app", "app"),
        config_map("app", ("app", "stays"), "1"),
        config_map("app", ("app", "leaves"), "1"),
    ];
    done(&world.cluster.apply(request("app", &objects)).await);
    world.seen("ConfigMap", "leaves", |_| true).await;

    plane.kill();
    let told = world
        .until("the loss", |event| {
            matches!(event, ClusterEvent::Lost { .. })
        })
        .await;
    let Some(ClusterEvent::Lost { reason }) = told.last() else {
        panic!("no loss");
    };
    assert!(
        reason.contains("refused") || reason.contains("closed"),
        "{reason}"
    );
    let asked = Instant::now();
    let outcome = world.cluster.apply(request("app", &objects)).await;
    assert_eq!(outcome.failures[0].reason, "Unreachable");
    assert!(
        asked.elapsed() < Duration::from_millis(100),
        "a lost cluster delays nobody"
    );

    plane.restart().unwrap();
    // As a person would while regraft is cut off: the watch never saw it.
    let told = {
        let path = "/api/v1/namespaces/app/configmaps/leaves";
        plane.api().delete(path).unwrap();
        world
            .until(
                "the list after the loss",
                |event| matches!(event, ClusterEvent::Listed { kind, .. } if kind.kind == "ConfigMap"),
            )
            .await
    };
    let ready = told
        .iter()
        .position(|event| matches!(event, ClusterEvent::Ready { .. }));
    let ready = ready.expect("ready comes before what is told anew");
    assert_eq!(
        ready,
        0,
        "nothing but the return follows the loss: {:?}",
        told.iter().map(brief).collect::<Vec<_>>()
    );
    assert!(
        matches!(&told[1], ClusterEvent::Inventories(all) if all["app"] == inventory(&objects)),
        "{}",
        brief(&told[1])
    );
    let mut live = std::collections::BTreeSet::new();
    for event in &told {
        match event {
            ClusterEvent::Seen(object) if object.kind() == "ConfigMap" => {
                live.insert(object.name().to_owned());
            }
            ClusterEvent::Gone { key, .. } if key.kind == "ConfigMap" => {
                live.remove(&key.name);
            }
            _ => {}
        }
    }
    assert!(live.contains("stays"));
    if live.contains("leaves") {
        world.gone("ConfigMap", "leaves").await;
    }
    let again = ApplyRequest {
        inventory_before: inventory(&objects),
        ..request("app", &objects)
    };
    done(&world.cluster.apply(again).await);
    assert_eq!(world.cluster.stats().lost, 1);
    world.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_hangs_is_lost_within_a_bound_and_comes_back() {
    let dir = TestDir::new("cluster-hangs").unwrap();
    let plane = ControlPlane::start(dir.path(), &StartOptions::named("north")).unwrap();
    let mut world = World::ready(plane.regraft_kubeconfig(), &[]).await;
    plane.freeze();
    let frozen = Instant::now();
    let request = request("app", &[namespace("app", "app")]);
    let cluster = world.cluster.clone();
    let (outcome, _) = tokio::join!(
        cluster.apply(request),
        world.until("the loss", |event| matches!(
            event,
            ClusterEvent::Lost { .. }
        )),
    );
    assert!(frozen.elapsed() < FROZEN_BOUND, "{:?}", frozen.elapsed());
    assert!(
        matches!(
            outcome.failures[0].reason.as_str(),
            "Unreachable" | "Timeout"
        ),
        "{outcome:?}"
    );
    plane.thaw();
    world
        .until("the return", |event| {
            matches!(event, ClusterEvent::Ready { .. })
        })
        .await;
    world.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_cannot_be_used_are_told_without_their_content() {
    let dir = TestDir::new("cluster-credentials").unwrap();
    let path = dir.path().join("kubeconfig");
    std::fs::write(&path, "users:\n- name: a\n  user: {token: hunter2\n").unwrap();
    let mut world = World::start(path.clone(), &[]);
    let ClusterEvent::Lost { reason } = world.next().await else {
        panic!("no loss");
    };
    assert_eq!(
        reason,
        format!(
            "cannot use kubeconfig {}: it is not valid YAML of a kubeconfig",
            path.display()
        )
    );
    world.cluster.stop().await;
}
