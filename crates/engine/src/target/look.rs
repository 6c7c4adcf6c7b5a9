//! What one target lacks to be what Git says, or why it must be left alone.

use super::apply::Work;
use super::{Look, TargetMemory, sync};
use crate::Engine;
use crate::effect::{Effect, prevented};
use crate::intent::Intent;
use crate::observed::Sight;
use crate::planted::Bug;
use crate::source::{Rendered, Tracked};
use regraft_diff::{ClusterState, Comparison, Complete, Desired, compare};
use regraft_model::InvariantId;
use regraft_model::apply::Inventory;
use regraft_model::config::Application;
use regraft_model::finding::{PendingDeletion, SyncState};
use regraft_model::id::{ClusterName, RepositoryName, TargetKey};
use regraft_model::source::TreeId;
use regraft_model::time::Timestamp;
use regraft_state::command::Command;
use regraft_state::record::ClusterIdentity;
use std::collections::BTreeSet;

/// Characters of a tree's id that a confirmation of deletions carries.
const OCCASION_CHARS: usize = 12;

impl TargetMemory {
    /// What Git does not name any more stays, as long as not all of Git could be read (I5).
    fn note_kept(&mut self, rendered: &Rendered, inventory: &Inventory, effects: &mut Vec<Effect>) {
        if self.kept_for.as_ref() == Some(&rendered.tree) {
            return;
        }
        let named: BTreeSet<_> = rendered.objects.iter().map(|object| object.key()).collect();
        if inventory.entries.keys().any(|key| !named.contains(key)) {
            self.kept_for = Some(rendered.tree.clone());
            effects.push(prevented(InvariantId::I5));
        }
    }
}

impl Engine {
    pub(super) fn look(
        &mut self,
        now: Timestamp,
        target: &TargetKey,
        memory: &mut TargetMemory,
        effects: &mut Vec<Effect>,
    ) -> Look {
        if let Some(look) = self.not_to_be_touched(now, target, effects) {
            return look;
        }
        let Some((rendered, inventory, comparison)) = self.compared(target, memory) else {
            return Look::of(
                SyncState::Unknown,
                "NotReadYet",
                "its files are not read yet",
            );
        };
        if self.completeness(rendered) == Complete::WithProblems {
            memory.note_kept(rendered, &inventory, effects);
        }
        let mut look = judge(rendered, &comparison);
        let Some(mut request) = comparison.request else {
            if look.in_sync_with.is_some() {
                memory.failures.clear();
            }
            return look;
        };
        request.inventory_before = inventory;
        let has_errors = rendered.has_errors();
        let was_synced = self.has_applied(target, &rendered.tree);
        let work = Work::new(request, &comparison.out_of_sync);
        let told = self.apply(now, memory, was_synced, work, effects);
        if !has_errors {
            look.sync = told;
        }
        look
    }

    /// What Git says of a target, its inventory, and how the cluster differs from both; none when its files are not
    /// read.
    fn compared(
        &self,
        target: &TargetKey,
        memory: &TargetMemory,
    ) -> Option<(&Rendered, Inventory, Comparison)> {
        let application = self.application(&target.application)?;
        let rendered = self.rendered.get(&target.application)?;
        let observed = self.observed.get(&target.cluster)?;
        let inventory = self.inventory_of(target);
        let comparison = compare(
            &Desired {
                target,
                revision: &rendered.revision,
                application,
                installation: &rendered.installation,
                objects: &observed.placed(&rendered.objects),
                complete: self.completeness(rendered),
                holds: &|name| self.holds(name),
            },
            &ClusterState {
                live: &observed.live,
                unseen: &|key| observed.is_unseen(key),
                scaled: &observed.scaled,
                known_equal: &memory.known_equal,
            },
            &inventory,
            self.confirmed_token(target, &occasion_of(rendered)),
        );
        Some((rendered, inventory, comparison))
    }

    /// Whether a tree was in sync when the target was last told of.
    pub(super) fn has_applied(&self, target: &TargetKey, tree: &TreeId) -> bool {
        let status = self.view.statuses.get(target);
        let applied = status.and_then(|status| status.applied.as_ref());
        applied.is_some_and(|applied| applied.tree == *tree)
    }

    /// Whether what Git says of an application is all of it. A configuration with errors may hide where an object went,
    /// just as a manifest with errors may hide the object.
    fn completeness(&self, rendered: &Rendered) -> Complete {
        let repository = &rendered.application.repository;
        let broken = rendered.has_errors() || self.is_configuration_broken(repository);
        match broken && !self.is_planted(Bug::PruneAfterProblems) {
            true => Complete::WithProblems,
            false => Complete::Yes,
        }
    }

