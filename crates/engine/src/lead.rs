//! What only the leader does: asks remotes, records heads and configurations, spreads the work.

use crate::effect::{Effect, Level, prevented, say};
use crate::intent::Intent;
use crate::{Engine, READ_AGAIN_MS, TrackedRepository};
use regraft_model::InvariantId;
use regraft_model::git::Relation;
use regraft_model::id::{MemberId, RepositoryName, TargetKey};
use regraft_model::source::Revision;
use regraft_model::time::Timestamp;
use regraft_state::command::{Command, HeadRelation, NewHead, Rejection, RejectionReason};
use std::collections::{BTreeMap, BTreeSet};

/// A member that did not answer the leader for this long is taken for dead, and its work is given to others.
/// More than [`crate::CONFIRMED_MS`] plus the interval of its proofs: by then it has stopped by itself.
pub const SILENT_MS: u64 = 5000;
/// Most targets granted by one command, so that commands stay small.
const MAX_GRANTS: usize = 500;
/// Shortest pause between two questions to a remote, when people ask for syncs.
const REQUESTED_MS: i64 = 1000;
/// How long the leader must have led before it evens the load out: members join one by one.
const SETTLED_MS: i64 = 5000;

impl Engine {
    pub(crate) fn lead(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if !self.is_leader() {
            return;
        }
        if self.view.installation.is_none() {
            let installation = self.settings.installation.clone();
            let command = Command::Initialise { installation };
            self.propose(now, Intent::Initialise, command, effects);
            return;
        }
        self.ask_remotes(now, effects);
        self.answer_requests(now, effects);
        self.record_configurations(now, effects);
        self.forget_repositories(now, effects);
        self.spread_targets(now, effects);
        self.replace_executors(now, effects);
    }

    pub(crate) fn fetched(
        &mut self,
        now: Timestamp,
        repository: &RepositoryName,
        outcome: Result<(Revision, Option<Relation>), String>,
        effects: &mut Vec<Effect>,
    ) {
        self.asked.remove(&format!("fetch/{repository}"));
        let Some(tracked) = self.tracked.get_mut(repository) else {
            return;
        };
        let (revision, relation) = match outcome {
            Ok(found) => found,
            Err(reason) => {
                let known = tracked.unreadable.replace(reason.clone());
                if known.as_ref() != Some(&reason) {
                    say(effects, Level::Warning, repository.as_str(), reason);
                }
                return;
            }
        };
        tracked.unreadable = None;
        tracked.told = Some((tracked.asked_with, revision.clone()));
        self.dirty.everything |= self.view.syncs.values().any(|request| !request.asked);
        let previous = self.tracked_head(repository);
        let Some(tracked) = self.tracked.get(repository) else {
            return;
        };
        if tracked.asked_about != previous {
            // The relation was told for another head: the next answer will fit.
            return;
        }
        let relation = match (relation, &previous) {
            (_, None) => HeadRelation::First,
            (Some(Relation::Same), _) => return,
            (Some(Relation::Descends), _) => HeadRelation::Descends,
            (Some(Relation::Rewritten), _) => HeadRelation::Rewritten,
            (None, Some(_)) => return,
        };
        let branch = self.branch_of(repository);
        let command = Command::RecordHead(NewHead {
            repository: repository.clone(),
            branch,
            revision,
            previous,
            relation,
        });
        self.propose(now, Intent::Head(repository.clone()), command, effects);
    }

    /// Takes note of a refusal that somebody should know of.
    pub(crate) fn refused(
        &mut self,
        now: Timestamp,
        intent: &Intent,
        rejection: &Rejection,
        effects: &mut Vec<Effect>,
    ) {
        let level = match rejection.reason {
            RejectionReason::ClusterChanged => Level::Page,
            RejectionReason::Busy
            | RejectionReason::Closed
            | RejectionReason::OtherIncidentOpen => Level::Info,
            _ => Level::Warning,
        };
        if matches!(
            rejection.reason,
            RejectionReason::StaleFence | RejectionReason::LockExpired | RejectionReason::Busy
        ) {
            effects.push(prevented(InvariantId::I2));
        }
        self.note_refusal(now, intent, rejection);
        say(
            effects,
            level,
            &intent.to_string(),
            format!("{}: {}", rejection.reason, rejection.message),
        );
    }

    /// The recorded head of the branch that is tracked now; a head of a branch that was tracked before is none.
    fn tracked_head(&self, repository: &RepositoryName) -> Option<Revision> {
        let head = self.view.heads.get(repository)?;
        (head.branch == self.branch_of(repository)).then(|| head.revision.clone())
    }

