use super::world::{NOON, World, at, event, pod, replica_set, terminated, waiting};
use crate::symptom::symptoms;
use regraft_model::finding::Template;
use regraft_model::{Evidence, FailureClass, Object, Symptom};
use serde_json::{Value, json};

#[track_caller]
fn check(world: &World, expected: &[(FailureClass, Template)]) -> Vec<Symptom> {
    let found = symptoms(&world.view(), NOON);
    let classes: Vec<_> = found.iter().map(|one| (one.class, one.template)).collect();
    assert_eq!(classes, expected);
    found
}

fn tell(symptom: &Symptom) -> String {
    symptom
        .evidence
        .iter()
        .map(|one| {
            format!(
                "{} | {} | {} | {}\n",
                one.at, one.object, one.field, one.text
            )
        })
        .collect()
}

#[test]
fn a_healthy_rollout_has_no_symptoms() {
    check(&World::rollout(), &[]);
    check(&World::with_new_pod(waiting("ContainerCreating", "")), &[]);
    check(&World::with_new_pod(waiting("PodInitializing", "")), &[]);
}

#[test]
fn waiting_reasons_name_their_class() {
    for (reason, class) in [
        ("CrashLoopBackOff", FailureClass::CrashLoopBackOff),
        ("ErrImagePull", FailureClass::ImagePull),
        ("ImagePullBackOff", FailureClass::ImagePull),
        ("InvalidImageName", FailureClass::ImagePull),
        ("ErrImageNeverPull", FailureClass::ImagePull),
        ("CreateContainerConfigError", FailureClass::ContainerConfig),
        ("CreateContainerError", FailureClass::ContainerConfig),
    ] {
        check(
            &World::with_new_pod(waiting(reason, "m")),
            &[(class, Template::Newest)],
        );
    }
}

#[test]
fn init_containers_count() {
    let mut world = World::with_new_pod(waiting("PodInitializing", ""));
    let status = &mut world.pods.last_mut().expect("a pod").0["status"];
    status["initContainerStatuses"] = json!([{"name": "migrate", "restartCount": 3, "state": waiting("CrashLoopBackOff", "back-off")}]);
    let found = check(
        &world,
        &[(FailureClass::CrashLoopBackOff, Template::Newest)],
    );
    assert!(tell(&found[0]).contains("initContainerStatuses[migrate]"));
}

#[track_caller]
fn check_restarted(restarts: i64, last: Value, state: Value, is_loop: bool) {
    let mut world = World::with_new_pod(state);
    world.container()["restartCount"] = json!(restarts);
    world.container()["lastState"] = last;
    let expected = [(FailureClass::CrashLoopBackOff, Template::Newest)];
    check(&world, if is_loop { &expected } else { &[] });
}

#[test]
fn a_container_that_just_started_again_still_crash_loops() {
    let running = |since: i64| json!({"running": {"startedAt": at(since).to_rfc3339()}});
    // It ran for 5 s before; 3 s of running prove nothing, 30 s do.
    check_restarted(2, terminated(1, -20, -15), running(-3), true);
    check_restarted(2, terminated(1, -60, -55), running(-30), false);
    // A longer run needs longer proof: it crashed after 40 s the last time.
    check_restarted(4, terminated(1, -120, -80), running(-45), true);
    // One restart is no loop, nor is an end without an error, nor a crash after days.
    check_restarted(1, terminated(1, -20, -15), running(-3), false);
    check_restarted(5, terminated(0, -20, -15), running(-3), false);
    check_restarted(2, terminated(137, -200_000, -15), running(-3), false);
    // Between its end and the back-off.
    check_restarted(3, json!({}), terminated(1, -5, -1), true);
}

#[test]
fn finished_and_terminating_pods_say_nothing() {
    let mut world = World::with_new_pod(waiting("CrashLoopBackOff", ""));
    world.pods[1].0["metadata"]["deletionTimestamp"] = json!(NOON.to_rfc3339());
    check(&world, &[]);
    let mut world = World::with_new_pod(waiting("CrashLoopBackOff", ""));
    world.pods[1].0["status"]["phase"] = json!("Failed");
    check(&world, &[]);
    let mut world = World::with_new_pod(waiting("CrashLoopBackOff", ""));
    world.workload.0["metadata"]["deletionTimestamp"] = json!(NOON.to_rfc3339());
    check(&world, &[]);
}

