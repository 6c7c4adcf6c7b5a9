//! The edge's side of an apply, one write at a time, so that a crash can come between any two.

use crate::kube::server_side_apply;
use crate::world::{Occurrence, World};
use regraft_engine::Event;
use regraft_model::apply::{
    ApplyFailure, ApplyOutcome, ApplyRequest, Inventory, Retry, StagedObject, Written,
};
use regraft_model::id::TargetKey;
use regraft_model::object::{
    APPLICATION_LABEL, DIGEST_ANNOTATION, INSTALLATION_ANNOTATION, Object, ObjectKey,
};
use serde_json::Value;

/// An apply under way.
#[derive(Clone, Debug)]
pub(crate) struct ApplyRun {
    member: usize,
    life: u64,
    cluster: usize,
    request: ApplyRequest,
    next: Step,
    outcome: ApplyOutcome,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Widen,
    DryRun { stage: usize },
    Write { stage: usize, object: usize },
    Prune { at: usize },
    Orphan { at: usize },
    Narrow,
}

impl World {
    pub(crate) fn start_apply(&mut self, member: usize, life: u64, request: ApplyRequest) {
        let Some(cluster) = self.cluster_number(&request.target.cluster) else {
            return;
        };
        self.give_way(member, &request.target);
        let outcome = ApplyOutcome {
            number: request.number,
            target: request.target.clone(),
            revision: request.revision.clone(),
            ..ApplyOutcome::default()
        };
        self.next_run += 1;
        let run = self.next_run;
        let started = ApplyRun {
            member,
            life,
            cluster,
            request,
            next: Step::Widen,
            outcome,
        };
        self.runs.insert(run, started);
        self.after(1, Occurrence::ApplyStep { run });
    }

    /// The runner drops what it still does for a target when something newer is asked for.
    pub(crate) fn give_way(&mut self, member: usize, target: &TargetKey) {
        let older: Vec<u64> = self
            .runs
            .iter()
            .filter(|(_, run)| run.member == member && run.request.target == *target)
            .map(|(number, _)| *number)
            .collect();
        for number in older {
            if let Some(mut run) = self.runs.remove(&number)
                && self.rng.chance(50)
            {
                self.take_step(&mut run);
            }
        }
    }

    pub(crate) fn apply_step(&mut self, number: u64) {
        let Some(mut run) = self.runs.remove(&number) else {
            return;
        };
        if self.members[run.member].life != run.life {
            // The process died: a request on the wire may still arrive, nothing after it is sent.
            if self.rng.chance(50) {
                self.take_step(&mut run);
            }
            return;
        }
        if self.members[run.member].stalled_until > self.now {
            let until = self.members[run.member].stalled_until;
            self.runs.insert(number, run);
            self.at(until, Occurrence::ApplyStep { run: number });
            return;
        }
        let up = self
            .links
            .get(&(run.member, run.cluster))
            .is_some_and(|link| link.is_up);
        if !up || !self.reaches(run.member, run.cluster) {
            run.outcome.failures.push(ApplyFailure {
                key: None,
                retry: Retry::Transient,
                reason: "Unreachable".to_owned(),
                message: "connection refused".to_owned(),
            });
            self.finish_apply(run);
            return;
        }
        match self.take_step(&mut run) {
            true => {
                let delay = self.rng.range(1, 25);
                self.runs.insert(number, run);
                self.after(delay, Occurrence::ApplyStep { run: number });
            }
            false => self.finish_apply(run),
        }
    }

    fn finish_apply(&mut self, run: ApplyRun) {
        let (member, life) = (run.member, run.life);
        if !run.outcome.failures.is_empty() {
            let first = run.outcome.failures[0].reason.clone();
            self.note(format!("apply of {} fails: {first}", run.outcome.target));
        }
        let delay = self.rng.range(1, 30);
        let event = Event::Applied(run.outcome);
        if self.mishap(2) {
            let late = self.rng.range(500, 5_000);
            self.deliver_after(late, member, life, event.clone());
        }
        self.deliver_after(delay, member, life, event);
    }