    pub(super) fn is_configuration_broken(&self, repository: &RepositoryName) -> bool {
        !self.tracked.get(repository).is_some_and(Tracked::is_valid)
    }

    /// Why a target must be left alone now.
    pub(super) fn not_to_be_touched(
        &mut self,
        now: Timestamp,
        target: &TargetKey,
        effects: &mut Vec<Effect>,
    ) -> Option<Look> {
        let application = self.application(&target.application)?.clone();
        self.misplaced(target, &application)
            .or_else(|| self.suspended(target, &application))
            .or_else(|| self.not_recognised(now, target, effects))
            .or_else(|| self.not_seen_whole(target, &application))
    }

    /// Why the configuration says nothing of a target that could be followed.
    fn misplaced(&self, target: &TargetKey, application: &Application) -> Option<Look> {
        let repositories = self.configured_in(&target.application);
        if repositories.len() > 1 {
            let named: Vec<_> = repositories.iter().map(|name| name.as_str()).collect();
            let message = format!(
                "{} is configured in the repositories {}: give one of them another name",
                target.application,
                named.join(" and ")
            );
            return Some(Look::of(
                SyncState::Blocked,
                "AmbiguousApplication",
                message,
            ));
        }
        if !application.clusters.contains(&target.cluster) {
            let message = format!(
                "{} is not for {} any more",
                target.application, target.cluster
            );
            return Some(Look::of(SyncState::Unknown, "Leaving", message));
        }
        self.ambiguous_cluster(&target.cluster)
            .map(|message| Look::of(SyncState::Blocked, "AmbiguousCluster", message))
    }

    /// Why nobody knows which cluster a name is for.
    pub(super) fn ambiguous_cluster(&self, cluster: &ClusterName) -> Option<String> {
        let named = self.credentials_of(cluster);
        let told =
            |(credentials, repository)| format!("`{credentials}` in the repository {repository}");
        let told: Vec<_> = named.into_iter().map(told).collect();
        (told.len() > 1).then(|| {
            format!(
                "{cluster} has the credentials {}: give one of them another name, or both the same credentials",
                told.join(" and ")
            )
        })
    }

    /// Who suspended a target: Git for the application or the cluster, or a person.
    fn suspended(&self, target: &TargetKey, application: &Application) -> Option<Look> {
        let suspended =
            |reason: &str, message: &str| Some(Look::of(SyncState::Suspended, reason, message));
        if application.suspend {
            return suspended("SuspendedInGit", "spec.suspend is true");
        }
        let cluster_paused = self.fleets().any(|fleet| {
            fleet
                .clusters
                .get(&target.cluster)
                .is_some_and(|spec| spec.suspend)
        });
        if cluster_paused {
            return suspended("ClusterSuspended", "its Cluster has spec.suspend true");
        }
        let suspension = self.suspension_of(&target.application)?;
        suspended("Suspended", &suspension)
    }

    /// Why it is not sure that the cluster registered under this name answers. One seen for the first time is
    /// registered.
    fn not_recognised(
        &mut self,
        now: Timestamp,
        target: &TargetKey,
        effects: &mut Vec<Effect>,
    ) -> Option<Look> {
        let unknown =
            |reason: &str, message: String| Some(Look::of(SyncState::Unknown, reason, message));
        let sight = self
            .observed
            .get(&target.cluster)
            .map(|observed| observed.sight.clone());
        let uid = match sight.unwrap_or_default() {
            Sight::Unknown => {
                return unknown("Connecting", format!("connecting {}", target.cluster));
            }
            Sight::Lost { reason } => {
                return Some(Look::of(SyncState::Unreachable, "Unreachable", reason));
            }
            Sight::Clear { uid } => uid,
        };
        match self.view.clusters.get(&target.cluster) {
            None => {
                let cluster = target.cluster.clone();
                let command = Command::RegisterCluster {
                    cluster: cluster.clone(),
                    uid,
                };
                self.propose(now, Intent::Cluster(cluster.clone()), command, effects);
                unknown(
                    "Registering",
                    format!("{cluster} is seen for the first time"),
                )
            }
            Some(known) if known.uid == uid => {
                let other = self.same_cluster(known)?;
                let message = format!(
                    "{} is the cluster that is registered as {other}: one cluster has one name; if it was renamed, \
                     `regraft forget-cluster {other}`",
                    target.cluster
                );
                Some(Look::of(SyncState::Blocked, "SameCluster", message))
            }
            Some(known) => {
                let message = format!(
                    "{} had kube-system UID {}, now it has {uid}: another cluster answers; if it was made \
                     anew, `regraft forget-cluster {}`",
                    target.cluster, known.uid, target.cluster
                );
                Some(Look::of(SyncState::Blocked, "ClusterChanged", message))
            }
        }
    }

