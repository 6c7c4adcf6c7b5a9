//! How fast many small applications are applied. Prints figures; run with `--ignored --nocapture`.

use crate::world::{World, deployment, done, inventory, namespace, ours, request, shared};
use futures::future::join_all;
use regraft_model::Object;
use serde_json::json;
use tokio::time::Instant;

const APPLICATIONS: usize = 100;

fn application(index: usize, image: &str) -> (String, Vec<Object>) {
    let name = format!("app-{index}");
    let place = ("rate", name.as_str());
    let objects = vec![
        deployment(&name, place, image),
        ours(&name, "v1", "ServiceAccount", place, json!({})),
        ours(
            &name,
            "v1",
            "Service",
            place,
            json!({"spec": {"selector": {"app": name}, "ports": [{"port": 80}]}}),
        ),
        ours(
            &name,
            "networking.k8s.io/v1",
            "Ingress",
            place,
            json!({"spec": {"rules": [{
            "host": format!("{name}.example.com"), "http": {"paths": [{"path": "/", "pathType": "Prefix",
                "backend": {"service": {"name": name, "port": {"number": 80}}}}]}}]}}),
        ),
    ];
    (name, objects)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, not a test"]
async fn a_hundred_applications() {
    let plane = shared();
    let kinds = [
        ("apps/v1", "Deployment"),
        ("v1", "ServiceAccount"),
        ("v1", "Service"),
        ("networking.k8s.io/v1", "Ingress"),
    ];
    let mut world = World::ready(plane.regraft_kubeconfig(), &kinds).await;
    done(
        &world
            .cluster
            .apply(request("rate", &[namespace("rate", "rate")]))
            .await,
    );
    for (round, image) in [
        ("first", "web:1"),
        ("all images", "web:2"),
        ("nothing", "web:2"),
    ] {
        let before = world.cluster.stats();
        let started = Instant::now();
        let cluster = world.cluster.clone();
        let cluster = &cluster;
        let runs = (0..APPLICATIONS).map(|index| async move {
            let (name, objects) = application(index, image);
            let mut request = request(&name, &objects);
            if round != "first" {
                request.inventory_before = inventory(&objects);
            }
            done(&cluster.apply(request).await);
        });
        tokio::select! {
            _ = join_all(runs) => {}
            () = world.drain() => panic!("the cluster ended"),
        }
        let took = started.elapsed();
        let after = world.cluster.stats();
        let requests: Vec<_> = after
            .requests
            .iter()
            .map(|(verb, count)| format!("{verb} {}", count - before.requests[verb]))
            .collect();
        println!(
            "{round}: {:.2} s, {}",
            took.as_secs_f64(),
            requests.join(", ")
        );
    }
    world.cluster.stop().await;
}
