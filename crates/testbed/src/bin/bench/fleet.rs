//! The repository that is measured: many small applications for one cluster.

use anyhow::Result;
use regraft_testbed::WorkClone;

/// Where all of them live; it is made beforehand.
pub(crate) const NAMESPACE: &str = "bench";
/// The one cluster.
pub(crate) const CLUSTER: &str = "bench";

/// Name of the application with this number.
pub(crate) fn name(number: u32) -> String {
    format!("app-{number:03}")
}

/// The image of a version.
pub(crate) fn image(version: u32) -> String {
    format!("registry.example.com/bench/app:{version}.0")
}

/// The cluster and application 0: with it the member has read the branch, and watches the four kinds.
pub(crate) fn write_start(clone: &WorkClone) -> Result<()> {
    let text =
        format!("apiVersion: regraft.dev/v1alpha1\nkind: Cluster\nmetadata:\n  name: {CLUSTER}\n");
    clone.write(".regraft/clusters.yaml", &text)?;
    write_applications(clone, 0, 1)
}

/// Applications 0 to `count`, configuration and manifests.
pub(crate) fn write_applications(clone: &WorkClone, count: u32, version: u32) -> Result<()> {
    let applications: Vec<String> = (0..=count)
        .map(|number| application(&name(number)))
        .collect();
    clone.write(".regraft/applications.yaml", &applications.join("---\n"))?;
    // The first one stays as it is: nothing of it belongs to a measured step.
    write_manifests(clone, 0, 1)?;
    (1..=count).try_for_each(|number| write_manifests(clone, number, version))
}

/// The manifests of one application with the image of this version.
pub(crate) fn write_manifests(clone: &WorkClone, number: u32, version: u32) -> Result<()> {
    let name = name(number);
    Ok(clone.write(
        &format!("apps/{name}/app.yaml"),
        &manifests(&name, &image(version)),
    )?)
}

fn application(name: &str) -> String {
    format!(
        "apiVersion: regraft.dev/v1alpha1
kind: Application
metadata:
  name: {name}
spec:
  path: apps/{name}
  namespace: {NAMESPACE}
  clusters: [{CLUSTER}]
"
    )
}

pub(crate) fn manifests(name: &str, image: &str) -> String {
    format!(
        "apiVersion: v1
kind: ServiceAccount
metadata:
  name: {name}
---
apiVersion: v1
kind: Service
metadata:
  name: {name}
spec:
  selector:
    app: {name}
  ports:
    - name: http
      port: 80
      targetPort: http
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
spec:
  replicas: 0
  selector:
    matchLabels:
      app: {name}
  template:
    metadata:
      labels:
        app: {name}
    spec:
      serviceAccountName: {name}
      containers:
        - name: app
          image: {image}
          ports:
            - name: http
              containerPort: 8080
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {name}
spec:
  rules:
    - host: {name}.example.com
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: {name}
                port:
                  name: http
"
    )
}
