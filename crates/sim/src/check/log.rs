//! What the log may hold: I2 (fences, locks, executors), I7 and I10 (plans), I11 (exactly once).

use crate::content::Content;
use crate::faults::Fault;
use crate::git::REPOSITORY;
use crate::people::Deed;
use crate::world::{Occurrence, World};
use regraft_engine::Effect;
use regraft_model::finding::{Change, SyncState};
use regraft_model::id::{ClusterName, LockScope, MemberId, TargetKey};
use regraft_model::incident::Incident;
use regraft_model::plan::{Delivery, Plan};
use regraft_model::{IncidentId, InvariantId};
use regraft_state::command::{Command, Envelope, LockRequest, NewHead, Response, Transition};
use regraft_state::record::Subject;
use std::collections::{BTreeMap, BTreeSet};

/// Clocks of two members are never further apart.
const CLOCKS_APART_MS: i64 = 5_000;

impl World {
    /// Looks at an entry before it changes the state.
    pub(crate) fn before_entry(
        &mut self,
        index: u64,
        envelope: &Envelope,
        command: &Command,
        response: &Response,
        is_repeat: bool,
    ) {
        self.checks.tally.entries += 1;
        self.checks
            .logged
            .insert((envelope.client.clone(), envelope.sequence));
        if is_repeat || matches!(response, Response::Rejected(_)) {
            return;
        }
        if let Response::Granted { fence } = response {
            if fence.0 <= self.checks.last_fence || fence.0 != index {
                let message = format!("fence {fence} was granted after {}", self.checks.last_fence);
                self.fail(Some(InvariantId::I2), message);
            }
            self.checks.last_fence = self.checks.last_fence.max(fence.0);
        }
        if let Command::Advance {
            incident, fence, ..
        }
        | Command::Acquire(LockRequest {
            incident, fence, ..
        })
        | Command::Renew {
            incident, fence, ..
        } = command
        {
            let held = self
                .raft
                .view
                .incidents
                .get(incident)
                .map(|known| known.executor_fence);
            if held != Some(*fence) {
                let message = format!("{incident} was moved under fence {fence}, held is {held:?}");
                self.fail(Some(InvariantId::I2), message);
            }
        }
        if let Command::Report { status } = command {
            let held = self.raft.view.assignments.get(&status.key);
            if held.is_none_or(|held| held.fence != status.fence || held.member != status.member) {
                let message = format!("{} was reported under a stale fence", status.key);
                self.fail(Some(InvariantId::I2), message);
            }
        }
    }

    /// Looks at the state an entry made.
    pub(crate) fn after_entry(
        &mut self,
        index: u64,
        command: &Command,
        response: &Response,
        is_repeat: bool,
    ) {
        self.check_locks();
        if is_repeat || matches!(response, Response::Rejected(_)) {
            return;
        }
        match command {
            Command::RecordHead(NewHead { revision, .. }) => self.head_recorded(revision.clone()),
            Command::Report { status } => {
                let unseen = matches!(
                    status.sync.state,
                    SyncState::Unknown | SyncState::Unreachable
                );
                match unseen {
                    true => drop(
                        self.checks
                            .unseen
                            .entry(status.key.clone())
                            .or_insert(index),
                    ),
                    false => drop(self.checks.unseen.remove(&status.key)),
                }
            }
            Command::ConfirmDelete(confirmation) => {
                self.checks.confirmed.insert(confirmation.target.clone());
            }
            Command::RecordVeto { .. } | Command::Veto { .. } => self.checks.tally.vetoes += 1,
            Command::Acquire(LockRequest { incident, .. }) => self.spite_lock(incident),
            Command::Advance {
                incident,
                transition,
                ..
            } => self.advanced(incident, transition),
            _ => {}
        }
    }

    fn advanced(&mut self, incident: &IncidentId, transition: &Transition) {
        match transition {
            Transition::End { outcome, .. } => {
                *self
                    .checks
                    .tally
                    .outcomes
                    .entry(outcome.to_string())
                    .or_default() += 1;
            }
            Transition::Commit { .. } => self.spite_commit(incident),
            _ => {}
        }
    }

    /// I2: no two live locks overlap, and there are no more than the budget allows.
    fn check_locks(&mut self) {
        let now = self.agreed_state_time();
        let live: Vec<_> = self
            .raft
            .view
            .locks
            .values()
            .filter(|lock| lock.expires_at > now)
            .collect();
        if live.len() < 2 {
            return;
        }
        let scopes: BTreeSet<&LockScope> = live.iter().map(|lock| &lock.scope).collect();
        let names: Vec<_> = live
            .iter()
            .map(|lock| format!("{} of {}", lock.scope, lock.incident))
            .collect();
        let message = match scopes.len() < live.len() {
            true => format!("one scope is locked twice: {}", names.join(", ")),
            false => format!("more repairs than the budget of one: {}", names.join(", ")),
        };
        self.fail(Some(InvariantId::I2), message);
    }

