//! Copies what others count and know into the series, at each scrape.

use super::super::member::Member;
use super::super::{documents, state};
use super::series::{
    ByApplication, ByApplicationAndRevision, ByApplicationAndStatus, ByCluster, ByClusterAndResult,
    ByClusterAndVerb, ByPhase, ByRepository, Series,
};
use crate::document::ReportDocument;
use prometheus_client::metrics::counter::Counter;
use regraft_model::time::Timestamp;
use regraft_state::view::View;

/// Clock ticks a second in `/proc`, on every Linux there is.
const PROC_TICKS_PER_SECOND: f64 = 100.0;
/// Size of a page in `/proc`, on the architectures we are built for.
const PAGE_BYTES: i64 = 4096;

impl Series {
    pub(super) fn copy_clusters(&self, member: &Member) {
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

    pub(super) fn copy_state(&self, member: &Member) {
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
        if let Some(tls) = member.replica.tls() {
            self.certificate_expires_seconds
                .set(seconds(Timestamp(tls.expires_ms())));
        }
        match state::view(&member.replica) {
            Ok(view) => {
                self.copy_incidents(&view);
                self.copy_applications(&view);
            }
            Err(error) => tracing::warn!(%error, "applications and incidents cannot be counted"),
        }
    }

    pub(super) fn copy_report(&self, member: &Member, report: Option<&ReportDocument>) {
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

    pub(super) fn copy_process(&self) {
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
