//! What people commit: the beginning, releases good and bad, files that cannot be read, and order in the end.

use crate::content::{Application, Content, Flavour, Image, Workload};
use crate::git::Author;
use crate::world::World;
use regraft_model::id::IncidentId;
use regraft_model::source::BlobId;
use std::collections::BTreeMap;

impl World {
    /// The first commit: everything good.
    pub(crate) fn found_repository(&mut self) {
        let mut files = BTreeMap::new();
        let clusters = self.scenario.clusters.clone();
        for name in clusters {
            let blob = self
                .remote
                .store
                .blob(Content::Cluster { name: name.clone() });
            files.insert(format!(".regraft/cluster-{name}.yaml"), blob);
        }
        let policy = self
            .remote
            .store
            .blob(Content::Policy(self.scenario.policy.clone()));
        files.insert(".regraft/policy.yaml".to_owned(), policy);
        for planned in self.scenario.applications.clone() {
            let name = &planned.name;
            let blob = self.remote.store.blob(self.application_file(name));
            files.insert(format!(".regraft/{name}.yaml"), blob);
            let mut workloads = vec![name.clone()];
            if planned.has_worker {
                workloads.push(format!("{name}-worker"));
            }
            for workload in workloads {
                let replicas = self.rng.range(1, 2);
                let content = Content::Deployment(Workload {
                    namespace: name.clone(),
                    name: workload.clone(),
                    image: Image {
                        version: 1,
                        flavour: Flavour::Good,
                    },
                    replicas,
                    note: 0,
                });
                let blob = self.remote.store.blob(content);
                files.insert(format!("apps/{name}/{workload}.yaml"), blob);
            }
            for number in 0..planned.extras {
                let (path, blob) = self.extra(name, number, 0);
                files.insert(path, blob);
            }
        }
        let at = self.now;
        self.remote.commit_by_person(files, "Begin", at);
    }

    pub(crate) fn application_names(&self) -> Vec<String> {
        self.scenario
            .applications
            .iter()
            .map(|planned| planned.name.clone())
            .collect()
    }

    fn application_file(&self, name: &str) -> Content {
        let planned = self
            .scenario
            .applications
            .iter()
            .find(|planned| planned.name == name);
        let planned = planned.unwrap_or(&self.scenario.applications[0]);
        Content::Application(Application {
            name: name.to_owned(),
            clusters: planned.clusters.clone(),
            mode: planned.mode,
            prune: planned.prune,
            delete: planned.delete,
        })
    }

    fn extra(&mut self, application: &str, number: usize, setting: u64) -> (String, BlobId) {
        let name = format!("extra-{number}");
        let content = Content::ConfigMap {
            namespace: application.to_owned(),
            name: name.clone(),
            setting,
        };
        (
            format!("apps/{application}/{name}.yaml"),
            self.remote.store.blob(content),
        )
    }

    /// Commits changes of files on the tip; nothing when they change nothing.
    fn change(&mut self, message: &str, edits: impl IntoIterator<Item = (String, Option<BlobId>)>) {
        let before = self.remote.tip_files();
        let mut files = before.clone();
        for (path, blob) in edits {
            match blob {
                Some(blob) => drop(files.insert(path, blob)),
                None => drop(files.remove(&path)),
            }
        }
        if files == before {
            return;
        }
        let parent = self.remote.tip().cloned();
        let at = self.now;
        let revision = self.remote.commit_by_person(files, message, at);
        self.note(format!("a person commits {}: {message}", revision.short()));
        self.person_committed(parent.as_ref(), &revision);
    }

    /// Files of an application at the tip that match.
    fn tip_contents(&self, application: &str) -> Vec<(String, Content)> {
        let prefix = format!("apps/{application}/");
        self.remote
            .tip_files()
            .into_iter()
            .filter(|(path, _)| path.starts_with(&prefix))
            .filter_map(|(path, blob)| Some((path, self.remote.store.content(&blob)?.clone())))
            .collect()
    }

    pub(super) fn set_image(&mut self, application: &str, flavour: Flavour) {
        let deployments: Vec<_> = self
            .tip_contents(application)
            .into_iter()
            .filter_map(|(path, content)| match content {
                Content::Deployment(workload) => Some((path, workload)),
                _ => None,
            })
            .collect();
        let Some((path, mut workload)) = self.rng.pick(&deployments).cloned() else {
            return;
        };
        workload.image.version += 1;
        workload.image.flavour = flavour;
        let message = format!(
            "Deploy {} v{} ({flavour:?})",
            workload.name, workload.image.version
        );
        let blob = self.remote.store.blob(Content::Deployment(workload));
        self.change(&message, [(path, Some(blob))]);
    }

    pub(super) fn break_image(&mut self, application: &str) {
        let odd = [Flavour::Rough, Flavour::Picky, Flavour::Slow];
        let from = match self.rng.chance(25) {
            true => &odd[..],
            false => Flavour::BAD,
        };
        let flavour = self.rng.pick(from).copied().unwrap_or(Flavour::Crash);
        self.set_image(application, flavour);
    }

    pub(super) fn touch_config(&mut self, application: &str) {
        let configs: Vec<_> = self
            .tip_contents(application)
            .into_iter()
            .filter_map(|(path, content)| match content {
                Content::ConfigMap {
                    namespace, name, ..
                } => Some((path, namespace, name)),
                _ => None,
            })
            .collect();
        let Some((path, namespace, name)) = self.rng.pick(&configs).cloned() else {
            return;
        };
        let setting = self.rng.next() % 1000;
        let blob = self.remote.store.blob(Content::ConfigMap {
            namespace,
            name,
            setting,
        });
        self.change(&format!("Tune {path}"), [(path.clone(), Some(blob))]);
    }

