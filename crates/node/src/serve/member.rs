//! What every part of a running member shares.

use super::clusters::Clusters;
use super::engine::Engine;
use super::git::Git;
use super::metrics::Metrics;
use super::propose::People;
use crate::config::MemberConfig;
use regraft_engine::Proof;
use regraft_model::id::RepositoryName;
use regraft_model::time::Timestamp;
use regraft_replica::Replica;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// A running member.
pub(super) struct Member {
    pub(super) config: MemberConfig,
    pub(super) replica: Replica,
    pub(super) metrics: Metrics,
    pub(super) engine: Engine,
    pub(super) git: BTreeMap<RepositoryName, Git>,
    pub(super) clusters: Arc<Clusters>,
    /// Commands of people, under their own session.
    pub(super) people: People,
    /// When it last had proof that its state is the majority's.
    pub(super) confirmed: watch::Sender<Option<Proof>>,
    pub(super) started_at: Timestamp,
}

impl Member {
    /// When this member last had proof that its state is the majority's.
    pub(super) fn confirmed_at(&self) -> Option<Timestamp> {
        self.confirmed.borrow().map(|proof| proof.at)
    }
}
