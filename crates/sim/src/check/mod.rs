//! The checkers: they watch the world and the log, never the engine's inside, and judge after every occurrence.

mod cluster;
mod git;
mod log;
mod rest;

use regraft_model::id::{IncidentId, TargetKey};
use regraft_model::plan::Edit;
use regraft_model::source::Revision;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What the checkers remember.
#[derive(Default)]
pub(crate) struct Checks {
    /// Heads the trio recorded, with the objects each application has there.
    heads: BTreeMap<Revision, BTreeMap<String, Vec<Value>>>,
    /// Commits of ours that reached the tracked branch.
    pub(crate) landed: Vec<Landed>,
    /// Proposals whose answer a member has taken in.
    acknowledged: BTreeSet<(String, u64)>,
    /// Proposals in the log.
    logged: BTreeSet<(String, u64)>,
    /// Newest fence granted so far.
    last_fence: u64,
    /// Targets that cannot be seen, with the index of the report that says so.
    unseen: BTreeMap<TargetKey, u64>,
    /// Deletions a person confirmed.
    confirmed: BTreeSet<TargetKey>,
    /// Objects pruned for a target at a revision, and how many were in its inventory at first.
    pruned: BTreeMap<(TargetKey, Revision), (usize, usize)>,
    /// Length of the log when the world came to rest.
    log_at_rest: usize,
    /// What the seed reached, for the summary.
    pub(crate) tally: Tally,
}

/// A commit of ours on the tracked branch.
#[derive(Clone, Debug)]
pub(crate) struct Landed {
    pub(crate) incident: IncidentId,
    pub(crate) key: String,
    pub(crate) application: String,
    pub(crate) revision: Revision,
    pub(crate) edits: Vec<Edit>,
    pub(crate) at: i64,
    pub(crate) clusters: Vec<String>,
}

/// How much of the machinery a run has exercised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Incidents by how they ended.
    pub outcomes: BTreeMap<String, u64>,
    /// Commits of ours on the tracked branch.
    pub commits: u64,
    /// Objects written to clusters.
    pub writes: u64,
    /// Objects deleted from clusters.
    pub prunes: u64,
    /// Vetoes recorded.
    pub vetoes: u64,
    /// Log entries.
    pub entries: u64,
}

impl Tally {
    /// Adds another run's figures.
    pub fn add(&mut self, other: &Tally) {
        for (outcome, count) in &other.outcomes {
            *self.outcomes.entry(outcome.clone()).or_default() += count;
        }
        self.commits += other.commits;
        self.writes += other.writes;
        self.prunes += other.prunes;
        self.vetoes += other.vetoes;
        self.entries += other.entries;
    }
}

impl Checks {
    pub(crate) fn acknowledged(&mut self, client: String, sequence: u64) {
        self.acknowledged.insert((client, sequence));
    }

    /// The latest commit of ours, of one incident or of any.
    pub(crate) fn latest_landed(&self, incident: Option<&IncidentId>) -> Option<Landed> {
        self.landed
            .iter()
            .rev()
            .find(|landed| incident.is_none_or(|incident| landed.incident == *incident))
            .cloned()
    }
}
