//! What `/metrics` tells. Counters live as long as the process; what others count is copied at each scrape.

mod copy;
mod series;

use super::member::Member;
use crate::document::ReportDocument;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use regraft_engine::{Effect, ProposeOutcome};
use regraft_model::InvariantId;
use regraft_model::apply::ApplyOutcome;
use regraft_model::id::RepositoryName;
use regraft_model::words;
use regraft_state::command::Response;
use series::{ByClusterAndResult, ByGit, ByInvariant, ByKind, ByResult, Series};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Handles of all metrics; clones share them.
#[derive(Clone)]
pub(super) struct Metrics(Arc<Inner>);

#[derive(Default)]
struct Inner {
    registry: Mutex<Registry>,
    series: Series,
}

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

impl Metrics {
    pub(super) fn new() -> Self {
        let metrics = Self(Arc::new(Inner::default()));
        metrics.0.series.register(&mut metrics.0.registry());
        // Promises are counted from zero, so that an alert has something to compare with.
        for id in InvariantId::ALL {
            let _zero = metrics.0.series.prevented.get_or_create(&ByInvariant {
                invariant: id.to_string(),
            });
        }
        metrics
    }

    pub(super) fn prevented(&self, id: InvariantId) {
        let label = ByInvariant {
            invariant: id.to_string(),
        };
        self.0.series.prevented.get_or_create(&label).inc();
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
            .series
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
            .series
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
        self.0.series.applies.get_or_create(&label).inc();
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
        self.0.series.git.get_or_create(&label).inc();
    }

    /// Everything in the text format of Prometheus.
    pub(super) fn scrape(
        &self,
        member: &Member,
        report: Option<&ReportDocument>,
    ) -> Result<String, std::fmt::Error> {
        // Held while copying: another scrape must not see a family that was just emptied.
        let registry = self.0.registry();
        let series = &self.0.series;
        series.copy_clusters(member);
        series.copy_state(member);
        series.copy_report(member, report);
        series.copy_process();
        let mut out = String::new();
        text::encode(&mut out, &registry)?;
        Ok(out)
    }
}

impl Inner {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
