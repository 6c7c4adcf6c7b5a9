//! A control plane and its nodes behave as a real cluster does, also when they are asked to fail.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use regraft_testbed::{AuditMark, ControlPlane, StartOptions, TestDir, wait};
use serde_json::{Value, json};

/// Generous: other tests may compile beside this one.
const SOON: Duration = Duration::from_secs(60);

fn deployment(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": 1,
            "progressDeadlineSeconds": 3,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": image}]},
            },
        },
    })
}

fn deploy(cluster: &ControlPlane, name: &str, image: &str) {
    cluster
        .api()
        .create(
            "/apis/apps/v1/namespaces/default/deployments",
            &deployment(name, image),
        )
        .unwrap();
}

fn pod(cluster: &ControlPlane, app: &str) -> Result<Value, String> {
    let path = format!("/api/v1/namespaces/default/pods?labelSelector=app%3D{app}");
    let pods = cluster
        .api()
        .get(&path)
        .map_err(|error| format!("{error:?}"))?;
    pods["items"]
        .get(0)
        .cloned()
        .ok_or_else(|| "no pod yet".to_owned())
}

fn wait_pod(
    cluster: &ControlPlane,
    app: &str,
    what: &str,
    holds: impl Fn(&Value) -> bool,
) -> Value {
    wait::until(&format!("the pod of {app} {what}"), SOON, || {
        let pod = pod(cluster, app)?;
        if holds(&pod) {
            Ok(pod)
        } else {
            Err(pod["status"].to_string())
        }
    })
    .unwrap()
}

fn container(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

fn is_ready(pod: &Value) -> bool {
    container(pod)["ready"] == true && pod["status"]["phase"] == "Running"
}

fn waits_for(pod: &Value, reason: &str) -> bool {
    container(pod)["state"]["waiting"]["reason"] == reason
}

fn wait_available(cluster: &ControlPlane, name: &str) {
    wait::until(&format!("{name} is available"), SOON, || {
        let path = format!("/apis/apps/v1/namespaces/default/deployments/{name}");
        let found = cluster
            .api()
            .get(&path)
            .map_err(|error| format!("{error:?}"))?;
        if found["status"]["availableReplicas"] == 1 {
            Ok(())
        } else {
            Err(found["status"].to_string())
        }
    })
    .unwrap();
}

fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn workloads_fail_in_the_ways_they_are_asked_to() {
    let dir = TestDir::new("faults").unwrap();
    let cluster = ControlPlane::start(dir.path(), &StartOptions::named("faults")).unwrap();
    for fault in ["good", "crash", "crashlater", "nopull", "badconfig", "slow"] {
        deploy(
            &cluster,
            fault,
            &format!("registry.example.com/app:{fault}-1.0"),
        );
    }
    wait_available(&cluster, "good");
    wait_pod(&cluster, "crash", "crash loops", |pod| {
        waits_for(pod, "CrashLoopBackOff") && container(pod)["restartCount"].as_u64() >= Some(2)
    });
    wait_pod(&cluster, "nopull", "backs off pulling", |pod| {
        waits_for(pod, "ImagePullBackOff")
    });
    wait_pod(&cluster, "badconfig", "has no config", |pod| {
        waits_for(pod, "CreateContainerConfigError")
    });
    let slow = wait_pod(&cluster, "slow", "runs", |pod| {
        container(pod)["state"]["running"].is_object()
    });
    assert!(!is_ready(&slow));
    wait_pod(&cluster, "crashlater", "crashes in the end", |pod| {
        waits_for(pod, "CrashLoopBackOff")
    });
    wait::until("the slow rollout exceeds its deadline", SOON, || {
        let path = "/apis/apps/v1/namespaces/default/deployments/slow";
        let found = cluster
            .api()
            .get(path)
            .map_err(|error| format!("{error:?}"))?;
        let text = found["status"]["conditions"].to_string();
        if text.contains("ProgressDeadlineExceeded") {
            Ok(())
        } else {
            Err(text)
        }
    })
    .unwrap();
    let events = cluster
        .api()
        .get("/api/v1/namespaces/default/events")
        .unwrap()
        .to_string();
    assert!(
        events.contains("Back-off restarting failed container"),
        "{events}"
    );

    // A workload that nobody changed fails when its pod is told to, and heals when the fault is taken back.
    let name = pod(&cluster, "good").unwrap()["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/api/v1/namespaces/default/pods/{name}");
    let fault =
        |value: Value| json!({"metadata": {"annotations": {"testbed.regraft.dev/fault": value}}});
    cluster.api().merge(&path, &fault(json!("crash"))).unwrap();
    wait_pod(&cluster, "good", "crash loops", |pod| {
        waits_for(pod, "CrashLoopBackOff")
    });
    cluster.api().merge(&path, &fault(Value::Null)).unwrap();
    wait_pod(&cluster, "good", "is ready again", is_ready);
}

#[test]
fn a_cluster_dies_comes_back_with_its_data_and_leaves_nothing() {
    let dir = TestDir::new("lifecycle").unwrap();
    let options = StartOptions {
        name: "lifecycle".to_owned(),
        nodes: 1,
    };
    let mut cluster = ControlPlane::start(dir.path(), &options).unwrap();
    assert!(
        cluster
            .kubectl(["version"])
            .unwrap()
            .contains("Server Version: v1.36")
    );
    assert_eq!(cluster.usage().len(), 5);

    let mark = cluster.audit_mark();
    cluster
        .kubectl(["create", "configmap", "kept", "--from-literal=a=b"])
        .unwrap();
    cluster
        .kubectl(["create", "configmap", "dry", "--dry-run=server"])
        .unwrap();
    let requests = cluster.requests_of("admin", mark).unwrap();
    assert_eq!(
        requests.written,
        ["create configmaps default/kept"],
        "{requests:?}"
    );
    assert!(requests.total() > requests.writes);
    assert_eq!(
        cluster
            .regraft_requests(AuditMark::default())
            .unwrap()
            .total(),
        0
    );

    let first = cluster.pids();
    cluster.kill();
    assert!(first.iter().all(|pid| is_gone(*pid)));
    assert!(cluster.api().get("/readyz").is_err());
    cluster.restart().unwrap();
    let kept = cluster
        .api()
        .get("/api/v1/namespaces/default/configmaps/kept")
        .unwrap();
    assert_eq!(kept["data"]["a"], "b");

    let second = cluster.pids();
    drop(cluster);
    assert_eq!(second.len(), 5);
    assert!(second.iter().all(|pid| is_gone(*pid)));
}
