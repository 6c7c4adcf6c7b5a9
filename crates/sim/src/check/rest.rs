//! After the faults: everything ends, every cluster is what Git says, and then nothing is written any more (I6).

use crate::content::Content;
use crate::faults::CALM_MS;
use crate::git::REPOSITORY;
use crate::world::{Occurrence, World};
use regraft_model::InvariantId;
use regraft_model::apply::ApplyRequest;
use regraft_model::finding::{SyncState, TargetStatus};
use regraft_model::health::Health;
use regraft_model::object::{APPLICATION_LABEL, Object};
use serde_json::Value;
use std::collections::BTreeSet;

/// Interval at which the world is asked whether it has come to rest.
const ASK_MS: i64 = 4_000;
/// How long nothing may be written once it has.
const REST_MS: i64 = 25_000;
/// Log entries allowed while at rest: last reports of how long something has been healthy.
const MAX_ENTRIES_AT_REST: usize = 0;

impl World {
    /// Asks whether everything is done; ends the run well, or badly when the time for it is over.
    pub(crate) fn rest(&mut self) {
        if self.is_at_rest {
            let entries = self.raft.log.len() - self.checks.log_at_rest;
            if entries > MAX_ENTRIES_AT_REST {
                let message = format!("{entries} log entries while nothing happened");
                self.fail(Some(InvariantId::I6), message);
            }
            self.check_log();
            self.is_over = true;
            return;
        }
        let open = self.unfinished();
        if open.is_empty() {
            self.note("at rest".to_owned());
            self.is_at_rest = true;
            self.checks.log_at_rest = self.raft.log.len();
            self.after(REST_MS, Occurrence::Rest);
        } else if self.now >= self.calm_since + CALM_MS {
            let incident = open.iter().any(|line| line.starts_with("incident"));
            let invariant = incident.then_some(InvariantId::I8);
            self.fail(
                invariant,
                format!(
                    "not at rest {CALM_MS} ms after the last fault: {}",
                    open.join("; ")
                ),
            );
        } else {
            self.after(ASK_MS, Occurrence::Rest);
        }
    }

    /// At rest nobody writes to a cluster.
    pub(crate) fn fail_if_restless(&mut self, member: usize, request: &ApplyRequest) {
        if self.is_at_rest {
            let message = format!(
                "member {} applies {} though nothing changed",
                member + 1,
                request.target
            );
            self.fail(Some(InvariantId::I6), message);
        }
    }

    fn unfinished(&self) -> Vec<String> {
        let mut open = self.unsettled_targets();
        for incident in self
            .raft
            .view
            .incidents
            .values()
            .filter(|incident| incident.is_open())
        {
            open.push(format!(
                "incident {} is {}: {}",
                incident.id, incident.phase, incident.waits_for
            ));
        }
        for lock in self.raft.view.locks.values() {
            open.push(format!("incident {} holds a lock", lock.incident));
        }
        let head = self
            .raft
            .view
            .heads
            .get(&REPOSITORY.into())
            .map(|head| &head.revision);
        if head != self.remote.tip() {
            open.push("the recorded head is not the tip".to_owned());
        }
        for name in self.raft.view.retiring.keys() {
            open.push(format!("{name} is still retiring"));
        }
        for member in &self.members {
            if member.applied != self.raft.last() {
                open.push(format!("member {} lags", member.id));
            }
        }
        if !self.runs.is_empty() {
            open.push("an apply is under way".to_owned());
        }
        if open.is_empty() {
            open.extend(self.differences());
        }
        open
    }

    /// Targets that are not at the head, by the trio's own account.
    fn unsettled_targets(&self) -> Vec<String> {
        let mut unsettled = Vec::new();
        for planned in &self.scenario.applications {
            for cluster in &planned.clusters {
                let status = self.raft.view.statuses.values().find(|status| {
                    status.key.application.0 == planned.name && status.key.cluster.0 == *cluster
                });
                if !status.is_some_and(is_settled) {
                    let told = status.map_or_else(|| "no report".to_owned(), told);
                    unsettled.push(format!("{}@{cluster}: {told}", planned.name));
                }
            }
        }
        unsettled
    }

    /// Where a cluster is not what the tip says, by the world's own account.
    fn differences(&self) -> Vec<String> {
        let mut found = Vec::new();
        let files = self.remote.tip_files();
        for planned in &self.scenario.applications {
            let prefix = format!("apps/{}/", planned.name);
            let wanted: Vec<Value> = files
                .iter()
                .filter(|(path, _)| path.starts_with(&prefix))
                .filter_map(|(_, blob)| self.remote.store.content(blob).and_then(Content::object))
                .collect();
            let keys: BTreeSet<_> = wanted
                .iter()
                .map(|object| Object(object.clone()).key())
                .collect();
            for name in &planned.clusters {
                let Some(cluster) = self.clusters.iter().find(|cluster| cluster.name == *name)
                else {
                    continue;
                };
                for object in &wanted {
                    let key = Object(object.clone()).key();
                    match cluster.objects.get(&key) {
                        None => found.push(format!("{name} lacks {key}")),
                        Some(live) if !holds(&live.0, object) => {
                            found.push(format!("{key} differs in {name}"))
                        }
                        Some(_) => {}
                    }
                }
                if planned.prune {
                    let left = cluster.objects.values().filter(|object| {
                        object.label(APPLICATION_LABEL) == Some(&planned.name)
                            && !keys.contains(&object.key())
                    });
                    found.extend(left.map(|object| format!("{name} still has {}", object.key())));
                }
            }
        }
        found
    }

    /// I4 and I11 at the end: every replica is the same, every acknowledged proposal is in the log.
    fn check_log(&mut self) {
        let lost: Vec<_> = self
            .checks
            .acknowledged
            .difference(&self.checks.logged)
            .map(|(client, sequence)| format!("{client}/{sequence}"))
            .collect();
        if !lost.is_empty() {
            let message = format!("acknowledged and not in the log: {}", lost.join(", "));
            self.fail(Some(InvariantId::I11), message);
        }
        for number in 0..self.members.len() {
            let member = &self.members[number];
            if member.applied == self.raft.last() && member.store != self.raft.store {
                let message = format!(
                    "member {} holds another state at {}",
                    member.id, member.applied
                );
                self.fail(Some(InvariantId::I4), message);
            }
        }
    }
}

fn is_settled(status: &TargetStatus) -> bool {
    status.sync.state == SyncState::Synced
        && status.health == Health::Healthy
        && status.findings.is_empty()
        // The same files that came back with a revert are verified anew, so the trees say too little.
        && status.applied == status.verified
}

fn told(status: &TargetStatus) -> String {
    format!(
        "{} {} {}: {} {}",
        status.sync.state,
        status.sync.reason,
        status.health,
        status.sync.message,
        status.health_message
    )
}

/// Whether every leaf of `said` is in `live`; items of lists are found by name where they have one.
fn holds(live: &Value, said: &Value) -> bool {
    match (live, said) {
        (Value::Object(live), Value::Object(said)) => said
            .iter()
            .all(|(key, value)| live.get(key).is_some_and(|other| holds(other, value))),
        (Value::Array(live), Value::Array(said)) => {
            let named = said.iter().all(|item| item["name"].is_string());
            match named {
                true => said.iter().all(|item| {
                    live.iter()
                        .any(|other| other["name"] == item["name"] && holds(other, item))
                }),
                false => live == said,
            }
        }
        (live, said) => live == said,
    }
}