    pub(crate) fn ask_remotes(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let applied = self.applied;
        for TrackedRepository {
            name: repository,
            poll,
            ..
        } in self.settings.repositories.clone()
        {
            let requested = self.requested(&repository);
            let Some(tracked) = self.tracked.get_mut(&repository) else {
                continue;
            };
            let poll = match tracked.unreadable {
                Some(_) => poll.as_millis().max(READ_AGAIN_MS),
                None => poll.as_millis(),
            };
            let poll = match requested.is_some_and(|index| index > tracked.asked_with) {
                true => poll.min(REQUESTED_MS),
                false => poll,
            };
            let due = tracked
                .asked_at
                .is_none_or(|asked| now.millis_since(asked) >= poll);
            if !due || !self.may_ask(now, format!("fetch/{repository}")) {
                continue;
            }
            let known = self.tracked_head(&repository);
            if let Some(tracked) = self.tracked.get_mut(&repository) {
                tracked.asked_at = Some(now);
                tracked.asked_with = applied;
                tracked.asked_about.clone_from(&known);
            }
            effects.push(Effect::Fetch { repository, known });
        }
    }

    /// The index of the newest sync that a person asked for in a repository and that waits for its remote.
    fn requested(&self, repository: &RepositoryName) -> Option<u64> {
        let waiting = self.view.syncs.values().filter(|request| !request.asked);
        waiting
            .filter(|request| {
                let application = self.application(&request.application);
                application.is_some_and(|application| application.repository == *repository)
            })
            .map(|request| request.fence.0)
            .max()
    }

    /// Says which requests for a sync came before the remote told what is the recorded head.
    fn answer_requests(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let mut asked = Vec::new();
        for request in self.view.syncs.values().filter(|request| !request.asked) {
            let Some(application) = self.application(&request.application) else {
                continue;
            };
            let head = self.tracked_head(&application.repository);
            let tracked = self.tracked.get(&application.repository);
            let told = tracked.and_then(|tracked| tracked.told.as_ref());
            if let (Some(head), Some((index, tip))) = (head, told)
                && head == *tip
                && *index >= request.fence.0
            {
                asked.push((request.application.clone(), request.fence));
            }
        }
        for (application, fence) in asked {
            let intent = Intent::RemoteAsked(application.clone());
            let command = Command::RemoteAsked { application, fence };
            self.propose(now, intent, command, effects);
        }
    }

    fn record_configurations(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let mut news = Vec::new();
        for (repository, head) in &self.view.heads {
            let Some(tracked) = self.read_head(repository) else {
                continue;
            };
            let recorded = self.view.configurations.get(repository);
            let known = recorded.is_some_and(|known| known.fleet == tracked.parsed);
            if tracked.is_valid() && !known {
                let command = Command::RecordConfiguration {
                    repository: repository.clone(),
                    branch: head.branch.clone(),
                    revision: head.revision.clone(),
                    fleet: tracked.parsed.clone(),
                };
                news.push((Intent::Configuration(repository.clone()), command));
            }
        }
        for (intent, command) in news {
            self.propose(now, intent, command, effects);
        }
    }

    /// Lets go of what was recorded of repositories that are not configured any more: it would answer for ever.
    fn forget_repositories(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        // Members are configured one after the other: who leads for a moment only decides nothing.
        if !self.has_settled(now) {
            return;
        }
        let recorded = self
            .view
            .heads
            .keys()
            .chain(self.view.configurations.keys());
        let left: BTreeSet<RepositoryName> = recorded
            .filter(|name| !self.tracked.contains_key(*name))
            .cloned()
            .collect();
        for repository in left {
            let intent = Intent::Head(repository.clone());
            if !self.proposals.is_pending(now, &intent) {
                let message = "it is not configured any more: its applications are let go, and what they have in \
                               clusters stays there";
                say(
                    effects,
                    Level::Warning,
                    repository.as_str(),
                    message.to_owned(),
                );
            }
            self.propose(
                now,
                intent,
                Command::ForgetRepository { repository },
                effects,
            );
        }
    }