    fn agreed_state_time(&self) -> regraft_model::Timestamp {
        self.raft
            .store
            .0
            .get(regraft_state::table::TIME.as_bytes())
            .and_then(|bytes| serde_json::from_slice(bytes).ok())
            .unwrap_or_default()
    }

    /// Keeps what every application has at a head.
    fn head_recorded(&mut self, revision: regraft_model::Revision) {
        let Some(commit) = self.remote.store.get(&revision) else {
            self.fail(
                Some(InvariantId::I1),
                format!("{} was recorded and never existed", revision.short()),
            );
            return;
        };
        if !self.remote.tips.contains(&revision) {
            let message = format!("{} was recorded and never was the tip", revision.short());
            self.fail(Some(InvariantId::I1), message);
            return;
        }
        let mut objects: BTreeMap<String, Vec<serde_json::Value>> = BTreeMap::new();
        for (path, blob) in commit.files.iter() {
            let Some(application) = path
                .strip_prefix("apps/")
                .and_then(|rest| rest.split('/').next())
            else {
                continue;
            };
            if let Some(object) = self.remote.store.content(blob).and_then(Content::object) {
                objects
                    .entry(application.to_owned())
                    .or_default()
                    .push(object);
            }
        }
        self.checks.heads.insert(revision, objects);
    }

    /// Looks at what an engine asks for, with what that engine had been told when it asked.
    pub(crate) fn check_asked(&mut self, member: usize, effect: &Effect) {
        match effect {
            Effect::Propose { command, .. } => {
                if let Command::Advance { transition, .. } = &**command
                    && let Transition::Plan { plan, .. } = &**transition
                    && plan.delivery == Delivery::Push
                {
                    self.check_plan(member, plan);
                }
            }
            Effect::Commit {
                incident,
                lock: Some(_),
                ..
            } => {
                if let Some(storm) = self.storm_seen_by(member) {
                    let message = format!("{incident} is committed though {storm}");
                    self.fail(Some(InvariantId::I10), message);
                }
                let engine = self.members[member].engine.as_ref();
                if engine
                    .is_some_and(|engine| engine.view().suspensions.contains_key(&Subject::All))
                {
                    let message = format!("{incident} is committed though a person suspended all");
                    self.fail(Some(InvariantId::I10), message);
                }
            }
            Effect::Apply(request) => self.check_prune_asked(member, request),
            _ => {}
        }
    }

    fn check_plan(&mut self, member: usize, plan: &Plan) {
        if let Some(storm) = self.storm_seen_by(member) {
            let message = format!("{} is planned though {storm}", plan.id);
            self.fail(Some(InvariantId::I10), message);
        }
        let applied = self.members[member].applied;
        let Some(view) = self.members[member]
            .engine
            .as_ref()
            .map(|engine| engine.view())
        else {
            return;
        };
        let Some(incident) = view.incidents.get(&plan.incident) else {
            return;
        };
        let clusters = view
            .configurations
            .get(&REPOSITORY.into())
            .and_then(|known| known.fleet.applications.get(&plan.application))
            .map(|application| application.clusters.clone())
            .unwrap_or_default();
        let key = |cluster: &ClusterName| TargetKey::new(&plan.application, cluster);
        let unseen: Vec<_> = clusters
            .iter()
            .map(key)
            .filter(|target| {
                self.checks
                    .unseen
                    .get(target)
                    .is_some_and(|index| *index <= applied)
            })
            .collect();
        let verified = incident.targets.keys().map(key).any(|target| {
            view.statuses
                .get(&target)
                .is_some_and(|status| status.verified.is_some())
        });
        let fails = self.really_fails(incident);
        let problem = if let Some(target) = unseen.first() {
            format!("{} is planned while {target} cannot be seen", plan.id)
        } else if !verified {
            format!("{} is planned and no revision was ever verified", plan.id)
        } else if !fails {
            format!(
                "{} is planned and none of its workloads failed lately",
                plan.id
            )
        } else {
            return;
        };
        self.fail(Some(InvariantId::I7), problem);
    }

    /// Ground truth: one of the workloads in the incident's evidence failed within the last while.
    fn really_fails(&self, incident: &Incident) -> bool {
        let while_ms = 60_000;
        incident.targets.iter().any(|(name, findings)| {
            let cluster = self.cluster_number(name);
            findings.iter().any(|finding| {
                let Some(cluster) = cluster.map(|cluster| &self.clusters[cluster]) else {
                    return false;
                };
                let workload = &finding.symptom.workload;
                let last = cluster.failed_at.get(workload);
                cluster.failing_since.contains_key(workload)
                    || last.is_some_and(|at| self.now - at < while_ms)
            })
        })
    }