#[test]
fn older_pods_that_fail_as_well_are_told_apart() {
    let crash = || waiting("CrashLoopBackOff", "");
    let mut world = World::with_new_pod(crash());
    world.pods.push(pod("web-1-b", "web-1", crash(), false));
    check(
        &world,
        &[(FailureClass::CrashLoopBackOff, Template::AlsoOlder)],
    );
    // An older pod that fails in another way is no evidence about this one.
    let mut world = World::with_new_pod(waiting("ErrImagePull", ""));
    world.pods.push(pod("web-1-b", "web-1", crash(), false));
    check(&world, &[(FailureClass::ImagePull, Template::Newest)]);
}

#[test]
fn pods_on_their_way_out_are_no_symptom_of_what_replaces_them() {
    let mut world = World::with_new_pod(waiting("CrashLoopBackOff", ""));
    world
        .replica_sets
        .push(replica_set("web-3", 3, "shop/web:3"));
    check(&world, &[]);
    // Before the controller saw the new template it cannot be told.
    world.workload.0["metadata"]["generation"] = json!(3);
    check(
        &world,
        &[(FailureClass::CrashLoopBackOff, Template::AlsoOlder)],
    );
}

#[test]
fn the_newest_revision_is_compared_as_a_number() {
    let mut world = World::rollout();
    world.replica_sets = vec![replica_set("web-1", 9, "a"), replica_set("web-2", 10, "b")];
    world.pods = vec![pod(
        "web-2-a",
        "web-2",
        waiting("CrashLoopBackOff", ""),
        false,
    )];
    check(
        &world,
        &[(FailureClass::CrashLoopBackOff, Template::Newest)],
    );
}

#[test]
fn stateful_and_daemon_sets_know_their_templates() {
    let labelled = |name: &str, labels: Value| {
        let mut pod = pod(name, "db", waiting("CrashLoopBackOff", ""), false);
        pod.0["metadata"]["labels"] = labels;
        pod
    };
    let mut world = World {
        workload: Object(json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": {"name": "db", "namespace": "shop"}, "status": {"updateRevision": "db-2"}})),
        pods: vec![labelled(
            "db-0",
            json!({"controller-revision-hash": "db-2"}),
        )],
        ..World::default()
    };
    let found = check(
        &world,
        &[(FailureClass::CrashLoopBackOff, Template::Newest)],
    );
    assert_eq!(
        found[0].evidence[0].object.to_string(),
        "ControllerRevision.apps shop/db-2"
    );
    world.pods.push(labelled(
        "db-1",
        json!({"controller-revision-hash": "db-1"}),
    ));
    check(
        &world,
        &[(FailureClass::CrashLoopBackOff, Template::AlsoOlder)],
    );

    let generation = |text: &str| json!({"pod-template-generation": text, "controller-revision-hash": format!("h{text}")});
    let mut world = World {
        workload: Object(json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": "agent", "namespace": "shop",
                "annotations": {"deprecated.daemonset.template.generation": "10"}}})),
        pods: vec![labelled("agent-a", generation("10"))],
        ..World::default()
    };
    let found = check(
        &world,
        &[(FailureClass::CrashLoopBackOff, Template::Newest)],
    );
    assert_eq!(
        found[0].evidence[0].object.to_string(),
        "ControllerRevision.apps shop/agent-h10"
    );
    world.pods = vec![labelled("agent-a", generation("9"))];
    check(&world, &[]);
    world.workload.0["spec"]["updateStrategy"]["type"] = json!("OnDelete");
    check(
        &world,
        &[(FailureClass::CrashLoopBackOff, Template::AlsoOlder)],
    );
}

fn stuck(world: &mut World) {
    world.workload.0["status"]["conditions"] = json!([{"type": "Progressing", "status": "False",
        "reason": "ProgressDeadlineExceeded", "lastTransitionTime": at(-5).to_rfc3339(),
        "message": "ReplicaSet \"web-2\" has timed out progressing."}]);
}

#[test]
fn a_rollout_past_its_deadline_is_a_symptom_of_the_template_it_is_about() {
    let mut world = World::rollout();
    stuck(&mut world);
    check(
        &world,
        &[(FailureClass::ProgressDeadlineExceeded, Template::Newest)],
    );
    world.workload.0["metadata"]["generation"] = json!(3);
    check(&world, &[]);
}

