//! What may land on the tracked branch: I2, I3, I8, I9, I11.

use super::Landed;
use crate::git::{Author, Push};
use crate::world::World;
use regraft_model::InvariantId;
use regraft_model::config::Mode;
use regraft_model::id::PlanId;
use regraft_model::plan::Plan;
use regraft_model::source::Revision;
use regraft_remedy::diff_hash;

/// Promised beside the invariants.
const CONSENT: &str =
    "consent: a repair is on the tracked branch only by mode auto or a person's approval";
const HOUR_MS: i64 = 3_600_000;

impl World {
    /// A commit of ours is on the tracked branch.
    pub(crate) fn commit_landed(
        &mut self,
        push: &Push,
        revision: &Revision,
        tip_before: Option<&Revision>,
    ) {
        self.checks.tally.commits += 1;
        let plan = self
            .raft
            .view
            .incidents
            .get(&push.incident)
            .and_then(|incident| incident.plan.clone());
        let application = plan
            .as_ref()
            .map(|plan| plan.application.0.clone())
            .unwrap_or_default();
        self.check_consent(push);
        self.check_fence(push);
        self.check_parent(push, revision, tip_before);
        if let Some(plan) = &plan {
            self.check_edits(push, plan);
        }
        self.check_once(push, revision);
        self.check_not_undone(push);
        let clusters = self.clusters_of(&application);
        self.check_rates(push, &application, &clusters);
        self.checks.landed.push(Landed {
            incident: push.incident.clone(),
            key: push.request.key.clone(),
            application,
            revision: revision.clone(),
            edits: push.request.edits.clone(),
            at: self.now,
            clusters,
        });
    }

    /// A person moved the branch; nothing to check yet, but worth a place to look.
    pub(crate) fn person_committed(&mut self, parent: Option<&Revision>, revision: &Revision) {
        let tip = self.remote.tip();
        debug_assert_eq!(tip, Some(revision));
        let _ = parent;
    }

    /// A repair is on the tracked branch by its application's mode, or by a person's word for exactly this diff.
    fn check_consent(&mut self, push: &Push) {
        let Some(incident) = self.raft.view.incidents.get(&push.incident) else {
            return;
        };
        let planned = &self.scenario.applications;
        let planned = planned
            .iter()
            .find(|planned| planned.name == incident.application.as_str());
        let Some(mode) = planned.map(|planned| planned.mode) else {
            return;
        };
        let diff = diff_hash(&push.request.edits);
        let approval = incident.approval.as_ref();
        if mode == Mode::Auto || approval.is_some_and(|approval| approval.diff_hash == diff) {
            return;
        }
        let message = format!(
            "{} is on the tracked branch in mode {mode}, and nobody approved the diff {diff}",
            push.request.key
        );
        self.fail_promise(None, CONSENT, message);
    }

    fn check_fence(&mut self, push: &Push) {
        if push.lock.is_none() {
            let message = format!(
                "{} reached the tracked branch without a lock",
                push.request.key
            );
            self.fail(Some(InvariantId::I2), message);
        } else if !push.fence_was_live {
            let message = format!(
                "{} was committed by member {} under a fence that did not hold when it began",
                push.request.key, push.member
            );
            self.fail(Some(InvariantId::I2), message);
        }
    }

    fn check_parent(&mut self, push: &Push, revision: &Revision, tip_before: Option<&Revision>) {
        let parent = self
            .remote
            .store
            .get(revision)
            .and_then(|commit| commit.parent.clone());
        if parent.as_ref() != Some(&push.request.parent) || tip_before != Some(&push.request.parent)
        {
            let message = format!(
                "{} was made on {} while the tip was {}",
                push.request.key,
                push.request.parent.short(),
                tip_before.map_or("nothing", Revision::short)
            );
            self.fail(Some(InvariantId::I3), message);
        }
    }

    /// What lands is what the trio agreed on for that plan.
    fn check_edits(&mut self, push: &Push, plan: &Plan) {
        if plan.id == PlanId(push.request.key.clone())
            && plan.parent == push.request.parent
            && plan.edits != push.request.edits
        {
            let message = format!("{} landed with other edits than agreed", plan.id);
            self.fail(Some(InvariantId::I3), message);
        }
    }

    /// I11: one incident puts at most one commit on the branch.
    fn check_once(&mut self, push: &Push, revision: &Revision) {
        let earlier: Vec<Revision> = self
            .checks
            .landed
            .iter()
            .filter(|landed| landed.incident == push.incident || landed.key == push.request.key)
            .map(|landed| landed.revision.clone())
            .collect();
        for other in earlier {
            if self.remote.store.descends(revision, &other) {
                let message = format!(
                    "{} has two commits on the branch: {} and {}",
                    push.incident,
                    other.short(),
                    revision.short()
                );
                self.fail(Some(InvariantId::I11), message);
            }
        }
    }

    /// I9: no edit that a person undid since we made it.
    fn check_not_undone(&mut self, push: &Push) {
        let parent = &push.request.parent;
        let mut broken = None;
        for landed in &self.checks.landed {
            if landed.edits != push.request.edits
                || !self.remote.store.descends(parent, &landed.revision)
            {
                continue;
            }
            let person = self
                .remote
                .store
                .line(parent)
                .take_while(|commit| commit.revision != landed.revision)
                .find(|commit| {
                    commit.author == Author::Person
                        && landed
                            .edits
                            .iter()
                            .any(|edit| commit.files.get(&edit.path) == edit.before.as_ref())
                });
            if let Some(person) = person {
                broken = Some(format!(
                    "{} repeats {}, which a person undid with {}",
                    push.request.key,
                    landed.key,
                    person.revision.short()
                ));
            }
        }
        if let Some(message) = broken {
            self.fail(Some(InvariantId::I9), message);
        }
    }

    /// I8: actions an hour and cluster, and the same action a day.
    fn check_rates(&mut self, push: &Push, application: &str, clusters: &[String]) {
        let policy = &self.scenario.policy;
        let recent = |landed: &&Landed| self.now - landed.at < HOUR_MS;
        let same = self
            .checks
            .landed
            .iter()
            .filter(|landed| landed.application == application)
            .count();
        let busiest = clusters
            .iter()
            .map(|cluster| {
                let here = |landed: &&Landed| landed.clusters.contains(cluster);
                self.checks
                    .landed
                    .iter()
                    .filter(recent)
                    .filter(here)
                    .count()
            })
            .max()
            .unwrap_or(0);
        let most = usize::try_from(policy.max_actions_per_hour).unwrap_or(usize::MAX);
        let most_same = usize::try_from(policy.max_same_action_per_day).unwrap_or(usize::MAX);
        let message = if busiest >= most {
            format!(
                "{} is action {} within an hour; the policy allows {most}",
                push.request.key,
                busiest + 1
            )
        } else if same >= most_same {
            format!(
                "{} is the same action for the {}th time; the policy allows {most_same}",
                push.request.key,
                same + 1
            )
        } else {
            return;
        };
        self.fail(Some(InvariantId::I8), message);
    }

    fn clusters_of(&self, application: &str) -> Vec<String> {
        self.scenario
            .applications
            .iter()
            .find(|planned| planned.name == application)
            .map(|planned| planned.clusters.clone())
            .unwrap_or_default()
    }
}
