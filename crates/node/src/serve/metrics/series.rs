//! The series there are: labels, names and what each says.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByApplicationAndStatus {
    pub(super) application: String,
    pub(super) cluster: String,
    pub(super) status: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByApplicationAndRevision {
    pub(super) application: String,
    pub(super) cluster: String,
    pub(super) repository: String,
    pub(super) revision: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByApplication {
    pub(super) application: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByRepository {
    pub(super) repository: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByInvariant {
    pub(super) invariant: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByKind {
    pub(super) kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByResult {
    pub(super) result: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByCluster {
    pub(super) cluster: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByClusterAndResult {
    pub(super) cluster: String,
    pub(super) result: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByClusterAndVerb {
    pub(super) cluster: String,
    pub(super) verb: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByGit {
    pub(super) repository: String,
    pub(super) operation: String,
    pub(super) result: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByPhase {
    pub(super) phase: String,
    pub(super) outcome: String,
}

#[derive(Default)]
pub(super) struct Series {
    pub(super) prevented: Family<ByInvariant, Counter>,
    pub(super) effects: Family<ByKind, Counter>,
    pub(super) proposals: Family<ByResult, Counter>,
    pub(super) applies: Family<ByClusterAndResult, Counter>,
    pub(super) git: Family<ByGit, Counter>,
    pub(super) api_requests: Family<ByClusterAndVerb, Counter>,
    pub(super) api_writes: Family<ByCluster, Counter>,
    pub(super) objects: Family<ByClusterAndResult, Counter>,
    pub(super) cluster_losses: Family<ByCluster, Counter>,
    pub(super) cluster_ready: Family<ByCluster, Gauge>,
    pub(super) repository_readable: Family<ByRepository, Gauge>,
    pub(super) configuration_valid: Family<ByRepository, Gauge>,
    pub(super) sync_status: Family<ByApplicationAndStatus, Gauge>,
    pub(super) health_status: Family<ByApplicationAndStatus, Gauge>,
    pub(super) application_info: Family<ByApplicationAndRevision, Gauge>,
    pub(super) escalated: Family<ByApplication, Gauge>,
    pub(super) incidents: Family<ByPhase, Gauge>,
    pub(super) leader: Gauge,
    pub(super) term: Gauge,
    pub(super) applied: Gauge,
    pub(super) last_log: Gauge,
    pub(super) confirmed_seconds: Gauge<f64, AtomicU64>,
    pub(super) certificate_expires_seconds: Gauge<f64, AtomicU64>,
    pub(super) resident_bytes: Gauge,
    pub(super) cpu_seconds: Counter<f64, AtomicU64>,
}

impl Series {
    /// Gives every series its name.
    pub(super) fn register(&self, registry: &mut Registry) {
        // The names that every Prometheus client uses for its process have no prefix of ours.
        registry.register_with_unit(
            "process_resident_memory",
            "Resident memory",
            Unit::Bytes,
            self.resident_bytes.clone(),
        );
        registry.register_with_unit(
            "process_cpu",
            "CPU time, user and system",
            Unit::Seconds,
            self.cpu_seconds.clone(),
        );
        let registry = registry.sub_registry_with_prefix("regraft");
        registry.register(
            "invariant_prevented",
            "Times a guard stopped something that would have broken a promise",
            self.prevented.clone(),
        );
        registry.register("effects", "What the engine asked for", self.effects.clone());
        registry.register(
            "proposals",
            "Commands proposed to the replicated state",
            self.proposals.clone(),
        );
        registry.register(
            "applies",
            "Applies of a target, also those that wrote nothing",
            self.applies.clone(),
        );
        registry.register(
            "git_operations",
            "Operations on repositories",
            self.git.clone(),
        );
        registry.register(
            "api_requests",
            "Requests to API servers, by verb",
            self.api_requests.clone(),
        );
        registry.register(
            "api_writes",
            "Requests to API servers that may have changed something",
            self.api_writes.clone(),
        );
        registry.register(
            "objects",
            "Objects written, found unchanged or pruned",
            self.objects.clone(),
        );
        registry.register(
            "cluster_losses",
            "Times the connection to a cluster was lost",
            self.cluster_losses.clone(),
        );
        registry.register(
            "cluster_ready",
            "Whether a cluster is connected",
            self.cluster_ready.clone(),
        );
        registry.register(
            "repository_readable",
            "Whether a repository could be read when this member last tried",
            self.repository_readable.clone(),
        );
        registry.register(
            "configuration_valid",
            "Whether the newest configuration in a repository holds; where not, the one before does",
            self.configuration_valid.clone(),
        );
        registry.register(
            "application_escalated",
            "1 for an application that was handed to a person and is not healthy yet",
            self.escalated.clone(),
        );
        registry.register(
            "application_sync_status",
            "1 for the state in which an application is against Git in a cluster",
            self.sync_status.clone(),
        );
        registry.register(
            "application_health_status",
            "1 for the health that an application has in a cluster",
            self.health_status.clone(),
        );
        registry.register(
            "application_info",
            "Always 1: the revision that is applied, empty before the first",
            self.application_info.clone(),
        );
        registry.register(
            "incidents",
            "Incidents by phase and outcome",
            self.incidents.clone(),
        );
        registry.register(
            "raft_leader",
            "Whether this member leads",
            self.leader.clone(),
        );
        registry.register("raft_term", "Term of this member", self.term.clone());
        registry.register(
            "raft_applied_index",
            "Log index applied here",
            self.applied.clone(),
        );
        registry.register(
            "raft_last_log_index",
            "Last log index here",
            self.last_log.clone(),
        );
        registry.register_with_unit(
            "confirmed_timestamp",
            "Last proof that the state here is the majority's, since the epoch",
            Unit::Seconds,
            self.confirmed_seconds.clone(),
        );
        registry.register_with_unit(
            "certificate_expiration_timestamp",
            "When the own certificate or every authority under `tls` has run out, since the epoch",
            Unit::Seconds,
            self.certificate_expires_seconds.clone(),
        );
    }
}
