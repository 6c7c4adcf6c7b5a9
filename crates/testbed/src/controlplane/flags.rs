//! How each server of a control plane is started.

use std::path::Path;

use crate::process::Program;

/// Ports of one control plane, all on loopback.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) etcd: u16,
    pub(super) etcd_peers: u16,
    pub(super) api: u16,
    pub(super) controllers: u16,
    pub(super) scheduler: u16,
    pub(super) kwok: u16,
}

/// Requests of these are not in the audit log: it answers what regraft and people did.
pub(super) const AUDIT_POLICY: &str = r#"apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
  - level: None
    users: ["testbed", "kwok", "system:apiserver", "system:kube-controller-manager", "system:kube-scheduler"]
  - level: None
    userGroups: ["system:serviceaccounts"]
  - level: Metadata
"#;

pub(super) fn etcd(binary: &Path, dir: &Path, ports: Numbers) -> Program {
    let client = format!("http://127.0.0.1:{}", ports.etcd);
    let peer = format!("http://127.0.0.1:{}", ports.etcd_peers);
    Program::new(binary).args(["etcd"]).args([
        format!("--data-dir={}", dir.join("etcd").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        // A test's data need not survive the machine, only the process.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ])
}

pub(super) fn apiserver(binary: &Path, dir: &Path, ports: Numbers) -> Program {
    let file = |name: &str| dir.join(name).display().to_string();
    Program::new(binary).args(["apiserver"]).args([
        format!("--etcd-servers=http://127.0.0.1:{}", ports.etcd),
        format!("--secure-port={}", ports.api),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        format!("--tls-cert-file={}", file("server.crt")),
        format!("--tls-private-key-file={}", file("server.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--service-account-key-file={}", file("tokens.pub")),
        format!("--service-account-signing-key-file={}", file("tokens.key")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        "--allow-privileged=true".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--audit-policy-file={}", file("audit-policy.yaml")),
        format!("--audit-log-path={}", file("audit.log")),
        "--profiling=false".to_owned(),
    ])
}

pub(super) fn controller_manager(binary: &Path, dir: &Path, ports: Numbers) -> Program {
    let file = |name: &str| dir.join(name).display().to_string();
    let kubeconfig = file("controller-manager.kubeconfig");
    Program::new(binary).args(["controller-manager"]).args([
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        format!("--secure-port={}", ports.controllers),
        "--bind-address=127.0.0.1".to_owned(),
        "--leader-elect=false".to_owned(),
        format!("--service-account-private-key-file={}", file("tokens.key")),
        format!("--root-ca-file={}", file("ca.crt")),
        "--use-service-account-credentials=true".to_owned(),
        format!("--cluster-signing-cert-file={}", file("ca.crt")),
        format!("--cluster-signing-key-file={}", file("ca.key")),
        "--node-monitor-grace-period=20s".to_owned(),
        "--profiling=false".to_owned(),
    ])
}

pub(super) fn scheduler(binary: &Path, dir: &Path, ports: Numbers) -> Program {
    let kubeconfig = dir.join("scheduler.kubeconfig").display().to_string();
    Program::new(binary).args(["scheduler"]).args([
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        format!("--secure-port={}", ports.scheduler),
        "--bind-address=127.0.0.1".to_owned(),
        "--leader-elect=false".to_owned(),
        "--profiling=false".to_owned(),
    ])
}

pub(super) fn kwok(binary: &Path, dir: &Path, ports: Numbers) -> Program {
    Program::new(binary)
        .args([
            format!("--kubeconfig={}", dir.join("kwok.kubeconfig").display()),
            "--manage-all-nodes=true".to_owned(),
            format!("--config={}", dir.join("stages.yaml").display()),
            format!("--server-address=127.0.0.1:{}", ports.kwok),
            "--node-lease-duration-seconds=40".to_owned(),
        ])
        // It keeps its own files in its home.
        .env("HOME", dir)
}