    /// Gives every target to a living member, and evens the load out.
    fn spread_targets(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let alive = self.alive(now);
        if alive.is_empty() {
            return;
        }
        let wanted = self.wanted_targets();
        let mut load: BTreeMap<MemberId, usize> = alive.iter().map(|id| (*id, 0)).collect();
        let mut homeless = Vec::new();
        for target in &wanted {
            let assigned = self.view.assignments.get(target).map(|a| a.member);
            match assigned.and_then(|member| load.get_mut(&member)) {
                Some(count) => *count += 1,
                None => homeless.push(target.clone()),
            }
        }
        let mut grants = Vec::new();
        for target in homeless.into_iter().take(MAX_GRANTS) {
            if let Some((member, count)) = load.iter_mut().min_by_key(|(_, count)| **count) {
                *count += 1;
                grants.push((target, *member));
            }
        }
        if grants.is_empty() && self.has_settled(now) {
            grants.extend(self.even_out(&wanted, &load));
        }
        let revoked: Vec<_> = self
            .view
            .assignments
            .keys()
            .filter(|key| !wanted.contains(*key))
            .cloned()
            .collect();
        // Without a readable configuration nothing is known to be unwanted, and who leads for a moment only, maybe with
        // other repositories than the rest, takes nothing away.
        let revoked = match self.has_settled(now) && self.knows_every_fleet() {
            true => revoked,
            false => Vec::new(),
        };
        if !grants.is_empty() || !revoked.is_empty() {
            let command = Command::Assign {
                after: self.view.spread,
                grants,
                revoked,
            };
            self.propose(now, Intent::Assign, command, effects);
        }
    }

    /// Half of what the busiest has more than the idlest: the next look evens out the rest.
    fn even_out(
        &self,
        wanted: &BTreeSet<TargetKey>,
        load: &BTreeMap<MemberId, usize>,
    ) -> Vec<(TargetKey, MemberId)> {
        let least = load.iter().min_by_key(|(_, count)| **count);
        let most = load.iter().max_by_key(|(_, count)| **count);
        let (Some((least, low)), Some((most, high))) = (least, most) else {
            return Vec::new();
        };
        // What is under repair stays where it is.
        let calm = |target: &&TargetKey| self.view.open_incident(&target.application).is_none();
        let held = |target: &&TargetKey| {
            let assigned = self.view.assignments.get(*target);
            assigned.is_some_and(|known| known.member == *most)
        };
        let moved = wanted.iter().filter(held).filter(calm);
        moved
            .take(((high - low) / 2).min(MAX_GRANTS))
            .map(|target| (target.clone(), *least))
            .collect()
    }

    fn replace_executors(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let alive = self.alive(now);
        let mut commands = Vec::new();
        for incident in self
            .view
            .incidents
            .values()
            .filter(|incident| incident.is_open())
        {
            if alive.contains(&incident.executor) {
                continue;
            }
            let holders = self.view.assignments.values().filter(|known| {
                known.target.application == incident.application && alive.contains(&known.member)
            });
            let heir = holders.map(|known| known.member).next();
            if let Some(member) = heir.or_else(|| alive.first().copied()) {
                let id = incident.id.clone();
                commands.push(Command::AssignExecutor {
                    incident: id,
                    member,
                });
            }
        }
        for command in commands {
            if let Command::AssignExecutor { incident, .. } = &command {
                self.propose(now, Intent::Executor(incident.clone()), command, effects);
            }
        }
    }

    /// Members that do their work, as far as the leader knows. A new leader has heard of nobody yet: it waits as
    /// long as for one that fell silent.
    fn alive(&self, now: Timestamp) -> BTreeSet<MemberId> {
        let patient = self
            .leading_since
            .is_some_and(|since| now.millis_since(since).unsigned_abs() < SILENT_MS);
        let speaks = |member: &&MemberId| match self.role.silent_ms.get(member) {
            _ if **member == self.settings.member => true,
            Some(silent) => *silent < SILENT_MS,
            None => patient,
        };
        self.role.members.iter().filter(speaks).copied().collect()
    }

    fn has_settled(&self, now: Timestamp) -> bool {
        self.leading_since
            .is_some_and(|since| now.millis_since(since) >= SETTLED_MS)
    }

    fn knows_every_fleet(&self) -> bool {
        let mut tracked = self.tracked.keys();
        tracked.all(|repository| self.read_head(repository).is_some())
    }

    /// What the head says, and what was recorded: a target that leaves Git stays with its member until the
    /// configuration without it is recorded, and from then on it is retiring.
    fn wanted_targets(&self) -> BTreeSet<TargetKey> {
        let recorded = self.view.configurations.values().map(|known| &known.fleet);
        let fleets = self.fleets().chain(recorded);
        let configured = fleets.flat_map(|fleet| fleet.applications.values());
        let configured = configured.map(|application| (application, &application.clusters));
        let retiring = self.view.retiring.values();
        let retiring = retiring.map(|retiring| (&retiring.application, &retiring.clusters));
        configured
            .chain(retiring)
            .flat_map(|(application, clusters)| {
                clusters
                    .iter()
                    .map(|cluster| TargetKey::new(&application.name, cluster))
            })
            .collect()
    }
}