    /// Workloads that fail in two clusters, whichever one application's commits are left out; all of it known to this
    /// member and true.
    fn storm_seen_by(&self, member: usize) -> Option<String> {
        let view = self.members[member].engine.as_ref()?.view();
        let window = i64::try_from(self.scenario.policy.storm_window).unwrap_or(0) * 1000;
        let clock = self.clock(member);
        // Each failure's cluster, with the application whose commits explain it.
        let mut failures = BTreeSet::new();
        for status in view.statuses.values() {
            let Some(cluster) = self.cluster_number(&status.key.cluster) else {
                continue;
            };
            let recent = status.findings.iter().filter(|finding| {
                clock.millis_since(finding.since) + CLOCKS_APART_MS < window
                    && self.clusters[cluster]
                        .failing_since
                        .contains_key(&finding.symptom.workload)
            });
            failures.extend(recent.map(|finding| {
                let explained = finding.change == Change::Changed;
                let by = explained.then_some(status.key.application.as_str());
                (status.key.cluster.as_str(), by)
            }));
        }
        let left = |explained: Option<&str>| -> BTreeSet<&str> {
            let others = failures
                .iter()
                .filter(|(_, by)| by.is_none() || *by != explained);
            others.map(|(cluster, _)| *cluster).collect()
        };
        let suspects = failures.iter().map(|(_, by)| *by);
        let fewest = suspects.map(left).min_by_key(BTreeSet::len)?;
        let names: Vec<_> = fewest.into_iter().collect();
        (names.len() >= 2).then(|| {
            format!(
                "workloads fail in {} and no one application's commits explain it",
                names.join(" and ")
            )
        })
    }

    /// Something that happens right after a lock was granted.
    fn spite_lock(&mut self, incident: &IncidentId) {
        if !self.mishap(self.scenario.spite) {
            return;
        }
        let Some(member) = self.executor_of(incident) else {
            return;
        };
        let fault = match self.rng.below(5) {
            0 => Fault::Crash { member },
            1 => Fault::Isolate {
                member,
                for_ms: self.rng.range(4_000, 15_000),
            },
            2 => Fault::Stall {
                member,
                for_ms: self.rng.range(4_000, 14_000),
            },
            3 => Fault::LeaderChange,
            _ => Fault::GitDown {
                member: Some(member),
                for_ms: self.rng.range(3_000, 12_000),
            },
        };
        let delay = self.rng.range(0, 250);
        self.after(delay, Occurrence::Begin(fault));
    }

    /// Something that happens between the engine's wish to commit and the runner's first step: the process stands
    /// still until its lock is worth nothing.
    pub(crate) fn spite_wish(&mut self, member: usize, incident: &IncidentId) {
        if !self.mishap(self.scenario.spite / 3) {
            return;
        }
        let for_ms = self.rng.range(8_000, 16_000);
        self.begin(Fault::Stall { member, for_ms });
        match self.rng.below(3) {
            0 => {
                let delay = self.rng.range(200, 3_000);
                let incident = incident.clone();
                self.after(delay, Occurrence::Do(Deed::ForbidIncident { incident }));
            }
            1 => {
                // Nobody is left to take over and renew.
                for other in (0..self.members.len()).filter(|other| *other != member) {
                    self.crash(other);
                    let delay = for_ms + self.rng.range(500, 3_000);
                    self.after(delay, Occurrence::Restart { member: other });
                }
            }
            _ => {}
        }
    }

    /// Something that happens while a repair is verified.
    fn spite_commit(&mut self, incident: &IncidentId) {
        if !self.mishap(self.scenario.spite / 2) {
            return;
        }
        let member = self.executor_of(incident).unwrap_or(0);
        let cluster = self.rng.below(self.clusters.len());
        let delay = self.rng.range(0, 8_000);
        let next = match self.rng.below(3) {
            0 => Occurrence::Begin(Fault::Crash { member }),
            1 => {
                let for_ms = self.rng.range(5_000, 60_000);
                Occurrence::Begin(Fault::ClusterDown { cluster, for_ms })
            }
            _ => Occurrence::Do(Deed::UndoOurs {
                incident: incident.clone(),
            }),
        };
        self.after(delay, next);
    }

    fn executor_of(&self, incident: &IncidentId) -> Option<usize> {
        let MemberId(number) = self.raft.view.incidents.get(incident)?.executor;
        usize::try_from(number).ok()?.checked_sub(1)
    }
}
