//! The runner's way to Git: what a member reads, and how its commits reach the remote or do not.

use crate::faults::Fault;
use crate::git::{Landing, Push};
use crate::people::Deed;
use crate::plant::PlantedBug;
use crate::world::{Occurrence, World};
use regraft_engine::{Effect, Event};
use regraft_model::git::{CommitOutcome, CommitRequest, History, HistoryError, Relation, Snapshot};
use regraft_model::id::{Fence, IncidentId, MemberId};
use regraft_model::source::{Revision, SourceTree, TreeId};

impl World {
    fn reaches_git(&self, member: usize) -> bool {
        self.members[member].git_down_until <= self.now
    }

    /// Brings everything the branches hold into a member's clone.
    fn fetch_into(&mut self, member: usize) {
        let mut found = Vec::new();
        for tip in self.remote.branches.values() {
            for commit in self.remote.store.line(tip) {
                if self.members[member].fetched.contains(&commit.revision) {
                    break;
                }
                found.push(commit.revision.clone());
            }
        }
        self.members[member].fetched.extend(found);
    }

    /// Whether a member's clone has a commit, after a fetch if it takes one.
    fn obtain(&mut self, member: usize, revision: &Revision) -> Result<(), String> {
        if self.members[member].fetched.contains(revision) {
            return Ok(());
        }
        if !self.reaches_git(member) {
            return Err("the remote does not answer".to_owned());
        }
        self.fetch_into(member);
        match self.members[member].fetched.contains(revision) {
            true => Ok(()),
            false => Err(format!("the remote has no commit {}", revision.short())),
        }
    }

    /// The runner answers an effect that reads Git.
    pub(crate) fn read_git(&mut self, member: usize, life: u64, effect: Effect) {
        let event = match effect {
            Effect::Fetch { repository, known } => Event::Fetched {
                repository,
                outcome: self.fetch(member, known.as_ref()),
            },
            Effect::Load {
                repository,
                revision,
            } => Event::Loaded {
                outcome: self.load(member, &revision),
                repository,
                revision,
            },
            Effect::Read {
                application,
                revision,
                path,
                ..
            } => Event::SourceRead {
                application,
                outcome: self.read_source(member, &revision, &path),
                revision,
            },
            Effect::History {
                incident,
                from,
                to,
                path,
                ..
            } => Event::HistoryRead {
                incident,
                outcome: self.read_history(member, &from, &to, &path),
                from,
                to,
            },
            _ => return,
        };
        let delay = match self.mishap(6) {
            true => self.rng.range(500, 4_000),
            false => self.rng.range(5, 150),
        };
        self.deliver_after(delay, member, life, event);
    }

    fn fetch(
        &mut self,
        member: usize,
        known: Option<&Revision>,
    ) -> Result<(Revision, Option<Relation>), String> {
        let (true, Some(tip)) = (self.reaches_git(member), self.remote.tip().cloned()) else {
            return Err("the remote does not answer".to_owned());
        };
        self.fetch_into(member);
        let relation = known.map(|known| self.remote.store.relation(&tip, known));
        Ok((tip, relation))
    }

    fn load(&mut self, member: usize, revision: &Revision) -> Result<Snapshot, String> {
        self.obtain(member, revision)?;
        let missing = || "no such commit".to_owned();
        self.remote.store.snapshot(revision).ok_or_else(missing)
    }

    fn read_source(
        &mut self,
        member: usize,
        revision: &Revision,
        path: &str,
    ) -> Result<(TreeId, SourceTree), String> {
        self.obtain(member, revision)?;
        let missing = || format!("no directory {path}");
        self.remote.store.read(revision, path).ok_or_else(missing)
    }

    fn read_history(
        &mut self,
        member: usize,
        from: &Revision,
        to: &Revision,
        path: &str,
    ) -> Result<History, HistoryError> {
        self.obtain(member, from)
            .and_then(|()| self.obtain(member, to))
            .map_err(HistoryError::Unreadable)?;
        let mut history = self.remote.store.history(from, to, path)?;
        if self.is_planted(PlantedBug::NoTrailerCheck) {
            for commit in &mut history.commits {
                commit.trailers.clear();
            }
        }
        Ok(history)
    }

    /// The runner's first step of a commit: is the lock still ours?
    pub(crate) fn start_commit(
        &mut self,
        member: usize,
        life: u64,
        incident: IncidentId,
        lock: Option<Fence>,
        request: CommitRequest,
    ) {
        let holds = lock.is_none_or(|fence| self.lock_holds(&incident, fence));
        let fence_was_live = lock.is_none_or(|fence| self.is_lock_live(&incident, fence));
        let may = lock.is_none() || (self.is_connected(member) && holds);
        if !may && !self.is_planted(PlantedBug::StaleFence) {
            let reason = "the lock could not be shown to hold".to_owned();
            self.answer_commit(
                member,
                life,
                &incident,
                &request.key,
                CommitOutcome::Failed { reason },
            );
            return;
        }
        let push = Push {
            member: MemberId(u64::try_from(member).unwrap_or(0) + 1),
            life,
            incident,
            lock,
            advertised: self.remote.branches.get(&request.push_to).cloned(),
            request,
            fence_was_live,
        };
        let delay = self.rng.range(5, 120);
        self.after(
            delay,
            Occurrence::PushLeaves {
                push: Box::new(push),
            },
        );
    }

