//! What may be written to a cluster: I1 (only what Git says), I5 (prune).

use crate::content::Content;
use crate::git::REPOSITORY;
use crate::world::World;
use regraft_model::InvariantId;
use regraft_model::apply::ApplyRequest;
use regraft_model::object::{
    APPLICATION_LABEL, DIGEST_ANNOTATION, INSTALLATION_ANNOTATION, Object, ObjectKey,
};
use regraft_model::source::Revision;
use serde_json::Value;

impl World {
    /// An object is written.
    pub(crate) fn object_written(
        &mut self,
        cluster: usize,
        request: &ApplyRequest,
        object: &Object,
    ) {
        self.checks.tally.writes += 1;
        let application = request.target.application.as_str();
        let Some(head) = self.checks.heads.get(&request.revision) else {
            let message = format!(
                "{} gets {} from {}, which no member recorded",
                self.clusters[cluster].name,
                object.key(),
                request.revision.short()
            );
            self.fail(Some(InvariantId::I1), message);
            return;
        };
        let bare = without_marks(object);
        let known = head
            .get(application)
            .is_some_and(|objects| objects.contains(&bare));
        if !known {
            let message = format!(
                "{} gets a {} that {} does not hold: {bare}",
                self.clusters[cluster].name,
                object.key(),
                request.revision.short()
            );
            self.fail(Some(InvariantId::I1), message);
        }
    }

    /// An object is about to be deleted.
    pub(crate) fn object_pruned(
        &mut self,
        cluster: usize,
        request: &ApplyRequest,
        key: &ObjectKey,
    ) {
        self.checks.tally.prunes += 1;
        let target = &request.target;
        let name = self.clusters[cluster].name.clone();
        let inventory = self.clusters[cluster]
            .inventories
            .get(target.application.as_str());
        let entries = inventory.map_or(0, |inventory| inventory.entries.len());
        let is_listed = inventory.is_some_and(|inventory| inventory.entries.contains_key(key));
        let slot = (target.clone(), request.revision.clone());
        let (count, first) = self.checks.pruned.entry(slot).or_insert((0, entries));
        *count += 1;
        let (count, first) = (*count, *first);
        let percent = usize::try_from(self.scenario.policy.delete_cap_percent).unwrap_or(0);
        let cap = (first * percent / 100).max(1);
        let confirmed = self.checks.confirmed.contains(target);
        let problem = if !is_listed {
            Some("which is not in our inventory".to_owned())
        } else if let Some(path) =
            self.unreadable_at(target.application.as_str(), &request.revision)
        {
            Some(format!(
                "while {path} cannot be read at {}",
                request.revision.short()
            ))
        } else if self.is_wanted(target.application.as_str(), &request.revision, key) {
            Some(format!("which {} still holds", request.revision.short()))
        } else if count > cap && !confirmed {
            Some(format!(
                "the {count}th of {first} at {}, cap {cap}, unconfirmed",
                request.revision.short()
            ))
        } else {
            None
        };
        if let Some(problem) = problem {
            let message = format!("{name} loses {key} of {}, {problem}", target.application);
            self.fail(Some(InvariantId::I5), message);
        }
    }

    /// A file that stops pruning of an application at a revision. What one that left Git had in its files does not
    /// matter any more.
    fn unreadable_at(&self, application: &str, revision: &Revision) -> Option<String> {
        let commit = self.remote.store.get(revision)?;
        let configured = commit
            .files
            .contains_key(&format!(".regraft/{application}.yaml"));
        let folder = format!("apps/{application}/");
        self.unreadable_below(&folder, revision)
            .filter(|_| configured)
    }

    /// I5: an engine that knows of a broken configuration asks for no deletions.
    pub(crate) fn check_prune_asked(&mut self, member: usize, request: &ApplyRequest) {
        if request.prune.is_empty() {
            return;
        }
        let engine = self.members[member].engine.as_ref();
        let head = engine
            .and_then(|engine| engine.view().heads.get(&REPOSITORY.into()))
            .map(|head| head.revision.clone());
        let broken = head.and_then(|head| {
            let path = self.unreadable_below(".regraft/", &head)?;
            Some(format!("{path} cannot be read at {}", head.short()))
        });
        if let Some(broken) = broken {
            let message = format!(
                "{} deletions for {} are asked for while {broken}",
                request.prune.len(),
                request.target
            );
            self.fail(Some(InvariantId::I5), message);
        }
    }

    fn unreadable_below(&self, folder: &str, revision: &Revision) -> Option<String> {
        let commit = self.remote.store.get(revision)?;
        commit
            .files
            .range(folder.to_owned()..)
            .take_while(|(path, _)| path.starts_with(folder))
            .find(|(_, blob)| {
                matches!(
                    self.remote.store.content(blob),
                    Some(Content::Unreadable { .. })
                )
            })
            .map(|(path, _)| path.clone())
    }

    fn is_wanted(&self, application: &str, revision: &Revision, key: &ObjectKey) -> bool {
        let configured = self.remote.store.get(revision).is_some_and(|commit| {
            commit
                .files
                .contains_key(&format!(".regraft/{application}.yaml"))
        });
        configured
            && self
                .checks
                .heads
                .get(revision)
                .and_then(|head| head.get(application))
                .is_some_and(|objects| {
                    objects
                        .iter()
                        .any(|object| Object(object.clone()).key() == *key)
                })
    }
}

/// The object without our label and annotations.
fn without_marks(object: &Object) -> Value {
    let mut bare = object.0.clone();
    let metadata = &mut bare["metadata"];
    for (folder, marks) in [
        ("labels", &[APPLICATION_LABEL][..]),
        (
            "annotations",
            &[INSTALLATION_ANNOTATION, DIGEST_ANNOTATION][..],
        ),
    ] {
        let empty = match metadata.get_mut(folder) {
            Some(Value::Object(entries)) => {
                for mark in marks {
                    entries.remove(*mark);
                }
                entries.is_empty()
            }
            _ => false,
        };
        if empty && let Some(map) = metadata.as_object_mut() {
            map.remove(folder);
        }
    }
    bare
}
