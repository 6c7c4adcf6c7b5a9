//! What this member waits for and why, for people.

use crate::Engine;
use crate::observed::Sight;
use regraft_model::id::{ClusterName, RepositoryName};
use regraft_model::problem::Problem;
use serde::Serialize;
use std::collections::BTreeMap;

/// What one member knows that the replicated state does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Why a repository's remote or newest revision cannot be read, by repository.
    pub unreadable: BTreeMap<RepositoryName, String>,
    /// Problems of configuration and manifests, by repository.
    pub problems: BTreeMap<RepositoryName, Vec<Problem>>,
    /// Clusters this member works on, and why one cannot be seen; absent text means it can.
    pub clusters: BTreeMap<ClusterName, Option<String>>,
    /// Number of targets this member works on.
    pub targets: usize,
    /// The log index this member has applied.
    pub applied: u64,
}

impl Engine {
    /// What this member waits for and why.
    pub fn report(&self) -> Report {
        let mut report = Report {
            applied: self.applied,
            ..Report::default()
        };
        for (repository, tracked) in &self.tracked {
            if let Some(reason) = &tracked.unreadable {
                report.unreadable.insert(repository.clone(), reason.clone());
            }
            let mut problems = tracked.problems.clone();
            let rendered = self.rendered.values();
            let here = rendered.filter(|it| it.application.repository == *repository);
            problems.extend(here.flat_map(|it| it.problems.iter().cloned()));
            if !problems.is_empty() {
                report.problems.insert(repository.clone(), problems);
            }
        }
        for (cluster, observed) in &self.observed {
            let state = match &observed.sight {
                Sight::Clear { .. } => None,
                Sight::Unknown => Some("connecting".to_owned()),
                Sight::Lost { reason } => Some(reason.clone()),
            };
            report.clusters.insert(cluster.clone(), state);
        }
        report.targets = self.my_targets().count();
        report
    }
}
