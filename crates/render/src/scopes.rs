//! Which kinds live in namespaces.

use regraft_model::Object;
use regraft_model::apply::KindScope;
use std::collections::BTreeMap;

/// Kinds of Kubernetes itself that live in the cluster, by group.
const CLUSTER_KINDS: &[(&str, &[&str])] = &[
    (
        "",
        &["Namespace", "Node", "PersistentVolume", "ComponentStatus"],
    ),
    (
        "admissionregistration.k8s.io",
        &[
            "MutatingWebhookConfiguration",
            "ValidatingWebhookConfiguration",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
            "MutatingAdmissionPolicy",
            "MutatingAdmissionPolicyBinding",
        ],
    ),
    ("apiextensions.k8s.io", &["CustomResourceDefinition"]),
    ("apiregistration.k8s.io", &["APIService"]),
    (
        "certificates.k8s.io",
        &["CertificateSigningRequest", "ClusterTrustBundle"],
    ),
    (
        "flowcontrol.apiserver.k8s.io",
        &["FlowSchema", "PriorityLevelConfiguration"],
    ),
    (
        "networking.k8s.io",
        &["IngressClass", "IPAddress", "ServiceCIDR"],
    ),
    ("node.k8s.io", &["RuntimeClass"]),
    (
        "rbac.authorization.k8s.io",
        &["ClusterRole", "ClusterRoleBinding"],
    ),
    ("resource.k8s.io", &["DeviceClass", "ResourceSlice"]),
    ("scheduling.k8s.io", &["PriorityClass"]),
    (
        "storage.k8s.io",
        &[
            "StorageClass",
            "VolumeAttachment",
            "CSIDriver",
            "CSINode",
            "VolumeAttributesClass",
        ],
    ),
];

/// Knows where kinds live: those of Kubernetes, and those it was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KindScopes {
    told: BTreeMap<(String, String), KindScope>,
}

impl KindScopes {
    /// Tells where the objects of a kind live, as discovery or a live CRD says.
    pub fn tell(&mut self, group: &str, kind: &str, scope: KindScope) {
        self.told.insert((group.to_owned(), kind.to_owned()), scope);
    }

    /// Tells what a CustomResourceDefinition says about its kind; other objects say nothing.
    pub(crate) fn tell_crd(&mut self, object: &Object) {
        if object.kind() != "CustomResourceDefinition" || object.group() != "apiextensions.k8s.io" {
            return;
        }
        let scope = match object.text("/spec/scope") {
            "Cluster" => KindScope::Cluster,
            _ => KindScope::Namespaced,
        };
        self.tell(
            object.text("/spec/group"),
            object.text("/spec/names/kind"),
            scope,
        );
    }

    /// Where the objects of a kind live. Kinds nobody told about are taken to be namespaced, as most are.
    pub fn of(&self, group: &str, kind: &str) -> KindScope {
        if let Some(scope) = self.told.get(&(group.to_owned(), kind.to_owned())) {
            return *scope;
        }
        let built_in = CLUSTER_KINDS
            .iter()
            .any(|(known, kinds)| *known == group && kinds.contains(&kind));
        match built_in {
            true => KindScope::Cluster,
            false => KindScope::Namespaced,
        }
    }
}
