//! Applications that left Git: their objects are orphaned or deleted, then nothing is left of them.

use super::apply::Work;
use super::look::judge_comparison;
use super::{Look, TargetMemory};
use crate::Engine;
use crate::effect::Effect;
use crate::intent::Intent;
use crate::observed::{ObservedCluster, Sight};
use crate::source::Tracked;
use regraft_diff::{ClusterState, retire};
use regraft_model::apply::{ApplyRequest, Inventory};
use regraft_model::config::DeletionPolicy;
use regraft_model::finding::SyncState;
use regraft_model::id::{ClusterName, TargetKey};
use regraft_model::source::Revision;
use regraft_model::time::Timestamp;
use regraft_state::command::Command;

impl Engine {
    pub(super) fn step_retiring(
        &mut self,
        now: Timestamp,
        target: &TargetKey,
        memory: &mut TargetMemory,
        effects: &mut Vec<Effect>,
    ) {
        let Some(retiring) = self.view.retiring.get(&target.application).cloned() else {
            return;
        };
        let read = self.read_head(&retiring.application.repository);
        let Some(revision) = read.and_then(Tracked::revision).cloned() else {
            // The newest commit may have brought it back.
            return;
        };
        let suspended = self.suspension_of(&target.application);
        let observed = self.cluster_to_leave(target);
        let elsewhere = self.other_name(target, observed).is_some();
        if (observed.is_none() || elsewhere) && !self.view.clusters.contains_key(&target.cluster) {
            // A cluster is registered before anything is applied to it: nothing of ours is there, or it is another
            // target's now.
            return self.retired(now, target, effects);
        }
        let waits = suspended
            .or_else(|| self.ambiguous_cluster(&target.cluster))
            .or_else(|| self.renamed(target, observed));
        let (Some(observed), None) = (observed, &waits) else {
            let waits = waits.unwrap_or_else(|| gone_for_good(&target.cluster));
            let message = format!("its objects are released when that is over: {waits}");
            let look = Look::of(SyncState::Unknown, "Retiring", message);
            return self.tell(now, target, memory, look, effects);
        };
        let inventory = self.inventory_of(target);
        if self.view.installation.as_deref() != Some(inventory.installation.as_str()) {
            // Another installation reconciles it there: nothing of it is ours to let go.
            return self.retired(now, target, effects);
        }
        let compared = ClusterState {
            live: &observed.live,
            unseen: &|key| observed.is_unseen(key),
            scaled: &observed.scaled,
            known_equal: &memory.known_equal,
        };
        let deletion = retiring.application.deletion;
        if deletion == DeletionPolicy::Delete
            && self.is_configuration_broken(&retiring.application.repository)
        {
            // It may only seem to have left: nothing is pruned until the configuration can be read (I5).
            return;
        }
        let occasion = retiring.since.0.to_string();
        let token = self.confirmed_token(target, &occasion);
        let comparison = retire(target, &revision, deletion, &compared, &inventory, token);
        let mut look = judge_comparison(&comparison, &occasion);
        if comparison.blocked.is_empty() {
            let request = match comparison.request {
                Some(request) => request,
                None if memory.released => return self.retired(now, target, effects),
                // An inventory that cannot be read is not told, and is not empty: the edge says which of the two it is.
                None => nothing_left(target, revision, &inventory),
            };
            look.sync = self.apply(now, memory, false, Work::new(request, &[]), effects);
        }
        self.tell(now, target, memory, look, effects);
    }

    /// The cluster of a target when it is the one that is registered, if any is, and all that is ours in it is seen.
    fn cluster_to_leave(&self, target: &TargetKey) -> Option<&ObservedCluster> {
        let observed = self.observed.get(&target.cluster)?;
        let Sight::Clear { uid } = &observed.sight else {
            return None;
        };
        let registered = self.view.clusters.get(&target.cluster);
        let listed = || observed.has_listed(&self.inventory_kinds(target).collect());
        (registered.is_none_or(|known| known.uid == *uid)
            && observed.inventories.is_some()
            && listed())
        .then_some(observed)
    }

    /// What is to be known or said before an application leaves a cluster that it may still be for under another name.
    fn renamed(&self, target: &TargetKey, observed: Option<&ObservedCluster>) -> Option<String> {
        let cluster = &target.cluster;
        if let Some(other) = self.other_name(target, observed) {
            return Some(format!(
                "{cluster} and {other} are the same cluster; `regraft forget-cluster {cluster}` leaves all to {other}"
            ));
        }
        let application = self.application(&target.application)?;
        let mut clusters = application.clusters.iter();
        let unknown = clusters.find(|other| !self.view.clusters.contains_key(*other))?;
        Some(format!(
            "{unknown} may be the same cluster: that is known when it is connected"
        ))
    }

    /// The other name under which the application is for the very cluster that it leaves.
    fn other_name(
        &self,
        target: &TargetKey,
        observed: Option<&ObservedCluster>,
    ) -> Option<&ClusterName> {
        let Sight::Clear { uid } = &observed?.sight else {
            return None;
        };
        let application = self.application(&target.application)?;
        let is_same = |other: &&ClusterName| {
            let known = self.view.clusters.get(*other);
            known.is_some_and(|known| known.uid == *uid)
        };
        application.clusters.iter().find(is_same)
    }

    /// Nothing of it is left, or ever was.
    fn retired(&mut self, now: Timestamp, target: &TargetKey, effects: &mut Vec<Effect>) {
        let command = Command::Retired {
            target: target.clone(),
        };
        self.propose(now, Intent::Retired(target.clone()), command, effects);
    }

    pub(super) fn is_retiring(&self, target: &TargetKey) -> bool {
        let configured = self
            .application(&target.application)
            .is_some_and(|application| application.clusters.contains(&target.cluster));
        let retiring = self.view.retiring.get(&target.application);
        !configured && retiring.is_some_and(|it| it.clusters.contains(&target.cluster))
    }
}

fn gone_for_good(cluster: &ClusterName) -> String {
    format!("{cluster} cannot be seen; if it is gone for good, `regraft forget-cluster {cluster}`")
}

fn nothing_left(target: &TargetKey, revision: Revision, inventory: &Inventory) -> ApplyRequest {
    ApplyRequest {
        number: 0,
        target: target.clone(),
        revision,
        stages: Vec::new(),
        prune: Vec::new(),
        orphan: Vec::new(),
        inventory: inventory.clone(),
        inventory_before: inventory.clone(),
    }
}