    pub(super) fn touch_other(&mut self, than: &str) {
        let others: Vec<_> = self
            .application_names()
            .into_iter()
            .filter(|name| name != than)
            .collect();
        if let Some(other) = self.rng.pick(&others).cloned() {
            self.touch_config(&other);
        }
    }

    pub(super) fn add_extra(&mut self, application: &str) {
        let number = 10 + self.rng.below(20);
        let setting = self.rng.next() % 1000;
        let (path, blob) = self.extra(application, number, setting);
        self.change(&format!("Add {path}"), [(path, Some(blob))]);
    }

    pub(super) fn remove_extras(&mut self, application: &str, most: usize) {
        let edits: Vec<_> = self
            .tip_contents(application)
            .into_iter()
            .filter(|(_, content)| matches!(content, Content::ConfigMap { .. }))
            .take(most)
            .map(|(path, _)| (path, None))
            .collect();
        self.change(&format!("Tidy up {application}"), edits);
    }

    pub(super) fn break_configuration(&mut self) {
        let mark = self.rng.next();
        let blob = self.remote.store.blob(Content::Unreadable { mark });
        let path = ".regraft/typo.yaml".to_owned();
        self.change("Configure in haste", [(path, Some(blob))]);
    }

    pub(super) fn delete_application(&mut self, application: &str) {
        let path = format!(".regraft/{application}.yaml");
        self.change(&format!("Retire {application}"), [(path, None)]);
    }

    /// Spoils a file; sometimes one that holds an object, which then seems to have left Git.
    pub(super) fn make_unreadable(&mut self, application: &str) {
        let mark = self.rng.next();
        let blob = self.remote.store.blob(Content::Unreadable { mark });
        let configs: Vec<_> = self
            .tip_contents(application)
            .into_iter()
            .filter(|(_, content)| matches!(content, Content::ConfigMap { .. }))
            .map(|(path, _)| path)
            .collect();
        let path = match self.rng.pick(&configs) {
            Some(path) if self.rng.clone().chance(70) => path.clone(),
            _ => format!("apps/{application}/draft.yaml"),
        };
        self.change(&format!("Draft {path}"), [(path.clone(), Some(blob))]);
    }

    pub(super) fn make_readable(&mut self) {
        let broken: Vec<_> = self
            .remote
            .tip_files()
            .into_iter()
            .filter(|(_, blob)| {
                matches!(
                    self.remote.store.content(blob),
                    Some(Content::Unreadable { .. })
                )
            })
            .map(|(path, _)| (path, None))
            .collect();
        self.change("Correct what cannot be read", broken);
    }

    pub(super) fn restore_applications(&mut self) {
        let edits: Vec<_> = self
            .application_names()
            .into_iter()
            .map(|name| {
                let content = self.application_file(&name);
                let blob = self.remote.store.blob(content);
                (format!(".regraft/{name}.yaml"), Some(blob))
            })
            .collect();
        self.change("Bring applications back", edits);
    }

    pub(super) fn reset(&mut self, commits: usize) {
        let Some(tip) = self.remote.tip().cloned() else {
            return;
        };
        let target = self
            .remote
            .store
            .line(&tip)
            .nth(commits)
            .map(|commit| commit.revision.clone());
        if let Some(target) = target {
            self.note(format!("a person resets the branch to {}", target.short()));
            self.remote.set_tip(target);
        }
    }

    /// The last commit is replaced by another one.
    pub(super) fn rewrite(&mut self) {
        let Some(tip) = self
            .remote
            .tip()
            .and_then(|tip| self.remote.store.get(tip))
            .cloned()
        else {
            return;
        };
        let Some(parent) = tip.parent.clone() else {
            return;
        };
        let message = format!(
            "{} (amended)",
            tip.message.lines().next().unwrap_or_default()
        );
        let files = (*tip.files).clone();
        let at = self.now;
        let revision = self
            .remote
            .store
            .commit(Some(parent), files, Author::Person, message, at);
        self.note(format!(
            "a person rewrites {} as {}",
            tip.revision.short(),
            revision.short()
        ));
        self.remote.set_tip(revision);
    }

    /// Reverts a commit of ours on the tip, of an incident or the latest.
    pub(super) fn undo(&mut self, incident: Option<&IncidentId>) {
        let Some(landed) = self.checks.latest_landed(incident) else {
            return;
        };
        let edits: Vec<_> = landed
            .edits
            .iter()
            .map(|edit| (edit.path.clone(), edit.before.clone()))
            .collect();
        self.change("Revert the robot", edits);
    }

    /// Before the quiet: every file can be read, every image is good, every application is there.
    pub(super) fn make_all_good(&mut self) {
        self.make_readable();
        self.restore_applications();
        let mut edits = Vec::new();
        for name in self.application_names() {
            let mut has_workload = false;
            for (path, content) in self.tip_contents(&name) {
                let Content::Deployment(mut workload) = content else {
                    continue;
                };
                has_workload = true;
                if workload.image.flavour != Flavour::Good {
                    workload.image.version += 100;
                    workload.image.flavour = Flavour::Good;
                    let blob = self.remote.store.blob(Content::Deployment(workload));
                    edits.push((path, Some(blob)));
                }
            }
            if !has_workload {
                let workload = Workload {
                    namespace: name.clone(),
                    name: name.clone(),
                    image: Image {
                        version: 500,
                        flavour: Flavour::Good,
                    },
                    replicas: 1,
                    note: 0,
                };
                let blob = self.remote.store.blob(Content::Deployment(workload));
                edits.push((format!("apps/{name}/{name}.yaml"), Some(blob)));
            }
        }
        self.change("Make all good", edits);
    }
}