#[test]
fn evidence_of_a_crash_loop() {
    let mut world = World::with_new_pod(waiting(
        "CrashLoopBackOff",
        "back-off 20s restarting failed container=web pod=web-2-a_shop(1f0c8a52-3b8e-4a0f-9d67-0c7a5f1e2d3b)",
    ));
    world.container()["restartCount"] = json!(3);
    world.container()["lastState"] = terminated(1, -20, -15);
    world.container()["lastState"]["terminated"]["message"] = json!(
        "panic: cannot connect to postgres://shop:hunter2@db:5432/shop\nDB_PASSWORD=hunter2\n"
    );
    stuck(&mut world);
    world.events = vec![
        event(
            "e1",
            "Normal",
            "Pulled",
            "Container image already present",
            -40,
        ),
        event(
            "e2",
            "Warning",
            "BackOff",
            "Back-off restarting failed container web",
            -10,
        ),
        event(
            "e3",
            "Warning",
            "FailedMount",
            "MountVolume.SetUp failed for volume \"token\" : secret \"db\" not found",
            -30,
        ),
        event(
            "e4",
            "Warning",
            "Unhealthy",
            "Readiness probe failed: Authorization: Bearer abcdefghijkl",
            -20,
        ),
        event("e5", "Warning", "Old", "gone from the list", -50),
    ];
    let found = check(
        &world,
        &[
            (FailureClass::CrashLoopBackOff, Template::Newest),
            (FailureClass::ProgressDeadlineExceeded, Template::Newest),
        ],
    );
    insta::assert_snapshot!(tell(&found[0]), @r#"
    2026-01-31T11:50:02.000Z | ReplicaSet.apps shop/web-2 | newest template | web=shop/web:2; 0 of 1 pods ready
    2026-01-31T11:50:01.000Z | ReplicaSet.apps shop/web-1 | older template | web=shop/web:1; 1 of 1 pods ready
    2026-01-31T11:59:10.000Z | Pod shop/web-2-a | .status.containerStatuses[web].state.waiting | CrashLoopBackOff: back-off 20s restarting failed container=web pod=web-2-a_shop(1f0c8a52-3b8e-4a0f-9d67-0c7a5f1e2d3b)
    2026-01-31T11:59:45.000Z | Pod shop/web-2-a | .status.containerStatuses[web].lastState.terminated | exit code 1 after 3 restarts: Error: panic: cannot connect to postgres://[redacted]@db:5432/shop DB_PASSWORD=[redacted]
    2026-01-31T11:59:50.000Z | Pod shop/web-2-a | event | BackOff: Back-off restarting failed container web
    2026-01-31T11:59:40.000Z | Pod shop/web-2-a | event | Unhealthy: Readiness probe failed: Authorization: Bearer [redacted]
    2026-01-31T11:59:30.000Z | Pod shop/web-2-a | event | FailedMount: MountVolume.SetUp failed for volume "token" : secret "db" not found
    "#);
    insta::assert_snapshot!(tell(&found[1]), @r#"
    2026-01-31T11:50:02.000Z | ReplicaSet.apps shop/web-2 | newest template | web=shop/web:2; 0 of 1 pods ready
    2026-01-31T11:50:01.000Z | ReplicaSet.apps shop/web-1 | older template | web=shop/web:1; 1 of 1 pods ready
    2026-01-31T11:59:55.000Z | Deployment.apps shop/web | .status.conditions[Progressing] | ProgressDeadlineExceeded: ReplicaSet "web-2" has timed out progressing.
    2026-01-31T11:59:10.000Z | Pod shop/web-2-a | .status.containerStatuses[web].state.waiting | CrashLoopBackOff: back-off 20s restarting failed container=web pod=web-2-a_shop(1f0c8a52-3b8e-4a0f-9d67-0c7a5f1e2d3b)
    2026-01-31T11:59:45.000Z | Pod shop/web-2-a | .status.containerStatuses[web].lastState.terminated | exit code 1 after 3 restarts: Error: panic: cannot connect to postgres://[redacted]@db:5432/shop DB_PASSWORD=[redacted]
    2026-01-31T11:59:50.000Z | Pod shop/web-2-a | event | BackOff: Back-off restarting failed container web
    2026-01-31T11:59:40.000Z | Pod shop/web-2-a | event | Unhealthy: Readiness probe failed: Authorization: Bearer [redacted]
    2026-01-31T11:59:30.000Z | Pod shop/web-2-a | event | FailedMount: MountVolume.SetUp failed for volume "token" : secret "db" not found
    "#);
}

#[test]
fn evidence_is_bounded_and_does_not_change_with_the_clock() {
    let mut world = World::rollout();
    for index in 0..50 {
        world.pods.push(pod(
            &format!("web-2-{index}"),
            "web-2",
            waiting("ErrImagePull", &"ä".repeat(4000)),
            false,
        ));
        world.events.push(event(
            &format!("e{index}"),
            "Warning",
            "Failed",
            &"x y ".repeat(4000),
            index,
        ));
    }
    let found = symptoms(&world.view(), NOON);
    assert!(found[0].evidence.len() <= 10, "{}", found[0].evidence.len());
    for one in &found[0].evidence {
        assert!(one.text.len() <= Evidence::MAX_TEXT_BYTES);
    }
    assert_eq!(found, symptoms(&world.view(), at(5)));
}