    /// Does one step; false when that was the last.
    fn take_step(&mut self, run: &mut ApplyRun) -> bool {
        let request = &run.request;
        run.next = match run.next {
            Step::Widen => match self.widen_inventory(run) {
                true => after_stage(&run.request, 0),
                false => return false,
            },
            Step::DryRun { stage } => match self.dry_run(run, stage) {
                true => Step::Write { stage, object: 0 },
                false => return false,
            },
            Step::Write { stage, object } => {
                let staged = request.stages[stage].objects[object].clone();
                let answer = self.write_object(run, &staged);
                run.outcome.objects.push(answer);
                match object + 1 < run.request.stages[stage].objects.len() {
                    true => Step::Write {
                        stage,
                        object: object + 1,
                    },
                    false => after_stage(&run.request, stage + 1),
                }
            }
            Step::Prune { at } => {
                let key = request.prune[at].0.clone();
                self.prune_object(run, &key);
                match at + 1 < run.request.prune.len() {
                    true => Step::Prune { at: at + 1 },
                    false => after_prune(&run.request),
                }
            }
            Step::Orphan { at } => {
                let key = request.orphan[at].0.clone();
                self.orphan_object(run.cluster, &key);
                match at + 1 < run.request.orphan.len() {
                    true => Step::Orphan { at: at + 1 },
                    false => Step::Narrow,
                }
            }
            Step::Narrow => {
                self.narrow_inventory(run);
                return false;
            }
        };
        true
    }

    /// Before anything is written, the inventory names what may be there from now on.
    fn widen_inventory(&mut self, run: &mut ApplyRun) -> bool {
        let request = &run.request;
        let mut wide = request.inventory.clone();
        for (key, version) in &request.inventory_before.entries {
            wide.entries
                .entry(key.clone())
                .or_insert_with(|| version.clone());
        }
        let name = request.target.application.0.clone();
        if wide.entries.is_empty() && !self.lists_nothing(run, &name) {
            return false;
        }
        self.ensure_inventory(run, &name, wide)
    }

    fn dry_run(&mut self, run: &mut ApplyRun, stage: usize) -> bool {
        let refused = self.mishap(3);
        if refused {
            let staged = &run.request.stages[stage].objects[0];
            run.outcome.failures.push(ApplyFailure {
                key: Some(staged.object.key()),
                retry: Retry::Transient,
                reason: "TooManyRequests".to_owned(),
                message: "try again".to_owned(),
            });
        }
        !refused
    }

    /// At the end the inventory names exactly what is there.
    fn narrow_inventory(&mut self, run: &mut ApplyRun) {
        let name = run.request.target.application.0.clone();
        let exact = run.request.inventory.clone();
        self.ensure_inventory(run, &name, exact);
    }

    /// Whether the cluster has no list either where a request says that nothing is listed; otherwise the edge starts
    /// over.
    fn lists_nothing(&mut self, run: &mut ApplyRun, name: &str) -> bool {
        let cluster = &self.clusters[run.cluster];
        let listed = cluster.inventories.get(name);
        if listed.is_none_or(|listed| listed.entries.is_empty()) {
            let version = cluster.inventory_versions.get(name).copied();
            let link = self.links.entry((run.member, run.cluster)).or_default();
            link.inventories.remove(name);
            match version {
                Some(version) => drop(link.inventory_versions.insert(name.to_owned(), version)),
                None => drop(link.inventory_versions.remove(name)),
            }
            return true;
        }
        self.inventory_differs(run, "it lists objects that were not told");
        false
    }

    /// Stores an inventory, unless it is what this connection read or wrote last.
    fn ensure_inventory(&mut self, run: &mut ApplyRun, name: &str, inventory: Inventory) -> bool {
        let link = self.links.entry((run.member, run.cluster)).or_default();
        let known = link.inventories.get(name).map(|known| &known.entries);
        match known {
            Some(known) if *known == inventory.entries => true,
            None if inventory.entries.is_empty() => true,
            _ => self.write_inventory(run, name, inventory),
        }
    }