    /// The second step: search, compare the tip, build, send. From here on the push may land whatever happens here.
    pub(crate) fn push_leaves(&mut self, mut push: Push) {
        let Some(member) = self.member_of(&push) else {
            return;
        };
        let life = push.life;
        if self.members[member].life != life || self.members[member].engine.is_none() {
            return;
        }
        let key = push.request.key.clone();
        let incident = push.incident.clone();
        if !self.reaches_git(member) {
            let reason = "the remote does not answer".to_owned();
            self.answer_commit(
                member,
                life,
                &incident,
                &key,
                CommitOutcome::Failed { reason },
            );
            return;
        }
        self.fetch_into(member);
        if let Some(outcome) = self.remote.before_push(&push.request, self.plant) {
            self.answer_commit(member, life, &incident, &key, outcome);
            return;
        }
        push.advertised = self.remote.branches.get(&push.request.push_to).cloned();
        let is_tracked = push.request.push_to == push.request.branch;
        let mut delay = self.rng.range(10, 200);
        if is_tracked && self.mishap(self.scenario.spite) {
            delay = self.spite_push(&push);
        }
        self.after(
            delay,
            Occurrence::PushLands {
                push: Box::new(push),
            },
        );
    }

    /// Something that happens while a push is on its way; returns how long it takes.
    fn spite_push(&mut self, push: &Push) -> i64 {
        let application = push.request.edits.first().map(|edit| edit.path.clone());
        let application = application
            .as_deref()
            .and_then(|path| path.split('/').nth(1))
            .unwrap_or_default()
            .to_owned();
        match self.rng.below(5) {
            0 => {
                self.note("the push is held".to_owned());
                self.rng.range(3_000, 20_000)
            }
            1 => {
                self.after(20, Occurrence::Do(Deed::TouchOther { than: application }));
                400
            }
            2 => {
                self.after(20, Occurrence::Do(Deed::Reset { commits: 1 }));
                400
            }
            3 => {
                self.after(20, Occurrence::Do(Deed::BreakImage { application }));
                400
            }
            _ => {
                self.after(
                    5,
                    Occurrence::Begin(Fault::Crash {
                        member: self.index_of(push),
                    }),
                );
                self.rng.range(50, 3_000)
            }
        }
    }

    /// The push reaches the remote.
    pub(crate) fn push_lands(&mut self, push: Push) {
        let landing = self.remote.land(&push, self.now, self.plant);
        let is_tracked = push.request.push_to == push.request.branch;
        let outcome = match landing {
            Landing::Accepted {
                revision,
                tip_before,
            } => {
                self.note(format!(
                    "the remote takes {} as {} on {} (tip was {})",
                    push.request.key,
                    revision.short(),
                    push.request.push_to,
                    tip_before.as_ref().map_or("-", Revision::short)
                ));
                if is_tracked {
                    self.commit_landed(&push, &revision, tip_before.as_ref());
                    if self.mishap(self.scenario.spite) && self.spite_landing(&push) {
                        return;
                    }
                }
                CommitOutcome::Committed(revision)
            }
            Landing::Refused { tip } => {
                self.note(format!("the remote refuses {}", push.request.key));
                match tip {
                    Some(tip) if is_tracked => CommitOutcome::Lost { tip },
                    _ => CommitOutcome::Failed {
                        reason: "the branch moved".to_owned(),
                    },
                }
            }
            Landing::Broken(reason) => CommitOutcome::Failed { reason },
        };
        let outcome = match outcome {
            // The push was taken, the answer got lost.
            CommitOutcome::Committed(_) if self.mishap(15) => CommitOutcome::Failed {
                reason: "the connection broke".to_owned(),
            },
            other => other,
        };
        if let Some(member) = self.member_of(&push) {
            self.answer_commit(
                member,
                push.life,
                &push.incident,
                &push.request.key,
                outcome,
            );
        }
    }

    /// Something that happens right after a push landed; true when its answer never comes.
    fn spite_landing(&mut self, push: &Push) -> bool {
        let member = self.index_of(push);
        let incident = push.incident.clone();
        match self.rng.below(4) {
            0 => {
                self.begin(Fault::Crash { member });
                true
            }
            1 => {
                self.begin(Fault::Crash { member });
                let delay = self.rng.range(100, 2_500);
                self.after(delay, Occurrence::Do(Deed::UndoOurs { incident }));
                true
            }
            2 => {
                let delay = self.rng.range(100, 8_000);
                self.after(delay, Occurrence::Do(Deed::UndoOurs { incident }));
                false
            }
            _ => {
                // The runner's own bound passes first.
                self.note("the answer to the push is lost".to_owned());
                let delay = self.rng.range(1_000, 3_000);
                let reason = "no answer in time".to_owned();
                let event = Event::Committed {
                    incident,
                    key: push.request.key.clone(),
                    outcome: CommitOutcome::Failed { reason },
                };
                self.deliver_after(delay, member, push.life, event);
                true
            }
        }
    }

    fn answer_commit(
        &mut self,
        member: usize,
        life: u64,
        incident: &IncidentId,
        key: &str,
        outcome: CommitOutcome,
    ) {
        self.note(format!(
            "member {} learns of {key}: {outcome:?}",
            member + 1
        ));
        let event = Event::Committed {
            incident: incident.clone(),
            key: key.to_owned(),
            outcome,
        };
        if self.mishap(5) {
            let delay = self.rng.range(500, 10_000);
            self.deliver_after(delay, member, life, event.clone());
        }
        let delay = self.rng.range(1, 60);
        self.deliver_after(delay, member, life, event);
    }

    fn member_of(&self, push: &Push) -> Option<usize> {
        self.members
            .iter()
            .position(|member| member.id == push.member)
    }

    fn index_of(&self, push: &Push) -> usize {
        self.member_of(push).unwrap_or(0)
    }
}