    /// The name under which a cluster was registered before it was under this one.
    fn same_cluster(&self, known: &ClusterIdentity) -> Option<&ClusterName> {
        let order = |it: &ClusterIdentity| (it.since, it.cluster.clone());
        let mut all = self.view.clusters.values();
        let before = all.find(|it| it.uid == known.uid && order(it) < order(known))?;
        Some(&before.cluster)
    }

    /// Whether what runs in a target, and what should, can be seen now.
    pub(super) fn is_seen(&self, target: &TargetKey) -> bool {
        let Some(application) = self.application(&target.application) else {
            return false;
        };
        let known = self.view.clusters.get(&target.cluster);
        let sight = self
            .observed
            .get(&target.cluster)
            .map(|observed| &observed.sight);
        match (sight, known) {
            (Some(Sight::Clear { uid }), Some(known)) if *uid == known.uid => {
                self.not_seen_whole(target, application).is_none()
            }
            _ => false,
        }
    }

    /// Why what is known of Git or the cluster is not complete. Missing is never empty.
    pub(super) fn not_seen_whole(
        &self,
        target: &TargetKey,
        application: &Application,
    ) -> Option<Look> {
        let unknown =
            |reason: &str, message: String| Some(Look::of(SyncState::Unknown, reason, message));
        let head = self.view.heads.get(&application.repository);
        let tracked = self.tracked.get(&application.repository);
        let (Some(head), Some(tracked)) = (head, tracked) else {
            return unknown(
                "RevisionNotRead",
                "no head of its branch is known".to_owned(),
            );
        };
        if tracked.revision() != Some(&head.revision) {
            let why = tracked
                .unreadable
                .clone()
                .unwrap_or_else(|| "it is being read".to_owned());
            return unknown(
                "RevisionNotRead",
                format!("{}: {why}", head.revision.short()),
            );
        }
        let Some(tree) = tracked.tree(application) else {
            let message = format!(
                "{} has no directory {}",
                head.revision.short(),
                application.path
            );
            return Some(Look::of(SyncState::Blocked, "PathMissing", message));
        };
        if let Some((revision, reason)) = self.unreadable_files.get(&target.application) {
            let message = format!("{} at {}: {reason}", application.path, revision.short());
            return Some(Look::of(SyncState::Blocked, "SourceUnreadable", message));
        }
        let (Some(rendered), Some(observed)) = (
            self.rendered.get(&target.application),
            self.observed.get(&target.cluster),
        ) else {
            return unknown("NotReadYet", "its files are being read".to_owned());
        };
        if rendered.tree != *tree || rendered.application != *application {
            return unknown("NotReadYet", "its files are being read".to_owned());
        }
        let mut kinds = rendered.kinds.clone();
        kinds.extend(self.inventory_kinds(target));
        if observed.inventories.is_none() || !observed.has_listed(&kinds) {
            return unknown(
                "Listing",
                format!("{} is still being listed", target.cluster),
            );
        }
        None
    }
}

/// How a target stands, by what is wrong with its files and by what differs.
fn judge(rendered: &Rendered, comparison: &Comparison) -> Look {
    let mut look = judge_comparison(comparison, &occasion_of(rendered));
    if rendered.has_errors() {
        let problems: Vec<_> = rendered.problems.iter().map(ToString::to_string).collect();
        look.sync = sync(SyncState::Blocked, "RenderProblems", problems.join("; "));
    } else if comparison.request.is_none() && comparison.blocked.is_empty() {
        look.in_sync_with = Some((rendered.revision.clone(), rendered.tree.clone()));
    }
    look
}

/// What a confirmation of deletions is given for besides their list: the same list at other files is another question.
fn occasion_of(rendered: &Rendered) -> String {
    rendered.tree.0.chars().take(OCCASION_CHARS).collect()
}

/// How a target stands by what differs. What waits for a person is told with the `occasion` that the answer is good
/// for.
pub(super) fn judge_comparison(comparison: &Comparison, occasion: &str) -> Look {
    let Some(blocked) = comparison.blocked.first() else {
        return Look::of(SyncState::Synced, "Synced", "");
    };
    let messages: Vec<_> = comparison
        .blocked
        .iter()
        .map(|it| it.message.as_str())
        .collect();
    let mut look = Look::of(SyncState::Blocked, &blocked.reason, messages.join("; "));
    look.pending_deletion = comparison.blocked.iter().find_map(|it| {
        let token = it.token.as_ref()?;
        Some(PendingDeletion {
            token: format!("{token}-{occasion}"),
            objects: it.objects.clone(),
        })
    });
    look
}
