//! Writes to a cluster: when, how often, and what came of them.

use super::{
    APPLY_FORGOTTEN_MS, FIGHT_WINDOW_MS, FIRST_PAUSE_MS, InFlight, MAX_PAUSE_MS, TargetMemory, sync,
};
use crate::Engine;
use crate::effect::{Effect, Level, prevented, say};
use crate::observed::ObservedCluster;
use crate::source::is_workload;
use regraft_diff::KnownEqual;
use regraft_model::InvariantId;
use regraft_model::apply::{ApplyFailure, ApplyOutcome, ApplyRequest, Retry, Written};
use regraft_model::finding::{SyncState, SyncStatus};
use regraft_model::object::{Object, ObjectKey};
use regraft_model::source::TreeId;
use regraft_model::text::truncate;
use regraft_model::time::Timestamp;
use std::collections::BTreeSet;

/// Most failures or objects that one status names...
const MAX_TOLD: usize = 20;
/// ... and most bytes of what it says of them: statuses are replicated.
const MAX_TOLD_BYTES: usize = 16 * 1024;

impl TargetMemory {
    /// Nobody committed, yet it differs again: drift. Put back at once, but do not fight for ever.
    fn note_drift(&mut self, now: Timestamp, tree: Option<&TreeId>) {
        let soon = self
            .corrected_at
            .is_some_and(|at| now.millis_since(at) < FIGHT_WINDOW_MS);
        self.fights = match soon {
            true => self.fights.saturating_add(1),
            false => 0,
        };
        self.corrected_at = Some(now);
        if self.fights > 0 {
            self.pause_until = Timestamp(now.0 + pause_ms(self.fights));
            self.failed_tree = tree.cloned();
        }
    }

    /// Takes in what the server answered of each object, but not of what went away since.
    fn note_written(&mut self, objects: Vec<(Object, Written)>, observed: &mut ObservedCluster) {
        for (object, written) in objects {
            let key = object.key();
            if written == Written::Written && is_workload(&object) {
                // A new template starts with a clean record.
                self.dwell.forget(&key);
                self.health = None;
            }
            let sent = self.in_flight.as_ref();
            if sent.is_none_or(|sent| !sent.gone.contains(&key)) {
                self.known_equal.insert(key, KnownEqual::of(&object));
                observed.see(object);
            }
        }
    }

    /// One more try failed: a longer pause, the longest one when only a person can help.
    fn note_failed(&mut self, now: Timestamp, failures: &[ApplyFailure]) {
        self.tries = self.tries.saturating_add(1);
        let stalled = failures
            .iter()
            .any(|failure| failure.retry == Retry::Stalled);
        let pause = match stalled {
            true => MAX_PAUSE_MS,
            false => pause_ms(self.tries),
        };
        self.pause_until = Timestamp(now.0 + pause);
    }
}

impl Engine {
    /// Sends a request out when the target may be written to now; says how it stands.
    pub(super) fn apply(
        &mut self,
        now: Timestamp,
        memory: &mut TargetMemory,
        was_synced: bool,
        work: Work,
        effects: &mut Vec<Effect>,
    ) -> SyncStatus {
        let Work {
            mut request,
            differs,
        } = work;
        let application = &request.target.application;
        let tree = self
            .rendered
            .get(application)
            .map(|rendered| rendered.tree.clone());
        let asked = self
            .view
            .syncs
            .get(application)
            .map_or(0, |sync| sync.fence.0);
        let under_way = memory.in_flight.as_ref().filter(|sent| {
            // Another revision does not wait for this one: the runner lets it take its place.
            sent.tree == tree && now.millis_since(sent.since) < APPLY_FORGOTTEN_MS
        });
        if let Some(sent) = under_way {
            return sync(SyncState::OutOfSync, "Applying", sent.writes.clone());
        }
        if !self.is_confirmed(now) {
            let message = "this member has no proof that its state is current: it does not write";
            memory.wake = now;
            if !std::mem::replace(&mut memory.unproven, true) {
                effects.push(prevented(InvariantId::I2));
            }
            return sync(SyncState::OutOfSync, "NotConfirmed", message);
        }
        let same_inputs = memory.failed_tree == tree;
        if memory.pause_until > now && same_inputs && asked <= memory.tried_for {
            memory.wake = memory.wake.min(memory.pause_until);
            return failed(&memory.failures, &differs);
        }
        if was_synced {
            memory.note_drift(now, tree.as_ref());
        }
        memory.tried_for = asked;
        memory.unproven = false;
        self.applies += 1;
        request.number = self.applies;
        memory.in_flight = Some(InFlight {
            since: now,
            number: request.number,
            tree,
            inventory: request.inventory.clone(),
            writes: differs.clone(),
            gone: BTreeSet::new(),
        });
        self.expect_inventory(&request);
        effects.push(Effect::Apply(Box::new(request)));
        sync(SyncState::OutOfSync, "Applying", differs)
    }

    /// The edge tells inventories once. Until the apply succeeds, what may be there is the union.
    fn expect_inventory(&mut self, request: &ApplyRequest) {
        let target = &request.target;
        let Some(observed) = self.observed.get_mut(&target.cluster) else {
            return;
        };
        let mut union = request.inventory_before.clone();
        union
            .installation
            .clone_from(&request.inventory.installation);
        union.entries.extend(request.inventory.entries.clone());
        let inventories = observed.inventories.get_or_insert_default();
        inventories.insert(target.application.0.clone(), union);
    }

