//! The order in which kinds come and, reversed, go.

use regraft_model::ObjectKey;

/// Kinds that the rest needs, in order of application: they make up the first stage.
const EARLY: &[&str] = &[
    "CustomResourceDefinition",
    "Namespace",
    "PriorityClass",
    "StorageClass",
    "RuntimeClass",
    "IngressClass",
    "ClusterRole",
    "ClusterRoleBinding",
];

/// The other known kinds in order of application; what is in neither list comes in the gap marked by `""`.
const LATE: &[&str] = &[
    "ResourceQuota",
    "LimitRange",
    "NetworkPolicy",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "Secret",
    "ConfigMap",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Service",
    "PodDisruptionBudget",
    "DaemonSet",
    "Deployment",
    "ReplicaSet",
    "StatefulSet",
    "Pod",
    "Job",
    "CronJob",
    "Ingress",
    "HorizontalPodAutoscaler",
    "",
    "APIService",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];

/// Groups whose kinds the lists mean. `Service` of `serving.knative.dev` is not ours to sort among Services.
const BUILT_IN_GROUPS: &[&str] = &[
    "",
    "apps",
    "batch",
    "autoscaling",
    "policy",
    "networking.k8s.io",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "scheduling.k8s.io",
    "node.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "admissionregistration.k8s.io",
];

/// Place of a kind in the order of application; smaller comes first. Prune goes the other way.
pub fn rank(key: &ObjectKey) -> usize {
    let kind = match BUILT_IN_GROUPS.contains(&key.group.as_str()) {
        true => key.kind.as_str(),
        false => "",
    };
    let place = |list: &[&str]| list.iter().position(|known| *known == kind);
    place(EARLY)
        .or_else(|| place(LATE).map(|place| EARLY.len() + place))
        .or_else(|| {
            LATE.iter()
                .position(|known| known.is_empty())
                .map(|place| EARLY.len() + place)
        })
        .unwrap_or(usize::MAX)
}

/// Whether the kind belongs to the first stage, which has to be established before the rest is applied.
pub fn is_early(key: &ObjectKey) -> bool {
    rank(key) < EARLY.len()
}

/// Whether deleting one takes more with it than the object itself: everything inside a namespace, every object of a
/// kind, the data of a claim. These wait for a person's confirmation.
pub fn is_dangerous(key: &ObjectKey) -> bool {
    matches!(
        (key.group.as_str(), key.kind.as_str()),
        (
            "",
            "Namespace" | "PersistentVolumeClaim" | "PersistentVolume"
        ) | ("apiextensions.k8s.io", "CustomResourceDefinition")
    )
}
