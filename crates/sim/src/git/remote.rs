//! The remote's branches, and what a member's push meets there.

use super::BRANCH;
use super::store::{Author, Store, Tree};
use crate::plant::PlantedBug;
use regraft_model::git::{CommitOutcome, CommitRequest, INSTALLATION_TRAILER, PLAN_TRAILER};
use regraft_model::id::{BranchName, Fence, IncidentId, MemberId};
use regraft_model::source::Revision;
use std::collections::BTreeMap;

/// Name and content of everything the remote has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remote {
    pub(crate) store: Store,
    pub(crate) branches: BTreeMap<BranchName, Revision>,
    /// Every tip the tracked branch ever had, oldest first.
    pub(crate) tips: Vec<Revision>,
}

/// A push under way: built on what the member saw, and on its way to the remote.
#[derive(Clone, Debug)]
pub(crate) struct Push {
    pub(crate) member: MemberId,
    pub(crate) life: u64,
    pub(crate) incident: IncidentId,
    pub(crate) lock: Option<Fence>,
    pub(crate) request: CommitRequest,
    /// The tip the member saw in the advertisement.
    pub(crate) advertised: Option<Revision>,
    /// Whether the lock was live in the trio's state when the runner began: ground truth for the checker.
    pub(crate) fence_was_live: bool,
}

/// What became of a push at the remote.
#[derive(Clone, Debug)]
pub(crate) enum Landing {
    Accepted {
        revision: Revision,
        tip_before: Option<Revision>,
    },
    Refused {
        tip: Option<Revision>,
    },
    Broken(String),
}

impl Remote {
    pub(crate) fn tip(&self) -> Option<&Revision> {
        self.branches.get(&BranchName::from(BRANCH))
    }

    /// Moves the tracked branch, as people do.
    pub(crate) fn set_tip(&mut self, revision: Revision) {
        self.tips.push(revision.clone());
        self.branches.insert(BRANCH.into(), revision);
    }

    /// Commits on the tracked branch as a person.
    pub(crate) fn commit_by_person(&mut self, files: Tree, message: &str, at: i64) -> Revision {
        let parent = self.tip().cloned();
        let revision = self
            .store
            .commit(parent, files, Author::Person, message.to_owned(), at);
        self.set_tip(revision.clone());
        revision
    }

    pub(crate) fn tip_files(&self) -> Tree {
        self.tip()
            .and_then(|tip| self.store.get(tip))
            .map(|commit| (*commit.files).clone())
            .unwrap_or_default()
    }

    /// What the runner finds before it pushes: the commit is there already, the parent is not the tip, or neither.
    pub(crate) fn before_push(
        &self,
        request: &CommitRequest,
        plant: Option<PlantedBug>,
    ) -> Option<CommitOutcome> {
        let target = if request.push_to == request.branch {
            self.tip()
        } else {
            self.branches.get(&request.push_to)
        };
        if plant != Some(PlantedBug::NoTrailerCheck)
            && let Some(target) = target
            && let Some(found) = self
                .store
                .line(target)
                .take_while(|commit| commit.revision != request.search_from)
                .find(|commit| {
                    commit.trailer(PLAN_TRAILER).as_deref() == Some(&request.key)
                        && commit.trailer(INSTALLATION_TRAILER).as_deref()
                            == Some(&request.installation)
                })
        {
            return Some(CommitOutcome::AlreadyThere(found.revision.clone()));
        }
        let tip = self.tip()?;
        if *tip == request.parent {
            return None;
        }
        // The planted repo leaves the check to libgit2, which only asks for a fast-forward.
        if plant == Some(PlantedBug::TipResetUnnoticed) && self.store.descends(&request.parent, tip)
        {
            return None;
        }
        Some(CommitOutcome::Lost { tip: tip.clone() })
    }

    /// The push arrives: the ref moves only when it still is what was advertised.
    pub(crate) fn land(&mut self, push: &Push, at: i64, plant: Option<PlantedBug>) -> Landing {
        let request = &push.request;
        let own_branch = request.push_to != request.branch;
        let found = self.branches.get(&request.push_to).cloned();
        let expected = if own_branch {
            push.advertised.clone()
        } else {
            Some(request.parent.clone())
        };
        let fast_forward = plant == Some(PlantedBug::TipResetUnnoticed)
            && found
                .as_ref()
                .is_some_and(|tip| self.store.descends(&request.parent, tip));
        if found != expected && !fast_forward {
            return Landing::Refused { tip: found };
        }
        let files = match self.store.edited(&request.parent, &request.edits) {
            Ok(files) => files,
            Err(reason) => return Landing::Broken(reason),
        };
        let revision = self.store.commit(
            Some(request.parent.clone()),
            files,
            Author::Regraft,
            request.message.clone(),
            at,
        );
        if own_branch {
            self.branches
                .insert(request.push_to.clone(), revision.clone());
        } else {
            self.set_tip(revision.clone());
        }
        Landing::Accepted {
            revision,
            tip_before: found,
        }
    }
}