    pub(crate) fn applied_to_cluster(
        &mut self,
        now: Timestamp,
        outcome: ApplyOutcome,
        effects: &mut Vec<Effect>,
    ) {
        let target = outcome.target.clone();
        let Some(memory) = self.targets.get_mut(&target) else {
            return;
        };
        let observed = self.observed.entry(target.cluster.clone()).or_default();
        let is_equal = |(_, written): &(_, Written)| *written == Written::Unchanged;
        if outcome.objects.iter().any(is_equal) {
            effects.push(prevented(InvariantId::I6));
        }
        memory.note_written(outcome.objects, observed);
        // The answer to an apply that another one has replaced settles nothing but what was seen.
        let sent = memory
            .in_flight
            .take_if(|sent| sent.number == outcome.number);
        let Some(sent) = sent else {
            self.dirty.targets.insert(target);
            return;
        };
        memory.released = outcome.failures.is_empty() && sent.inventory.entries.is_empty();
        if outcome.failures.is_empty() {
            memory.tries = 0;
            if let Some(known) = observed.inventories.as_mut() {
                known.insert(target.application.0.clone(), sent.inventory);
            }
        } else {
            memory.note_failed(now, &outcome.failures);
            for failure in outcome.failures.iter().filter(|_| memory.tries == 1) {
                say(effects, Level::Warning, &target.to_string(), told(failure));
            }
        }
        memory.failures = outcome.failures;
        memory.failed_tree = self
            .rendered
            .get(&target.application)
            .map(|it| it.tree.clone());
        self.dirty.targets.insert(target);
    }
}

fn failed(failures: &[ApplyFailure], differs: &str) -> SyncStatus {
    let Some(worst) = failures.iter().max_by_key(|failure| failure.retry) else {
        let message = format!("somebody else keeps changing it; backing off: {differs}");
        return sync(SyncState::OutOfSync, "Fighting", message);
    };
    let state = match worst.retry {
        Retry::Stalled => SyncState::Blocked,
        Retry::Transient | Retry::Waiting => SyncState::OutOfSync,
    };
    let message = first_of(failures.iter().map(told), "; ");
    sync(state, &worst.reason, message)
}

/// The first texts of a list, and how many more there are: a status is replicated.
fn first_of(texts: impl ExactSizeIterator<Item = String>, separator: &str) -> String {
    let more = texts.len().saturating_sub(MAX_TOLD);
    let mut told: Vec<_> = texts.take(MAX_TOLD).collect();
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    truncate(&told.join(separator), MAX_TOLD_BYTES)
}

fn told(failure: &ApplyFailure) -> String {
    let ApplyFailure {
        reason, message, ..
    } = failure;
    match &failure.key {
        Some(key) => format!("{key}: {reason}: {message}"),
        None => format!("{reason}: {message}"),
    }
}

/// What a target lacks.
pub(super) struct Work {
    request: ApplyRequest,
    /// What differs and what is deleted, for people.
    differs: String,
}

impl Work {
    pub(super) fn new(request: ApplyRequest, out_of_sync: &[(ObjectKey, Vec<String>)]) -> Self {
        let written = out_of_sync
            .iter()
            .map(|(key, paths)| match paths.as_slice() {
                [] => key.to_string(),
                [path] => format!("{key} ({path})"),
                [path, ..] => format!("{key} ({path} and more)"),
            });
        let deleted = request.prune.iter().map(|(key, _)| format!("delete {key}"));
        let all: Vec<_> = written.chain(deleted).collect();
        let differs = first_of(all.into_iter(), ", ");
        Self { request, differs }
    }
}

fn pause_ms(tries: u32) -> i64 {
    FIRST_PAUSE_MS
        .saturating_mul(1 << tries.saturating_sub(1).min(20))
        .min(MAX_PAUSE_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_told_with_the_first_path_of_each_object() {
        let key = |name: &str| ObjectKey {
            group: "apps".to_owned(),
            kind: "Deployment".to_owned(),
            namespace: "shop".to_owned(),
            name: name.to_owned(),
        };
        let paths = |paths: &[&str]| paths.iter().map(|it| (*it).to_owned()).collect();
        let differs = [
            (key("new"), paths(&[])),
            (key("web"), paths(&[".spec.replicas"])),
            (key("api"), paths(&[".spec.paused", ".spec.replicas"])),
        ];
        let request = ApplyRequest {
            prune: vec![(key("old"), "apps/v1".to_owned())],
            ..ApplyRequest::default()
        };
        assert_eq!(
            Work::new(request, &differs).differs,
            "Deployment.apps shop/new, Deployment.apps shop/web (.spec.replicas), Deployment.apps shop/api \
             (.spec.paused and more), delete Deployment.apps shop/old"
        );
        assert_eq!(Work::new(ApplyRequest::default(), &[]).differs, "");
    }

    #[test]
    fn a_status_names_the_first_failures_and_counts_the_rest() {
        let failure = |message: String| ApplyFailure {
            key: None,
            retry: Retry::Stalled,
            reason: "Invalid".to_owned(),
            message,
        };
        let few: Vec<_> = (0..20).map(|at| failure(at.to_string())).collect();
        let told = failed(&few, "").message;
        assert!(told.ends_with("; Invalid: 19"), "{told}");
        let many: Vec<_> = (0..3_000).map(|at| failure(at.to_string())).collect();
        let told = failed(&many, "").message;
        assert!(told.ends_with("; Invalid: 19; and 2980 more"), "{told}");
        let long = vec![failure("x".repeat(2_000)); 20];
        assert!(failed(&long, "").message.len() <= MAX_TOLD_BYTES);
    }
}
