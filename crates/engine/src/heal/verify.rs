//! From a commit to its end: what phase Committed does, and who undid it later (I9).

use super::{Step, end};
use crate::Engine;
use crate::effect::{Effect, prevented};
use crate::intent::Intent;
use crate::planted::Bug;
use crate::source::Rendered;
use regraft_model::InvariantId;
use regraft_model::config::Application;
use regraft_model::finding::SyncState;
use regraft_model::health::Health;
use regraft_model::id::{ClusterName, TargetKey};
use regraft_model::incident::OutcomeKind;
use regraft_model::plan::Plan;
use regraft_model::source::{Revision, SourceTree, TreeId};
use regraft_model::text::counted;
use regraft_model::time::{Seconds, Timestamp};
use regraft_remedy::{fingerprint, inputs_are_back, undone};
use regraft_state::command::{Command, Transition};

/// How far ahead of this member's clock a leader's stamp may be and still be taken for a difference of good clocks.
const MAX_CLOCK_SKEW: Seconds = Seconds(60);

impl Engine {
    /// Waits until the repair is applied and healthy everywhere for the window.
    pub(super) fn step_committed(&mut self, step: &mut Step<'_>) -> Option<Transition> {
        let (incident, application) = (step.incident, step.application);
        let (plan, committed) = (incident.plan.as_ref()?, incident.committed.as_ref()?);
        if let Some(lock) = self.view.locks.get(&incident.id).cloned() {
            self.keep_lock(step, &lock);
        }
        if self.head_of(incident)? == plan.parent {
            return None;
        }
        let tree = self.head_tree(application)?;
        let is_back = self
            .rendered
            .get(&application.name)
            .is_some_and(|rendered| rendered.tree == tree && is_put_back(plan, rendered));
        if tree == incident.suspect_tree || is_back {
            // A person put it back: `look_for_vetoes` says so, this is no failure of ours.
            return None;
        }
        if self.stands(step, &tree)? {
            return self.repaired(step, committed, tree);
        }
        if self.is_being_read(application, &tree) {
            // Its files tell whether it puts back what we replaced.
            return None;
        }
        let message = format!(
            "a commit after {} changed the application's files: what runs now is not the repair, and is judged by itself",
            committed.short()
        );
        Some(end(OutcomeKind::Superseded, message, vec![]))
    }

    /// Whether what the repair made of the application helped, as every cluster of it shows; none while one does not.
    fn repaired(&self, step: &Step<'_>, committed: &Revision, tree: TreeId) -> Option<Transition> {
        let Step {
            now,
            incident,
            application,
            ..
        } = *step;
        let fleet = self.effective.get(&application.repository);
        let clusters = fleet.map(|it| it.fleet.active_clusters(application).cloned());
        let clusters: Vec<ClusterName> = clusters.into_iter().flatten().collect();
        // What a clock that was far ahead has stamped says nothing; when the repair was applied does.
        let committed_at = incident.phase_since;
        let is_credible = committed_at <= now.plus(MAX_CLOCK_SKEW);
        let mut healthy_since = if is_credible {
            committed_at
        } else {
            Timestamp::default()
        };
        for cluster in &clusters {
            let key = TargetKey::new(&application.name, cluster);
            let status = self.view.statuses.get(&key)?;
            let applied = status.applied.as_ref();
            let applied = applied.filter(|applied| applied.tree == tree)?;
            if !status.findings.is_empty() {
                let message = format!(
                    "{} is applied in {cluster} and it still fails; it stays, for it is the last state that was verified",
                    committed.short()
                );
                let closed = vec![incident.suspect_tree.clone(), tree];
                return Some(end(OutcomeKind::Escalated, message, closed));
            }
            if status.sync.state != SyncState::Synced || status.health != Health::Healthy {
                return None;
            }
            healthy_since = healthy_since.max(status.health_since).max(applied.at);
        }
        if clusters.is_empty() || now < healthy_since.plus(application.policy.verify_for) {
            return None;
        }
        let message = format!(
            "{} is applied and healthy in {} for {}",
            committed.short(),
            counted(clusters.len(), "cluster"),
            application.policy.verify_for
        );
        Some(end(OutcomeKind::Verified, message, vec![]))
    }

    /// Whether the application's files at the head are those that our commit made; none while that is not known.
    fn stands(&mut self, step: &mut Step<'_>, tree: &TreeId) -> Option<bool> {
        let incident = step.incident;
        let committed = incident.committed.clone()?;
        let is_ours = self.head_of(incident)? == committed;
        let memory = self.cases.get_mut(&incident.id)?;
        if is_ours {
            memory.repaired = Some(tree.clone());
        }
        if let Some(repaired) = &memory.repaired {
            return Some(repaired == tree);
        }
        if memory.no_history.take().is_some() {
            // The head does not come from our commit, or is far away from it.
            return Some(false);
        }
        let history = self.history_since(step, committed)?;
        let stands = have_same_files(&history.base, &history.tip);
        if let (true, Some(memory)) = (stands, self.cases.get_mut(&incident.id)) {
            memory.repaired = Some(tree.clone());
        }
        Some(stands)
    }

    /// Whether this member reads the application's files and has not read these yet.
    fn is_being_read(&self, application: &Application, tree: &TreeId) -> bool {
        let known = self.rendered.get(&application.name);
        known.is_some_and(|rendered| rendered.tree != *tree)
            && !self.unreadable_files.contains_key(&application.name)
    }

    /// Finds repairs of ours that somebody put back (I9).
    pub(super) fn look_for_vetoes(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.is_planted(Bug::VetoForgotten) {
            return;
        }
        let mut found = Vec::new();
        for incident in self.view.incidents.values() {
            let (Some(plan), Some(committed)) = (&incident.plan, &incident.committed) else {
                continue;
            };
            let Some(rendered) = self.rendered.get(&incident.application) else {
                continue;
            };
            // Heads only move on: one that is neither the plan's parent nor our commit came after both.
            let head = self.view.heads.get(&incident.repository);
            let later = head.is_some_and(|head| {
                // Another branch never had our commit: nobody put anything back there.
                head.branch == plan.branch
                    && head.revision != plan.parent
                    && head.revision != *committed
                    && head.frozen.is_none()
            });
            let current = self
                .application(&incident.application)
                .and_then(|application| self.head_tree(application))
                .is_some_and(|tree| tree == rendered.tree);
            if !later || !current || !is_put_back(plan, rendered) {
                continue;
            }
            let print = fingerprint(&plan.edits);
            if let (Some(head), false) = (head, self.view.vetoes.contains_key(&print)) {
                found.push((incident.id.clone(), print, head.revision.clone()));
            }
        }
        for (incident, fingerprint, revision) in found {
            effects.push(prevented(InvariantId::I9));
            let intent = Intent::Veto(incident.clone());
            let command = Command::RecordVeto {
                incident,
                fingerprint,
                revision,
            };
            self.propose(now, intent, command, effects);
        }
    }
}

/// Whether files, or what the repaired workloads run on, are again what the plan replaced.
fn is_put_back(plan: &Plan, rendered: &Rendered) -> bool {
    undone(plan, &rendered.files) || inputs_are_back(plan, &rendered.inputs)
}

fn have_same_files(one: &SourceTree, other: &SourceTree) -> bool {
    let listed = |tree: &SourceTree| -> Vec<_> {
        let files = tree.files.iter();
        files
            .map(|(path, file)| (path.clone(), file.blob.clone(), file.mode))
            .collect()
    };
    listed(one) == listed(other)
}