    /// Stores an inventory, unless somebody else stored one since it was told: then what is known of the cluster is
    /// stale, and the edge starts over.
    fn write_inventory(&mut self, run: &mut ApplyRun, name: &str, inventory: Inventory) -> bool {
        let (member, number) = (run.member, run.cluster);
        let stored = self.clusters[number].inventory_versions.get(name).copied();
        let link = self.links.entry((member, number)).or_default();
        if link.inventory_versions.get(name).copied() != stored {
            self.inventory_differs(run, "another member wrote it since");
            return false;
        }
        let version = stored.unwrap_or(0) + 1;
        link.inventory_versions.insert(name.to_owned(), version);
        match inventory.entries.is_empty() {
            true => drop(link.inventories.remove(name)),
            false => drop(link.inventories.insert(name.to_owned(), inventory.clone())),
        }
        let cluster = &mut self.clusters[number];
        cluster.inventory_versions.insert(name.to_owned(), version);
        match inventory.entries.is_empty() {
            true => drop(cluster.inventories.remove(name)),
            false => drop(cluster.inventories.insert(name.to_owned(), inventory)),
        }
        true
    }

    fn inventory_differs(&mut self, run: &mut ApplyRun, message: &str) {
        run.outcome.failures.push(ApplyFailure {
            key: None,
            retry: Retry::Transient,
            reason: "InventoryDiffers".to_owned(),
            message: message.to_owned(),
        });
        self.start_over(run.member, run.cluster);
    }

    fn write_object(&mut self, run: &ApplyRun, staged: &StagedObject) -> (Object, Written) {
        let key = staged.object.key();
        self.object_written(run.cluster, &run.request, &staged.object);
        let cluster = &mut self.clusters[run.cluster];
        let live = cluster.objects.get(&key).map(|object| &object.0);
        let merged = server_side_apply(live, cluster.owned.get(&key), &staged.object.0);
        if live == Some(&merged) {
            cluster.owned.insert(key.clone(), staged.object.0.clone());
            return (Object(merged), Written::Unchanged);
        }
        cluster.put(Object(merged), self.now);
        cluster.owned.insert(key.clone(), staged.object.0.clone());
        let answer = cluster.objects.get(&key).cloned().unwrap_or_default();
        let at = self.now + self.rng.range(10, 100);
        self.spread_changes(run.cluster);
        self.wake_controllers(run.cluster, at);
        (answer, Written::Written)
    }

    fn prune_object(&mut self, run: &mut ApplyRun, key: &ObjectKey) {
        let application = run.request.target.application.as_str();
        let ours = self.clusters[run.cluster]
            .objects
            .get(key)
            .is_some_and(|object| {
                object.label(APPLICATION_LABEL) == Some(application)
                    && object.annotation(INSTALLATION_ANNOTATION)
                        == Some(run.request.inventory.installation.as_str())
            });
        if !ours {
            return;
        }
        self.object_pruned(run.cluster, &run.request, key);
        self.clusters[run.cluster].remove(key);
        run.outcome.pruned.insert(key.clone());
        self.spread_changes(run.cluster);
        self.wake_controllers(run.cluster, self.now + 20);
    }

    fn orphan_object(&mut self, cluster: usize, key: &ObjectKey) {
        let Some(mut object) = self.clusters[cluster].objects.get(key).cloned() else {
            return;
        };
        for (folder, name) in [
            ("labels", APPLICATION_LABEL),
            ("annotations", INSTALLATION_ANNOTATION),
            ("annotations", DIGEST_ANNOTATION),
        ] {
            if let Some(Value::Object(entries)) = object.0["metadata"].get_mut(folder) {
                entries.remove(name);
            }
        }
        self.clusters[cluster].put(object, self.now);
        self.clusters[cluster].owned.remove(key);
        self.spread_changes(cluster);
    }
}

fn after_stage(request: &ApplyRequest, stage: usize) -> Step {
    if stage < request.stages.len() {
        return Step::DryRun { stage };
    }
    match request.prune.is_empty() {
        false => Step::Prune { at: 0 },
        true => after_prune(request),
    }
}

fn after_prune(request: &ApplyRequest) -> Step {
    match request.orphan.is_empty() {
        false => Step::Orphan { at: 0 },
        true => Step::Narrow,
    }
}
