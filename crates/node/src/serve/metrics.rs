//! What `/metrics` tells. Counters live as long as the process; what others count is copied at each scrape.

use super::member::Member;
use super::{documents, state};
use crate::document::ReportDocument;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use regraft_engine::{Effect, ProposeOutcome};
use regraft_model::InvariantId;
use regraft_model::apply::ApplyOutcome;
use regraft_model::id::RepositoryName;
use regraft_model::time::Timestamp;
use regraft_model::words;
use regraft_state::command::Response;
use regraft_state::view::View;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

/// Clock ticks a second in `/proc`, on every Linux there is.
const PROC_TICKS_PER_SECOND: f64 = 100.0;
/// Size of a page in `/proc`, on the architectures we are built for.
const PAGE_BYTES: i64 = 4096;

/// Handles of all metrics; clones share them.
#[derive(Clone)]
pub(super) struct Metrics(Arc<Inner>);

words! {
    /// What is done with Git.
    pub(super) enum GitOperation {
        Fetch => "fetch",
        Load => "load",
        Read => "read",
        History => "history",
        Commit => "commit",
    }
}

words! {
    /// How it ended.
    pub(super) enum GitResult {
        Done => "done",
        Failed => "failed",
    }
}

impl<T, E> From<&Result<T, E>> for GitResult {
    fn from(result: &Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::Done,
            Err(_) => Self::Failed,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByApplicationAndStatus {
    application: String,
    cluster: String,
    status: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByApplicationAndRevision {
    application: String,
    cluster: String,
    repository: String,
    revision: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByApplication {
    application: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRepository {
    repository: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByInvariant {
    invariant: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKind {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCluster {
    cluster: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByClusterAndResult {
    cluster: String,
    result: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByClusterAndVerb {
    cluster: String,
    verb: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByGit {
    repository: String,
    operation: String,
    result: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPhase {
    phase: String,
    outcome: String,
}

#[derive(Default)]
struct Inner {
    registry: Mutex<Registry>,
    prevented: Family<ByInvariant, Counter>,
    effects: Family<ByKind, Counter>,
    proposals: Family<ByResult, Counter>,
    applies: Family<ByClusterAndResult, Counter>,
    git: Family<ByGit, Counter>,
    api_requests: Family<ByClusterAndVerb, Counter>,
    api_writes: Family<ByCluster, Counter>,
    objects: Family<ByClusterAndResult, Counter>,
    cluster_losses: Family<ByCluster, Counter>,
    cluster_ready: Family<ByCluster, Gauge>,
    repository_readable: Family<ByRepository, Gauge>,
    configuration_valid: Family<ByRepository, Gauge>,
    sync_status: Family<ByApplicationAndStatus, Gauge>,
    health_status: Family<ByApplicationAndStatus, Gauge>,
    application_info: Family<ByApplicationAndRevision, Gauge>,
    escalated: Family<ByApplication, Gauge>,
    incidents: Family<ByPhase, Gauge>,
    leader: Gauge,
    term: Gauge,
    applied: Gauge,
    last_log: Gauge,
    confirmed_seconds: Gauge<f64, AtomicU64>,
    resident_bytes: Gauge,
    cpu_seconds: Counter<f64, AtomicU64>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let metrics = Self(Arc::new(Inner::default()));
        metrics.0.register();
        // Promises are counted from zero, so that an alert has something to compare with.
        for id in InvariantId::ALL {
            let _zero = metrics.0.prevented.get_or_create(&ByInvariant {
                invariant: id.to_string(),
            });
        }
        metrics
    }

    pub(super) fn prevented(&self, id: InvariantId) {
        let label = ByInvariant {
            invariant: id.to_string(),
        };
        self.0.prevented.get_or_create(&label).inc();
    }

    pub(super) fn effect(&self, effect: &Effect) {
        let kind = match effect {
            Effect::Propose { .. } => "propose",
            Effect::Fetch { .. } => "fetch",
            Effect::Load { .. } => "load",
            Effect::Read { .. } => "read",
            Effect::History { .. } => "history",
            Effect::Watch { .. } => "watch",
            Effect::Unwatch { .. } => "unwatch",
            Effect::Stop { .. } => "stop",
            Effect::Apply(_) => "apply",
            Effect::Commit { .. } => "commit",
            Effect::Say { .. } => "say",
            Effect::Prevented { .. } => "prevented",
        };
        self.0
            .effects
            .get_or_create(&ByKind {
                kind: kind.to_owned(),
            })
            .inc();
    }

    pub(super) fn proposal(&self, outcome: &ProposeOutcome) {
        let result = match outcome {
            ProposeOutcome::Answered {
                response: Response::Rejected(_),
                ..
            } => "rejected",
            ProposeOutcome::Answered { .. } => "applied",
            ProposeOutcome::Unknown(_) => "unknown",
            ProposeOutcome::Invalid(_) => "invalid",
        };
        self.0
            .proposals
            .get_or_create(&ByResult {
                result: result.to_owned(),
            })
            .inc();
    }

    pub(super) fn applied(&self, outcome: &ApplyOutcome) {
        let result = if outcome.failures.is_empty() {
            "done"
        } else {
            "failed"
        };
        let label = ByClusterAndResult {
            cluster: outcome.target.cluster.to_string(),
            result: result.to_owned(),
        };
        self.0.applies.get_or_create(&label).inc();
    }

    pub(super) fn git(
        &self,
        repository: &RepositoryName,
        operation: GitOperation,
        result: GitResult,
    ) {
        let label = ByGit {
            repository: repository.to_string(),
            operation: operation.to_string(),
            result: result.to_string(),
        };
        self.0.git.get_or_create(&label).inc();
    }

    /// Everything in the text format of Prometheus.
    pub(super) fn scrape(
        &self,
        member: &Member,
        report: Option<&ReportDocument>,
    ) -> Result<String, std::fmt::Error> {
        // Held while copying: another scrape must not see a family that was just emptied.
        let registry = self
            .0
            .registry
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.0.copy_clusters(member);
        self.0.copy_state(member);
        self.0.copy_report(member, report);
        self.0.copy_process();
        let mut out = String::new();
        text::encode(&mut out, &registry)?;
        Ok(out)
    }
}

impl Inner {
    fn register(&self) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
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
    }

    fn copy_clusters(&self, member: &Member) {
        for (cluster, stats) in member.clusters.stats() {
            let label = ByCluster {
                cluster: cluster.to_string(),
            };
            for (verb, count) in &stats.requests {
                let label = ByClusterAndVerb {
                    cluster: cluster.to_string(),
                    verb: (*verb).to_owned(),
                };
                catch_up(&self.api_requests.get_or_create(&label), *count);
            }
            catch_up(&self.api_writes.get_or_create(&label), stats.writes);
            catch_up(&self.cluster_losses.get_or_create(&label), stats.lost);
            for (result, count) in [
                ("written", stats.written),
                ("unchanged", stats.unchanged),
                ("pruned", stats.pruned),
            ] {
                let label = ByClusterAndResult {
                    cluster: cluster.to_string(),
                    result: result.to_owned(),
                };
                catch_up(&self.objects.get_or_create(&label), count);
            }
        }
        for (cluster, standing) in member.clusters.standings() {
            let ready = standing.state == crate::document::ConnectionState::Ready;
            self.cluster_ready
                .get_or_create(&ByCluster {
                    cluster: cluster.to_string(),
                })
                .set(i64::from(ready));
        }
    }

    fn copy_state(&self, member: &Member) {
        let status = member.replica.status();
        for (name, problem) in documents::obstacles(member) {
            let label = ByRepository {
                repository: name.to_string(),
            };
            self.repository_readable
                .get_or_create(&label)
                .set(i64::from(problem.is_none()));
        }
        self.leader
            .set(i64::from(status.leader == Some(status.node_id)));
        self.term.set(saturated(status.term));
        self.applied.set(saturated(status.applied));
        self.last_log.set(saturated(status.last_log));
        self.confirmed_seconds
            .set(seconds(member.confirmed_at().unwrap_or_default()));
        match state::view(&member.replica) {
            Ok(view) => {
                self.copy_incidents(&view);
                self.copy_applications(&view);
            }
            Err(error) => tracing::warn!(%error, "applications and incidents cannot be counted"),
        }
    }

    fn copy_report(&self, member: &Member, report: Option<&ReportDocument>) {
        let Some(report) = report else {
            return;
        };
        for repository in &member.config.repositories {
            let label = ByRepository {
                repository: repository.name.to_string(),
            };
            self.configuration_valid
                .get_or_create(&label)
                .set(i64::from(report.refused(&repository.name).is_none()));
        }
    }

    fn copy_incidents(&self, view: &View) {
        self.escalated.clear();
        for application in documents::escalated(view) {
            let label = ByApplication {
                application: application.to_string(),
            };
            self.escalated.get_or_create(&label).set(1);
        }
        self.incidents.clear();
        for incident in view.incidents.values() {
            let outcome = incident
                .outcome
                .as_ref()
                .map(|outcome| outcome.kind.to_string())
                .unwrap_or_default();
            let label = ByPhase {
                phase: incident.phase.to_string(),
                outcome,
            };
            self.incidents.get_or_create(&label).inc();
        }
    }

    /// One series of value 1 for the state each application is in; the others are absent.
    fn copy_applications(&self, view: &View) {
        self.sync_status.clear();
        self.health_status.clear();
        self.application_info.clear();
        for row in documents::applications(view) {
            let label = |status: String| ByApplicationAndStatus {
                application: row.name.to_string(),
                cluster: row.cluster.to_string(),
                status,
            };
            self.sync_status
                .get_or_create(&label(row.sync.to_string()))
                .set(1);
            self.health_status
                .get_or_create(&label(row.health.to_string()))
                .set(1);
            let label = ByApplicationAndRevision {
                application: row.name.to_string(),
                cluster: row.cluster.to_string(),
                repository: row.repository.to_string(),
                revision: row.revision.map(|it| it.0).unwrap_or_default(),
            };
            self.application_info.get_or_create(&label).set(1);
        }
    }

    fn copy_process(&self) {
        if let Some(pages) = proc_field("/proc/self/statm", 1) {
            self.resident_bytes.set(pages.saturating_mul(PAGE_BYTES));
        }
        // The second field of `stat` is the command in parentheses; ours has no spaces.
        if let (Some(user), Some(system)) = (
            proc_field("/proc/self/stat", 13),
            proc_field("/proc/self/stat", 14),
        ) {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a process that ran for 2^52 ticks is older than Linux"
            )]
            let seconds = (user + system) as f64 / PROC_TICKS_PER_SECOND;
            self.cpu_seconds
                .inc_by((seconds - self.cpu_seconds.get()).max(0.0));
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since the epoch fit a double for 280000 years"
)]
fn seconds(at: Timestamp) -> f64 {
    at.0 as f64 / 1000.0
}

fn catch_up(counter: &Counter, count: u64) {
    counter.inc_by(count.saturating_sub(counter.get()));
}

fn proc_field(file: &str, index: usize) -> Option<i64> {
    std::fs::read_to_string(file)
        .ok()?
        .split_whitespace()
        .nth(index)?
        .parse()
        .ok()
}

fn saturated(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
